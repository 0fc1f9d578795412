"""ARM64 instructions as expressions: what they put where, and what their conditions say.

Knows single instructions and, for addresses made in two steps (ADRP, then an offset), the ones
before them in the same block; knows nothing of callers, globals or DDIs.
"""

from __future__ import annotations

from hvci.binary.arch.arm64.clobbers import Clobbers
from hvci.binary.arch.arm64.encoding import SP, ZERO, written_registers
from hvci.binary.arch.arm64.scan.saved import NOT_KNOWN, SavedAddresses
from hvci.binary.arch.arm64.values import (
    NOT_FOLLOWED,
    bit_field,
    extract,
    logical_immediate,
    move_wide,
    outcomes,
    register,
    register_form,
    signed_immediate,
)
from hvci.binary.arch.arm64.words import (
    FP,
    access,
    branch_target,
    clears_vector,
    is_access,
    is_address_of_page,
    is_restore,
    literal_target,
    written_vector,
)
from hvci.binary.form.code import (
    IMAGE_BASE,
    NO_FALL_THROUGH,
    NO_REGISTER,
    Binary,
    Choose,
    Const,
    Either,
    Equality,
    Expr,
    Flow,
    Function,
    ImageAddress,
    Load,
    Memory,
    Opaque,
    Reg,
    SignExtend,
)

ADDRESS_WINDOW = 64
"""How many instructions may stand between ADRP and the use of its page."""
CALLEE_SAVED = (1 << 29) - (1 << 19)
"""Mask of x19 to x28."""
EPILOGUE = 16
"""Instructions of an epilogue."""
SAVED_FROM = 18
"""Calls preserve the registers from here on."""
PLAIN_LOAD_MASK, PLAIN_LOAD = 0xFFC00000, 0xF9400000
"""LDR of 64 bits at an offset from a register."""
CONDITION_WINDOW = 6
ZEROED_WINDOW = 64
_EQUAL, _NOT_EQUAL = 0, 1


