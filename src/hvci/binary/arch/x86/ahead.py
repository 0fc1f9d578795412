"""What x64 and x86 instructions do to a table or pointer that was just loaded."""

from __future__ import annotations

from iced_x86 import ConditionCode, Decoder, FlowControl, Instruction, Mnemonic, OpKind

from hvci.binary.arch.x86.direct.dispatchers import DISPATCHED, NOT_DISPATCHED
from hvci.binary.arch.x86.lift import NONE, R8, R9, R10, R11, RAX, RCX, RDX, REGISTERS
from hvci.binary.form.code import Flow, Function
from hvci.binary.form.straight import Held

_INDIRECT = frozenset((Flow.INDIRECT_CALL, Flow.INDIRECT_JUMP))
_LOST_BY_CALLS = frozenset((RAX, RCX, RDX, R8, R9, R10, R11))
_READ_ONLY = frozenset((Mnemonic.CMP, Mnemonic.TEST, Mnemonic.PUSH, Mnemonic.BT))
_OVERWRITING = frozenset((Mnemonic.LEA, Mnemonic.MOVZX, Mnemonic.MOVSX, Mnemonic.MOVSXD))
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
