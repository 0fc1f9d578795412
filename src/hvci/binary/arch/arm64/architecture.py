"""ARM64 machine code: instructions to effects and expressions, by bit masks.

Knows single instructions and their neighbours; knows nothing of callers, globals or DDIs.
Register numbers are those of the encoding: x0 to x30, and 31 for the stack pointer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import islice

from hvci.binary.arch.arm64.clobbers import PARAMETERS, Clobbers, most_arguments
from hvci.binary.arch.arm64.depth import is_used_again
from hvci.binary.arch.arm64.encoding import (
    SP,
    VOLATILE,
    ZERO,
    flow_of,
    named_registers,
    remembered,
    written_registers,
)
from hvci.binary.arch.arm64.function import UnreadFunctionArm64
from hvci.binary.arch.arm64.lift import (
    CALLEE_SAVED,
    Arm64Lift,
    restores,
    saved_writers,
)
from hvci.binary.arch.arm64.reads import only_compares, reads
from hvci.binary.arch.arm64.scan.address_uses import Walk
from hvci.binary.arch.arm64.scan.ahead import GlancesArm64, numbers
from hvci.binary.arch.arm64.scan.saved import SavedAddresses
from hvci.binary.arch.arm64.steps import STEPS
from hvci.binary.arch.arm64.words import FP, NOP, access, branch_target, is_access
from hvci.binary.form.code import (
    CALLS,
    IMAGE_BASE,
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
from hvci.binary.form.step import NOT_FOLLOWED
from hvci.binary.form.straight import uses
from hvci.binary.pe.image import PeImage

_CLOBBERED_BY_CHECK = 1 << 16 | 1 << 17 | 1 << 30
_WHOLE = frozenset((0xA9, 0xF8, 0xF9))
"""The first byte of loads and stores of whole registers."""
_COPY, _COPY_MASK = 0xAA0003E0, 0xFFE0FFE0
"""MOV of a 64-bit register."""
_COPY_OF_FP = _COPY | FP << 16
_CHOICE, _CHOICE_MASK = 0x9A800000, 0xFFE00C00
"""CSEL of 64-bit registers."""

MAX_STRAIGHT = 4
"""Instructions at the start of a callee that are looked at."""
_ARGUMENTS = (1 << PARAMETERS) - 1
"""The registers (a mask) of the arguments."""


class Arm64:
    """The architecture of ARM64 code in one image."""

    bits = 64
    stack_pointer = SP
    frame_pointer = FP
    result = 0
    dispatch_register = 15
    parameter_registers = tuple(range(PARAMETERS))
    entry_registers = frozenset(range(PARAMETERS + 1))
    count_register = NO_REGISTER
    volatile = VOLATILE
    return_address_size = 0
    loads_call_targets = True

    def __init__(self, image: PeImage) -> None:
        self.image = image
        self.tables = JumpTables(image)
        self.clobbers = Clobbers(image)
        self.lift = Arm64Lift(SavedAddresses(image), self.clobbers)
        self._call = Effect(VOLATILE)
        self._check = Effect(_CLOBBERED_BY_CHECK)
        dispatched = 1 << self.dispatch_register if image.guard_dispatches else 0
        self._read_by_call = _ARGUMENTS | dispatched
        """The registers (a mask) that a call through a pointer may read."""

    def function(self, start: int, fragments: list[tuple[int, int]], kind: str) -> Function:
        """A function, which reads its words when they are asked for; it has one fragment."""
        return UnreadFunctionArm64(self.tables, start, fragments[0], kind)

    def boundaries(self, code: bytes, start: int) -> Iterator[int]:
        """Every word."""
        return iter(range(start, start + len(code) - 3, 4))

    def direct_target(self, function: Function, i: int) -> int:
        """Target RVA of a direct call, jump or branch."""
        return branch_target(function.instructions[i], function.rvas[i])

    # ---- effects

    def effect(self, function: Function, i: int) -> Effect:
        """What instruction `i` changes."""
        effects = function.effects
        if i in effects:
            return effects[i]
        flow = function.flows[i]
        if flow not in CALLS:
            known = _plain_effect(function.instructions[i])
            if known.stores:
                known = self._store(function, i, known)
        elif flow == Flow.INDIRECT_CALL:
            known = self._check if self._is_check(function, i) else self._call
        else:
            changed = self.clobbers.of(self.direct_target(function, i))
            known = self._call if changed == VOLATILE else Effect(changed)
        effects[i] = known
        return known

    def changes(self, function: Function, i: int) -> Effect:
        """The same where only the registers matter: where it stores is left to who asks for it."""
        if function.flows[i] in CALLS:
            return self.effect(function, i)
        return _plain_effect(function.instructions[i])

    def _store(self, function: Function, i: int, plain: Effect) -> Effect:
        """The effect of a store, relative to the image where its base is known to be."""
        first = plain.stores[0]
        held = self.lift.memory(function, i, first)
        if held is first:
            return plain
        delta = held.displacement - first.displacement
        memories = tuple(
            memory._replace(base=IMAGE_BASE, displacement=memory.displacement + delta)
            for memory in plain.stores
        )
        return Effect(plain.registers, memories, plain.fills)

    def _is_check(self, function: Function, i: int) -> bool:
        """Whether an indirect call goes to the check of control flow guard."""
        slot = self.image.guard_check
        if slot < 0:
            return False
        if _is_load_of(self.lift.call_target(function, i), slot):
            return True
        number = function.instructions[i] >> 5 & 31
        if not CALLEE_SAVED >> number & 1:
            return False
        return bool(self._check_registers(function) >> number & 1)

    def _check_registers(self, function: Function) -> int:
        """Mask of the saved registers that hold the check all through the function's body."""
        known: int | None = function.cache.get("check registers")
        if known is None:
            loaded = others = 0
            for q, mask in saved_writers(function):
                word = function.instructions[q]
                if function.flows[q] in CALLS or restores(function, q):
                    continue
                is_check = is_access(word) and _is_load_of(
                    self.lift.define(function, q, word & 31), self.image.guard_check
                )
                loaded, others = (loaded | mask, others) if is_check else (loaded, others | mask)
            known = function.cache["check registers"] = loaded & ~others
        return known

    def reads(self, function: Function, i: int) -> tuple[int, int]:
        """Masks of the registers read as the base of memory, and of those read otherwise."""
        return reads(function.instructions[i])

    def only_compares(self, function: Function, i: int) -> bool:
        """Whether an instruction makes nothing but flags, or a branch, of what it reads."""
        return only_compares(function.instructions[i])

    # ---- short cuts

    def names(self, function: Function, i: int, registers: int) -> bool:
        """Whether instruction `i` may read, store or change one of some registers (a mask)."""
        word = function.instructions[i]
        return bool(named_registers(word) & registers)

    def storing(self, function: Function) -> list[int]:
        """Indices of the instructions that can store something, calls apart."""
        words = enumerate(function.instructions)
        return [i for i, word in words if is_access(word) and access(word).is_store]

    def moves(self, function: Function) -> Moves:
        """The copies and stores of whole registers in a function."""
        copies: dict[int, tuple[tuple[int, ...], int]] = {}
        for i, word in enumerate(function.instructions):
            if word & _COPY_MASK == _COPY:
                copies[i] = (word >> 16 & 31,), word & 31
            elif word & _CHOICE_MASK == _CHOICE:
                copies[i] = (word >> 16 & 31, word >> 5 & 31), word & 31
        stores = [
            (i, expr.number)
            for i in self.storing(function)
            for n in range(len(self.effect(function, i).stores))
            if isinstance(expr := self.stored(function, i, n), Reg)
        ]
        return Moves(copies, stores)

    def other_operands(self, function: Function, i: int) -> Iterator[Memory]:
        """Memory that is read into vector registers, or at an index that is not known.

        Compilers keep the address of a slot and load through it: that is no use of its own.
        """
        word = function.instructions[i]
        moved = access(word) if is_access(word) else None
        if moved is None or not moved.is_load:
            return
        for memory in moved.memories:
            if moved.is_vector or memory.index_register != NO_REGISTER:
                held = self.lift.memory(function, i, memory)
                yield held._replace(index_register=NO_REGISTER)

    def hands_on(self, function: Function, i: int, registers: int = 0, alone: bool = False) -> bool:
        """Whether what instruction `i` puts into registers may go to others, or be called."""
        known: dict[tuple[int, int, bool], bool] = function.cache.setdefault("handed on", {})
        key = i, registers, alone
        if key not in known:
            word = function.instructions[i]
            is_moved = is_access(word) and access(word).step is not None
            made = 1 << (word >> 5 & 31) if is_moved else written_registers(word)
            known[key] = Walk(function, self._touched, alone).run(i, registers or made)
        return known[key]

    def _touched(self, function: Function, k: int) -> tuple[int, int]:
        """The registers (masks) that a call or jump changes, and those that it may read.

        Where a jump goes that is none through a slot is not known: it may read all.
        """
        changed, flow = self.effect(function, k).registers, function.flows[k]
        if flow in (Flow.CALL, Flow.JUMP):
            named = self.clobbers.may_read(self.direct_target(function, k))
            return changed, named & _ARGUMENTS | self.goes_on(function, k)
        if flow == Flow.INDIRECT_CALL and not changed >> self.result & 1:
            return changed, 0  # the check of a target hands nothing on
        target = self.lift.call_target(function, k)
        if not isinstance(target, Load):
            return changed, self._read_by_call if flow == Flow.INDIRECT_CALL else -1
        item = self.image.imports.get(target.memory.displacement)
        most = most_arguments(item.name) if item is not None else PARAMETERS
        return changed, (1 << most) - 1 & _ARGUMENTS

    def goes_on(self, function: Function, i: int) -> int:
        """The register (a mask) that the callee of a direct call or jump only goes on through."""
        register = self.clobbers.goes_on(self.direct_target(function, i))
        return 0 if register is None else 1 << register

    def may_read(self, function: Function, i: int, registers: int) -> bool:
        """By the fields of its word: all that it names, or the one that goes to vectors."""
        word = function.instructions[i]
        named = 1 << (word >> 5 & 31) if word >> 25 & 7 == 7 else named_registers(word)
        return bool(named & registers)

    def use_behind(self, function: Function, i: int, registers: int) -> int | None:
        """The first instruction behind `i` that changes the flow of control.

        None when some of the registers (a mask) are changed, copied or stored before.
        """
        behind = islice(function.instructions, i + 1, None)
        for n, used, _ in uses(behind, STEPS, registers):
            if used.flow:
                return i + n
            copied = [each.source for each in used.moves if not each.amount]
            copied += [each.register for each in used.stores if each.register != NOT_FOLLOWED]
            if used.written & registers or any(registers >> each & 1 for each in copied):
                return None
        return None

    # ---- expressions

    def define(self, function: Function, i: int, register: int) -> Expr:
        """What instruction `i` puts into a register that it changes."""
        return self.lift.define(function, i, register)

    def stored(self, function: Function, i: int, n: int = 0) -> Expr:
        """What instruction `i` stores into the `n`-th memory operand of its effect."""
        return self.lift.stored(function, i, n)

    def indirect_operand(self, function: Function, i: int) -> Expr:
        """Where an indirect call or jump goes."""
        return self.lift.call_target(function, i)

    def equality(self, function: Function, branch: int, taken: bool) -> Equality | None:
        """What holds on an edge of a conditional branch."""
        return self.lift.equality(function, branch, taken)

    def condition(self, function: Function, i: int) -> Condition | None:
        """What makes an instruction jump or choose."""
        from hvci.binary.arch.arm64.conditions import condition  # few images ask

        return condition(function, i)

    # ---- frames

    def is_padding(self, function: Function, i: int) -> bool:
        """Whether an instruction that nothing leads to only fills space."""
        return function.instructions[i] == NOP or function.flows[i] == Flow.STOP

    def never_returns(self, function: Function, i: int) -> bool:
        """Whether a call goes to code that runs straight into a trap."""
        if function.flows[i] != Flow.CALL:
            return False
        start = self.direct_target(function, i)
        for rva in range(start, start + 4 * MAX_STRAIGHT, 4):
            word = self.image.u32(rva)
            flow = flow_of(word)
            if flow != Flow.NEXT:
                return flow == Flow.STOP and word != 0  # zeros may be filled at run time
        return False

    def arguments_above(self, is_call: bool) -> int:
        """The ninth argument is the first in memory, right at the stack pointer."""
        return -PARAMETERS

    def pushes_constant(self, function: Function, i: int, value: int) -> bool:
        """ARM64 has no instruction that stores a constant but zero."""
        return False

    def taken_addresses(self, function: Function) -> Iterator[tuple[int, Memory]]:
        """Every ADD to, or SUB from, the stack or frame pointer into another register.

        Also into the frame pointer, where it is used for other things as well.

        And every copy of the frame pointer: a handler gets the frame so.
        """
        for i, word in enumerate(function.instructions):
            if word & ~31 & 0xFFFFFFFF == _COPY_OF_FP and word & 31 not in (FP, ZERO):
                yield i, Memory(FP, NO_REGISTER, 1, 0, 8)
            if word & 0xBF800000 != 0x91000000 or word & 31 == SP:
                continue
            if word & 31 == FP and not is_used_again(function):
                continue
            base = word >> 5 & 31
            if base in (SP, FP):
                amount = word >> 10 & 0xFFF
                amount = -amount if word >> 30 & 1 else amount
                yield i, Memory(base, NO_REGISTER, 1, amount, 8)

    def may_hold_stack_address(self, function: Function, register: int) -> bool:
        """Whether the function ever puts an address of its frame into the register."""
        mask = function.cache.get("frame registers")
        if mask is None:
            mask = _frame_registers(function)
            function.cache["frame registers"] = mask
        return bool(mask >> register & 1)

    def numbers(self, low: int, high: int) -> Rvas:
        """Every number from one to before another that code adds to a register or base."""
        return numbers(self.image, low, high)

    def may_fill(self, slots: Collection[int]) -> GlancesArm64:
        """What tells by the words ahead whether code fills memory."""
        return GlancesArm64(self.image, slots)


