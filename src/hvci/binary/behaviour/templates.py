"""Routines that are kept as bytes in data, and copied into memory that may execute.

Starts from instructions that name constant bytes which decode as a whole routine; asks whether
these are copied into memory that a DDI returned. Who calls the copy is not known where a record
carries the pointer: such an image is not judged compatible while it calls through any pointer.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import numpy as np
from iced_x86 import Mnemonic

from hvci.binary.arch.x86.lift import RCX, RDX, RSI
from hvci.binary.behaviour import filled, names, nearby
from hvci.binary.behaviour.called.around import allocations, comes_up_within
from hvci.binary.behaviour.emitted import upper_halves
from hvci.binary.behaviour.generated import RULE
from hvci.binary.behaviour.routines import (
    BR_ARM64,
    ENDS_ARM64,
    ENDS_X86,
    JUMP,
    LONGEST,
    RET_ARM64,
    End,
    end_arm64,
    is_routine,
    is_words,
)
from hvci.binary.behaviour.scene import Place, Scene
from hvci.binary.behaviour.trace import Use, argument_of, follow
from hvci.binary.flow.atoms import Atom, Atoms, Kind
from hvci.binary.form.code import (
    CALLS,
    IMAGE_BASE,
    Expr,
    Flow,
    Function,
    Insert,
    Load,
    Memory,
    Reg,
)
from hvci.binary.form.references import NO_RVAS
from hvci.binary.pe.sets import distinct, members
from hvci.model import Confidence, Machine

MAX_TARGETS, MAX_PLACES = 4096, 64
"""Places in data that are decoded, and instructions naming a routine that are asked."""
AHEAD = 48
"""Instructions behind the one that names the bytes in which they are copied."""
ARGUMENTS, MAX_CALLS = 2, 3
"""Arguments of a copy that are addresses, and calls looked at behind a place."""
BACK, NEAR, MAX_ARGUMENTS = 16, 6, 3
_FAST = (RCX, RDX)
_RET_POPS, _JUMP = 0xC2, 0xFF
"""First bytes of a return that pops, before those of the other in order, and of jumps."""
_TO_STACK = b"\xc7\x44\x24"
"""What stands before it in `mov [esp+x], 0xC3`."""
_TO_BYTE, _TO_NEW_BYTE, _NEW, _MOVE_BYTE = (0xB1, 0xB2), (0xB0, 0xB1), 0x41, 0xB0
"""What stands before it in `mov cl, 0xC3`, and in `mov r8b, 0xC3`."""
CALLED_WITHIN = 32
"""Bytes from there in which a direct call follows."""
_TEXT = np.isin(np.arange(256), (0, 9, 10, 13, *range(0x20, 0x7F)))
"""By byte: whether text holds it, that of 16-bit characters as well."""
_STRING_MOVES = frozenset((Mnemonic.MOVSB, Mnemonic.MOVSW, Mnemonic.MOVSD, Mnemonic.MOVSQ))


def find(scene: Scene) -> None:
    """Weaken the rule where a routine is copied and its callers cannot be told."""
    if not scene.imports_any(*names.RETURNED) or any(rule == RULE for rule, _, _ in scene.facts):
        return  # nothing is made, or it fails already
    if not len(nearby.call_places(scene, names.ALLOCATIONS)):
        return
    places = ((start, place) for start, named in _routines(scene) for place in named)
    seen: set[tuple[int, int]] = set()
    for count, (start, place) in enumerate(places):
        if count == MAX_PLACES:
            filled.stopped(scene, MAX_PLACES, "instructions name bytes that decode as a routine")
            return
        found = scene.analysis.functions.instruction_at(place)
        if found is None or scene.flow.exhausted or (found[0].start, start) in seen:
            continue
        into = _copied(scene, found, start)
        if into is None or scene.reach(*found) is Confidence.POSSIBLE:
            continue
        seen.add((found[0].start, start))
        reason = f"bytes at {start:#x} that decode as a routine are copied to {into}"
        filled.limit(scene, found, reason)


# ---- the end of a routine, handed to a function that writes it


def handed(scene: Scene) -> None:
    """Weaken the rule where a function gets the end of a routine, and memory to write it into."""
    if not scene.imports_any(*names.RETURNED) or any(rule == RULE for rule, _, _ in scene.facts):
        return
    if not len(nearby.call_places(scene, names.ALLOCATIONS)):
        return
    seen: set[int] = set()
    places = _constants(scene)
    if len(places) > MAX_PLACES:
        filled.stopped(scene, MAX_PLACES, "calls may be given the end of a routine")
        del places[MAX_PLACES:]
    sites = allocations(scene)[0] if places else NO_RVAS
    for place in places:
        outline = scene.analysis.functions.outline(place)
        if outline is not None and not comes_up_within(sites, outline.spans):
            continue
        found = scene.analysis.functions.instruction_at(place)
        if found is None or scene.flow.exhausted:
            continue
        function, i = found
        behind = range(i + 1, min(i + NEAR, len(function.flows)))
        j = next((j for j in behind if function.flows[j] in (Flow.CALL, Flow.JUMP)), None)
        if j is None or function.rvas[j] in seen:
            continue
        seen.add(function.rvas[j])
        into = _gets_end(scene, function, j)
        if into is not None and scene.reach(function, j) is not Confidence.POSSIBLE:
            reason = f"a function gets the end of a routine and {into}"
            filled.limit(scene, (function, j), reason)


def _constants(scene: Scene) -> list[int]:
    """RVAs of instructions that may make the end of a routine as an argument."""
    if scene.image.machine is Machine.ARM64:
        return upper_halves(scene)
    memory, boundary = scene.image.memory, scene.analysis.functions.likely_boundary
    found: list[int] = []
    for start, end in scene.image.code_ranges:
        places = chain.from_iterable(_moves_of(scene, at) for at in _end_bytes(scene, start, end))
        for place in places:
            is_called = b"\xe8" in bytes(memory[place : place + CALLED_WITHIN])
            if is_called and boundary(place) == place:
                found.append(place)
    return found


def _end_bytes(scene: Scene, start: int, end: int) -> list[int]:
    """RVAs of bytes that end a routine, behind what may be a move of them."""
    code = scene.image.bytes
    inner = code[start + 4 : end - 4]
    at = ((inner & 0xFE == _RET_POPS) | (inner == JUMP)).nonzero()[0] + (start + 4)
    is_whole = (code[at + 1] | code[at + 2] | code[at + 3]) == 0
    is_byte = (code[at - 1] & 0xFC) == _MOVE_BYTE
    found: list[int] = at[is_whole | is_byte].tolist()
    return found


def _moves_of(scene: Scene, at: int) -> Iterator[int]:
    """Where an instruction may start that hands on the byte at an RVA."""
    memory, is_64 = scene.image.memory, scene.image.bits == 64
    before, is_new = memory[at - 1], memory[at - 2] == _NEW
    if before in _TO_BYTE and not is_new:
        yield at - 1
    elif before in _TO_NEW_BYTE and is_new:
        yield at - 2
    if any(memory[at + 1 : at + 4]):
        return
    if before == nearby.PUSH or before & 0xF8 == nearby.MOVE_IMMEDIATE:
        yield from (at - 1, at - 2) if is_64 else (at - 1,)
    elif memory[at - 4 : at - 1] == _TO_STACK:
        yield at - 4


def _gets_end(scene: Scene, function: Function, j: int) -> str | None:
    """The memory that a call of an own function gets together with the end of a routine."""
    if not scene.is_within(function, j) or scene.callee(function, j) is not None:
        return None
    is_end = _is_end_arm64 if scene.image.machine is Machine.ARM64 else _is_end
    given = _given(scene, function, j, MAX_ARGUMENTS, False)
    ends = [any(map(is_end, atoms)) for _, atoms in given]
    others = [expr for (expr, _), ends_it in zip(given, ends, strict=True) if not ends_it]
    if len(others) == len(given):
        return None
    made = (filled.memory(scene, (function, j), expr) for expr in others)
    return next((into for into in made if into is not None), None)


def _is_end(atom: Atom) -> bool:
    return atom.kind is Kind.CONST and atom.value & 0xFFFF_FFFF in ENDS_X86


def _is_end_arm64(atom: Atom) -> bool:
    return atom.kind is Kind.CONST and end_arm64(atom.value, 4) is not End.NONE


def _given(
    scene: Scene, function: Function, j: int, count: int, ask: bool
) -> list[tuple[Expr, Atoms]]:
    """The first arguments of a call, callers asked on wish; on x86 registers as well."""
    found: list[tuple[Expr, Atoms]] = []
    for n in range(count):
        scene.flow.begin()
        held = scene.flow.interprocedural.argument(function, j, n, scene.image.pointer_size)
        held = scene.flow.interprocedural.resolve(held) if ask else held
        found.append((argument_of(scene, n), held))
    if not scene.arch.parameter_registers:
        for register in _FAST:
            scene.flow.begin()
            expr = Reg(register)
            found.append((expr, scene.flow.evaluate(function, j, expr, 0)))
    return found


# ---- bytes that are a routine


def _routines(scene: Scene) -> Iterator[tuple[int, list[int]]]:
    """RVAs of constant bytes that decode as a routine, and the instructions that name them."""
    is_arm64 = scene.image.machine is Machine.ARM64
    memory, bits = scene.image.memory, scene.image.bits
    looked_at = 0
    for section in scene.image.sections:
        end = min(section.end, section.rva + section.raw_size, len(scene.image.bytes))
        if section.executable or end - section.rva < 4 or section.name == ".reloc":
            continue
        ends = _ends_arm64(scene, section.rva, end) if is_arm64 else _ends(scene, section.rva, end)
        if not len(ends):
            continue
        first = max(section.rva, int(ends[0]) - LONGEST)
        targets, places = scene.analysis.references.naming(first, int(ends[-1]) + 1)
        starts = _near_end(scene, distinct(targets), ends)
        for start in starts.tolist():
            looked_at += 1
            if looked_at > MAX_TARGETS:
                filled.stopped(scene, MAX_TARGETS, "places in data may end a routine")
                return
            if start in scene.image.imports or (is_arm64 and start % 4):
                continue
            code = bytes(memory[start : min(end, start + LONGEST)])
            if is_words(code) if is_arm64 else is_routine(code, bits):
                yield start, sorted(places[targets == start].tolist())


def _ends(scene: Scene, first: int, end: int) -> nearby.Rvas:
    """RVAs in data of bytes that may end an x64 or x86 routine."""
    code = scene.image.bytes[first:end]
    at = ((code & 0xFE == _RET_POPS) | (code == _JUMP)).nonzero()[0]
    behind = code[np.minimum(at + 1, len(code) - 1)]
    jumps = (behind & 0xF8 == 0xE0) | (behind == 0x25)
    found: nearby.Rvas = at[(code[at] != _JUMP) | jumps] + first
    return found


def _ends_arm64(scene: Scene, first: int, end: int) -> nearby.Rvas:
    """RVAs in data of words that are RET, or a branch through a register."""
    words = scene.image.bytes[first : end - (end - first) % 4].view("<u4") & ENDS_ARM64
    found: nearby.Rvas = ((words == RET_ARM64) | (words == BR_ARM64)).nonzero()[0] * 4 + first
    return found


def _near_end(scene: Scene, starts: nearby.Rvas, ends: nearby.Rvas) -> nearby.Rvas:
    """Those that have such an end soon behind them, and start neither with zero nor with text."""
    starts = starts[(starts < ends[-1]) & (starts + 8 < len(scene.image.bytes))]
    starts = starts[ends[ends.searchsorted(starts)] - starts < LONGEST]
    if scene.image.machine is Machine.ARM64:
        return starts
    rows = scene.image.bytes[starts[:, None] + np.arange(8)]
    found: nearby.Rvas = starts[(rows[:, 0] != 0) & ~_TEXT[rows].all(axis=1)]
    return found


# ---- where they are copied to


def _copied(scene: Scene, place: Place, start: int) -> str | None:
    """The memory that the bytes at an RVA, named at an instruction, are copied to; None if none."""
    function, i = place
    for j in _given_to(scene, function, i):
        into = _by_call(scene, function, j, start)
        if into is not None:
            return into
    for j in range(i, min(i + AHEAD, len(function.flows))):
        into = _by_store(scene, function, j, start) if function.flows[j] == Flow.NEXT else None
        if into is not None:
            return into
    return None


def _given_to(scene: Scene, function: Function, i: int) -> list[int]:
    """The first calls that may get the address which an instruction makes or pushes."""
    arch = scene.arch
    effect = arch.effect(function, i)
    if effect.stores:
        behind = range(i + 1, min(i + AHEAD, len(function.flows)))
        return [j for j in behind if function.flows[j] in CALLS][:1]
    made = {number: arch.define(function, i, number) for number in members(effect.registers)}
    mask = sum(1 << number for number, expr in made.items() if not isinstance(expr, Load))
    steps = [step for step in follow(scene, function, i, mask, set()) if step.use is Use.CALL]
    if arch.parameter_registers:
        given = sum(1 << number for number in arch.parameter_registers[:ARGUMENTS])
        steps = [step for step in steps if step.registers & given]
    return [step.i for step in steps[:MAX_CALLS]]


def _by_call(scene: Scene, function: Function, j: int, start: int) -> str | None:
    """A call that gets the bytes' address and memory to put them into."""
    if scene.flow.exhausted or not scene.is_within(function, j):
        return None
    name = scene.callee(function, j)
    if name is not None and name not in names.BLOCKS:
        return None
    given = _given(scene, function, j, ARGUMENTS, True)
    if not any(scene.rva_of(atom) == start for _, atoms in given for atom in atoms):
        return None
    for expr, _ in given:
        into = filled.memory(scene, (function, j), expr)
        if into is not None:
            return into
    return None


