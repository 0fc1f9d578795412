"""What the driver's own functions put into local variables whose addresses they get.

Knows slots of frames and the calls before a place; judges nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from hvci.binary.behaviour.called.contexts import Contexts
from hvci.binary.behaviour.scene import Place, Scene
from hvci.binary.behaviour.trace import Root, traced
from hvci.binary.flow.atoms import Kind, is_handed, signed
from hvci.binary.flow.fates import OBJECT_REACH, Fate, Write, put_there
from hvci.binary.flow.frames import Leak
from hvci.binary.flow.reaching import Reached
from hvci.binary.form.code import (
    CALLS,
    NO_REGISTER,
    Address,
    Binary,
    Const,
    Expr,
    Flow,
    Function,
    Load,
    Location,
    Memory,
    Reg,
    is_slot,
    slot,
    slot_offset,
)

MAX_CALLS = 8
"""Calls before a use of a variable that are looked at."""
MAX_COPIES = 5
"""Copies and sums between an address in the frame and a call that gets it."""
MAX_ENDS = 8
"""Places where a function returns."""
ARGUMENTS = 6
"""Arguments of a call that may be the address of the variable, or of what holds it."""


def roots(contexts: Contexts, place: Place, expr: Expr) -> set[Root]:
    """What an expression was made of, results and out parameters of own functions included."""
    found, seen = traced(contexts.scene, *place, expr)
    is_told = all(root.atom.kind is not Kind.UNKNOWN for root in found)
    for (_, location), reached in seen.items():
        if is_slot(location):
            for made in _outputs(contexts, place[0], location, reached):
                found |= {made} if isinstance(made, Root) else _written(contexts.scene, made)
        elif location == contexts.scene.arch.result and not is_told:
            for d in reached.definitions:
                if isinstance(d, int):
                    found |= {*_returned(contexts, (place[0], d))}
    return found


def _returned(contexts: Contexts, call: Place) -> Iterator[Root]:
    """What an own function that may have a pointer to memory makes its result of."""
    scene, (function, k) = contexts.scene, call
    if function.flows[k] != Flow.CALL:
        return
    target = scene.arch.direct_target(function, k)
    callee = scene.flow.functions.starting_at(target)
    if callee is None or not contexts.around.may_hand_out(function.rvas[k], target):
        return
    ends = [i for i, flow in enumerate(callee.flows) if flow == Flow.RETURN]
    for i in ends[:MAX_ENDS]:
        for root in traced(scene, callee, i, Reg(scene.arch.result))[0]:
            if not root.exact and is_handed(root.atom, callee.start):
                yield from _passed(scene, callee, call, root)


def _outputs(
    contexts: Contexts, function: Function, location: Location, reached: Reached
) -> Iterator[Write | Root]:
    """The stores of own functions that may have left in a slot what reaches a place.

    And the memory whose address routines put there that those hand the address of the slot to.
    """
    work, seen = [reached], set[int]()
    while work and len(seen) < MAX_CALLS:
        now = work.pop()
        settling = _settling(contexts.scene, function, location, now)
        for call in (*now.calls, *settling):
            if call in seen:
                continue
            seen.add(call)
            found = [*_by_call(contexts, (function, call), slot_offset(location))]
            yield from found
            if call in settling and not found:
                flow = contexts.scene.flow
                work.append(flow.reaching.definitions(function, call, location, 0))


def _by_call(contexts: Contexts, call: Place, wanted: int) -> Iterator[Write | Root]:
    """What a function that is called, and may have a pointer to memory, leaves in a slot."""
    scene, (function, k) = contexts.scene, call
    if function.flows[k] != Flow.CALL:
        return
    flow, target = scene.flow, scene.arch.direct_target(function, k)
    callee = flow.functions.starting_at(target)
    if callee is None or not contexts.around.may_hand_out(function.rvas[k], target):
        return
    if flow.frames.leak(function, slot(wanted)) is Leak.NONE:
        return
    flow.begin()
    for place in _entries(scene):
        start = _passed_address(scene, call, place)
        if start is None:
            continue
        behind = wanted - start
        if 0 <= behind < OBJECT_REACH:
            whole, fate = (behind, scene.image.pointer_size), fate_of(scene, callee, place)
            for write in fate.writes:
                if (write.offset, write.size) == whole:
                    yield write._replace(calls=(call, *write.calls))
            for passed in fate.passed:
                for atom in put_there(passed, behind, scene.image.bits):
                    yield Root(atom, True)


def _entries(scene: Scene) -> list[Location]:
    """Where a function may find an argument; on x86 compilers use registers for local ones."""
    arch, at_entry = scene.arch, scene.flow.interprocedural.at_entry
    registers = arch.parameter_registers or arch.entry_registers
    on_stack = range(len(arch.parameter_registers), ARGUMENTS)
    return [*map(Location, registers), *map(at_entry, on_stack)]


def _passed_address(scene: Scene, call: Place, place: Location) -> int | None:
    """The frame offset whose address a call leaves where its callee finds an argument."""
    function, k = call
    if is_slot(place):
        depth = scene.flow.depth.before(function, k)
        if depth is None:
            return None
        place = slot(depth + slot_offset(place) - scene.arch.return_address_size)
    return _address(scene, function, k, place, 0)


def _address(scene: Scene, function: Function, i: int, location: Location, deep: int) -> int | None:
    """The frame offset that a location holds, by copies and sums with constants alone."""
    arch, frames = scene.arch, scene.flow.frames
    if location in (arch.stack_pointer, arch.frame_pointer):
        at = frames.offset(function, i, Memory(location, NO_REGISTER, 1, 0, 0))
        if at is not None or location == arch.stack_pointer:
            return at
    made = scene.flow.definitions(function, i, location)
    if len(made) != 1 or not isinstance(made[0], int) or deep == MAX_COPIES:
        return None
    d, delta = made[0], 0
    if function.flows[d] in CALLS:
        is_kept = not is_slot(location) and not (
            scene.flow.interprocedural.clobbered(function, d) >> location & 1
        )
        return _address(scene, function, d, location, deep + 1) if is_kept else None
    match arch.stored(function, d) if is_slot(location) else arch.define(function, d, location):
        case Reg(number, _, 0):
            location = Location(number)
        case Load(memory) if frames.is_plain(function, d, memory):
            offset = frames.offset(function, d, memory)
            if offset is None:
                return None
            location = slot(offset)
        case Address(Memory(number, index, _, delta, _)) if number >= 0 and index == NO_REGISTER:
            location = Location(number)
        case Binary("add" | "sub" | "or" as name, Reg(number), Const(value), width):
            location, delta = Location(number), signed(value, 8 * width)
            delta = -delta if name == "sub" else delta
        case _:
            return None
    at = _address(scene, function, d, location, deep + 1)
    return None if at is None else at + delta


def fate_of(scene: Scene, callee: Function, place: Location) -> Fate:
    """What becomes of a pointer that a function gets as an argument."""
    flow = scene.flow
    return flow.apart(lambda: flow.globals.writes.makers.pointees.parameter(callee, place, 1))


def _settling(scene: Scene, function: Function, location: Location, reached: Reached) -> list[int]:
    """The calls that get the address of a slot itself, where the walk back ended."""
    found = []
    for definition in reached.definitions:
        for atom in () if isinstance(definition, int) else definition:
            if atom.kind is Kind.LEAKED and atom.place == slot_offset(location):
                at = scene.flow.functions.instruction_at(atom.value)
                if at is not None and at[0] is function:
                    found.append(at[1])
    return found


def _written(scene: Scene, write: Write) -> set[Root]:
    """What a store leaves, for the calls that lead to it."""
    function, i = write.function, write.i
    found, _ = traced(scene, function, i, scene.arch.stored(function, i, write.n))
    for caller, k in reversed(write.calls):
        found = {each for root in found for each in _passed(scene, function, (caller, k), root)}
        function = caller
    return found


def _passed(scene: Scene, callee: Function, call: Place, root: Root) -> Iterator[Root]:
    """What something that a callee makes of its parameters is, for one of its calls."""
    atom = root.atom
    if not is_handed(atom, callee.start):
        yield root
    elif is_slot(Location(atom.place)):
        for held in scene.flow.interprocedural.passed(*call, Location(atom.place)):
            yield Root(held, root.exact and not atom.ops)
    else:
        found, _ = traced(scene, *call, Reg(atom.place))
        yield from (Root(each.atom, each.exact and root.exact and not atom.ops) for each in found)