@remembered
def _plain_effect(word: int) -> Effect:
    """What a word that is no call changes, relative to its registers."""
    if is_access(word):
        moved = access(word)
        if moved.is_store:
            return Effect(written_registers(word), moved.memories, moved.fills)
    return _changing(written_registers(word))


@remembered
def _changing(registers: int) -> Effect:
    """The effect of what changes some registers (a mask) and nothing else."""
    return Effect(registers)


def _is_load_of(expr: Expr, rva: int) -> bool:
    """Whether an expression is the content of a global."""
    if not isinstance(expr, Load) or expr.memory.index_register != NO_REGISTER:
        return False
    return expr.memory.base == IMAGE_BASE and expr.memory.displacement == rva


def _frame_registers(function: Function) -> int:
    """The registers (a mask) into which sums with, and copies of, the stack pointer are put.

    One pass in code order; also out of places in the frame that they are stored into.
    """
    mask, kept = 1 << SP, set[tuple[int, int]]()
    for word in function.instructions:
        if word >> 24 in _WHOLE and mask >> (word >> 5 & 31) & 1 and mask != 1 << SP:
            mask |= _kept_in_frame(word, mask, kept)
        elif mask & _address_sources(word):
            mask |= 1 << (word & 31)
    return mask


def _address_sources(word: int) -> int:
    """The registers (a mask) whose address a word may pass on to its first one, changed or not."""
    first, second = 1 << (word >> 5 & 31), 1 << (word >> 16 & 31)
    if word & 0xBF800000 == 0x91000000 or word & 0x9F800000 == 0x92000000:
        return first
    is_extended = word & 0xBFE00000 == 0x8B200000
    if is_extended:  # register 31 is the stack pointer here, and the zero register elsewhere
        return first | second & ~(1 << SP)
    is_sum, is_logical = word & 0xBF200000 == 0x8B000000, word & 0x9F000000 == 0x8A000000
    if is_sum or is_logical or word & 0xBFE00000 == 0x9A800000:
        return (first | second) & ~(1 << SP)
    return 0


def _kept_in_frame(word: int, mask: int, kept: set[tuple[int, int]]) -> int:
    """The registers (a mask) that get frame addresses (in a mask) out of places in the frame.

    Where it stores such an address the place is noted.
    """
    moved, found = access(word), 0
    for memory, register in zip(moved.memories, moved.registers, strict=False):
        place = memory.base, memory.displacement
        if moved.is_store and mask >> register & 1 and register != ZERO:
            kept.add(place)
        elif moved.is_load and place in kept:
            found |= 1 << register
    return found
