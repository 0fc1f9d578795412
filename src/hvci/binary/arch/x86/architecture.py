"""x64 and x86 machine code through iced-x86: instructions to effects and expressions.

Knows single instructions and their neighbours; knows nothing of callers, globals or DDIs.
Register numbers are those of the encoding: rax 0, rcx 1, rdx 2, rbx 3, rsp 4, ... r15 15.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import cache
from itertools import compress, count
from operator import attrgetter
from typing import NamedTuple

from iced_x86 import (
    Decoder,
    FlowControl,
    Instruction,
    InstructionInfoFactory,
    MemorySizeExt,
    Mnemonic,
    OpAccess,
    OpKind,
    Register,
)

from hvci.binary.arch.x86.ahead import GlancesX86
from hvci.binary.arch.x86.direct.dispatchers import DISPATCHED, NOT_DISPATCHED
from hvci.binary.arch.x86.direct.endings import let_breakpoints_go_on, never_returns
from hvci.binary.arch.x86.direct.named_calls import direct_target
from hvci.binary.arch.x86.direct.outlined import Outlined
from hvci.binary.arch.x86.fields import numbers
from hvci.binary.arch.x86.lift import (
    FRAME_BASES,
    IMMEDIATES,
    NONE,
    R8,
    R9,
    R10,
    R11,
    RAX,
    RBP,
    RCX,
    RDI,
    RDX,
    REGISTERS,
    RSP,
    X86Lift,
    only_fills,
)
from hvci.binary.arch.x86.reads import reads
from hvci.binary.arch.x86.stack.framepointer import MASKS, frame_registers, points_frame
from hvci.binary.arch.x86.tables import find_tables
from hvci.binary.form.code import (
    CALLS,
    DIRECT_JUMP,
    IMAGE_BASE,
    INDIRECT_JUMP,
    NO_REGISTER,
    Condition,
    Effect,
    Equality,
    Expr,
    Flow,
    Function,
    Load,
    Memory,
    Reg,
)
from hvci.binary.form.jumptables import JumpTables
from hvci.binary.form.moves import Moves
from hvci.binary.form.references import Rvas
from hvci.binary.pe.image import PeImage

_FLOW_OF = {
    FlowControl.NEXT: Flow.NEXT,
    FlowControl.UNCONDITIONAL_BRANCH: Flow.JUMP,
    FlowControl.INDIRECT_BRANCH: Flow.INDIRECT_JUMP,
    FlowControl.CONDITIONAL_BRANCH: Flow.BRANCH,
    FlowControl.RETURN: Flow.RETURN,
    FlowControl.CALL: Flow.CALL,
    FlowControl.INDIRECT_CALL: Flow.INDIRECT_CALL,
    FlowControl.INTERRUPT: Flow.STOP,
    FlowControl.XBEGIN_XABORT_XEND: Flow.NEXT,
    FlowControl.EXCEPTION: Flow.STOP,
}
_FLOWS = bytes(_FLOW_OF[control] for control in sorted(_FLOW_OF)).ljust(256, b"\0")
"""By iced's number of a kind of flow, which counts from 0."""
_READS = frozenset(
    (
        OpAccess.READ,
        OpAccess.COND_READ,
        OpAccess.READ_WRITE,
        OpAccess.READ_COND_WRITE,
    )
)
_WRITES = frozenset(
    (
        OpAccess.WRITE,
        OpAccess.COND_WRITE,
        OpAccess.READ_WRITE,
        OpAccess.READ_COND_WRITE,
    )
)
_STACK_POINTERS = frozenset((Register.RSP, Register.ESP))
_RVA, _FLOW = attrgetter("ip32"), attrgetter("flow_control")
_MNEMONIC = attrgetter("mnemonic")
_CHOICES = frozenset(n for name, n in vars(Mnemonic).items() if name.startswith("CMOV"))
_MOVES = _CHOICES | {Mnemonic.MOV, Mnemonic.XCHG, Mnemonic.CMPXCHG}
_COMPARING = frozenset((Mnemonic.CMP, Mnemonic.TEST))
_FACTORY = InstructionInfoFactory()


class _Shape(NamedTuple):
    """What all instructions of one encoding have in common."""

    implicit: int
    writes0: bool
    writes1: bool
    pushes: bool
    fills: bool
    effects: list[Effect]
    """Effects by iced's number of the first operand's register, where nothing else is written."""


_SHAPES: dict[int, _Shape] = {}


@cache
def _plain_effect(mask: int) -> Effect:
    """The effect of an instruction that changes registers only."""
    return Effect(mask)


@cache
def _push_effect(mask: int, size: int) -> Effect:
    """The effect of an instruction that pushes so many bytes."""
    return Effect(mask, (Memory(RSP, NO_REGISTER, 1, -size, size),))


