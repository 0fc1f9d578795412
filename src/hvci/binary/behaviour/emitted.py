"""Code that is put together: instructions written as constants into memory that may execute.

Whoever makes code ends it by a return or a jump. Where that is written into memory that was asked
for as executable, it does not matter how the code is called later, through a record or by others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt
from iced_x86 import MemorySizeExt

from hvci.binary.arch.x86.lift import IMMEDIATES
from hvci.binary.behaviour import names, nearby
from hvci.binary.behaviour.generated import RULE, allocator, may_execute
from hvci.binary.behaviour.scene import Place, Scene
from hvci.binary.behaviour.trace import roots
from hvci.binary.flow.atoms import Kind
from hvci.binary.form.code import Const, Function, Memory, Reg
from hvci.model import Behaviour, Confidence, Machine

if TYPE_CHECKING:
    from hvci.binary.arch.arm64.scan.references import ReferencesArm64

MAX_CANDIDATES = 64
LONGEST = 12
"""Bytes from the opcode of such a store to its end, at most."""
MAX_BEHIND = 48
"""Instructions behind an ARM64 constant in which it is stored."""
_STORES = (0xC6, 0xC7)
"""Opcodes of x64 and x86 that store a constant, of one byte or of up to four."""
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
_ARM64 = 0xD65F03C0
"""RET."""
_MOVE_WIDE, _MOVE_WIDE_MASK = 0x12800000, 0x1F800000
"""MOVN, MOVZ and MOVK."""


def find(scene: Scene) -> None:
    """Add each place that writes the end of a routine into memory which may execute."""
    if not scene.imports_any(*names.RETURNED):
        return
    for function, i in _stores(scene):
        for memory in scene.arch.effect(function, i).stores:
            _judge(scene, (function, i), memory)


def _stores(scene: Scene) -> Iterator[Place]:
    """The stores of such constants."""
    functions = scene.analysis.functions
    if scene.image.machine is Machine.ARM64:
        for place in upper_halves(scene)[:MAX_CANDIDATES]:
            found = functions.instruction_at(place)
            if found is not None:
                yield from _stored_behind(scene, *found)
        return
    places = [place for span in scene.image.code_ranges for place in _constants(scene, *span)]
    for place in places[:MAX_CANDIDATES]:
        start = functions.likely_boundary(place)
        # it may start with a prefix
        if start is not None and place - start in (0, 1) and _may_end(scene, start):
            found = functions.instruction_at(place)
            if found is not None and _is_store(scene, *found):
                yield found


def _constants(scene: Scene, start: int, end: int) -> list[int]:
    """RVAs of opcodes that may store such a constant through a register."""
    code = scene.image.bytes
    places = ((code[start:end] & 0xFE) == _STORES[0]).nonzero()[0] + start
    behind = _CONSTANTS[code[np.minimum(places + 1, len(code) - 1)]]
    is_known = (behind != 0) & (places < len(code) - LONGEST)
    places, constants = places[is_known], (places + behind)[is_known]
    rows = code[constants[:, None] + _FOUR]
    returns = rows == _RET
    jumps = (rows[:, :-1] == 0xFF) & (rows[:, 1:] & 0xF8 == 0xE0)
    ends = (returns.any(axis=1) | jumps.any(axis=1)) & (code[places] == _STORES[1])
    found: list[int] = places[ends | returns[:, 0]].tolist()
    return found


def _may_end(scene: Scene, start: int) -> bool:
    """Whether the instruction at an RVA has a constant that ends a routine."""
    instruction = nearby.decode(scene, start)
    if instruction.op_count != 2 or instruction.op1_kind not in IMMEDIATES:
        return False
    return _ends(_END_X86, instruction.immediate(1), MemorySizeExt.size(instruction.memory_size))


def _is_store(scene: Scene, function: Function, i: int) -> bool:
    """Whether an instruction stores a constant whose last bytes end a routine."""
    stores = scene.arch.effect(function, i).stores
    stored = scene.arch.stored(function, i, 0) if len(stores) == 1 else None
    if not isinstance(stored, Const):
        return False
    return _ends(_END_X86, stored.value, stores[0].size)


def _ends(end: re.Pattern[bytes], value: int, size: int) -> bool:
    """Whether the last bytes of a constant, zeros behind it apart, end a routine."""
    code = (value & (1 << 64) - 1).to_bytes(8, "little")[:size].rstrip(b"\0")
    return bool(end.search(code))


def upper_halves(scene: Scene) -> list[int]:
    """RVAs of the ARM64 instructions that make the upper half of RET, alone or with others."""
    references = cast("ReferencesArm64", scene.analysis.references)
    words = references.words & (_MOVE_WIDE_MASK | 0xFFFF << 5)
    found: list[int] = references.rvas[words == (_MOVE_WIDE | (_ARM64 >> 16) << 5)].tolist()
    return found


def _stored_behind(scene: Scene, function: Function, i: int) -> Iterator[Place]:
    """The stores of an ARM64 constant that is made at an instruction."""
    for j in range(i + 1, min(i + MAX_BEHIND, len(function.flows))):
        for n, memory in enumerate(scene.arch.effect(function, j).stores):
            scene.flow.begin()
            held = scene.flow.evaluate(function, j, scene.arch.stored(function, j, n), 0)
            if any(
                atom.kind is Kind.CONST and _ends(_END_ARM64, atom.value, memory.size)
                for atom in held
            ):
                yield function, j


def _judge(scene: Scene, place: Place, memory: Memory) -> None:
    """One store: does it go into memory that a DDI returned, and that may execute?"""
    frame = (scene.arch.stack_pointer, scene.arch.frame_pointer)
    for register in (memory.base, memory.index_register):
        if register < 0 or register in frame:
            continue
        for root in sorted(roots(scene, *place, Reg(register))):
            made = allocator(scene, root)
            if made is not None and may_execute(scene, made.name, made.rva):
                scene.add(
                    RULE,
                    Behaviour.GENERATED_CODE,
                    f"puts code together in {names.memory_of(made.name)} of {made.name}",
                    place,
                    Confidence.LIKELY,
                    "the end of a routine is written there; this memory never executes under "
                    "memory integrity, however the code is called",
                )
                return
