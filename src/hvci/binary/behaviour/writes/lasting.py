"""Addresses of code that outlast the bytes right behind them: x64 and x86 places worth following.

Kept in a register that calls leave alone or in a local variable that is read again, or returned.
Only sorts out, by bytes; the counterpart for ARM64 is `arm64/lastingwords.py`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from iced_x86 import Decoder, FlowControl, Instruction, Mnemonic

from hvci.binary.arch.x86.lift import RAX
from hvci.binary.arch.x86.operands import DIRECT, DIRECT_MASK, LEA
from hvci.binary.behaviour import nearby
from hvci.binary.behaviour.called.candidates import named_rvas
from hvci.binary.behaviour.scene import HOT_PATCHED, PROLOGUE, Scene
from hvci.binary.form.references import Rvas
from hvci.binary.pe.image import PeImage
from hvci.binary.pe.sets import among, distinct

Mask = npt.NDArray[np.bool_]
ARGUMENTS = 8
"""Arguments on the x86 stack that may be an address."""
RETURNED_WITHIN = 16
"""Bytes behind an address in which a function returns it."""
MAX_SPAN = 0x4000
"""Bytes of a function in which a read of a local variable is looked for."""
TEXT = 6
"""Bytes of text that no code begins with."""
LEAF = 96
"""Bytes of a function without a prologue in which it returns, as a rule."""
_SELDOM = frozenset(
    (
        *(Mnemonic.AAA, Mnemonic.AAD, Mnemonic.AAM, Mnemonic.AAS, Mnemonic.DAA, Mnemonic.DAS),
        *(Mnemonic.IN, Mnemonic.INSB, Mnemonic.INSD, Mnemonic.INSW, Mnemonic.INTO),
        *(Mnemonic.OUT, Mnemonic.OUTSB, Mnemonic.OUTSD, Mnemonic.OUTSW, Mnemonic.XLATB),
        *(Mnemonic.ARPL, Mnemonic.BOUND, Mnemonic.LDS, Mnemonic.LES, Mnemonic.SALC),
    )
)
"""What no function begins with, and data often."""
_ENDS = (FlowControl.RETURN, FlowControl.UNCONDITIONAL_BRANCH, FlowControl.INDIRECT_BRANCH)
_GNU_PROLOGUE = b"\x55\x89\xe5"
_BETWEEN = np.array((0x00, 0x09, 0x0A, 0x0D), np.uint8)
_KEPT = {32: (3, 5, 6, 7), 64: (3, 5, 6, 7, 12, 13, 14, 15)}
"""Registers that calls leave alone, by the bits of the machine."""
JOINED_WITHIN = 32
"""The same in which control goes on to where a register is used that may hold it."""
_RETURNS = np.array((0xC2, 0xC3), np.uint8)
_JUMPS, _ESCAPE, _CHOICES = np.array((0xE9, 0xEB), np.uint8), 0x0F, np.array((0x40, 0x80), np.uint8)
_KEEPS = frozenset((Mnemonic.CMP, Mnemonic.TEST, Mnemonic.ADD, Mnemonic.SUB))
_ARGUMENTS = np.array((1, 2), np.uint8)
"""The low bits of RCX, RDX, and of R9, R10; R8 shares those of RAX."""
_STORE, _STORE_CONSTANT = 0x89, 0xC7
_NEAR_SP, _FAR_SP, _NEAR_BP, _FAR_BP = 0x44, 0x84, 0x45, 0x85
"""ModRM of operands in the frame, without their register."""
_SP_ALONE = 0x24


def copied_to(scene: Scene, place: int, register: int) -> int:
    """The register into which the instruction behind an operand copies another one; else that."""
    rex, opcode, modrm = scene.image.memory[place + 4 : place + 7]
    if rex & 0xF8 != 0x48 or modrm < 0xC0:
        return register
    to, source = (modrm & 7 | (rex & 1) << 3), (modrm >> 3 & 7 | (rex & 4) << 1)
    if opcode == nearby.LOAD:
        to, source = (modrm >> 3 & 7 | (rex & 4) << 1), (modrm & 7 | (rex & 1) << 3)
    is_copy = opcode in (nearby.LOAD, _STORE) and source == register
    return to if is_copy else register


def find(scene: Scene, places: Rvas, few: bool = False) -> Iterator[int]:
    """Those of the operands that make such an address.

    Where they are `few`, whatever is done with a register that calls leave alone.
    """
    registers = nearby.registers(scene, places)
    kept = np.array(_KEPT[scene.image.bits])
    is_kept = among(registers, kept)
    for place, register in zip(places[is_kept].tolist(), registers[is_kept].tolist(), strict=True):
        if few or _is_base(scene, place, register):
            yield place
    yield from _read_again(scene, places, registers)
    soon = _return_soon(scene, places) & (registers == RAX) | _jumps_soon(scene, places)
    near = soon & (registers >= 0)
    for place, register in zip(places[near].tolist(), registers[near].tolist(), strict=True):
        if _lasts(scene, place, register):
            yield place


def made(scene: Scene) -> Rvas:
    """Operands that make an address of what may be a function."""
    image, places = scene.image, scene.analysis.references.to_executable()
    code = image.bytes
    if image.bits == 64:
        direct = (code[places - 1] & DIRECT_MASK) == DIRECT
        places = places[direct & (code[places - 2] == LEA)]
    targets = named_rvas(scene, places)
    found = ~are_text(image, targets)
    if image.bits == 32:
        found &= among(targets, np.array(scene.analysis.functions.starts, np.int64))
    return np.asarray(places[found])


def are_text(image: PeImage, rvas: Rvas) -> Mask:
    """Where text seems to begin, which compilers put among code."""
    first = np.minimum(rvas, image.size - TEXT)
    each = image.bytes[first[:, None] + np.arange(TEXT)]
    is_text = ((each >= 0x20) & (each < 0x7F)) | among(each, _BETWEEN)
    return np.asarray(is_text.all(axis=1))


def functions(scene: Scene, places: Rvas) -> Rvas:
    """Those of the operands that name a function."""
    targets = named_rvas(scene, places)
    known = [rva for rva in distinct(targets).tolist() if is_function(scene, rva)]
    return np.asarray(places[among(targets, np.array(known, np.int64))])


def is_function(scene: Scene, rva: int) -> bool:
    """Whether code seems to begin at an RVA: bytes that lead to a return, and no data or text."""
    unwind, memory = scene.analysis.functions.unwind, scene.image.memory
    if bytes(memory[rva : rva + 5]).startswith((PROLOGUE, HOT_PATCHED, _GNU_PROLOGUE)):
        return True
    fragments = unwind.find(rva) if unwind.starts else []
    if fragments:
        return fragments[0].start == rva
    code = bytes(memory[rva : rva + LEAF])
    for instruction in Decoder(scene.image.bits, code, ip=rva):
        if instruction.is_invalid or instruction.mnemonic in _SELDOM:
            return False
        if instruction.flow_control in _ENDS:
            return True
    return scene.image.bits == 32  # a leaf of x64 is short


def _return_soon(scene: Scene, places: Rvas) -> Mask:
    """Behind which operands a function may end soon, with no call before."""
    inside = np.minimum(places, scene.image.size - 4 - RETURNED_WITHIN)
    behind = scene.image.bytes[inside[:, None] + np.arange(4, 4 + RETURNED_WITHIN)]
    return np.asarray(among(behind, _RETURNS).any(axis=1))


def _jumps_soon(scene: Scene, places: Rvas) -> Mask:
    """Behind which operands the bytes may jump, back if on a condition, or choose."""
    inside = np.minimum(places, scene.image.size - 6 - JOINED_WITHIN)
    rows = scene.image.bytes[inside[:, None] + np.arange(4, 6 + JOINED_WITHIN)]
    first, second = rows[:, :-1], rows[:, 1:]
    found = among(first, _JUMPS) | ((first & 0xF0 == 0x70) & (second >= 0x80))
    found |= (first == _ESCAPE) & among(second & 0xF0, _CHOICES)
    return np.asarray(found.any(axis=1))


def _lasts(scene: Scene, place: int, register: int) -> bool:
    """Whether an address is chosen, returned or carried on by a jump, and used only then."""
    start, held = place + nearby.OPERAND, {register}
    for instruction in _decode(scene, start):
        flow = instruction.flow_control
        if flow == FlowControl.CONDITIONAL_BRANCH and instruction.near_branch_target > start:
            continue
        if flow:
            is_jump = flow in (FlowControl.CONDITIONAL_BRANCH, FlowControl.UNCONDITIONAL_BRANCH)
            return (
                _is_used_at(scene, place, instruction, held)
                if is_jump
                else (flow == FlowControl.RETURN and RAX in held)
            )
        to, source = _number(instruction.op0_register), _number(instruction.op1_register)
        if to < 0:
            if source in held:
                return False  # it is put somewhere
        elif source in held and instruction.op_count == 2:
            if to not in nearby.VOLATILE or instruction.mnemonic != Mnemonic.MOV:
                return True
            held.add(to)
        elif to in held and instruction.mnemonic in nearby.CHOOSES:
            return True
        elif to in held and instruction.mnemonic not in _KEEPS:
            held.discard(to)
        if not held:
            return False
    return False


def _is_used_at(scene: Scene, place: int, jump: Instruction, held: set[int]) -> bool:
    """Whether code of the same function to which a jump leads may use a register first."""
    target = jump.near_branch_target
    low, high = _span(scene, place)
    if not low < target < high:
        return False
    left = set(held)
    for instruction in _decode(scene, target):
        if instruction.flow_control:
            return RAX in left and instruction.flow_control == FlowControl.RETURN
        to, source = _number(instruction.op0_register), _number(instruction.op1_register)
        bases = {_number(instruction.memory_base), _number(instruction.memory_index)}
        if source in left or not left.isdisjoint(bases):
            return True
        left.discard(to)
        if not left:
            return False
    return True


def _decode(scene: Scene, start: int) -> Decoder:
    code = bytes(scene.image.memory[start : start + JOINED_WITHIN])
    return Decoder(scene.image.bits, code, ip=start)


def _number(register: int) -> int:
    """The register that holds one of iced's; below 0 for none."""
    return nearby.NUMBERS[register]