def _by_store(scene: Scene, function: Function, j: int, start: int) -> str | None:
    """A store through a pointer to such memory of something that may be of the bytes."""
    frame = (scene.arch.stack_pointer, scene.arch.frame_pointer)
    effect = scene.arch.effect(function, j)
    for n, memory in enumerate(effect.stores):
        bases = (memory.base, memory.index_register)
        registers = [each for each in bases if each >= 0 and each not in frame]
        holds = _moves_from if effect.fills else _may_hold
        if not registers or not holds(scene, (function, j), n, start):
            continue
        for register in registers:
            into = filled.memory(scene, (function, j), Reg(register))
            if into is not None:
                return into
    return None


def _moves_from(scene: Scene, place: Place, _: int, start: int) -> bool:
    """Whether a string instruction copies from the bytes at an RVA."""
    function, j = place
    instruction = nearby.decode(scene, function.rvas[j])
    if instruction.mnemonic not in _STRING_MOVES:
        return False
    scene.flow.begin()
    held = scene.flow.evaluate(function, j, Reg(RSI), 0)
    return any(scene.rva_of(atom) == start for atom in held)


def _may_hold(scene: Scene, place: Place, n: int, start: int) -> bool:
    """Whether a store stores what was just read from the bytes at an RVA."""
    function, j = place
    expr = scene.arch.stored(function, j, n)
    if isinstance(expr, Reg):
        for p in range(j - 1, max(-1, j - BACK), -1):
            if scene.arch.effect(function, p).registers >> expr.number & 1:
                if function.flows[p] in CALLS:
                    return False
                expr, j = scene.arch.define(function, p, expr.number), p
                expr = expr.new if isinstance(expr, Insert) else expr
                break
    return isinstance(expr, Load) and _lies_in(scene, (function, j), expr.memory, start)


def _lies_in(scene: Scene, place: Place, memory: Memory, start: int) -> bool:
    """Whether a memory operand names the bytes at an RVA, with whatever index."""
    frame = (scene.arch.stack_pointer, scene.arch.frame_pointer)
    near = range(start, start + LONGEST)
    if memory.base == IMAGE_BASE:
        return memory.displacement in near
    if scene.image.bits == 32 and memory.displacement - scene.image.base in near:
        return True
    for register in (memory.base, memory.index_register):
        if register >= 0 and register not in frame:
            scene.flow.begin()
            held = scene.flow.evaluate(*place, Reg(register), 0)
            if any(scene.rva_of(atom) + memory.displacement in near for atom in held):
                return True
    return False


__all__ = ["find"]