@cache
def _plain_effects(implicit: int, writes0: bool) -> list[Effect]:
    """The same by iced's number of the register that is the first operand."""
    return [_plain_effect(implicit | (mask if writes0 else 0)) for mask in MASKS]


def _learn(instruction: Instruction) -> _Shape:
    """Ask iced once per encoding; explicit operands are looked at anew for each instruction."""
    info = _FACTORY.info(instruction)
    written = [register for register in info.used_registers() if register.access in _WRITES]
    writes0, writes1 = info.op0_access in _WRITES, info.op1_access in _WRITES
    explicit = 0
    for number, writes in enumerate((writes0, writes1)):
        if writes and instruction.op_kind(number) == OpKind.REGISTER:
            known = REGISTERS.get(instruction.op_register(number))
            explicit |= 1 << known[0] if known else 0
    numbers = {REGISTERS[item.register][0] for item in written if item.register in REGISTERS}
    implicit = sum(1 << number for number in numbers) & ~explicit
    pushes = instruction.mnemonic in (Mnemonic.PUSH, Mnemonic.PUSHFQ, Mnemonic.PUSHFD)
    fills = instruction.is_string_instruction and any(
        memory.access in _WRITES for memory in info.used_memory()
    )
    is_plain = not (writes1 or pushes or fills)
    effects = _plain_effects(implicit, writes0) if is_plain else []
    shape = _Shape(implicit, writes0, writes1, pushes, fills, effects)
    _SHAPES[instruction.code] = shape
    return shape


