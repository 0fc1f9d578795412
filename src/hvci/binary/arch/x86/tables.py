"""Which table an indirect jump of x64 or x86 code goes through, in the shapes of compilers.

A jump through memory has the table in its operand. A jump through a register has a load from the
table right before it; on x64 the address of the image, of the table or of a label is added then,
and that may have been made long before. Everything else is a tail call, and has no table.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from iced_x86 import Instruction, MemorySize, Mnemonic, OpKind

from hvci.binary.arch.x86.lift import NONE, REGISTERS
from hvci.binary.form.code import Flow, Function
from hvci.binary.form.jumptables import MAX_JUMPS, JumpTables, Table

WINDOW = 16
"""Instructions before a jump, and again before the load, that are looked at."""
MAX_ADDRESSES = 8
"""Addresses tried where the one that a register holds is not made nearby."""
_FIRST_PAGE = 0x1000
"""No offset in a structure of tables is so large, and no table lies before it."""
_OFFSET = 4
"""Bytes of an entry that is added to something, where not eight."""
_WIDE = (MemorySize.UINT64, MemorySize.INT64)
_KEEPS = frozenset((Mnemonic.CMP, Mnemonic.TEST, Mnemonic.PUSH))
_ON_THE_WAY = frozenset((Flow.NEXT, Flow.BRANCH))
Found = list[tuple[int, Table]]


def find_tables(tables: JumpTables, function: Function) -> Found:
    """(indirect jump, table) of all jumps through tables."""
    finder = _Finder(tables, function)
    jumps = function.indirect_jumps
    return [(j, table) for j in jumps for table in finder.of(j)] if len(jumps) <= MAX_JUMPS else []


class _Finder:
    """Looks at the jumps of one function."""

    def __init__(self, tables: JumpTables, function: Function) -> None:
        self.tables = tables
        self.image = tables.image
        self.function = function
        self.is_64 = tables.image.bits == 64
        self._leas: dict[int, list[int]] | None = None

    def of(self, j: int) -> list[Table]:
        """The tables that jump `j` may go through."""
        jump = self.function.instructions[j]
        if jump.op0_kind == OpKind.MEMORY:
            return self._absolute(jump, j) if jump.is_jmp_near_indirect else []
        if jump.op0_kind != OpKind.REGISTER:
            return []
        register = _number(jump.op0_register)
        made = self._made(j, register)
        if made is None:
            return []
        instruction = self.function.instructions[made]
        if instruction.mnemonic == Mnemonic.ADD:
            return self._relative(instruction, made, register)
        if instruction.mnemonic == Mnemonic.MOV and instruction.op1_kind == OpKind.MEMORY:
            return self._absolute(instruction, made)
        return []

    def _made(self, i: int, register: int) -> int | None:
        """The last instruction before `i` that changes a register, in the code that leads there."""
        instructions, flows = self.function.instructions, self.function.flows
        for p in range(i - 1, max(-1, i - 1 - WINDOW), -1):
            if flows[p] not in _ON_THE_WAY:
                return None
            instruction = instructions[p]
            if _number(instruction.op0_register) == register and instruction.mnemonic not in _KEEPS:
                return p
        return None

    def _fits(self, table: Table) -> bool:
        """Whether what may be a table looks like one."""
        return self.tables.leads_into(self.function, table)

    # ---- addresses in the table

    def _absolute(self, instruction: Instruction, i: int) -> list[Table]:
        """The tables of addresses that the memory operand of instruction `i` names."""
        base, index = instruction.memory_base, instruction.memory_index
        if index == NONE and (self.is_64 or base == NONE):
            return []
        if index == NONE and not instruction.memory_displacement:
            return self._at_sum(i, _number(base))
        size, scale = self.image.bits // 8, instruction.memory_index_scale
        stride = scale if index != NONE and scale > size else size
        displacement = instruction.memory_displacement
        starts, is_sure = [displacement - self.image.base], True
        if self.is_64:
            held, is_sure = self._values(i, _number(base))
            starts = [each + displacement for each in held]
        found = [
            Table(start & 0xFFFFFFFF, size, stride, -self.image.base, is_signed=False)
            for start in starts
        ]
        return [table for table in found if is_sure or self._fits(table)]

    def _at_sum(self, i: int, register: int) -> list[Table]:
        """The table of addresses that an index was added to, as in `add eax, table` on x86."""
        made = self._made(i, register)
        if made is None:
            return []
        instruction = self.function.instructions[made]
        if instruction.mnemonic == Mnemonic.ADD and instruction.op1_kind == OpKind.IMMEDIATE32:
            start = instruction.immediate32 - self.image.base
        elif instruction.mnemonic == Mnemonic.LEA and instruction.memory_index != NONE:
            start = instruction.memory_displacement - self.image.base
        else:
            return []
        table = Table(start & 0xFFFFFFFF, 4, 4, -self.image.base, is_signed=False)
        return [table] if self._fits(table) else []

    # ---- offsets in the table

    def _relative(self, add: Instruction, i: int, register: int) -> list[Table]:
        """The tables of which entries are added to an address by instruction `i`."""
        other = _number(add.op1_register) if add.op1_kind == OpKind.REGISTER else -1
        load = i if add.op1_kind == OpKind.MEMORY else self._load(i, register, other)
        if load is None:
            return []
        instruction = self.function.instructions[load]
        if instruction.memory_index == NONE:  # an entry, or the address, from the frame
            load = self._load(i, register, other)
            if load is None:
                return []
            instruction = self.function.instructions[load]
        displacement = instruction.memory_displacement
        if displacement >= 1 << 63:
            displacement -= 1 << 64
        size = 8 if instruction.memory_size in _WIDE else _OFFSET
        by_rva = Table(displacement, size, size, 0)
        if displacement >= _FIRST_PAGE and self._fits(by_rva):
            return [by_rva]
        loaded = _number(instruction.op0_register)
        added = other if loaded == register and load != i else register
        bases = {_number(instruction.memory_base)}
        if instruction.memory_index_scale == 1:  # either of both is the index
            bases.add(_number(instruction.memory_index))
        return [
            table
            for base in sorted(bases)
            for table in self._sums(load, i, base, added, displacement, size)
        ]

    def _load(self, i: int, *registers: int) -> int | None:
        """The last load of an entry into one of some registers before `i`."""
        instructions, flows = self.function.instructions, self.function.flows
        for p in range(i - 1, max(-1, i - 1 - WINDOW), -1):
            instruction = instructions[p]
            if flows[p] not in _ON_THE_WAY:
                return None
            if instruction.memory_index == NONE or instruction.op1_kind != OpKind.MEMORY:
                continue
            if instruction.mnemonic not in (Mnemonic.MOV, Mnemonic.MOVSXD):
                continue
            if _number(instruction.op0_register) in registers:
                return p
        return None

    def _sums(
        self, load: int, i: int, register: int, added: int, displacement: int, size: int
    ) -> Iterator[Table]:
        """Tables at what one register holds at the load, with what another holds at the sum."""
        starts, is_near = self._values(load, register)
        if register == added and self._made(i, added) == self._made(load, added):
            pairs = [(start, start) for start in starts]
        else:
            bases, is_near_too = self._values(i, added)
            pairs, is_near = list(product(starts, bases)), is_near and is_near_too
        for start, base in pairs:
            table = Table(start + displacement, size, size, base)
            if is_near or self._fits(table):
                yield table

    def _values(self, i: int, register: int) -> tuple[list[int], bool]:
        """The RVAs that a register may hold before `i`; whether it certainly does, made nearby.

        Where it is not, each that the function ever puts there; each of all for no register.
        """
        made = self._made(i, register)
        if (
            made is not None
            and (rva := self._address(self.function.instructions[made])) is not None
        ):
            is_joined = any(p in self.function.sources for p in range(made + 1, i + 1))
            if not is_joined:
                return [rva], True
        if self._leas is None:
            self._leas = {-1: []}
            for instruction in self.function.instructions:
                rva = self._address(instruction)
                if rva is not None:
                    for each in (_number(instruction.op0_register), -1):
                        self._leas.setdefault(each, []).append(rva)
        found = self._leas.get(register, self._leas[-1])
        return sorted(set(found))[:MAX_ADDRESSES], False

    def _address(self, instruction: Instruction) -> int | None:
        """The RVA that x64 LEA makes, or MOV of a constant of eight bytes."""
        if instruction.mnemonic == Mnemonic.LEA and instruction.is_ip_rel_memory_operand:
            return int(instruction.ip_rel_memory_address) & 0xFFFFFFFF
        if instruction.mnemonic == Mnemonic.MOV and instruction.op1_kind == OpKind.IMMEDIATE64:
            rva = int(instruction.immediate64) - self.image.base
            return rva if 0 <= rva < self.image.size else None
        return None


def _number(register: int) -> int:
    """The number of a general register; -1 for others, and for none."""
    known = REGISTERS.get(register)
    return known[0] if known is not None else -1