def _read_again(scene: Scene, places: Rvas, registers: Rvas) -> Iterator[int]:
    """Those that are put into a local variable which their function reads."""
    memory = scene.image.memory
    for place, register in zip(places.tolist(), registers.tolist(), strict=True):
        slot = _slot_before(memory, place) if register < 0 else _slot_behind(scene, place, register)
        if slot is not None and _is_read(scene, place, *slot):
            yield place


def _slot_before(memory: bytearray, place: int) -> tuple[int, bytes] | None:
    """(ModRM without a register, rest of the operand) of a slot that gets a constant."""
    for modrm, size in ((_NEAR_BP, 1), (_FAR_BP, 4), (_NEAR_SP, 2), (_FAR_SP, 5)):
        at = place - size - 2
        if memory[at] == _STORE_CONSTANT and memory[at + 1] == modrm:
            rest = bytes(memory[at + 2 : place])
            if modrm & 7 != 4 or rest[0] == _SP_ALONE:
                return modrm, rest
    return None


def _slot_behind(scene: Scene, place: int, register: int) -> tuple[int, bytes] | None:
    """The same of a slot that gets the register which holds an address, right behind that."""
    memory, at = scene.image.memory, place + 4
    if scene.image.bits == 64:
        if memory[at] & 0xFB != 0x48 or (memory[at] & 4) << 1 | memory[at + 2] >> 3 & 7 != register:
            return None
        at += 1
    modrm = memory[at + 1]
    if memory[at] != _STORE or modrm >> 3 & 7 != register & 7:
        return None
    modrm &= 0xC7
    size = {_NEAR_BP: 1, _FAR_BP: 4, _NEAR_SP: 2, _FAR_SP: 5}.get(modrm)
    if size is None:
        return None
    rest = bytes(memory[at + 2 : at + 2 + size])
    return (modrm, rest) if modrm & 7 != 4 or rest[0] == _SP_ALONE else None


