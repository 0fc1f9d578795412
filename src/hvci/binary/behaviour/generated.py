"""Code that is not in the image: calls into memory that was allocated, and code copied out.

Starts from calls and jumps through registers, frame slots and variables; asks what the target was
made of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain
from typing import NamedTuple

import numpy as np

from hvci import catalog
from hvci.binary.behaviour import names
from hvci.binary.behaviour.arm64 import words
from hvci.binary.behaviour.called import (
    candidates,
    contextfields,
    dispatched,
    elementbytes,
    elements,
    fields,
    outputs,
    registered,
)
from hvci.binary.behaviour.called.around import Around
from hvci.binary.behaviour.called.around import of as around_of
from hvci.binary.behaviour.called.contexts import Contexts
from hvci.binary.behaviour.called.fieldbytes import FieldBytes
from hvci.binary.behaviour.scene import Place, Scene
from hvci.binary.behaviour.trace import Root, argument_of, roots, shallow
from hvci.binary.flow.atoms import NOTHING, Atom, Atoms, Kind
from hvci.binary.flow.fates import NOTHING as UNUSED
from hvci.binary.form.code import CALLS, IMAGE_BASE, Expr, Flow, Function, Load, Location, Reg, slot
from hvci.binary.form.references import NO_RVAS, Rvas
from hvci.model import Behaviour, Confidence, Machine

RULE = "dynamic-code"
MAX_CANDIDATES = 4096
ARGUMENTS, MAX_CALLS_BETWEEN = 6, 4
"""Arguments of a call that are looked at for an address, and calls between it and a use."""
BACK = 16
"""Instructions looked at before a call for what its register was loaded from."""
_INDIRECT = (Flow.INDIRECT_CALL, Flow.INDIRECT_JUMP)
_ANYTHING = frozenset((Kind.UNKNOWN, Kind.FIELD))
_NX = "this memory never executes under memory integrity"


def find(scene: Scene) -> None:
    """Add every fact about code outside the image."""
    around = around_of(scene)
    contexts = Contexts(scene, around)
    for rva, start in contexts.routines():
        around.hand_on(rva, start)
    reader: fields.Reader
    indexed = elements.Indexed(NO_RVAS, NO_RVAS)
    if scene.image.machine is Machine.ARM64:
        from hvci.binary.behaviour.arm64 import elementwords

        places, reader = words.indirect(scene, around), words.fields(scene, around)
        indexed = elementwords.find(scene, around)
    else:
        found = candidates.find(scene, around)
        reader, indexed = FieldBytes(scene, around, found), elementbytes.find(scene, around, found)
        through = (each.calls for each in found.variables if _leads_to_memory(contexts, each))
        places = sorted(chain(found.calls, *through))
    if len(places) > MAX_CANDIDATES:
        scene.flow.spend()  # which is told
    for place in places[:MAX_CANDIDATES]:
        at = scene.analysis.functions.instruction_at(place)
        if at is not None and at[0].flows[at[1]] in _INDIRECT:
            _judge(contexts, at)
    _through_windows(contexts)
    _through_contexts(contexts, reader)
    stored = reader.stores()

    def gives_memory(place: Place) -> bool:
        scene.flow.begin()
        held = scene.flow.interprocedural.returned(*place, 0)
        return any(allocator(scene, Root(atom, True)) is not None for atom in held)

    _through_fields(contexts, reader, stored, gives_memory)
    _through_elements(contexts, indexed, stored)


def _through_elements(
    contexts: Contexts,
    indexed: elements.Indexed,
    stored: fields.Fields,
) -> None:
    """Add calls through elements of tables that get memory."""
    scene, others = contexts.scene, stored.places

    def is_memory(place: Place, expr: Expr) -> bool:
        return any(allocator(scene, root) is not None for root in shallow(scene, *place, expr))

    stores = _at_start(contexts.around, indexed, others)
    _add_called_by_windows(scene, dispatched.by_index(scene, stores, is_memory))
    for (function, i), (of, k) in elements.find(contexts, indexed, others.tolist(), is_memory):
        verb = "calls" if function.flows[i] in CALLS else "jumps"
        what = f"{verb} into memory that it keeps in a table"
        why = f"the memory is put there at {of.rvas[k]:#x}; {_NX}"
        scene.add(RULE, Behaviour.GENERATED_CODE, what, (function, i), Confidence.LIKELY, why)


def _through_fields(
    contexts: Contexts,
    reader: fields.Reader,
    stored: fields.Fields,
    gives_memory: Callable[[Place], bool],
) -> None:
    """Add calls through fields that get memory; weaken the rule where it may be another object."""
    scene = contexts.scene
    _by_windows(scene, stored, gives_memory)
    for call, store, is_sure in fields.find(contexts, reader, stored, gives_memory):
        function, i = call
        at = store[0].rvas[store[1]]
        verb = "calls" if function.flows[i] in CALLS else "jumps"
        if is_sure:
            what = f"{verb} into memory that it keeps in a field of an object"
            why = f"the memory is put there at {at:#x}; {_NX}"
            scene.add(RULE, Behaviour.GENERATED_CODE, what, call, Confidence.LIKELY, why)
        elif scene.reach(*call) is not Confidence.POSSIBLE:
            reason = (
                f"{verb} through a field of a device extension, and {at:#x} puts allocated memory "
                "into that field, perhaps of another device"
            )
            scene.leave_open(RULE, call, reason)


def _by_windows(scene: Scene, stored: fields.Fields, gives_memory: Callable[[Place], bool]) -> None:
    """Add memory that Windows calls as a routine of the driver."""
    _add_called_by_windows(scene, dispatched.find(scene, stored, gives_memory))


def _at_start(around: Around, indexed: elements.Indexed, others: Rvas) -> list[int]:
    """The stores that the entry point may come to, with an index or moved on."""
    if not len(indexed.stores):
        return []
    found = np.concatenate((indexed.stores, others))
    near = around.near(int(around.scene.image.headers.entry))
    chosen: list[int] = found[near[around.rows(found)]].tolist()
    return chosen


def _add_called_by_windows(scene: Scene, found: Iterable[Place]) -> None:
    """Add stores of memory into fields of the driver object that Windows calls."""
    for place in found:
        what = "puts allocated memory into its driver object as a routine that Windows calls"
        scene.add(RULE, Behaviour.GENERATED_CODE, what, place, Confidence.LIKELY, _NX)


def _through_windows(contexts: Contexts) -> None:
    """Add memory that Windows is told to call."""
    for place, name, found in registered.find(contexts):
        into = _memory(contexts.scene, found | _from_callers(contexts, found))
        if into is not None:
            what = f"gives {into.what} to {name} as a routine that Windows calls"
            contexts.scene.add(RULE, into.kind, what, place, into.sure, into.why)


def _through_contexts(contexts: Contexts, reader: fields.Reader) -> None:
    """Add calls through fields of data that the routine gets as its context."""
    scene = contexts.scene
    for (function, i), data, behind in contextfields.find(contexts, reader):
        scene.flow.begin()
        held = scene.flow.globals.writes.field(data, behind, scene.image.pointer_size)
        known = {Root(atom, True) for each in held for atom in each}
        into = _memory(scene, known | _from_callers(contexts, known))
        if into is not None:
            verb = "calls" if function.flows[i] in CALLS else "jumps"
            what = f"{verb} into {into.what}"
            why = f"it is kept in a field of the context, at {data + behind:#x}; {into.why or _NX}"
            scene.add(RULE, into.kind, what, (function, i), Confidence.LIKELY, why)


def _leads_to_memory(contexts: Contexts, variable: candidates.Variable) -> bool:
    """Whether a variable may lead to memory that does not execute."""
    scene = contexts.scene
    if candidates.points_to_data(scene.image, variable.rva):
        return True
    scene.flow.begin()
    writes, size = scene.flow.globals.writes, scene.image.pointer_size
    held = writes.named(variable.writers, variable.rva, size) if variable.writers else NOTHING
    held |= writes.put(variable.writers, variable.rva)
    known = {Root(atom, True) for atom in held}
    known |= _from_callers(contexts, known)
    return _memory(scene, known) is not None or _known_memory(scene, known) is not None


# ---- calls into memory


def _judge(contexts: Contexts, place: Place) -> None:
    """One indirect call: is its target memory that never executes?"""
    scene, (function, i) = contexts.scene, place
    operand = scene.target(function, i)
    if not _worth_asking(scene, function, i, operand) or _is_field(scene, place, operand):
        return
    found = outputs.roots(contexts, place, operand)
    into = _memory(scene, found | _from_callers(contexts, found))
    verb = "calls" if function.flows[i] in CALLS else "jumps"
    if into is not None:
        scene.add(RULE, into.kind, f"{verb} into {into.what}", place, into.sure, into.why)
    elif (own := _known_memory(scene, found)) and scene.reach(*place) is not Confidence.POSSIBLE:
        reason = (
            f"{verb} through a pointer that may lead to {own}, and elsewhere: it is not followed"
        )
        scene.leave_open(RULE, place, reason)


class _Into(NamedTuple):
    """Memory that never executes, to which a pointer leads."""

    kind: Behaviour
    what: str
    sure: Confidence = Confidence.PROVEN
    why: str = ""


def _memory(scene: Scene, found: set[Root]) -> _Into | None:
    """The memory to which what a pointer was made of leads; None where to none."""
    for root in sorted(found):
        made = allocator(scene, root)
        if made is not None:
            did = "put there" if made.name in names.PUT else "returned"
            return _Into(
                Behaviour.GENERATED_CODE,
                f"{names.memory_of(made.name)} of {made.name}",
                Confidence.PROVEN if root.exact else Confidence.LIKELY,
                f"the target {'is' if root.exact else 'is computed from'} what the call at "
                f"{made.rva:#x} {did}; {_NX}",
            )
    own = _own_memory(scene, found)
    return _Into(Behaviour.NOT_EXECUTABLE, own) if own is not None else None


def _from_callers(contexts: Contexts, found: set[Root]) -> set[Root]:
    """What callers pass, and Windows as a context, where something is made of parameters."""
    flow = contexts.scene.flow
    flow.begin()
    out: set[Root] = set()
    for root in found:
        if root.atom.kind is Kind.PARAMETER:
            held = flow.interprocedural.resolve(frozenset((root.atom,)))
            given = (values for _, values in contexts.of(root.atom))
            is_exact = root.exact and not root.atom.ops
            out |= {Root(atom, is_exact) for atom in held.union(*given)}
    return out


def _own_memory(scene: Scene, found: set[Root]) -> str | None:
    """Data of the image or of a frame that a pointer leads to, in words; None where to code."""
    known = [root for root in found if root.atom.kind is not Kind.PARAMETER and not _is_added(root)]
    if any(not root.exact or root.atom.kind in _ANYTHING for root in known):
        return None
    return _known_memory(scene, known)


def _known_memory(scene: Scene, known: Iterable[Root]) -> str | None:
    """The same of what is known, whatever else a pointer leads to."""
    for root in sorted(root for root in known if root.exact):
        rva = scene.rva_of(root.atom)
        section = scene.image.section_at(rva) if rva >= 0 else None
        if root.atom.kind is Kind.STACK:
            return "a local variable on the stack, which never executes"
        if section is not None and not section.executable:
            return f"{rva:#x} in section {section.name}, which is not executable"
    return None


def _is_added(root: Root) -> bool:
    """Whether a number was only added to something else."""
    return root.atom.kind is Kind.CONST and not root.exact


class _Made(NamedTuple):
    """The call of a DDI that made memory."""

    name: str
    rva: int


def allocator(scene: Scene, root: Root) -> _Made | None:
    """The call that made the memory; None when none is seen to."""
    rva = root.atom.value
    if root.atom.kind is Kind.LEAKED:
        return _filler(scene, root.atom)
    if root.atom.kind is not Kind.RESULT:
        return None
    name = scene.call_name(rva)
    is_put = root.atom.why == name and name in names.PUT
    return _Made(name, rva) if name in names.RETURNED or is_put else None


def may_execute(scene: Scene, name: str, rva: int) -> bool:
    """Whether the memory of a call may have been asked for as executable."""
    ddi = catalog.ddis().get(name)
    found = scene.analysis.functions.instruction_at(rva)
    if ddi is None or found is None or not ddi.deciding:
        return True
    position = ddi.x86_slot if scene.image.bits == 32 else ddi.position
    held: Atoms = scene.argument(*found, position(ddi.deciding), 4)
    return any(
        atom.kind is not Kind.CONST or ddi.rule.executable.holds(atom.value) for atom in held
    )


def _filler(scene: Scene, leaked: Atom) -> _Made | None:
    """The call that put memory into a local variable, before calls that do not get its address."""
    own = Atom(Kind.STACK, leaked.place)
    for _ in range(MAX_CALLS_BETWEEN):
        found = scene.analysis.functions.instruction_at(leaked.value)
        if found is None:
            return None
        name = scene.callee(*found) or ""
        put = names.PUT[name].at(scene.image.bits) if name in names.PUT else -1
        receiving = [
            n
            for n in range(max(ARGUMENTS, put + 1))
            if own in scene.argument(*found, n) and _uses(scene, found, n)
        ]
        if receiving:
            return _Made(name, leaked.value) if receiving == [put] else None
        held = scene.flow.value(*found, slot(leaked.place))
        before = [atom for atom in held if atom.kind is Kind.LEAKED]
        if len(before) != 1:
            return None
        leaked = before[0]
    return None


def _uses(scene: Scene, call: Place, position: int) -> bool:
    """Whether a callee may use an argument: x86 code leaves those of other calls on the stack."""
    function, i = call
    if scene.image.bits != 32 or function.flows[i] != Flow.CALL:
        return True
    callee = scene.flow.functions.starting_at(scene.arch.direct_target(function, i))
    place = scene.flow.interprocedural.at_entry(position)
    return callee is None or outputs.fate_of(scene, callee, place) != UNUSED


def _worth_asking(scene: Scene, function: Function, i: int, operand: Expr) -> bool:
    """Sort out the usual case, a pointer that was just loaded from a structure or an import."""
    if not isinstance(operand, Reg):
        return isinstance(operand, Load)
    arch = scene.arch
    for p in range(i - 1, max(-1, i - BACK), -1):
        if p + 1 in function.sources:
            return True
        if arch.effect(function, p).registers >> operand.number & 1:
            if function.flows[p] in CALLS:
                return True
            expr = arch.define(function, p, operand.number)
            if isinstance(expr, Load):
                memory = expr.memory
                frame = (arch.stack_pointer, arch.frame_pointer)
                if memory.base == IMAGE_BASE:
                    return scene.slot_of(expr) is None
                return memory.base in frame
            return True
    return True


def _is_field(scene: Scene, place: Place, operand: Expr, seen: set[Place] | None = None) -> bool:
    """Whether a pointer comes out of a structure, on whatever way to the call.

    `seen`: the copies on the way, as what a loop copies from itself comes from before it.
    """
    function, i = place
    if isinstance(operand, Reg):
        made = scene.flow.definitions(function, i, Location(operand.number))
        seen = set() if seen is None else seen
        return bool(made) and all(_is_copied_field(scene, function, d, operand, seen) for d in made)
    if not isinstance(operand, Load) or operand.memory.base < 0:
        return False
    return scene.flow.frames.offset(function, i, operand.memory) is None


def _is_copied_field(
    scene: Scene, function: Function, made: int | Atoms, register: Reg, seen: set[Place]
) -> bool:
    """The same of what one instruction leaves in a register."""
    if not isinstance(made, int) or function.flows[made] in CALLS:
        return False
    place = function, made
    if place in seen:
        return True
    seen.add(place)
    return _is_field(scene, place, scene.arch.define(function, made, register.number), seen)


# ---- copies of code


def copied(scene: Scene, function: Function, i: int, name: str) -> None:
    """A block copy at `i` by a routine: of a function, into memory that a DDI returned?"""
    position = names.BLOCK_ROUTINES[name].source
    source = scene.code_address(scene.argument(function, i, position))
    if source is None or not scene.starts_function(source):
        return
    found = roots(scene, function, i, argument_of(scene, 0))
    made = {known.name for root in found if (known := allocator(scene, root))}
    if made:
        scene.add(
            RULE,
            Behaviour.COPIED_CODE,
            f"copies its function at {source:#x} to {names.memory_of(min(made))} of {min(made)}",
            (function, i),
            Confidence.PROVEN,
            _NX,
        )
