"""Code that is put together: instructions written as constants into memory that may execute.

Whoever makes code ends it by a return or a jump. Where that is written into memory that was asked
for as executable, it does not matter how the code is called later, through a record or by others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import IntEnum
from itertools import count
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt
from iced_x86 import MemorySizeExt, OpKind

from hvci.binary.arch.x86.lift import IMMEDIATES
from hvci.binary.behaviour import filled, names, nearby
from hvci.binary.behaviour.generated import RULE
from hvci.binary.behaviour.routines import is_routine
from hvci.binary.behaviour.scene import Place, Scene
from hvci.binary.flow.atoms import MASK64, Kind
from hvci.binary.form.code import NO_REGISTER, Const, Flow, Function, Insert, Memory, Reg
from hvci.binary.pe.image import Bytes
from hvci.model import Behaviour, Confidence, Machine

if TYPE_CHECKING:
    from hvci.binary.arch.arm64.scan.references import ReferencesArm64

Chosen = npt.NDArray[np.bool_]
MAX_CANDIDATES = 64
LONGEST = 12
"""Bytes from the opcode of such a store to its end, at most."""
MAX_BEHIND = 48
"""Instructions behind a constant in a register in which it is stored."""
NEAR = 24
"""Instructions around a store in which others write what belongs to it."""
_STORES = (0xC6, 0xC7)
"""Opcodes of x64 and x86 that store a constant, of one byte or of up to four."""
_MOVES, _BYTE_MOVES, _WIDE = 0xB0, 0xB7, 0x48
"""First opcode of those that put one into a register, last one of a byte, prefix of eight bytes."""
_INT3, _ESCAPE = 0xCC, 0x0F
"""Behind and before what is no `mov`: the end of a function, and MOVZX."""
_REGISTER_STORES = (0x88, 0x89)
"""Opcodes that store a register."""
STORED_WITHIN = 96
"""Bytes behind a constant that is put into a register in which it is stored."""
PREFIXES = 3
"""Bytes before such an opcode at most, and itself."""
_PREFIXES = {32: frozenset((0x66,)), 64: frozenset((0x66, *range(0x40, 0x50)))}
_RET = 0xC3
_FOUR = np.arange(4)


def _behind_operands() -> npt.NDArray[np.int64]:
    """By ModRM of such a store: bytes from its opcode to the constant; 0 for other operands."""
    modrm = np.arange(256)
    found: npt.NDArray[np.int64] = 2 + (modrm & 7 == 4) + np.array((0, 1, 4, 0))[modrm >> 6]
    found[(modrm & 0x38 != 0) | (modrm >= 0xC0) | (modrm & 0xC7 == 5)] = 0
    return found


_CONSTANTS = _behind_operands()
_END_X86 = re.compile(rb"(?:\xc3|\xff[\xe0-\xe7])\Z", re.DOTALL)
"""RET, and a jump through a register."""
_END_ARM64 = re.compile(rb"\xc0\x03\x5f\xd6\Z")
_PADDING = b"\0\x90\xcc"
"""Zeros, NOP and INT3."""
_ARM64 = 0xD65F03C0
"""RET."""
_MOVE_WIDE, _MOVE_WIDE_MASK = 0x12800000, 0x1F800000
"""MOVN, MOVZ and MOVK."""


class End(IntEnum):
    """Whether a constant that is stored ends a routine."""

    NONE = 0
    POSSIBLE = 1
    """A number can look like that too: 0xC3, 50,000 or -256.0."""
    CERTAIN = 2


def find(scene: Scene) -> None:
    """Add each place that writes the end of a routine into memory which may execute.

    Where a number would look the same, the rule is weakened.
    """
    if not scene.imports_any(*names.RETURNED):
        return
    if not len(nearby.call_places(scene, names.ALLOCATIONS)):
        return
    unsure: list[tuple[Place, str]] = []
    for place in _stores(scene):
        for n, memory in enumerate(scene.arch.effect(*place).stores):
            end = _stored_end(scene, place, n, memory.size)
            if end is End.POSSIBLE and not _is_of_code(scene, place, memory):
                continue
            into = _written(scene, place, memory) if end is not End.NONE else None
            if into is not None and end is End.CERTAIN:
                _add(scene, place, into)
            elif into is not None:
                unsure.append((place, into))
    if any(rule == RULE for rule, _, _ in scene.facts):
        return
    for place, into in unsure:
        if scene.reach(*place) is not Confidence.POSSIBLE:
            reason = f"a constant that may be the end of a routine is written to {into}"
            filled.limit(scene, place, reason)


def _add(scene: Scene, place: Place, into: str) -> None:
    scene.add(
        RULE,
        Behaviour.GENERATED_CODE,
        f"puts code together in {into}",
        place,
        Confidence.LIKELY,
        "the end of a routine is written there; this memory never executes under "
        "memory integrity, however the code is called",
    )


def _written(scene: Scene, place: Place, memory: Memory) -> str | None:
    """The memory that a store goes to, in words; None when it is none that may execute."""
    frame = (scene.arch.stack_pointer, scene.arch.frame_pointer)
    for register in (memory.base, memory.index_register):
        if register >= 0 and register not in frame:
            into = filled.memory(scene, place, Reg(register))
            if into is not None:
                return into
    return None


def _is_of_code(scene: Scene, place: Place, memory: Memory) -> bool:
    """Whether constants stored around an instruction decode as a routine; unknown at an index."""
    if memory.index_register != NO_REGISTER:
        return True
    function, i = place
    written: dict[int, int] = {}
    starts: set[int] = set()
    for step in (-1, 1):
        j = i if step < 0 else i + 1
        while 0 <= j < len(function.flows) and abs(j - i) < NEAR:
            effect = scene.arch.effect(function, j)
            for n, other in enumerate(effect.stores):
                value = _constant(scene, (function, j), n)
                if value is not None and other[:2] == memory[:2]:
                    code = value.to_bytes(8, "little")[: other.size]
                    written.update(enumerate(code, other.displacement))
                    starts.add(other.displacement)
            if effect.registers >> memory.base & 1 or function.flows[j] != Flow.NEXT:
                break
            j += step
    end = memory.displacement + memory.size
    last = next(at for at in count(end) if at not in written)
    first = next(at for at in count(end, -1) if at - 1 not in written)
    codes = (bytes(written[n] for n in range(at, last)) for at in starts if first <= at < end)
    return first == end or any(is_routine(code, scene.image.bits) for code in codes)


def _constant(scene: Scene, place: Place, n: int) -> int | None:
    """The number that an instruction stores, as code before it tells; None where it is not one."""
    function, i = place
    stored = scene.arch.stored(function, i, n)
    if isinstance(stored, Reg):
        for j in range(i - 1, max(-1, i - MAX_BEHIND), -1):
            if scene.arch.effect(function, j).registers >> stored.number & 1:
                stored = scene.arch.define(function, j, stored.number)
                stored = stored.new if isinstance(stored, Insert) else stored
                break
    return stored.value & MASK64 if isinstance(stored, Const) else None


# ---- stores of such constants


def _stores(scene: Scene) -> Iterator[Place]:
    """The stores of constants that may end a routine."""
    seen: set[tuple[int, int]] = set()
    for number, place in enumerate(_places(scene)):
        if number == MAX_CANDIDATES:
            filled.stopped(scene, MAX_CANDIDATES, "constants may end a routine")
            return
        found = scene.analysis.functions.instruction_at(place)
        if found is None or scene.flow.exhausted:
            continue
        function, i = found
        for j in _storing(scene, function, i):
            if (function.start, j) not in seen:
                seen.add((function.start, j))
                yield function, j


def _storing(scene: Scene, function: Function, i: int) -> Iterator[int]:
    """The instruction itself where it stores, else those behind it that store its register."""
    arch = scene.arch
    effect = arch.effect(function, i)
    if effect.stores:
        yield i
        return
    made, is_arm64 = effect.registers, scene.image.machine is Machine.ARM64
    for j in range(i + 1, min(i + MAX_BEHIND, len(function.flows))):
        effect = arch.effect(function, j)
        stored = (arch.stored(function, j, n) for n in range(len(effect.stores)))
        if any(isinstance(each, Reg) and made >> each.number & 1 for each in stored):
            yield j
        if effect.registers & made and not is_arm64:  # there the rest of it is put in yet
            return


def _places(scene: Scene) -> Iterator[int]:
    """RVAs in the instructions that store such a constant, or put it into a register."""
    if scene.image.machine is Machine.ARM64:
        yield from upper_halves(scene)
        return
    boundary = scene.analysis.functions.likely_boundary
    for span in scene.image.code_ranges:
        for place in _constants(scene, *span):
            starts = [at for at in _beginnings(scene, place) if _may_end(scene, at)]
            if starts and boundary(place) in starts:
                yield place


def _beginnings(scene: Scene, place: int) -> Iterator[int]:
    """Where an instruction with its opcode at an RVA may start."""
    memory, known = scene.image.memory, _PREFIXES[scene.image.bits]
    yield place
    for n in range(1, PREFIXES):
        if memory[place - n] not in known:
            return
        yield place - n


def _constants(scene: Scene, start: int, end: int) -> list[int]:
    """RVAs of opcodes that may have such a constant, for memory behind a register or for one."""
    code = scene.image.bytes
    opcodes = code[start : min(end, len(code) - LONGEST)]
    places = ((opcodes & 0xFE) == _STORES[0]).nonzero()[0] + start
    behind = _CONSTANTS[code[places + 1]]
    places, constants = places[behind != 0], (places + behind)[behind != 0]
    rows = code[constants[:, None] + _FOUR]
    returns, jumps = rows == _RET, (rows[:, :-1] == 0xFF) & (rows[:, 1:] & 0xF8 == 0xE0)
    ends = (returns.any(axis=1) | jumps.any(axis=1)) & (code[places] == _STORES[1])
    found: list[int] = places[ends | returns[:, 0]].tolist()
    sizes = (4, 8) if scene.image.bits == 64 else (4,)
    moved = (place + start for size in sizes for place in _moves(opcodes, size))
    return sorted({*found, *(place for place in moved if _is_stored(scene, place))})


def _moves(code: Bytes, size: int) -> list[int]:
    """Where such a constant of one byte, or of so many, may be put into a register."""
    opens = (code & 0xF0) == _MOVES
    if size > len(_FOUR):
        opens[1:] &= code[:-1] & 0xF8 == _WIDE
    else:
        ends = code == _RET
        ends[1:] |= (code[:-1] == 0xFF) & (code[1:] & 0xF8 == 0xE0)
        opens[1:] &= code[:-1] != _ESCAPE
        opens[:-4] &= ends[1:-3] | ends[2:-2] | ends[3:-1] | ends[4:]
    places = opens.nonzero()[0]
    places = places[places < len(code) - size - 1]
    rows = code[places[:, None] + 1 + np.arange(size)]
    is_byte = code[places] <= _BYTE_MOVES
    is_last = _are_last(rows) & (code[places + size + 1] != _INT3)
    found: list[int] = places[np.where(is_byte, rows[:, 0] == _RET, is_last)].tolist()
    return found


def _is_stored(scene: Scene, place: int) -> bool:
    """Whether bytes soon behind `mov register, constant` may store that register."""
    number = scene.image.memory[place] & 7
    behind = bytes(scene.image.memory[place : place + STORED_WITHIN])
    return any(
        behind[n + 1] >> 3 & 7 == number and behind[n + 1] < 0xC0
        for n in range(2, len(behind) - 1)
        if behind[n] in _REGISTER_STORES
    )


def _are_last(rows: Bytes) -> Chosen:
    """Which rows of constants end, padding apart, in a return or a jump through a register."""
    padding = (rows == 0) | (rows == 0x90) | (rows == 0xCC)
    last = rows.shape[1] - 1 - np.argmax(~padding[:, ::-1], axis=1)
    each = np.arange(len(rows))
    ends, before = rows[each, last], rows[each, np.maximum(last - 1, 0)]
    found: Chosen = (ends == _RET) | ((before == 0xFF) & (ends & 0xF8 == 0xE0))
    return found


def _may_end(scene: Scene, start: int) -> bool:
    """Whether the instruction at an RVA has a constant that may end a routine."""
    instruction = nearby.decode(scene, start)
    if instruction.op_count != 2 or instruction.op1_kind not in IMMEDIATES:
        return False
    value = instruction.immediate(1)
    is_store = instruction.op0_kind == OpKind.MEMORY
    sizes = (MemorySizeExt.size(instruction.memory_size),) if is_store else (1, 2, 4, 8)
    return any(_end(_END_X86, value, size, scene.image.bits) is not End.NONE for size in sizes)


def _stored_end(scene: Scene, place: Place, n: int, size: int) -> End:
    """Whether what an instruction stores ends a routine."""
    bits = scene.image.bits
    if scene.image.machine is not Machine.ARM64:
        value = _constant(scene, place, n)
        return End.NONE if value is None else _end(_END_X86, value, size, bits)
    scene.flow.begin()
    held = scene.flow.evaluate(*place, scene.arch.stored(*place, n), 0)
    values = [atom.value for atom in held if atom.kind is Kind.CONST]
    return max((_end(_END_ARM64, value, size, bits) for value in values), default=End.NONE)


def _end(pattern: re.Pattern[bytes], value: int, size: int, bits: int) -> End:
    """Whether the last bytes of a constant, padding behind it apart, end a routine."""
    code = (value & MASK64).to_bytes(8, "little")[:size].rstrip(_PADDING)
    if not pattern.search(code):
        return End.NONE
    is_code = size == 1 or pattern is _END_ARM64 or is_routine(code, bits)
    return End.CERTAIN if is_code else End.POSSIBLE


def upper_halves(scene: Scene) -> list[int]:
    """RVAs of the ARM64 instructions that make the upper half of RET, alone or with others."""
    references = cast("ReferencesArm64", scene.analysis.references)
    words = references.words & (_MOVE_WIDE_MASK | 0xFFFF << 5)
    found: list[int] = references.rvas[words == (_MOVE_WIDE | (_ARM64 >> 16) << 5)].tolist()
    return found