def _is_read(scene: Scene, place: int, modrm: int, rest: bytes) -> bool:
    """Whether the function around a place seems to load a register from a slot."""
    start, end = _span(scene, place)
    memory = scene.image.memory
    at = memory.find(rest, start, end)
    while at >= 0:
        if memory[at - 2] == nearby.LOAD and memory[at - 1] & 0xC7 == modrm:
            return True
        at = memory.find(rest, at + 1, end)
    return False


def _is_base(scene: Scene, place: int, register: int) -> bool:
    """Whether the function around a place may store through a register, or copies it."""
    start, end = _span(scene, place)
    code = scene.image.bytes[start:end]
    opcode, modrm = code[:-1], code[1:]
    stores = among(opcode, nearby.STORES) & (modrm & 7 == register & 7) & (modrm < 0xC0)
    # not to an argument: who gets that is no store
    to_other = (opcode == _STORE) & (modrm >> 3 & 7 == register & 7) & ~among(modrm & 7, _ARGUMENTS)
    from_it = (opcode == nearby.LOAD) & (modrm & 7 == register & 7)
    copies = (modrm >= 0xC0) & (to_other | from_it & ~among(modrm >> 3 & 7, _ARGUMENTS))
    return bool((stores & (modrm & DIRECT_MASK != DIRECT) | copies).any())


def _span(scene: Scene, place: int) -> tuple[int, int]:
    """Where the function around a place may begin and end."""
    functions = scene.analysis.functions
    starts: Sequence[int] = functions.unwind.starts or functions.starts
    at = bisect_right(starts, place)
    first = starts[at - 1] if at else place
    last = starts[at] if at < len(starts) else scene.image.size
    return max(first, place - MAX_SPAN), min(last, place + MAX_SPAN)
