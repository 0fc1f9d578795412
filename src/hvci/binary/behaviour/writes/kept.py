"""Writes through an address of code that a variable keeps: of the driver, or of another module.

A variable is judged by what the file holds and by what names it; where else it may be written is
not asked, since a pointer that code writes through is no place to look for everything.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from hvci.binary.behaviour import names
from hvci.binary.behaviour.scene import Place, Scene
from hvci.binary.behaviour.shallow import MAX_WALKED, Shallow
from hvci.binary.behaviour.trace import Root, Use, follow, shallow
from hvci.binary.behaviour.writes.callees import writes, written_through
from hvci.binary.behaviour.writes.exports import export_of, hook, loading, reads_of
from hvci.binary.behaviour.writes.handed import behind
from hvci.binary.behaviour.writes.own import WRITES, store
from hvci.binary.behaviour.writes.sent import proposed
from hvci.binary.behaviour.writes.variables import named, reads
from hvci.binary.flow.atoms import Atom, Kind
from hvci.binary.form.code import (
    CALLS,
    IMAGE_BASE,
    NO_REGISTER,
    Address,
    Binary,
    Const,
    Expr,
    Flow,
    Function,
    Load,
    Location,
    Reg,
    is_slot,
    slot,
)
from hvci.binary.pe.sets import members

MAX_COPIES = 8
"""Copies and sums between the read of a variable and a store through it."""
MAX_WRITERS = 64
"""Instructions that name a variable and are asked what they put there."""


def find(scene: Scene, kept: set[int]) -> None:
    """Add every write through what a variable keeps; `kept`: some that get addresses of exports."""
    known: Known = {}
    places = reads(scene) | reads_of(scene, kept)
    for _, function, i, registers in loading(scene, places):
        if scene.flow.exhausted:
            return
        held = _loaded(scene, (function, i), known)
        if held:
            _follow(scene, function, i, registers, held)
    _follow_far(scene, reads(scene, initial=True), known)


def _follow_far(scene: Scene, places: set[int], known: Known) -> None:
    """Writes through what loads give that outlasts them, or that they hand to functions."""
    loads, shallow = np.array(sorted(places), np.int64), Shallow(scene)
    for place in sorted({*proposed(scene, loads, behind(scene, loads), few=True)}):
        found = scene.analysis.functions.instruction_at(place)
        if found is None or found[0].flows[found[1]] != Flow.NEXT or scene.flow.exhausted:
            continue
        written = _written_far(scene, shallow, *found)
        held = _loaded(scene, found, known) if written else []
        for where, offset, exact in written if held else ():
            _tell(scene, where, held, offset, exact)


def _written_far(
    scene: Scene, shallow: Shallow, function: Function, i: int
) -> list[tuple[Place, int, bool]]:
    """The writes through what one load gives, as the first calls and stores show."""
    registers = members(scene.arch.effect(function, i).registers)
    start = frozenset((Location(register), 0) for register in registers)
    return [*writes(scene, shallow.from_instruction(function, i, start, MAX_WALKED))]


def _loaded(scene: Scene, load: Place, known: Known) -> list[Atom]:
    """The addresses of code that the variable may keep which an instruction loads."""
    rva = named(scene, *load)
    return [] if rva is None else sorted(_code_kept(scene, rva, known))


class _Held(NamedTuple):
    """What one variable gets, by what the file holds and by what names it."""

    code: set[Atom]
    variables: set[int]
    """Those that it is copied from."""


Known = dict[int, _Held]
"""By the RVA of a variable."""


def _code_kept(scene: Scene, rva: int, known: Known) -> set[Atom]:
    """The addresses of code that a variable may keep, those that others had before too."""
    found, work, seen = set[Atom](), [rva], {rva}
    while work:
        now = work.pop()
        if now not in known:
            known[now] = _held(scene, now)
        found |= known[now].code
        work += known[now].variables - seen
        seen |= known[now].variables
    return found


def _held(scene: Scene, rva: int) -> _Held:
    content = scene.image.number(rva, scene.image.pointer_size) - scene.image.base
    held = _Held({Atom(Kind.ADDRESS, content)} if scene.image.is_code(content) else set(), set())
    for place in _writers(scene, rva):
        for root in _stored(scene, place, rva):
            if root.atom.kind is Kind.UNKNOWN:
                held.variables.add(root.atom.value)
            elif root.exact and _is_code(scene, root.atom):
                held.code.add(root.atom)
    return held


def _writers(scene: Scene, rva: int) -> Iterator[Place]:
    """The instructions that name a variable and may write it; more than are asked are a limit."""
    references, functions = scene.analysis.references, scene.analysis.functions
    places = references.to_data(rva) if scene.image.is_writable(rva) else []
    found = (functions.instruction_at(each) for each in places if not references.only_reads(each))
    storing = (each for each in found if each is not None and scene.arch.effect(*each).stores)
    for count, place in enumerate(storing):
        if count == MAX_WRITERS:
            reason = f"the variable at {rva:#x} is written at more places than are asked"
            scene.leave_open(WRITES, place, reason)
            return
        yield place


def _stored(scene: Scene, place: Place, rva: int) -> set[Root]:
    """What an instruction puts into a variable."""
    function, i = place
    for n, memory in enumerate(scene.arch.effect(function, i).stores):
        is_plain = memory.base == IMAGE_BASE and memory.index_register == NO_REGISTER
        if is_plain and memory.displacement == rva and memory.size == scene.image.pointer_size:
            found = shallow(scene, function, i, scene.arch.stored(function, i, n))
            given = frozenset(root.atom for root in found if root.atom.kind is Kind.PARAMETER)
            return found | {Root(atom, True) for atom in scene.flow.interprocedural.resolve(given)}
    return set()


def _is_code(scene: Scene, atom: Atom) -> bool:
    """Whether an atom is the address of a function, of the driver or of another module."""
    rva = scene.rva_of(atom)
    return (rva >= 0 and scene.image.is_code(rva)) or export_of(scene, atom) is not None


def _follow(scene: Scene, function: Function, i: int, registers: int, held: list[Atom]) -> None:
    """Stores through, and copies to, what instruction `i` loads from a variable."""
    for step in follow(scene, function, i, registers, set()):
        place = function, step.i
        if step.use is Use.STORE and step.memory is not None:
            memory = step.memory
            exact = _comes_from(scene, place, Reg(memory.base), i)
            if exact is not None:
                exact &= memory.index_register == NO_REGISTER
                _tell(scene, place, held, memory.displacement, exact)
        elif step.use is Use.CALL:
            for behind in _written(scene, place, step.registers):
                _tell(scene, place, held, behind, True)


def _written(scene: Scene, place: Place, registers: int) -> Iterator[int]:
    """How far behind a pointer in some registers a call writes."""
    function, i = place
    parameters = scene.arch.parameter_registers
    if function.rvas[i] in scene.copy_sites and scene.callee(function, i) in names.BLOCKS:
        if parameters and registers >> parameters[0] & 1:
            yield 0
    elif function.flows[i] in (Flow.CALL, Flow.JUMP) and i not in function.jumps:
        target = scene.arch.direct_target(function, i)
        for position, register in enumerate(parameters):
            if registers >> register & 1:
                yield from written_through(scene, target, position)[:1]


def _tell(scene: Scene, place: Place, held: list[Atom], behind: int, exact: bool) -> None:
    """Add the fact that a place writes to what a variable keeps, where that is code."""
    for atom in held:
        rva = scene.rva_of(atom)
        if rva >= 0 and scene.image.is_code(rva):
            store(scene, place, rva + behind, exact and len(held) == 1)
            return
        if hook(scene, place, Root(atom, exact and len(held) == 1)):
            return


def _comes_from(scene: Scene, place: Place, expr: Expr, d: int, deep: int = 0) -> bool | None:
    """Whether a pointer is exactly what instruction `d` loads; None where it may be none of it."""
    function, i = place
    exact = True
    match expr:
        case Reg(number, _, 0):
            location = Location(number)
        case Address(memory) if memory.base >= 0:
            location, exact = Location(memory.base), memory.index_register == NO_REGISTER
        case Binary("add" | "sub", Reg(number), right, _):
            location, exact = Location(number), isinstance(right, Const)
        case Load(memory):
            offset = scene.flow.frames.offset(function, i, memory)
            if offset is None:
                return None
            location = slot(offset)
        case _:
            return None
    if deep > MAX_COPIES:
        return None
    for made in scene.flow.definitions(function, i, location):
        if made == d:
            return exact
        if isinstance(made, int) and function.flows[made] not in CALLS:
            arch = scene.arch
            value = (
                arch.stored(function, made)
                if is_slot(location)
                else arch.define(function, made, location)
            )
            found = _comes_from(scene, (function, made), value, d, deep + 1)
            if found is not None:
                return found and exact
    return None
