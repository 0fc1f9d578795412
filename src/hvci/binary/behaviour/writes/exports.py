"""Writes to functions of other modules: stores through addresses of exports.

Imported, or asked for by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from hvci.binary.behaviour import names, nearby
from hvci.binary.behaviour.arm64 import words
from hvci.binary.behaviour.scene import Place, Scene
from hvci.binary.behaviour.trace import Root, Use, argument_of, roots, shallow
from hvci.binary.behaviour.writes import variables
from hvci.binary.behaviour.writes.callees import written_through
from hvci.binary.behaviour.writes.carried import Start, carry, positions
from hvci.binary.behaviour.writes.infields import InFields
from hvci.binary.behaviour.writes.own import WRITES
from hvci.binary.flow.atoms import Atom, Atoms, Kind, Lookup
from hvci.binary.form.code import Expr, Flow, Function, Location, Reg
from hvci.model import Behaviour, Confidence, Machine

MAX_GLOBAL_READS = 256


def find(scene: Scene, fields: InFields) -> set[int]:
    """Stores through addresses of exports, imported or asked for by name; who keeps one, by RVA."""
    kept: set[int] = set()
    for function, i, *_ in scene.calls(*names.RESOLVERS):
        if scene.flow.exhausted:
            break
        _follow_hook(scene, Start(function, i, 1 << scene.arch.result), kept)
        _through_fields(scene, fields, (function, i))
    imports = {
        place
        for name in scene.analysis.import_hits
        if names.is_function(name)
        for place in scene.places(name)
    }
    for _, function, i, registers in loading(scene, imports):
        _follow_hook(scene, Start(function, i, registers), kept)
    loads = np.array(sorted(imports), np.int64)
    for stored, place in fields.stored(loads[variables.are_loads(scene, loads)]):
        load = scene.analysis.functions.instruction_at(place)
        name = None if load is None else variables.named(scene, *load)
        if name in scene.image.imports:
            _tell(scene, fields, {stored}, frozenset((Atom(Kind.IMPORT, name),)))
    return kept


def _through_fields(scene: Scene, fields: InFields, call: Place) -> None:
    """Stores through a looked-up address that is put into a field."""
    start = frozenset(((Location(scene.arch.result), 0),))
    fate = fields.shallow.from_instruction(*call, start)
    if fate.landed:
        scene.flow.begin()
        _tell(scene, fields, fate.landed, scene.flow.interprocedural.returned(*call, 0))


def _tell(scene: Scene, fields: InFields, stores: Iterable[Place], held: Atoms) -> None:
    """Add the writes through what some stores put into fields."""
    for where, _ in fields.written(stores):
        for atom in held:
            hook(scene, where, Root(atom, exact=False))


def loading(scene: Scene, places: set[int]) -> Iterator[tuple[int, Function, int, int]]:
    """Loads of a variable into a register that a store through it follows.

    (RVA of the operand, function, index, register as a mask) of each.
    """
    for place in _loads(scene, places) if places else ():
        found = scene.analysis.functions.instruction_at(place)
        if found is None:
            continue
        function, i = found
        effect = scene.arch.effect(function, i)
        if function.flows[i] == Flow.NEXT and effect.registers and not effect.stores:
            yield place, function, i, effect.registers


def _loads(scene: Scene, places: set[int]) -> list[int]:
    """The candidates among operands that name a variable."""
    if scene.image.machine is Machine.ARM64:
        return words.loads(scene, places, scene.copy_sites)
    code, rvas = scene.image.bytes, np.array(sorted(places), np.int64)
    is_read = (code[rvas - 2] == nearby.LOAD) | (code[rvas - 2] == nearby.ADD)
    loads = is_read & ((code[rvas - 1] & 0xC7) == 5)
    if scene.image.bits == 32:
        loads |= code[rvas - 1] == nearby.LOAD_SHORT
    return nearby.used(scene, rvas[loads], names.COPIES)


def _follow_hook(scene: Scene, start: Start, kept: set[int]) -> None:
    """Stores through one address; the globals that keep it are added to `kept`."""

    def is_export(held: Atoms) -> bool:
        return any(export_of(scene, atom) is not None for atom in held)

    def decide(place: Place, pointer: Expr) -> None:
        # code order leads past jumps and other values: only what surely is no export is left out
        is_own = place[0].start == start.function.start
        if not is_own or is_export(frozenset(x.atom for x in shallow(scene, *place, pointer))):
            _hook(scene, *place, pointer)

    for function, step in carry(scene, start, is_export):
        if step.use is Use.STORE and step.memory is not None:
            decide((function, step.i), Reg(step.memory.base))
        elif step.use is Use.CALL:
            place = function, step.i
            others = step.registers & ~_target(scene, place)
            given = positions(scene, place, others, is_export)
            for position in _written(scene, place, given) if others else ():
                decide(place, argument_of(scene, position))
        elif step.use is Use.GLOBAL and step.memory is not None:
            kept.add(step.memory.displacement)


def _target(scene: Scene, call: Place) -> int:
    """The register (a mask) through which a call goes: it gets the routine, which it calls."""
    function, i = call
    is_indirect = function.flows[i] == Flow.INDIRECT_CALL
    operand = scene.arch.indirect_operand(function, i) if is_indirect else None
    return 1 << operand.number if isinstance(operand, Reg) else 0


def _written(scene: Scene, call: Place, given: Iterator[int]) -> Iterator[int]:
    """Through which of some arguments a call writes: a block copy, or an own function that does."""
    function, i = call
    if function.rvas[i] in scene.copy_sites and scene.callee(function, i) in names.COPIES:
        yield from (n for n in given if n == 0) if scene.arch.parameter_registers else (0,)
    elif function.flows[i] in (Flow.CALL, Flow.JUMP) and i not in function.jumps:
        target = scene.arch.direct_target(function, i)
        yield from (n for n in given if written_through(scene, target, n))


def reads_of(scene: Scene, kept: set[int]) -> set[int]:
    """Operands that name one of some global variables, the first ones of each."""
    to_data = scene.analysis.references.to_data
    return {place for rva in kept for place in to_data(rva)[:MAX_GLOBAL_READS]}


def _hook(scene: Scene, function: Function, i: int, pointer: Expr) -> None:
    """Decide one store: which export does its address belong to?"""
    found = roots(scene, function, i, pointer)
    given = {root for root in found if root.atom.kind is Kind.PARAMETER}
    for root in given:
        held = scene.flow.interprocedural.resolve(frozenset((root.atom,)))
        found |= {Root(atom, root.exact) for atom in held}
    for root in sorted(found):
        if hook(scene, (function, i), root):
            return


def hook(scene: Scene, place: Place, root: Root) -> bool:
    """Add the fact that a place writes to where a pointer is made of; False where to no export."""
    name = export_of(scene, root.atom)
    if name is None or (name and not names.is_function(name)):
        return False
    if not name:
        _leave_open(scene, place, root.atom.value)
        return True
    sure = Confidence.PROVEN if root.exact else Confidence.LIKELY
    scene.add(
        WRITES,
        Behaviour.HOOK,
        f"writes to {name}, a function of another module",
        place,
        sure,
        "the pointer is the function's own address"
        if root.exact
        else "the pointer is computed from the function's address",
    )
    return True


def _leave_open(scene: Scene, place: Place, looked_up: int) -> None:
    """Weaken the rule where a write goes to what was asked for by a name that is not known."""
    if scene.reach(*place) is Confidence.POSSIBLE:
        return
    reason = (
        f"a write goes to what the call at {looked_up:#x} looks up, by a name that the code does "
        "not show: it breaks where that is a function and not a variable of the kernel"
    )
    scene.leave_open(WRITES, place, reason)


def export_of(scene: Scene, atom: Atom) -> str | None:
    """Name of the export an atom is the address of; empty when unread, None when it is none."""
    if atom.kind is Kind.IMPORT:
        return scene.image.imports[atom.value].name
    if atom.kind is Kind.ROUTINE and atom.value == Lookup.BY_NAME:
        return atom.why
    if atom.kind is Kind.RESULT and scene.call_name(atom.value) in names.RESOLVERS:
        return ""
    return None
