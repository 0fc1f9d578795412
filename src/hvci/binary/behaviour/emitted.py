"""Code that is put together: instructions written as constants into memory that may execute.

Whoever makes code ends it by a return or a jump. Where that is written into memory that was asked
for as executable, it does not matter how the code is called later, through a record or by others.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt
from iced_x86 import MemorySizeExt, OpKind

from hvci.binary.arch.x86.lift import IMMEDIATES
from hvci.binary.behaviour import filled, names, nearby
from hvci.binary.behaviour.generated import RULE
from hvci.binary.behaviour.routines import (
    B_ARM64,
    B_MASK,
    ONE_BYTE,
    UPPER_HALVES,
    End,
    are_ends,
    end_arm64,
    end_x86,
    is_put_together,
    may_hold_end,
    wants_operand,
)
from hvci.binary.behaviour.scene import Place, Scene
from hvci.binary.flow.atoms import MASK64, Kind
from hvci.binary.form.code import (
    CALLS,
    NO_FALL_THROUGH,
    NO_REGISTER,
    Binary,
    Const,
    Expr,
    Flow,
    Function,
    Insert,
    Load,
    Memory,
    Reg,
)
from hvci.binary.pe.image import Bytes
from hvci.binary.pe.sets import members
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
RELOADED_WITHIN = 4
"""Instructions before such a store within which its base is loaded again."""
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
_FOUR, _BEHIND = np.arange(4), np.arange(1, 9)
_WORD, _OPERANDS, _OF_WORDS = 8, (2, 4), 0x66
"""Bytes of the widest number, those of an operand, and the prefix of a constant of two bytes."""


def _behind_operands() -> npt.NDArray[np.int64]:
    """By ModRM of such a store: bytes from its opcode to the constant; 0 for other operands."""
    modrm = np.arange(256)
    found: npt.NDArray[np.int64] = 2 + (modrm & 7 == 4) + np.array((0, 1, 4, 0))[modrm >> 6]
    found[(modrm & 0x38 != 0) | (modrm >= 0xC0) | (modrm & 0xC7 == 5)] = 0
    return found


_CONSTANTS = _behind_operands()
_MOVE_WIDE, _MOVE_WIDE_MASK = 0x12800000, 0x1F800000
"""MOVN, MOVZ and MOVK."""


def find(scene: Scene) -> None:
    """Add each place that writes the end of a routine into memory which may execute.

    Where a number would look the same, the rule is weakened.
    """
    if not scene.imports_any(*names.RETURNED):
        return
    if not len(nearby.call_places(scene, names.ALLOCATIONS)):
        return
    unsure: list[tuple[Place, str]] = []
    for place, least in _stores(scene):
        for n, memory in enumerate(scene.arch.effect(*place).stores):
            end = max(least, _stored_end(scene, place, n, memory.size))
            if end is End.POSSIBLE and not _is_of_code(scene, place, n):
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


def _is_of_code(scene: Scene, place: Place, n: int) -> bool:
    """Whether what is stored around an instruction decodes as code; unknown at an index."""
    memory = scene.arch.effect(*place).stores[n]
    if memory.index_register != NO_REGISTER or scene.image.machine is Machine.ARM64:
        return True
    written, starts = _written_around(scene, place, memory)
    end, before = memory.displacement + memory.size, memory.displacement - 1
    if before in written and not any(first <= before for first in starts):
        return True  # what stands before it is computed
    last = next(at for at in count(end) if at not in written)
    first = next(at for at in count(end, -1) if at - 1 not in written)
    codes = (bytes(written[n] for n in range(at, last)) for at in starts if first <= at < end)
    is_code = any(is_put_together(code, scene.image.bits) for code in codes)
    if first == end or is_code:
        return True
    wants = wants_operand(_constant(scene, place, n) or 0, memory.size)
    return wants and _gets_operand(scene, place, end)


def _written_around(scene: Scene, place: Place, memory: Memory) -> tuple[dict[int, int], set[int]]:
    """Bytes by displacement that are stored near an instruction, and where constants begin.

    What is not known is zero, as the operand of an instruction.
    """
    function, i = place
    written: dict[int, int] = {}
    starts: set[int] = set()
    kept = _kept_in(scene, place, memory)
    for step in (-1, 1):
        j = i if step < 0 else i + 1
        while 0 <= j < len(function.flows) and abs(j - i) < NEAR:
            effect = scene.arch.effect(function, j)
            for n, other in enumerate(effect.stores):
                if not _is_same(scene, (function, j), other, memory, kept):
                    continue
                value = _constant(scene, (function, j), n)
                if value is not None:
                    code = value.to_bytes(8, "little")[: other.size]
                    written.update(enumerate(code, other.displacement))
                    starts.add(other.displacement)
                elif other.size <= _WORD:
                    for at in range(other.displacement, other.displacement + other.size):
                        written.setdefault(at, 0)
            places = (scene.flow.frames.offset(function, j, each) for each in effect.stores)
            is_changed = effect.registers >> memory.base & 1 if kept is None else kept in places
            if is_changed or function.flows[j] != Flow.NEXT:
                break
            j += step
    return written, starts


def _is_same(scene: Scene, place: Place, other: Memory, memory: Memory, kept: int | None) -> bool:
    """Whether two operands have the same base, or bases that were loaded from the same slot."""
    if kept is None:
        return other[:2] == memory[:2]
    return _kept_in(scene, place, other) == kept


def _kept_in(scene: Scene, place: Place, memory: Memory) -> int | None:
    """The slot of the frame out of which code loads the base of an operand each time, if it does.

    Compilers that do not optimise keep a pointer there.
    """
    function, i = place
    if memory.base < 0 or memory.index_register != NO_REGISTER:
        return None
    for j in range(i - 1, max(-1, i - RELOADED_WITHIN), -1):
        if scene.arch.effect(function, j).registers >> memory.base & 1:
            expr = scene.arch.define(function, j, memory.base)
            if not isinstance(expr, Load):
                return None
            return scene.flow.frames.offset(function, j, expr.memory)
    return None


def _gets_operand(scene: Scene, place: Place, end: int) -> bool:
    """Whether something is soon stored right behind an opcode, through whatever register."""
    function, i = place
    frame = (scene.arch.stack_pointer, scene.arch.frame_pointer)
    for j in range(i + 1, min(i + NEAR, len(function.flows))):
        if function.flows[j] in NO_FALL_THROUGH:
            return False
        for other in scene.arch.effect(function, j).stores:
            if other.displacement == end and other.size in _OPERANDS and other.base not in frame:
                return True
    return False


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


def _stores(scene: Scene) -> Iterator[tuple[Place, End]]:
    """The stores of constants that may end a routine, and what each is at least."""
    seen: set[tuple[int, int]] = set()
    is_arm64 = scene.image.machine is Machine.ARM64
    for number, place in enumerate(_places(scene)):
        if number == MAX_CANDIDATES:
            filled.stopped(scene, MAX_CANDIDATES, "constants may end a routine")
            return
        found = scene.analysis.functions.instruction_at(place)
        if found is None or scene.flow.exhausted:
            continue
        function, i = found
        is_branch = is_arm64 and scene.image.u32(place) & B_MASK == B_ARM64
        for j in _storing(scene, function, i):
            if (function.start, j) not in seen:
                seen.add((function.start, j))
                yield (function, j), End.POSSIBLE if is_branch else End.NONE


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
        if not is_arm64 and effect.registers & made:
            return
        if (
            is_arm64 and not effect.stores and function.flows[j] not in CALLS
        ):  # the rest of it is put in yet
            takes = (
                _takes(arch.define(function, j, each), made) for each in members(effect.registers)
            )
            made |= effect.registers if any(takes) else 0


def _takes(expr: Expr, made: int) -> bool:
    """Whether something is put together of one of some registers."""
    match expr:
        case Reg(number):
            return bool(made >> number & 1)
        case Binary(_, left, right):
            return _takes(left, made) or _takes(right, made)
        case Insert(old, new):
            return _takes(old, made) or _takes(new, made)
    return False


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
    chosen = may_hold_end(rows).any(axis=1)
    places, rows = places[chosen], rows[chosen]
    found: list[int] = []
    if len(places):
        is_word = (code[places - 1] == _OF_WORDS) | (code[places - 2] == _OF_WORDS)
        ends = are_ends(rows)
        ends[is_word] |= are_ends(rows[is_word, :2])
        found = places[np.where(code[places] == _STORES[0], ONE_BYTE[rows[:, 0]], ends)].tolist()
    sizes = (4, 8) if scene.image.bits == 64 else (4,)
    moved = (place + start for size in sizes for place in _moves(opcodes, size))
    return sorted({*found, *(place for place in moved if _is_stored(scene, place))})


def _moves(code: Bytes, size: int) -> list[int]:
    """Where such a constant of one byte, or of so many, may be put into a register."""
    opens = (code & 0xF0) == _MOVES
    if size > len(_FOUR):
        opens[1:] &= code[:-1] & 0xF8 == _WIDE
    else:
        ends = may_hold_end(code)
        opens[1:] &= code[:-1] != _ESCAPE
        opens[:-4] &= ends[1:-3] | ends[2:-2] | ends[3:-1] | ends[4:]
    places = opens.nonzero()[0]
    places = places[places < len(code) - size - 1]
    rows = code[places[:, None] + _BEHIND[:size]]
    is_byte = code[places] <= _BYTE_MOVES
    is_last = are_ends(rows) & (code[places + size + 1] != _INT3)
    found: list[int] = places[np.where(is_byte, ONE_BYTE[rows[:, 0]], is_last)].tolist()
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


def _may_end(scene: Scene, start: int) -> bool:
    """Whether the instruction at an RVA has a constant that may end a routine."""
    instruction = nearby.decode(scene, start)
    if instruction.op_count != 2 or instruction.op1_kind not in IMMEDIATES:
        return False
    value = instruction.immediate(1)
    is_store = instruction.op0_kind == OpKind.MEMORY
    sizes = (MemorySizeExt.size(instruction.memory_size),) if is_store else (1, 2, 4, 8)
    return any(end_x86(value, size, scene.image.bits) is not End.NONE for size in sizes)


def _stored_end(scene: Scene, place: Place, n: int, size: int) -> End:
    """Whether what an instruction stores ends a routine."""
    if scene.image.machine is not Machine.ARM64:
        value = _constant(scene, place, n)
        return End.NONE if value is None else end_x86(value, size, scene.image.bits)
    scene.flow.begin()
    held = scene.flow.evaluate(*place, scene.arch.stored(*place, n), 0)
    values = [atom.value for atom in held if atom.kind is Kind.CONST]
    return max((end_arm64(value, size) for value in values), default=End.NONE)


def upper_halves(scene: Scene) -> list[int]:
    """RVAs of the ARM64 instructions that make the upper half of such a word, or load one."""
    references = cast("ReferencesArm64", scene.analysis.references)
    words = references.words & (_MOVE_WIDE_MASK | 0xFFFF << 5)
    wanted = [_MOVE_WIDE | half << 5 for half in UPPER_HALVES]
    chosen = np.isin(words, wanted) | (references.words & B_MASK == B_ARM64)
    found: list[int] = references.rvas[chosen].tolist()
    return sorted({*found, *references.loads_of(UPPER_HALVES)})
