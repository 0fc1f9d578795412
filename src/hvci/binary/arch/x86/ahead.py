"""What x64 and x86 instructions do to a table or pointer that was just loaded."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from itertools import islice

from iced_x86 import ConditionCode, Decoder, FlowControl, Instruction, Mnemonic, OpKind, Register

from hvci.binary.arch.x86.direct.dispatchers import DISPATCHED, NOT_DISPATCHED
from hvci.binary.arch.x86.lift import (
    IMMEDIATES,
    NONE,
    R8,
    R9,
    R10,
    R11,
    RAX,
    RCX,
    RDX,
    REGISTERS,
    RSP,
)
from hvci.binary.form.ahead import ANY_SLOT, FEWEST, MOST, Glance, MayFill, Seen
from hvci.binary.form.code import Flow, Function
from hvci.binary.form.straight import Held
from hvci.binary.pe.image import PeImage

_INDIRECT = frozenset((Flow.INDIRECT_CALL, Flow.INDIRECT_JUMP))
_LOST_BY_CALLS = frozenset((RAX, RCX, RDX, R8, R9, R10, R11))
_READ_ONLY = frozenset((Mnemonic.CMP, Mnemonic.TEST, Mnemonic.PUSH, Mnemonic.BT))
_OVERWRITING = frozenset((Mnemonic.LEA, Mnemonic.MOVZX, Mnemonic.MOVSX, Mnemonic.MOVSXD))
_DIRECT = frozenset(
    (FlowControl.CALL, FlowControl.CONDITIONAL_BRANCH, FlowControl.UNCONDITIONAL_BRANCH)
)
BEFORE = 0x20
"""Bytes before an operand in which a number may stand that is passed with it."""
_NUMBER = re.compile(rb"[\x01-\x1f]\x00\x00", re.DOTALL)
_FRAME = frozenset((Register.RSP, Register.ESP, Register.RBP, Register.EBP))
NO_ONE = (-1, 0)
_WITH_SIB, _NO_BASE = 4, 5
_ZEROING = frozenset((Mnemonic.XOR, Mnemonic.SUB))


def step_x86(function: Function, k: int, held: Held, dispatch: int) -> int | None:
    """x64 and x86; `dispatch` is the RVA of Control Flow Guard's dispatch pointer."""
    instruction, flow = function.instructions[k], function.flows[k]
    if flow in _INDIRECT:
        dispatched = function.cache.get(DISPATCHED, NOT_DISPATCHED).get(k)
        if dispatched is not None:
            return held.routines.get(dispatched)
        return _called_x86(instruction, held, dispatch)
    if flow == Flow.CALL:
        held.lost = held.lost or RAX in held.routines  # perhaps a local dispatcher
    elif flow == Flow.NEXT:
        _plain_x86(instruction, held)
    return None


def _called_x86(instruction: Instruction, held: Held, dispatch: int) -> int | None:
    """The offset of the routine that an indirect call goes to."""
    if instruction.op0_kind == OpKind.REGISTER:
        known = REGISTERS.get(instruction.op0_register)
        return held.routines.get(known[0]) if known is not None else None
    base = REGISTERS.get(instruction.memory_base)
    if base is not None and base[0] in held.tables:
        if instruction.memory_index == NONE:
            return int(instruction.memory_displacement) & 0xFFFFFFFF
        held.lost = True
    elif instruction.is_ip_rel_memory_operand and instruction.ip_rel_memory_address == dispatch:
        return held.routines.get(RAX)
    return None


def _plain_x86(instruction: Instruction, held: Held) -> None:
    if not instruction.op_count:
        return
    if _reads_table(instruction, held):  # an offset added to it, perhaps
        held.lost = True
    if instruction.op0_kind != OpKind.REGISTER:
        if instruction.op_count > 1 and instruction.op1_kind == OpKind.REGISTER:
            source = REGISTERS.get(instruction.op1_register)
            held.store(source[0] if source else -1)
        return
    target = REGISTERS.get(instruction.op0_register)
    if target is None:
        return
    if instruction.mnemonic == Mnemonic.PUSH:
        held.store(target[0])
    elif instruction.mnemonic == Mnemonic.MOV:
        _moved_x86(instruction, target[0], held)
    elif instruction.mnemonic not in _READ_ONLY:
        held.drop(target[0])


