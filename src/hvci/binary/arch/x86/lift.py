"""x64 and x86 instructions as expressions: what they put where, and what their conditions say.

Knows single instructions and their neighbours; knows nothing of callers, globals or DDIs.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from iced_x86 import (
    CodeSize,
    ConditionCode,
    Instruction,
    MemorySizeExt,
    Mnemonic,
    OpKind,
    Register,
    RegisterExt,
)

from hvci.binary.form.code import (
    IMAGE_BASE,
    NO_REGISTER,
    Address,
    Binary,
    Const,
    Either,
    Equality,
    Expr,
    Flow,
    Function,
    ImageAddress,
    Insert,
    Load,
    Memory,
    Opaque,
    Reg,
    SignExtend,
)
from hvci.binary.pe.image import PeImage

RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11 = range(12)
CONDITION_WINDOW = 6
"""How many instructions may stand between a comparison and its branch."""
WIDE_OPERAND = 2
"""Bytes before eight bytes of immediate, or of address: prefix and opcode."""
ZEROED_WINDOW = 64

NONE = int(Register.NONE)
"""No register, as a plain number."""
_size_of = cache(MemorySizeExt.size)
"""Bytes, by iced's number of a kind of memory operand."""
_THREAD_SEGMENTS: frozenset[int] = frozenset((Register.FS, Register.GS))
_INSTRUCTION_POINTERS: frozenset[int] = frozenset((Register.RIP, Register.EIP))
_HIGH_BYTES = frozenset((Register.AH, Register.BH, Register.CH, Register.DH))


def _general_registers() -> dict[int, tuple[int, int, int]]:
    """(number, size in bytes, shift in bits) of every general-purpose register name."""
    names: dict[str, Any] = vars(Register)
    registers: list[Any] = [names[name] for name in sorted(names) if name.isupper()]
    found = {}
    for register in registers:
        full: int = RegisterExt.full_register(register)
        if Register.RAX <= full <= Register.R15:
            shift = 8 if register in _HIGH_BYTES else 0
            found[register] = (full - Register.RAX, RegisterExt.size(register), shift)
    return found


REGISTERS = _general_registers()
IMMEDIATES = frozenset(
    (
        OpKind.IMMEDIATE8,
        OpKind.IMMEDIATE8_2ND,
        OpKind.IMMEDIATE16,
        OpKind.IMMEDIATE32,
        OpKind.IMMEDIATE64,
        OpKind.IMMEDIATE8TO16,
        OpKind.IMMEDIATE8TO32,
        OpKind.IMMEDIATE8TO64,
        OpKind.IMMEDIATE32TO64,
    )
)
_BINARY = {
    Mnemonic.ADD: "add",
    Mnemonic.SUB: "sub",
    Mnemonic.AND: "and",
    Mnemonic.OR: "or",
    Mnemonic.XOR: "xor",
    Mnemonic.SHL: "shl",
    Mnemonic.SHR: "shr",
    Mnemonic.SAR: "sar",
    Mnemonic.IMUL: "mul",
    Mnemonic.SBB: "sbb",
    Mnemonic.ADC: "adc",
    Mnemonic.BTS: "bts",
    Mnemonic.BTR: "btr",
}
_SHIFTS, _BIT_BY_BIT = frozenset(("shl", "shr", "sar")), frozenset(("bts", "btr"))
FRAME_BASES = frozenset((Register.RSP, Register.ESP, Register.RBP, Register.EBP))
_SELF_CLEARING = frozenset((Mnemonic.XOR, Mnemonic.SUB))
_ZERO_IDIOMS = frozenset(
    (
        Mnemonic.XORPS,
        Mnemonic.PXOR,
        Mnemonic.XORPD,
        Mnemonic.VXORPS,
        Mnemonic.VPXOR,
        Mnemonic.VXORPD,
    )
)
_ZERO_TESTS = frozenset((Mnemonic.SUB, Mnemonic.DEC, Mnemonic.INC, Mnemonic.AND, Mnemonic.OR))
_NAMES = {value: name.lower() for name, value in vars(Mnemonic).items() if isinstance(value, int)}


_REGISTERS = {register: Reg(*known) for register, known in REGISTERS.items()}
"""The expressions of all registers: made once."""


@cache
def _result_of(mnemonic: int) -> Opaque:
    """The result of an instruction that is not followed."""
    return Opaque(f"the result of {_NAMES[mnemonic]}")