class Arm64Lift:
    """Turns the instructions of one image into expressions."""

    def __init__(self, pages: SavedAddresses, clobbers: Clobbers) -> None:
        self.pages = pages
        self.clobbers = clobbers

    # ---- addresses

    def _maker(self, function: Function, i: int, number: int) -> int | None:
        """The instruction of the same block that made what a register holds."""
        sources, flows, words = function.sources, function.flows, function.instructions
        bit, is_lost = 1 << number, number < SAVED_FROM
        for q in range(i - 1, max(-1, i - 1 - ADDRESS_WINDOW), -1):
            if q + 1 in sources:
                return None
            flow = flows[q]
            if not flow:
                if written_registers(words[q]) & bit:
                    return q
            elif flow in NO_FALL_THROUGH or (is_lost and self._is_lost(function, q, bit)):
                return None
        return None

    def _is_lost(self, function: Function, q: int, bit: int) -> bool:
        """Whether instruction `q` is a call that may change a volatile register."""
        flow = function.flows[q]
        if flow != Flow.CALL:
            return flow == Flow.INDIRECT_CALL
        target = branch_target(function.instructions[q], function.rvas[q])
        return bool(self.clobbers.of(target) & bit)

    def base(self, function: Function, i: int, number: int) -> int | None:
        """RVA that a register holds when the same block made it from ADRP or ADR."""
        q = self._maker(function, i, number)
        if q is not None:
            return self._address(function, q, function.instructions[q], number)
        return self.saved_page(function, number) if CALLEE_SAVED >> number & 1 else None

    def saved_page(self, function: Function, number: int) -> int | None:
        """The page or address that a saved register holds all through the body of a function."""
        known: dict[int, int | None] = function.cache.setdefault("pages", {})
        if number not in known:
            known[number] = None  # for what asks again on the way
            made = {
                address
                for start, end in function.fragments
                for _, address in self.pages.within(start, end, number)
            }
            is_mixed = len(made) != 1 or NOT_KNOWN in made or self._mixed(function) >> number & 1
            held = None if is_mixed else made.pop()
            known[number] = (
                None if held is None or self._is_doubted(function, number, held) else held
            )
        return known[number]

    def _mixed(self, function: Function) -> int:
        """Mask of the saved registers into which a function puts something else than an address."""
        known: int | None = function.cache.get("mixed")
        if known is None:
            known, words, rvas = 0, function.instructions, function.rvas
            for q, mask in saved_writers(function):
                if mask & ~known and not is_address_of_page(words[q]) and not restores(function, q):
                    known |= 0 if rvas[q] in self.pages.sums else mask
            function.cache["mixed"] = known
        return known

    def _is_doubted(self, function: Function, number: int, address: int) -> bool:
        """Whether a sum in a saved register may be another address than the words before it say."""
        for start, end in function.fragments:
            for place, _ in self.pages.within(start, end, number):
                q = function.find(place)
                word = function.instructions[q] if q is not None else 0
                is_sum = q is not None and not is_address_of_page(word)
                if is_sum and self._address(function, q or 0, word, number) != address:
                    return True
        return False

    def call_target(self, function: Function, i: int) -> Expr:
        """The register of an indirect call, or the global that the same block loaded it from."""
        number = function.instructions[i] >> 5 & 31
        q = self._maker(function, i, number)
        if q is not None and is_access(function.instructions[q]):
            loaded = self.define(function, q, number)
            if isinstance(loaded, Load) and loaded.memory.base == IMAGE_BASE:
                return loaded
        return Reg(number)

    def _address(self, function: Function, q: int, word: int, number: int) -> int | None:
        """RVA that instruction `q` leaves in a register."""
        if word & 0x1F000000 == 0x10000000:
            return literal_target(word, function.rvas[q])
        if word & 0xBF800000 == 0x91000000:  # ADD, SUB of an immediate
            held = self.base(function, q, word >> 5 & 31)
            return None if held is None else held + signed_immediate(word)
        if is_access(word) and access(word).step and word >> 5 & 31 == number:
            held = self.base(function, q, number)
            return None if held is None else held + (access(word).step or 0)
        return self._reloaded(function, word) if word >> 5 & 31 in (SP, FP) else None

    def _reloaded(self, function: Function, word: int) -> int | None:
        """The page that the only store to a slot of the frame puts there, for a load from it.

        No variable of a program holds a page.
        """
        if not is_access(word) or not access(word).is_load or access(word).is_vector:
            return None
        memory = access(word).memories[0]
        near = [
            (q, register if each == memory else NO_REGISTER)
            for q, register, each in _saved(function)
            if each.base == memory.base
            and each.displacement < memory.displacement + memory.size
            and memory.displacement < each.displacement + each.size
        ]
        if len(near) != 1 or near[0][1] == NO_REGISTER:
            return None
        q = self._maker(function, *near[0])
        word = function.instructions[q] if q is not None else 0
        return literal_target(word, function.rvas[q or 0]) if is_address_of_page(word) else None

    def memory(self, function: Function, i: int, memory: Memory) -> Memory:
        """A memory operand, relative to the image where its base is known to be."""
        if memory.base in (SP, FP, NO_REGISTER):
            return memory
        held = self.base(function, i, memory.base)
        if held is None:
            return memory
        _, index, scale, displacement, size = memory
        return Memory(IMAGE_BASE, index, scale, held + displacement, size)

    # ---- values

    def define(self, function: Function, i: int, number: int) -> Expr:
        """What instruction `i` puts into a register that it changes."""
        word = function.instructions[i]
        kind = word >> 25 & 15
        if kind >> 1 == 4:
            return self._immediate(function, i, word)
        if kind & 5 == 4:
            return self._loaded(function, i, word, number)
        if word & 0x1FE00000 == 0x1A800000:
            return self._select(function, i, word, 8 if word >> 31 else 4)
        if kind & 7 == 5:
            return register_form(word)
        return NOT_FOLLOWED

    def _immediate(self, function: Function, i: int, word: int) -> Expr:
        size = 8 if word >> 31 else 4
        match word >> 23 & 7:
            case 0 | 1:
                return ImageAddress(literal_target(word, function.rvas[i]))
            case 2:
                return self._sum(function, i, word, size)
            case 4:
                return logical_immediate(word, size)
            case 5:
                return move_wide(word, size)
            case 6:
                return bit_field(word, size)
            case 7:
                return extract(word, size)
        return NOT_FOLLOWED

    def _sum(self, function: Function, i: int, word: int, size: int) -> Expr:
        """ADD and SUB of an immediate; the source may be the stack pointer."""
        number = word >> 5 & 31
        if size == 8 and number not in (SP, FP):
            held = self.base(function, i, number)
            if held is not None:
                return ImageAddress(held + signed_immediate(word))
        amount = signed_immediate(word)
        if not amount:
            return Reg(number, size)
        return Binary("add" if amount > 0 else "sub", Reg(number, size), Const(abs(amount)), size)

    def _loaded(self, function: Function, i: int, word: int, number: int) -> Expr:
        moved = access(word)
        if moved.is_load and not moved.is_vector:
            for target, memory in zip(moved.registers, moved.memories, strict=True):
                if target == number:
                    return self._load(function, i, memory, moved.extends_to)
        if number in moved.swapped:
            return self._load(function, i, moved.memories[0], 0)
        if moved.step and moved.memories[0].base == number:
            return Binary("add", Reg(number), Const(moved.step & (1 << 64) - 1), 8)
        return NOT_FOLLOWED

    def _load(self, function: Function, i: int, memory: Memory, extends_to: int) -> Expr:
        if memory.base == NO_REGISTER:
            target = literal_target(function.instructions[i], function.rvas[i])
            value = Load(Memory(IMAGE_BASE, NO_REGISTER, 1, target, memory.size))
        else:
            value = Load(self.memory(function, i, memory))
        return SignExtend(value, memory.size, extends_to) if extends_to else value

    def stored(self, function: Function, i: int, n: int) -> Expr:
        """What instruction `i` stores into the `n`-th memory operand of its effect."""
        moved = access(function.instructions[i])
        if n >= len(moved.registers):
            return Opaque("a store that is not followed")
        if moved.is_vector:
            return self._vector(function, i, moved.registers[n])
        return register(moved.registers[n], moved.memories[n].size)

    def _vector(self, function: Function, i: int, number: int) -> Expr:
        """A vector register: only one that was just cleared or loaded is known."""
        for q in range(i - 1, max(-1, i - ZEROED_WINDOW), -1):
            if q + 1 in function.sources or function.flows[q] != Flow.NEXT:
                break
            word = function.instructions[q]
            moved = access(word) if is_access(word) and word >> 26 & 1 else None
            if moved is None and written_vector(word) == number:
                return Const(0) if clears_vector(word) else Opaque("a vector register")
            if moved is not None and moved.is_load and number in moved.registers:
                return self._vector_load(function, q, moved.memories[moved.registers.index(number)])
            if moved is not None and not moved.registers:
                break  # several may be loaded
        return Opaque("a vector register")

    def _vector_load(self, function: Function, i: int, memory: Memory) -> Expr:
        """A constant of the image moved into a vector register."""
        loaded = self._load(function, i, memory, 0)
        is_known = isinstance(loaded, Load) and loaded.memory.base == IMAGE_BASE
        return loaded if is_known else Opaque("a vector register")

    # ---- conditions

    def equality(self, function: Function, branch: int, taken: bool) -> Equality | None:
        """What holds on an edge of a conditional branch."""
        word = function.instructions[branch]
        if word & 0x7E000000 == 0x34000000:  # CBZ, CBNZ
            if bool(word >> 24 & 1) == taken or word & 31 == ZERO:
                return None
            return Equality(word & 31, 0, 8 if word >> 31 else 4, branch)
        wanted = _EQUAL if taken else _NOT_EQUAL
        if word >> 24 != 0x54 or word & 15 != wanted:
            return None
        return self._comparison(function, branch)

    def _comparison(self, function: Function, i: int) -> Equality | None:
        """What holds when the flags say "equal" at instruction `i`."""
        for q in range(i - 1, max(-1, i - 1 - CONDITION_WINDOW), -1):
            if q + 1 in function.sources or not function.follows(q + 1):
                return None
            before = function.instructions[q]
            if function.flows[q] != Flow.NEXT or before >> 25 & 7 == 7 or before >> 22 == 0x354:
                return None
            if sets_flags(before):
                return _compared(before, q)
        return None

    def _select(self, function: Function, i: int, word: int, size: int) -> Expr:
        """CSEL and its like; both outcomes when the condition is no equality."""
        chosen, other = outcomes(word, size)
        condition = word >> 12 & 15
        if condition <= _NOT_EQUAL:
            compared = self._comparison(function, i)
            if compared and _only_compares(function.instructions[compared.since]):
                if condition == _NOT_EQUAL:
                    chosen, other = other, chosen
                return Choose(compared, chosen, other)
        return Either(chosen, other)