class X86:
    """The architecture of x64 and x86 code in one image."""

    stack_pointer = RSP
    frame_pointer = RBP
    result = RAX
    dispatch_register = RAX
    loads_call_targets = False

    def __init__(self, image: PeImage) -> None:
        self.image = image
        self.bits = image.bits
        self.lift = X86Lift(image)
        self.tables = JumpTables(image)
        is_64 = image.bits == 64
        self.parameter_registers: tuple[int, ...] = (RCX, RDX, R8, R9) if is_64 else ()
        self.entry_registers = frozenset((RCX, RDX, R8, R9) if is_64 else (RAX, RCX, RDX))
        self.count_register = RCX
        clobbered = (RAX, RCX, RDX, R8, R9, R10, R11) if is_64 else (RAX, RCX, RDX)
        self.volatile = sum(1 << register for register in clobbered)
        self.return_address_size = image.bits // 8
        self._call = Effect(self.volatile)
        kept = (1 << (16 if image.bits == 64 else 8)) - 1 & ~self.volatile & ~(1 << RSP)
        self._outlined = Outlined(image, kept)
        self._check = Effect(self.volatile & ~(1 << RCX))

    def function(self, start: int, fragments: list[tuple[int, int]], kind: str) -> Function:
        """A function with its instructions."""
        function = Function(start, fragments, kind)
        self.decode(function)
        return function

    def decode(self, function: Function) -> None:
        """Fill in the instructions of a function."""
        memory = self.image.memory
        found: list[Instruction] = []
        for start, end in function.fragments:
            found += Decoder(self.bits, bytes(memory[start:end]), ip=start)
            if found:
                function.ends[len(found) - 1] = found[-1].next_ip32
        function.instructions = found
        function.rvas = list(map(_RVA, found))
        function.flows = bytes(map(_FLOW, found)).translate(_FLOWS)
        if Flow.INDIRECT_JUMP in function.flows:
            function.indirect_jumps = function.where(INDIRECT_JUMP)
        branches = function.where(DIRECT_JUMP)
        function.link({i: found[i].near_branch_target & 0xFFFFFFFF for i in branches})
        if Flow.STOP in function.flows:
            let_breakpoints_go_on(self.image, function)
        if function.kind != "stretch":
            self.note_tables(function)

    def note_tables(self, function: Function) -> None:
        """Make indirect jumps the sources of the labels in their tables."""
        if function.indirect_jumps:
            self.tables.note(function, find_tables(self.tables, function))

    def boundaries(self, code: bytes, start: int) -> Iterator[int]:
        """One pass that keeps no instruction."""
        return map(_RVA, Decoder(self.bits, code, ip=start))

    def names(self, function: Function, i: int, registers: int) -> bool:
        """Any instruction may: its effect says more."""
        return True

    def may_read(self, function: Function, i: int, registers: int) -> bool:
        """As iced says."""
        return any(
            used.access in _READS and registers >> REGISTERS[used.register][0] & 1
            for used in _FACTORY.info(function.instructions[i]).used_registers()
            if used.register in REGISTERS
        )

    def storing(self, function: Function) -> list[int]:
        """Indices of the instructions that can store something, calls apart."""
        return [i for i, flow in enumerate(function.flows) if flow not in CALLS]

    def moves(self, function: Function) -> Moves:
        """The copies and stores of whole registers in a function."""
        found, instructions = Moves({}, []), function.instructions
        chosen = bytes(map(_MOVES.__contains__, map(_MNEMONIC, instructions)))
        for i in compress(count(), chosen):
            instruction = instructions[i]
            source, target = instruction.op1_register, instruction.op0_register
            if source not in REGISTERS:
                continue
            if target in REGISTERS:
                both = REGISTERS[source][0], REGISTERS[target][0]
                found.copies[i] = both[: 1 + (instruction.mnemonic in _CHOICES)], both[1]
            elif not target:
                found.stores.append((i, REGISTERS[source][0]))
        return found

    def other_operands(self, function: Function, i: int) -> Iterator[Memory]:
        """Memory that is read into no general register or whose address is taken."""
        instruction = function.instructions[i]
        if instruction.mnemonic in _COMPARING:
            return
        for n in range(instruction.op_count):
            kind = instruction.op_kind(n)
            if kind == OpKind.MEMORY:
                yield self.lift.memory(instruction)
            elif self.bits == 32 and kind in IMMEDIATES:
                rva = (instruction.immediate(n) - self.image.base) & 0xFFFFFFFF
                yield Memory(IMAGE_BASE, NO_REGISTER, 1, rva, 0)
            elif kind == OpKind.IMMEDIATE64:
                rva = (instruction.immediate64 - self.image.base) & 0xFFFFFFFFFFFFFFFF
                yield Memory(IMAGE_BASE, NO_REGISTER, 1, rva, 0)

    def operand_places(self, function: Function, i: int) -> set[int]:
        """RVAs where the displacement and the immediates of an instruction stand."""
        rva, end = function.rvas[i], function.end(i)
        decoder = Decoder(self.bits, bytes(self.image.memory[rva:end]), ip=rva)
        fields = decoder.get_constant_offsets(decoder.decode())
        offsets = {
            fields.displacement_offset,
            fields.immediate_offset,
            fields.immediate_offset2,
        }
        return {rva + offset for offset in offsets if offset}

    def named_by(self, function: Function, i: int, place: int) -> int | None:
        """The RVA that the field at a place in an instruction names alone; None for others."""
        if place not in self.operand_places(function, i):
            return None
        instruction = function.instructions[i]
        if instruction.is_ip_rel_memory_operand:
            return int(instruction.ip_rel_memory_address)
        if self.bits == 64:
            value = int.from_bytes(self.image.memory[place : place + 8], "little")
            return self.image.relocated(place, value)
        return (self.image.u32(place) - self.image.base) & 0xFFFFFFFF

    def only_compares(self, function: Function, i: int) -> bool:
        """Whether an instruction changes nothing but flags."""
        return function.instructions[i].mnemonic in _COMPARING

    def hands_on(self, function: Function, i: int, registers: int = 0, alone: bool = False) -> bool:
        """Any instruction that makes an address may hand it on."""
        return True

    def goes_on(self, function: Function, i: int) -> int:
        """Such calls are through the register here."""
        return 0

    def reads(self, function: Function, i: int) -> tuple[int, int]:
        """Masks of the registers read as the base of memory, and of those read otherwise."""
        return reads(function.instructions[i])

    def direct_target(self, function: Function, i: int) -> int:
        """Target RVA of a direct call, jump or branch."""
        return direct_target(function, i)

    # ---- effects

    def use_behind(self, function: Function, i: int, registers: int) -> int | None:
        """Never asked: calls take their targets from memory."""
        return None

    def effect(self, function: Function, i: int) -> Effect:
        """What instruction `i` changes."""
        known = function.effects.get(i)
        if known is None:
            known = self._effect(function, i)
            function.effects[i] = known
        return known

    changes = effect

    def _effect(self, function: Function, i: int) -> Effect:
        instruction = function.instructions[i]
        if function.flows[i] in CALLS:
            if function.flows[i] == Flow.CALL:
                changed = self._outlined.changed(self.direct_target(function, i))
                return Effect(self.volatile | changed) if changed else self._call
            return self._check if self._is_guard_check(instruction) else self._call
        shape = _SHAPES.get(instruction.code) or _learn(instruction)
        first = instruction.op0_register if shape.writes0 else NONE
        if shape.effects and (first or not shape.writes0):
            return shape.effects[first]
        mask = shape.implicit | MASKS[first]
        stores: tuple[Memory, ...] = ()
        if shape.writes0 and not first and instruction.op0_kind == OpKind.MEMORY:
            stores = (self.lift.memory(instruction),)
        if shape.writes1 and instruction.op1_kind == OpKind.REGISTER:
            mask |= MASKS[instruction.op1_register]
        if shape.pushes:
            return _push_effect(mask, self.bits // 8)
        if shape.fills:
            size = MemorySizeExt.size(instruction.memory_size)
            return Effect(mask, (Memory(RDI, NO_REGISTER, 1, 0, size),), fills=True)
        return Effect(mask, stores) if stores else _plain_effect(mask)

    def _is_guard_check(self, instruction: Instruction) -> bool:
        """Control Flow Guard's check keeps the target in RCX."""
        slot = self.image.guard_check
        if slot < 0 or instruction.op0_kind != OpKind.MEMORY:
            return False
        if self.bits == 64:
            return instruction.is_ip_rel_memory_operand and (
                instruction.ip_rel_memory_address == slot
            )
        memory = self.lift.memory(instruction)
        return memory.base == IMAGE_BASE and memory.displacement == slot

    # ---- expressions

    def define(self, function: Function, i: int, register: int) -> Expr:
        """What instruction `i` puts into a register that it changes."""
        return self.lift.define(function, i, register)

    def stored(self, function: Function, i: int, n: int = 0) -> Expr:
        """What instruction `i` stores into memory."""
        return self.lift.stored(function, i)

    def indirect_operand(self, function: Function, i: int) -> Expr:
        """Where an indirect call or jump goes, behind what only goes on to a register."""
        dispatched = function.cache.get(DISPATCHED, NOT_DISPATCHED).get(i)
        if dispatched is not None:
            return Reg(dispatched, self.bits // 8)
        operand = self.lift.operand(function, i, 0)
        if self.image.guard_dispatches and isinstance(operand, Load):
            memory = operand.memory
            if memory.base == IMAGE_BASE and memory.displacement in self.image.guard_dispatches:
                return Reg(self.dispatch_register)
        return operand

    def equality(self, function: Function, branch: int, taken: bool) -> Equality | None:
        """What holds on an edge of a conditional branch."""
        return self.lift.equality(function, branch, taken)

    def condition(self, function: Function, i: int) -> Condition | None:
        """What makes an instruction jump or choose."""
        from hvci.binary.arch.x86.flags.conditions import condition  # few images ask

        return condition(self.lift, function, i)

    def is_padding(self, function: Function, i: int) -> bool:
        """Whether an instruction that nothing leads to only fills space."""
        return only_fills(function.instructions[i])

    def never_returns(self, function: Function, i: int) -> bool:
        """Whether a call goes to what its bytes show never to return."""
        return never_returns(self.image, function.instructions[i])

    def arguments_above(self, is_call: bool) -> int:
        """Slots below argument 0: the return address, once it is pushed."""
        return 0 if is_call else 1

    def pushes_constant(self, function: Function, i: int, value: int) -> bool:
        """Whether instruction `i` pushes or stores a constant."""
        instruction = function.instructions[i]
        return any(
            instruction.op_kind(n) in IMMEDIATES and instruction.immediate(n) & 0xFFFFFFFF == value
            for n in range(instruction.op_count)
        )

    def taken_addresses(self, function: Function) -> Iterator[tuple[int, Memory]]:
        """Every LEA of a frame location, and every copy of the stack pointer but a frame's.

        And every copy of the frame pointer: a handler gets the frame so.
        """
        for i, instruction in enumerate(function.instructions):
            mnemonic = instruction.mnemonic
            if mnemonic == Mnemonic.LEA and instruction.memory_base in FRAME_BASES:
                taken = self.lift.memory(instruction)
            elif (
                mnemonic == Mnemonic.MOV
                and instruction.op1_register in FRAME_BASES
                and instruction.op0_register in REGISTERS
                and instruction.op0_register not in _STACK_POINTERS
            ):
                base = REGISTERS[instruction.op1_register][0]
                taken = Memory(base, NO_REGISTER, 1, 0, self.bits // 8)
            else:
                continue
            if not points_frame(function, i):
                yield i, taken

    def may_hold_stack_address(self, function: Function, register: int) -> bool:
        """Whether the function ever puts an address of its frame into the register."""
        mask = function.cache.get("frame registers")
        if mask is None:
            mask = function.cache["frame registers"] = frame_registers(function)
        return bool(mask >> register & 1)

    def numbers(self, low: int, high: int) -> Rvas:
        """Every number from one to before another that code holds in four bytes."""
        return numbers(self.image, low, high)

    def may_fill(self, slots: Collection[int]) -> GlancesX86:
        """What tells by the instructions ahead whether code fills memory."""
        return GlancesX86(self.image, slots)