class X86Lift:
    """Turns the instructions of one image into expressions."""

    def __init__(self, image: PeImage) -> None:
        self.image = image
        self.bits = image.bits

    def memory(self, instruction: Instruction) -> Memory:
        """The memory operand of an instruction; a segment-relative one has no base at all."""
        size = _size_of(instruction.memory_size)
        base, index = instruction.memory_base, instruction.memory_index
        displacement = instruction.memory_displacement
        scale = instruction.memory_index_scale if index else 1
        number = REGISTERS[index][0] if index in REGISTERS else NO_REGISTER
        if instruction.segment_prefix in _THREAD_SEGMENTS:
            return Memory(NO_REGISTER, NO_REGISTER, 1, 0, size)
        if base in _INSTRUCTION_POINTERS:
            return Memory(IMAGE_BASE, number, scale, displacement & 0xFFFFFFFF, size)
        if base == NONE:
            if self.bits == 64:
                rva = self.image.relocated(instruction.ip + WIDE_OPERAND, displacement)
                if rva is not None and instruction.memory_displ_size == 8:
                    return Memory(IMAGE_BASE, number, scale, rva, size)
                return Memory(NO_REGISTER, number, scale, displacement, size)
            rva = (displacement - self.image.base) & 0xFFFFFFFF
            return Memory(IMAGE_BASE, number, scale, rva, size)
        return Memory(REGISTERS[base][0], number, scale, _signed(displacement, self.bits), size)

    # ---- values

    def operand(self, function: Function, i: int, n: int) -> Expr:
        """Operand `n` of an instruction, as an expression."""
        instruction = function.instructions[i]
        kind = instruction.op_kind(n)
        if kind in IMMEDIATES:
            return self._immediate(instruction.immediate(n))
        if kind == OpKind.REGISTER:
            number = instruction.op_register(n)
            return _REGISTERS.get(number) or self._vector(function, i, number)
        if kind == OpKind.MEMORY:
            return Load(self.memory(instruction))
        return Opaque(f"an operand of {_NAMES[instruction.mnemonic]}")

    def _wide(self, instruction: Instruction) -> Expr:
        """Eight bytes of immediate: the address of an RVA where they are relocated."""
        value = instruction.immediate64
        rva = self.image.relocated(instruction.ip + WIDE_OPERAND, value)
        return Const(value) if rva is None else ImageAddress(rva)

    def _immediate(self, value: int) -> Expr:
        """An immediate; on x86 it may be an address in the image."""
        return Const(value & ((1 << self.bits) - 1))

    def _vector(self, function: Function, i: int, register: int) -> Expr:
        """A vector register: only one that was just cleared or loaded is known."""
        for q in range(i - 1, max(-1, i - ZEROED_WINDOW), -1):
            instruction = function.instructions[q]
            if _writes_vector(instruction, register):
                return Const(0) if _clears(instruction) else self._vector_load(instruction)
            if q + 1 in function.sources or function.flows[q] != Flow.NEXT:
                break
        return Opaque("a vector register")

    def _vector_load(self, instruction: Instruction) -> Expr:
        """A constant of the image moved into a vector register."""
        is_move = _NAMES[instruction.mnemonic].startswith(("mov", "vmov"))
        if is_move and instruction.op1_kind == OpKind.MEMORY:
            memory = self.memory(instruction)
            if memory.base == IMAGE_BASE:
                return Load(memory)
        return Opaque("a vector register")

    def define(self, function: Function, i: int, register: int) -> Expr:
        """What instruction `i` puts into a register that it changes."""
        instruction = function.instructions[i]
        mnemonic = instruction.mnemonic
        name = _BINARY.get(mnemonic)
        known = REGISTERS.get(instruction.op0_register)
        if known is None or known[0] != register:
            return self._define_other(function, i, register)
        _, size, shift = known
        if name is not None and instruction.op_count >= 2:
            value = self._binary(function, i, name, Reg(*known), size)
        else:
            value = self._define_plain(function, i, known)
        return value if size >= 4 else Insert(Reg(register), value, size, shift)

    def _binary(self, function: Function, i: int, name: str, left: Expr, size: int) -> Expr:
        instruction = function.instructions[i]
        mask = (1 << 8 * size) - 1
        if is_same_register(instruction):
            if instruction.mnemonic in _SELF_CLEARING:
                return Const(0)
            if instruction.mnemonic == Mnemonic.SBB:
                return Either(Const(0), Const(mask))
        if instruction.op_count == 3:  # imul r, r/m, imm
            return Binary(name, self.operand(function, i, 1), self.operand(function, i, 2), size)
        right = self.operand(function, i, 1)
        limit = _most_counted(name, size)
        if limit:
            if name in _BIT_BY_BIT and isinstance(left, Load) and not isinstance(right, Const):
                return Opaque("a bit of an array of bits")
            if not isinstance(right, Const):
                return Binary(name, left, Binary("and", right, Const(limit), size), size)
            right = Const(right.value & limit)
        if isinstance(right, Const):
            right = Const(right.value & mask)
            if name == "and" and not right.value:
                return Const(0)
            if name == "or" and right.value == mask:
                return right
        return Binary(name, left, right, size)

    def _define_plain(self, function: Function, i: int, known: tuple[int, int, int]) -> Expr:
        """The value of instructions that are no two-operand arithmetic."""
        instruction = function.instructions[i]
        mnemonic = instruction.mnemonic
        _, size, _ = known
        mask = (1 << 8 * size) - 1
        match mnemonic:
            case Mnemonic.MOV:
                if instruction.op1_kind == OpKind.IMMEDIATE64:
                    return self._wide(instruction)
                value = self.operand(function, i, 1)
                return Const(value.value & mask) if isinstance(value, Const) else value
            case Mnemonic.LEA:
                return self._lea(instruction, size)
            case Mnemonic.MOVZX:
                return self.operand(function, i, 1)
            case Mnemonic.MOVSX | Mnemonic.MOVSXD:
                return SignExtend(self.operand(function, i, 1), _operand_size(instruction, 1), size)
            case Mnemonic.INC:
                return Binary("add", Reg(*known), Const(1), size)
            case Mnemonic.DEC:
                return Binary("sub", Reg(*known), Const(1), size)
            case Mnemonic.NEG:
                return Binary("sub", Const(0), Reg(*known), size)
            case Mnemonic.NOT:
                return Binary("xor", Reg(*known), Const(mask), size)
            case Mnemonic.POP:
                return self._popped(function, i) or Load(Memory(RSP, NO_REGISTER, 1, 0, size))
            case Mnemonic.XCHG:
                other = REGISTERS.get(instruction.op1_register)
                if other is not None and other[0] == known[0] and other != known:
                    return Opaque("bytes that change places")
                return self.operand(function, i, 1)
        if instruction.condition_code != ConditionCode.NONE:
            return self._conditional(function, i, known)
        return _result_of(mnemonic)

    def _popped(self, function: Function, i: int) -> Expr | None:
        """What the instruction right before pushes: `push 1; pop rcx` needs no stack depth."""
        if i in function.sources or not function.follows(i):
            return None
        if function.instructions[i - 1].mnemonic != Mnemonic.PUSH:
            return None
        pushed = self.operand(function, i - 1, 0)
        return pushed if isinstance(pushed, Const | Reg) else None

    def _lea(self, instruction: Instruction, size: int) -> Expr:
        memory = self.memory(instruction)._replace(size=size)
        if memory.base == IMAGE_BASE and memory.index_register == NO_REGISTER:
            return ImageAddress(memory.displacement)
        is_plain = memory.index_register == NO_REGISTER and not memory.displacement
        return Reg(memory.base, size) if is_plain and memory.base >= 0 else Address(memory)

    def _conditional(self, function: Function, i: int, known: tuple[int, int, int]) -> Expr:
        """CMOVcc and SETcc: both outcomes."""
        if function.instructions[i].op_count == 2:
            return Either(Reg(*known), self.operand(function, i, 1))
        return Either(Const(0), Const(1))

    def _define_other(self, function: Function, i: int, register: int) -> Expr:
        """A register that is not the first operand."""
        instruction = function.instructions[i]
        match instruction.mnemonic:
            case Mnemonic.CDQE:
                return SignExtend(Reg(RAX, 4), 4, 8)
            case Mnemonic.CWDE:
                return SignExtend(Reg(RAX, 2), 2, 4)
            case Mnemonic.XCHG if instruction.op1_kind == OpKind.REGISTER:
                return self._exchanged(function, i)
            case Mnemonic.LEAVE if register == RBP:
                return Load(Memory(RBP, NO_REGISTER, 1, 0, self.bits // 8))
        return _result_of(instruction.mnemonic)

    def _exchanged(self, function: Function, i: int) -> Expr:
        """What XCHG puts into its second register."""
        number, size, shift = REGISTERS[function.instructions[i].op1_register]
        value = self.operand(function, i, 0)
        return value if size >= 4 else Insert(Reg(number), value, size, shift)

    def stored(self, function: Function, i: int) -> Expr:
        """What instruction `i` stores into memory."""
        instruction = function.instructions[i]
        mnemonic = instruction.mnemonic
        if mnemonic == Mnemonic.PUSH:
            return self.operand(function, i, 0)
        if instruction.is_string_instruction:
            return Opaque("a block that was copied or filled")
        if instruction.op_count == 2 and mnemonic not in _BINARY:
            is_move = _NAMES[mnemonic].startswith(("mov", "vmov", "xchg"))
            return self.operand(function, i, 1) if is_move else Opaque(_NAMES[mnemonic])
        if instruction.condition_code != ConditionCode.NONE:
            return Either(Const(0), Const(1))
        memory = self.memory(instruction)
        name = _BINARY.get(mnemonic)
        if name is not None:
            return self._binary(function, i, name, Load(memory), memory.size)
        step = {Mnemonic.INC: "add", Mnemonic.DEC: "sub"}.get(mnemonic)
        if step is not None:
            return Binary(step, Load(memory), Const(1), memory.size)
        return _result_of(mnemonic)

    # ---- conditions

    def equality(self, function: Function, branch: int, taken: bool) -> Equality | None:
        """What holds on an edge of a conditional branch."""
        condition = function.instructions[branch].condition_code
        wanted = ConditionCode.E if taken else ConditionCode.NE
        if condition != wanted:
            return None
        for q in range(branch - 1, max(-1, branch - 1 - CONDITION_WINDOW), -1):
            if q + 1 in function.sources or not function.follows(q + 1):
                return None
            instruction = function.instructions[q]
            if instruction.mnemonic not in (Mnemonic.MOV, Mnemonic.LEA):
                return self._compared(instruction, q)
        return None

    def _compared(self, instruction: Instruction, q: int) -> Equality | None:
        """The register and constant that a flag-setting instruction compares."""
        if not instruction.op_count or instruction.op0_kind != OpKind.REGISTER:
            return None
        known = REGISTERS.get(instruction.op0_register)
        if known is None or known[2]:
            return None
        number, size, _ = known
        mnemonic = instruction.mnemonic
        if mnemonic == Mnemonic.TEST:
            same = instruction.op1_kind == OpKind.REGISTER
            if same and instruction.op1_register == instruction.op0_register:
                return Equality(number, 0, size, q)
        elif mnemonic == Mnemonic.CMP:
            if instruction.op1_kind in IMMEDIATES:
                value = instruction.immediate(1) & ((1 << 8 * size) - 1)
                return Equality(number, value, size, q)
        elif mnemonic in _ZERO_TESTS:
            return Equality(number, 0, size, q)
        return None


def _writes_vector(instruction: Instruction, register: int) -> bool:
    """Whether a vector register is the first operand."""
    has_operand = instruction.op_count and instruction.op0_kind == OpKind.REGISTER
    return bool(has_operand and instruction.op0_register == register)


def _clears(instruction: Instruction) -> bool:
    """`xorps x, x` and its like."""
    last = instruction.op_count - 1
    same = last > 0 and instruction.op_register(last) == instruction.op_register(last - 1)
    return bool(same) and instruction.mnemonic in _ZERO_IDIOMS


def is_same_register(instruction: Instruction) -> bool:
    """Whether both operands are the same register."""
    both = instruction.op0_kind == OpKind.REGISTER == instruction.op1_kind
    return bool(both and instruction.op0_register == instruction.op1_register)


def _most_counted(name: str, size: int) -> int:
    """The bits of a count that the processor looks at, as a mask; 0 for what counts nothing."""
    if name in _BIT_BY_BIT:
        return 8 * size - 1
    return (0x3F if size == 8 else 0x1F) if name in _SHIFTS else 0


def only_fills(instruction: Instruction) -> bool:
    """Whether an instruction does nothing, as what compilers and assemblers fill space with."""
    mnemonic = instruction.mnemonic
    if mnemonic in (Mnemonic.NOP, Mnemonic.INT3):
        return True
    if mnemonic == Mnemonic.LEA:
        no_index = instruction.memory_index == NONE
        same = instruction.memory_base == instruction.op0_register
        return bool(no_index and same and instruction.memory_displacement == 0)
    if mnemonic not in (Mnemonic.MOV, Mnemonic.XCHG) or not is_same_register(instruction):
        return False
    cuts = instruction.code_size == CodeSize.CODE64 and _operand_size(instruction, 0) == 4
    return not cuts  # on x64 this clears the upper half


def _operand_size(instruction: Instruction, n: int) -> int:
    """Size of an operand in bytes."""
    if instruction.op_kind(n) == OpKind.REGISTER:
        known = REGISTERS.get(instruction.op_register(n))
        return known[1] if known else 8
    return MemorySizeExt.size(instruction.memory_size)


def _signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value
