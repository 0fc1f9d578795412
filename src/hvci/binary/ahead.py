"""The next calls through a table or pointer that an instruction just loaded, without data flow.

Framework clients load the table before each call, and no compiler keeps it across one: looking a
few instructions ahead finds the call at a hundredth of the cost of asking the data flow. What is
not plain is left to that.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass, field

from iced_x86 import ConditionCode, Decoder, FlowControl, Instruction, Mnemonic, OpKind

from hvci.binary.code import NO_REGISTER, Flow, Function
from hvci.binary.sets import members
from hvci.binary.x86_lift import NONE, R8, R9, R10, R11, RAX, RCX, RDX, REGISTERS

WINDOW = 64
"""Instructions looked at on one way."""
MAX_WAYS = 8
POINTER = 8
"""Bytes of a pointer of 64 bits."""
_INDIRECT = frozenset((Flow.INDIRECT_CALL, Flow.INDIRECT_JUMP))
_LOST_BY_CALLS = frozenset((RAX, RCX, RDX, R8, R9, R10, R11))
_READ_ONLY = frozenset((Mnemonic.CMP, Mnemonic.TEST, Mnemonic.PUSH, Mnemonic.BT))
_OVERWRITING = frozenset((Mnemonic.LEA, Mnemonic.MOVZX, Mnemonic.MOVSX, Mnemonic.MOVSXD))
_ZEROING = frozenset((Mnemonic.XOR, Mnemonic.SUB))


@dataclass(slots=True)
class Held:
    """What registers hold on one way."""

    tables: set[int] = field(default_factory=set)
    """Registers that hold the address of the table."""
    routines: dict[int, int] = field(default_factory=dict)
    """Offset in the table, in bytes, by the register that holds the routine found there."""
    lost: bool = False
    """Something went where only the data flow can follow."""

    def load(self, register: int, offset: int) -> None:
        """A register gets the routine at an offset."""
        self.tables.discard(register)
        self.drop(register)
        self.routines[register] = offset

    def copy(self, target: int, source: int) -> None:
        """A register gets what another holds."""
        offset, is_table = self.routines.get(source), source in self.tables
        self.drop(target)
        if is_table:
            self.tables.add(target)
        elif offset is not None:
            self.routines[target] = offset

    def drop(self, register: int) -> None:
        """A register gets something else."""
        self.tables.discard(register)
        offset = self.routines.pop(register, None)
        if offset is not None and offset not in self.routines.values():
            self.lost = True

    def store(self, register: int) -> None:
        """A register is kept in memory."""
        if register in self.tables or register in self.routines:
            self.lost = True


@dataclass(slots=True)
class Ahead:
    """What was met ahead."""

    calls: list[tuple[int, int]] = field(default_factory=list)
    """(instruction index, offset in the table) of each call."""
    plain: bool = True
    """Every way led to a call, and nothing was met that only the data flow can follow."""


Step = Callable[[Function, int, Held], int | None]
"""Does what one instruction does; the offset of the routine when it calls one."""


def look_ahead(function: Function, i: int, held: Held, step: Step) -> Ahead:
    """Follow what instruction `i` left in registers until it is called, on every way."""
    ahead = Ahead()
    ways = [(i + 1, held)]
    seen: set[int] = set()
    while ways and len(seen) <= MAX_WAYS:
        start, state = ways.pop()
        if start in seen:
            continue
        seen.add(start)
        ways += _follow(function, start, state, step, ahead)
    ahead.plain = ahead.plain and not ways
    return ahead


def _follow(
    function: Function, start: int, held: Held, step: Step, ahead: Ahead
) -> list[tuple[int, Held]]:
    """One way up to its call; the other ways that branch off it."""
    others: list[tuple[int, Held]] = []
    k = start
    for _ in range(WINDOW):
        if k >= len(function.flows) or held.lost:
            break
        offset = step(function, k, held)
        if offset is not None:
            ahead.calls.append((k, offset))
            return others
        flow = function.flows[k]
        target = function.jumps.get(k)
        if flow == Flow.BRANCH and target is not None:
            others.append((target, Held(set(held.tables), dict(held.routines))))
        if flow == Flow.JUMP and target is not None:
            k = target
        elif not function.falls_through(k):
            break
        else:
            k += 1
    # A way that ends in a return needs no call: the pointer was loaded for another way.
    ended = k < len(function.flows) and function.flows[k] in (Flow.RETURN, Flow.STOP)
    ahead.plain = ahead.plain and ended and not held.lost
    return others


def step_x86(function: Function, k: int, held: Held, dispatch: int) -> int | None:
    """x64 and x86; `dispatch` is the RVA of Control Flow Guard's dispatch pointer."""
    instruction, flow = function.instructions[k], function.flows[k]
    if flow in _INDIRECT:
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


def step_arm64(function: Function, k: int, held: Held) -> int | None:
    """ARM64; the check of Control Flow Guard keeps the registers."""
    word, flow = function.instructions[k], function.flows[k]
    if flow in _INDIRECT:
        return held.routines.get(word >> 5 & 31)
    if flow == Flow.NEXT:
        plain_arm64(word, held)
    return None


def plain_arm64(word: int, held: Held) -> None:
    """What an ARM64 word that changes no flow does to what is held."""
    target, source = word & 31, word >> 5 & 31
    if word & 0xFFC00000 == 0xF9400000 and source in held.tables:  # ldr xt, [xn, #offset]
        held.load(target, (word >> 10 & 0xFFF) * 8)
    elif word & 0xFFE0FFE0 == 0xAA0003E0:  # mov xd, xm
        held.copy(target, word >> 16 & 31)
    elif word >> 25 & 0b0101 == 0b0100:
        _access_arm64(word, held)
    elif reads_table(word, held.tables):  # an offset added to it, perhaps
        held.lost = True
    else:
        held.drop(target)


def _access_arm64(word: int, held: Held) -> None:
    """Any other load or store of ARM64: acquiring, of pairs, or with a base that moves."""
    from hvci.binary.arm64_words import access  # costs start-up time where it is not needed

    moved = access(word)
    if any(held.tables & {each.base, each.index_register} for each in moved.memories):
        held.lost = held.lost or moved.step is not None or bool(moved.others or moved.swapped)
        is_loaded = moved.is_load and not moved.is_vector
        for register, memory in zip(moved.registers, moved.memories, strict=False):
            if is_loaded and memory.index_register == NO_REGISTER and memory.size == POINTER:
                held.load(register, memory.displacement)
            else:
                held.lost = True
        return
    if not moved.is_load:
        for register in (*moved.registers, *moved.swapped):
            held.store(register)
    for register in members(moved.written):
        held.drop(register)


def reads_table(word: int, tables: Container[int]) -> bool:
    """Whether an ARM64 word that moves no memory may read one of some registers."""
    if names_no_register(word):
        return False
    has_second = word >> 26 & 7 != 0b100  # no immediate stands there
    return word >> 5 & 31 in tables or (has_second and word >> 16 & 31 in tables)


def names_no_register(word: int) -> bool:
    """ADR, ADRP, MOVN and MOVZ: a constant stands where others name their source."""
    is_move = word & 0x1F800000 == 0x12800000 and word >> 29 & 3 != 3
    return word & 0x1F000000 == 0x10000000 or is_move