def _reads_table(instruction: Instruction, held: Held) -> bool:
    """Whether an instruction makes something of the address of the table, loads apart."""
    mnemonic = instruction.mnemonic
    if not held.tables or mnemonic in _READ_ONLY:
        return False
    parts = [instruction.memory_base, instruction.memory_index]
    if mnemonic == Mnemonic.MOV:
        return _register(parts[1]) in held.tables
    first = 1 if mnemonic in _OVERWRITING else 0
    kinds = range(first, instruction.op_count)
    parts += [instruction.op_register(n) for n in kinds if _is_register(instruction, n)]
    is_zero = mnemonic in _ZEROING and instruction.op0_register == instruction.op1_register
    return not is_zero and any(_register(part) in held.tables for part in parts)


def _is_register(instruction: Instruction, n: int) -> bool:
    return bool(instruction.op_kind(n) == OpKind.REGISTER)


def _moved_x86(instruction: Instruction, target: int, held: Held) -> None:
    if instruction.op1_kind == OpKind.REGISTER:
        source = REGISTERS.get(instruction.op1_register)
        held.copy(target, source[0] if source else -1)
        return
    base = REGISTERS.get(instruction.memory_base)
    is_entry = instruction.op1_kind == OpKind.MEMORY and base is not None
    if is_entry and base is not None and base[0] in held.tables:
        if instruction.memory_index == NONE:
            held.load(target, instruction.memory_displacement & 0xFFFFFFFF)
            return
        held.lost = True
    held.drop(target)


def may_call_soon(code: bytes, start: int, bits: int) -> bool:
    """Whether x64 or x86 code that begins with a load of a pointer may call it before it is lost.

    Looks at instructions in the order of their bytes and follows copies between registers. False
    only when the pointer is certainly lost, or when the routine ends; a load that is no call's is
    the usual case, and its function need not be decoded.
    """
    instructions = iter(Decoder(bits, code, ip=start))
    load = next(instructions, None)
    if load is None or load.flow_control != FlowControl.NEXT:
        return True
    held = {_register(load.op0_register)}
    for instruction in instructions:
        if not held:
            return False
        flow = instruction.flow_control
        if flow in (FlowControl.RETURN, FlowControl.INTERRUPT):
            return False
        if flow == FlowControl.CONDITIONAL_BRANCH:
            return True  # the other way is not looked at
        if instruction.condition_code != ConditionCode.NONE:
            continue  # CMOVcc may leave the register as it is
        if flow != FlowControl.NEXT:
            return _may_reach(instruction, held)
        if not instruction.op_count:
            continue
        is_register = instruction.op0_kind == OpKind.REGISTER
        source = instruction.op1_register if instruction.op_count > 1 else NONE
        is_copy = instruction.mnemonic == Mnemonic.MOV and _register(source) in held
        if not is_register:
            if is_copy or instruction.is_string_instruction:
                return True
        elif instruction.mnemonic == Mnemonic.PUSH:
            if _register(instruction.op0_register) in held:
                return True
        elif instruction.mnemonic not in _READ_ONLY:
            if is_copy:
                held.add(_register(instruction.op0_register))
            else:
                held.discard(_register(instruction.op0_register))
    return True


def _may_reach(instruction: Instruction, held: set[int]) -> bool:
    """Whether a call or jump may go through one of some registers, or leave it for later."""
    if instruction.flow_control == FlowControl.UNCONDITIONAL_BRANCH:
        return True
    if instruction.flow_control in (FlowControl.CALL, FlowControl.INDIRECT_CALL):
        if instruction.op0_kind == OpKind.REGISTER:
            return _register(instruction.op0_register) in held or not held <= _LOST_BY_CALLS
        # Control Flow Guard dispatches to RAX, or checks RCX and keeps it.
        return not held.isdisjoint((RAX, RCX)) or not held <= _LOST_BY_CALLS
    return True


