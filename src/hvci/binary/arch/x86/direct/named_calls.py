"""Calls of a function whose address is put into a register: `lea rax, f` and then `call rax`.

Compilers make them where code may be far away (-mcmodel=large). They are direct calls in all but
their bytes. Counted are a volatile register right behind the address, and one that callees keep
where the function puts nothing but such addresses into it.
"""

from __future__ import annotations

from typing import NamedTuple

from iced_x86 import (
    Code,
    Instruction,
    InstructionInfoFactory,
    OpAccess,
    OpKind,
    Register,
    RegisterExt,
)

from hvci.binary.form.code import Flow, Function, any_of
from hvci.binary.pe.image import PeImage

NAMED = "named calls"
"""Where a function keeps them."""
MOST_BETWEEN = 16
NEAR, REACH, FAR = 32, 64, 0x1000
"""Bytes behind an address within which a call is looked for before anything is decoded."""
_INDIRECT = any_of(Flow.INDIRECT_CALL, Flow.INDIRECT_JUMP)
_INDIRECT_JUMP = any_of(Flow.INDIRECT_JUMP)
_THROUGH = {Code.CALL_RM64: Flow.CALL, Code.JMP_RM64: Flow.JUMP}
_VOLATILE = frozenset(
    (
        *(Register.RAX, Register.RCX, Register.RDX),
        *(Register.R8, Register.R9, Register.R10, Register.R11),
    )
)
_KEPT_NUMBERS = frozenset((3, 5, 6, 7, 12, 13, 14, 15))
_CALLS, _JUMPS = (
    tuple(b"\x41\xff"[n < 8 :] + bytes([last | n & 7]) for n in range(16)) for last in (0xD0, 0xE0)
)
_LEA_RAX = b"\x48\x8d\x05"
_SAVES = frozenset((Code.PUSH_R64, Code.POP_R64))
_LEAVES = frozenset((Flow.JUMP, Flow.BRANCH, Flow.INDIRECT_JUMP))
_USE = InstructionInfoFactory()


class Named(NamedTuple):
    """What such a call calls, and the instruction that puts its address into the register."""

    target: int
    by: int


def name_calls(image: PeImage, function: Function) -> None:
    """Make direct calls and jumps of such calls of a decoded function."""
    named = _named_calls(image, function)
    if not named:
        return
    function.cache[NAMED] = named
    flows = bytearray(function.flows)
    for i, call in named.items():
        flows[i] = _THROUGH[function.instructions[i].code]
        if flows[i] == Flow.JUMP:
            function.targets[i] = call.target
    function.flows = bytes(flows)
    function.indirect_jumps = function.where(_INDIRECT_JUMP)


def _named_calls(image: PeImage, function: Function) -> dict[int, Named]:
    """Every such call and jump of a function, by instruction index."""
    found = {}
    for i in function.where(_INDIRECT):
        instruction = function.instructions[i]
        if instruction.code not in _THROUGH or instruction.op0_kind != OpKind.REGISTER:
            continue
        register = instruction.op0_register
        find = _right_before if register in _VOLATILE else _kept
        by = find(function, i, register)
        target = -1 if by is None else _named(function.instructions[by], register)
        if by is not None and image.is_code(target) and function.find(target) is None:
            found[i] = Named(target, by)
    return found


def direct_target(function: Function, i: int) -> int:
    """Target RVA of a direct call, jump or branch, such calls among them."""
    named = function.cache.get(NAMED, {}).get(i)
    target: int = named.target if named else function.instructions[i].near_branch_target
    return target & 0xFFFFFFFF


def calls_by_name(image: PeImage) -> bool:
    """Whether the code makes such calls at all: then through rax, above all."""
    memory = image.memory
    for start, end in image.code_ranges:
        at = memory.find(_CALLS[0], start, end)
        while at >= 0:
            place = memory.rfind(_LEA_RAX, max(at - NEAR, start), at) + 3
            if place > 2 and image.is_code(place + 4 + image.u32(place) & 0xFFFFFFFF):
                return True
            at = memory.find(_CALLS[0], at + 2, end)
    return False


def may_be_called(image: PeImage, place: int) -> bool:
    """Whether a call through the register may stand behind the LEA with a displacement there."""
    memory = image.memory
    number = memory[place - 1] >> 3 & 7 | (memory[place - 3] & 4) << 1
    is_kept = number in _KEPT_NUMBERS
    end = place + (FAR if is_kept else REACH)
    if memory.find(_CALLS[number], place, end) >= 0:
        return True
    return not is_kept and memory.find(_JUMPS[number], place, end) >= 0


def _named(instruction: Instruction, register: int) -> int:
    """The address that an instruction puts into a register; -1 where it does something else."""
    if instruction.code != Code.LEA_R64_M or instruction.op0_register != register:
        return -1
    return instruction.ip_rel_memory_address if instruction.is_ip_rel_memory_operand else -1


def _right_before(function: Function, i: int, register: int) -> int | None:
    """The instruction that names the address, in the straight code before instruction `i`."""
    for k in range(i - 1, max(i - MOST_BETWEEN, -1), -1):
        if k + 1 in function.sources or not function.follows(k + 1) or function.flows[k]:
            return None
        if _uses(function.instructions[k], register):
            return k
    return None


def _kept(function: Function, i: int, register: int) -> int | None:
    """The instruction that names the address for a call through a register that callees keep.

    The only one, where the register serves for nothing but calls; else one that stands before the
    call in straight code, in which the same holds.
    """
    named, is_clean = [], True
    for k, instruction in enumerate(function.instructions):
        if _named(instruction, register) >= 0:
            named.append(k)
        elif is_clean and _uses(instruction, register):
            is_clean = instruction.code in _SAVES or _is_through(instruction, register)
    if len(named) == 1 and is_clean:
        return named[0]
    before = [k for k in named if k < i]
    return before[-1] if before and _serves(function, before[-1], i, register) else None


def _serves(function: Function, by: int, i: int, register: int) -> bool:
    """Whether straight code leads from an address to a call, and then to the register's next use.

    Until then there are only calls through it.
    """
    for k in range(by + 1, len(function.instructions)):
        joins = k <= i and k in function.sources
        if joins or not function.follows(k) or function.flows[k] in _LEAVES:
            return False
        instruction = function.instructions[k]
        if _uses(instruction, register) and not _is_through(instruction, register):
            used = _USE.info(instruction).used_registers()
            accesses = {
                each.access for each in used if RegisterExt.full_register(each.register) == register
            }
            return k > i and accesses == {OpAccess.WRITE}
    return False


def _is_through(instruction: Instruction, register: int) -> bool:
    return instruction.code in _THROUGH and instruction.op0_register == register


def _uses(instruction: Instruction, register: int) -> bool:
    used = _USE.info(instruction).used_registers()
    return any(RegisterExt.full_register(each.register) == register for each in used)