def _saved(function: Function) -> list[tuple[int, int, Memory]]:
    """(instruction, register, slot) of the stores to the frame at the stack or frame pointer."""
    known: list[tuple[int, int, Memory]] | None = function.cache.get("saved")
    if known is None:
        known = function.cache["saved"] = []
        for q, word in enumerate(function.instructions):
            if word >> 5 & 31 in (SP, FP) and is_access(word) and access(word).is_store:
                moved = access(word)
                registers = moved.registers or (NO_REGISTER,)
                known += [(q, *each) for each in zip(registers, moved.memories, strict=False)]
    return known


def saved_writers(function: Function) -> list[tuple[int, int]]:
    """(instruction, mask of the saved registers that it changes), calls apart."""
    known: list[tuple[int, int]] | None = function.cache.get("saved writers")
    if known is None:
        known = function.cache["saved writers"] = [
            (q, mask)
            for q, word in enumerate(function.instructions)
            if (mask := written_registers(word) & CALLEE_SAVED)
        ]
    return known


def restores(function: Function, q: int) -> bool:
    """Whether an instruction takes saved registers back from the stack, right before the end."""
    if not is_restore(function.instructions[q]):
        return False
    for k in range(q + 1, min(q + 1 + EPILOGUE, len(function.flows))):
        flow = function.flows[k]
        if flow:
            leaves = flow == Flow.JUMP and k not in function.jumps
            return leaves or flow in (Flow.RETURN, Flow.INDIRECT_JUMP)
    return False