def _register(register: int) -> int:
    known = REGISTERS.get(register)
    return known[0] if known else -1


class GlancesX86:
    """Looks at x64 and x86 instructions for `MayFill`."""

    def __init__(self, image: PeImage, slots: Collection[int]) -> None:
        self.image = image
        self.fills = MayFill(image, slots, self.glances)

    def behind(self, place: int) -> bool:
        """Whether the code behind the instruction with an operand at a place may fill memory."""
        memory, back = self.image.memory, self._back(place)
        has_number = _NUMBER.search(bytes(memory[place - BEFORE : place - 1])) is not None
        return self.fills.soon(place - back if back else place + 4, has_number or back > 0)

    def has_index(self, place: int) -> bool:
        """Whether a register is added to the operand at a place."""
        return self._back(place) > 0

    def _back(self, place: int) -> int:
        """Bytes from an opcode to its operand with a register; 0 where it has none."""
        modrm, sib = self.image.memory[place - 2], self.image.memory[place - 1]
        if modrm & 0x47 == _WITH_SIB and (modrm >> 6 == 2 or sib & 7 == _NO_BASE):
            return 3
        return 2 if sib >> 6 == 2 else 0

    def glances(self, start: int, most: int) -> Iterator[Glance]:
        """What is seen of so many instructions."""
        code = bytes(self.image.memory[start : start + 8 * most])
        for instruction in islice(Decoder(self.image.bits, code, ip=start), most):
            rva, flow = instruction.ip32, instruction.flow_control
            if flow == FlowControl.NEXT:
                yield from self._plain(instruction, rva)
            elif flow in (FlowControl.INDIRECT_CALL, FlowControl.INDIRECT_BRANCH):
                yield Glance(rva, Seen.THROUGH, self._slot(instruction))
                if flow == FlowControl.INDIRECT_BRANCH:
                    yield Glance(rva, Seen.END)
            elif flow in _DIRECT:
                target = instruction.near_branch_target & 0xFFFFFFFF
                is_near = flow != FlowControl.CALL and start <= target < start + len(code)
                yield Glance(rva, Seen.BRANCH if is_near else Seen.CALL, target)
            else:
                yield Glance(rva, Seen.END)

    def _plain(self, instruction: Instruction, rva: int) -> Iterator[Glance]:
        if instruction.is_string_instruction:
            yield Glance(rva, Seen.BLOCK)
        elif instruction.op_count and REGISTERS.get(instruction.op0_register, NO_ONE)[0] != RSP:
            base = instruction.memory_base
            is_store = instruction.op0_kind == OpKind.MEMORY and base not in _FRAME
            if is_store and instruction.mnemonic not in _READ_ONLY:
                yield Glance(rva, Seen.STORE)
            if self._has_number(instruction):
                yield Glance(rva, Seen.NUMBER)

    def _has_number(self, instruction: Instruction) -> bool:
        """Whether an instruction names data, or has a number that may be that of elements."""
        if instruction.mnemonic == Mnemonic.LEA:
            far = instruction.memory_displacement
            return instruction.is_ip_rel_memory_operand or FEWEST <= far < MOST
        for n in range(instruction.op_count):
            if instruction.op_kind(n) in IMMEDIATES:
                value = instruction.immediate(n) & 0xFFFFFFFF
                number = min(value, (1 << 32) - value)
                if FEWEST <= number < MOST or self.image.holds(value - self.image.base):
                    return True
        return False

    def _slot(self, instruction: Instruction) -> int:
        """The slot that an indirect call or jump goes through."""
        if instruction.op0_kind == OpKind.REGISTER:
            return ANY_SLOT
        rva = instruction.memory_displacement
        return int(rva if instruction.is_ip_rel_memory_operand else rva - self.image.base)