# ---- conditions


def sets_flags(word: int) -> bool:
    """Whether a word of the integer classes changes the condition flags."""
    if word & 0x1F000000 in (0x11000000, 0x0B000000):  # ADDS, SUBS
        return bool(word >> 29 & 1)
    if word & 0x1F800000 == 0x12000000 or word & 0x1F000000 == 0x0A000000:  # ANDS, BICS
        return word >> 29 & 3 == 3
    carry_or_compare = word & 0x1FE00000 in (0x1A000000, 0x1A400000)
    return bool(carry_or_compare or (word & 0x1FE00000 == 0x1AC00000 and word >> 29 & 1))


def _only_compares(word: int) -> bool:
    """CMP, CMN, TST: the compared register keeps its value, and nothing else decides."""
    return word & 31 == ZERO and word & 0x1FE00000 not in (0x1A000000, 0x1A400000)


def _compared(word: int, q: int) -> Equality | None:
    """The register and constant that a flag-setting instruction compares."""
    size, target, left = 8 if word >> 31 else 4, word & 31, word >> 5 & 31
    if word & 0x1FE00000 == 0x1A400000:  # CCMP with an immediate, unequal when not done
        done = word >> 11 & 1 and word >> 30 & 1 and not word & 4
        return Equality(left, word >> 16 & 31, size, q) if done and left != ZERO else None
    if word & 0x1FE00000 == 0x1A000000:
        return None
    is_sum = word & 0x1F000000 == 0x11000000
    if is_sum and target != left:
        value = -signed_immediate(word) & ((1 << 8 * size) - 1)
        return Equality(left, value, size, q) if left != SP else None
    if target != ZERO:
        return Equality(target, 0, size, q)
    second = word >> 16 & 31
    is_plain = word & 0x0000FC00 == 0 and second == left and left != ZERO
    if word & 0x1F200000 == 0x0A000000 and is_plain:  # tst x, x
        return Equality(left, 0, size, q)
    if word & 0x1F200000 == 0x0B000000 and second == ZERO and left != ZERO:
        return Equality(left, 0, size, q)
    return None
