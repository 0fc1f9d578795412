"""What surely is no address in the frame, told by the instructions that make it.

Most registers through which code reads and writes point to objects. Asking the data flow for the
whole value would follow those into globals and callers, only to learn that they are no frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from hvci.binary.form.code import (
    CALLS,
    IMAGE_BASE,
    NO_REGISTER,
    Address,
    Binary,
    Choose,
    Const,
    Either,
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

if TYPE_CHECKING:
    from hvci.binary.flow.dataflow import Dataflow

MAX_COPIES = 4
"""Copies of the stack pointer, one of the other, through which a store is followed."""
_KEY, _ASKED = "frame addresses", "asked for frame addresses"
OFTEN = 24
"""Questions about a function that are worth a close look at it."""
Slots = frozenset[int] | None
"""Offsets of slots of a frame that may hold an address in it; None where any may."""
NOWHERE: Slots = frozenset()
Store = tuple[int, Memory, Slots]
"""Where it is, what it writes, and what `_made_of` tells of what it puts there."""


def is_elsewhere(flow: Dataflow, function: Function, i: int, register: int) -> bool:
    """Whether something that a register can hold before an instruction is no frame address.

    No memory but the frame holds an address in it: code that outlives its frame must not.
    """
    for slots in _sources(flow, function, i, register):
        if slots is not None and (not slots or _hold_none(_held(flow, function), slots)):
            return True
    return False


def _hold_none(held: Slots, slots: frozenset[int]) -> bool:
    return held is not None and held.isdisjoint(slots)


def _held(flow: Dataflow, function: Function) -> Slots:
    """Where in the frame a function may put addresses of it; None where that is not seen.

    Most functions are told by which registers ever hold one; of others who ask often are worth a
    close look.
    """
    cache = function.cache
    if _KEY not in cache:
        cache[_KEY] = _Puts(flow, function, is_close=False).find()
    if cache[_KEY] is None:
        asked = cache[_ASKED] = cache.get(_ASKED, 0) + 1
        if asked == OFTEN:
            cache[_KEY] = _Puts(flow, function, is_close=True).find()
    known: Slots = cache[_KEY]
    return known


# ---- what registers are made of


def _sources(flow: Dataflow, function: Function, i: int, register: int) -> Iterator[Slots]:
    """What a register is made of: for each definition the slots that it is loaded from.

    None where it may be a frame address by itself.
    """
    seen, work = set[tuple[int, int]](), [(i, register)]
    while work:
        place = work.pop()
        if place in seen:
            continue
        seen.add(place)
        for d in flow.reaching.made(function, *place):
            if not isinstance(d, int):
                yield NOWHERE
                continue
            source = _source(flow, function, d, place[1])
            if isinstance(source, int):
                work.append((d, source))
            else:
                yield source


def _source(flow: Dataflow, function: Function, d: int, register: int) -> Slots | int:
    """The register that an instruction copies, or moves by a number, into another one.

    Or reads through: only by a frame address one is read. Else what `_sources` tells of it.
    """
    arch = flow.arch
    if function.flows[d] in CALLS:
        return NOWHERE if register == arch.result and _is_others(flow, function, d) else None
    match arch.define(function, d, register):
        case Const() | ImageAddress() | Opaque():
            return NOWHERE
        case Load(memory):
            return _loaded(flow, function, d, memory)
        case Reg(number, _, 0) | Binary("add" | "sub", Reg(number, _, 0), Const()):
            return number if number != arch.stack_pointer else None
        case Address(memory) if memory.index_register == NO_REGISTER:
            return memory.base if memory.base not in (IMAGE_BASE, arch.stack_pointer) else None
    return None


def _loaded(flow: Dataflow, function: Function, d: int, memory: Memory) -> Slots | int:
    """The same of what is loaded from memory."""
    if memory.base == IMAGE_BASE and memory.index_register == NO_REGISTER:
        return NOWHERE
    if memory.base < 0 or memory.index_register != NO_REGISTER:
        return None
    if flow.frames.is_plain(function, d, memory):
        at = flow.frames.offset(function, d, memory)
        return None if at is None else frozenset((at,))
    return memory.base if _may_hold(flow, function, memory.base) else NOWHERE


def _is_others(flow: Dataflow, function: Function, d: int) -> bool:
    """Whether a call plainly goes to a routine of others, which returns no place in the frame."""
    if function.flows[d] == Flow.CALL:
        return flow.arch.direct_target(function, d) in flow.interprocedural.thunks
    match flow.arch.indirect_operand(function, d):
        case Load(Memory(base, index, _, rva, _)) if base == IMAGE_BASE and index == NO_REGISTER:
            return rva in flow.image.imports
    return False


def _may_hold(flow: Dataflow, function: Function, register: int) -> bool:
    """Whether a register holds a frame address anywhere in a function."""
    arch = flow.arch
    return register == arch.frame_pointer or arch.may_hold_stack_address(function, register)


# ---- what is put into the frame


class _Puts:
    """The stores of a function that may put frame addresses into the frame.

    A close look takes what reaches a store for what its registers hold, not what they ever do.
    """

    def __init__(self, flow: Dataflow, function: Function, is_close: bool) -> None:
        self.flow, self.function, self.is_close = flow, function, is_close

    def find(self) -> Slots:
        """The slots that they write; what is loaded from one of them counts, too."""
        found, stores = set[int](), [*self._stores()]
        while True:
            known, rest = len(found), list[Store]()
            for store in stores:
                p, memory, slots = store
                if not (_is_one(slots, found) and _is_one(self._base(p, memory), found)):
                    rest.append(store)
                    continue
                at = self._slot(p, memory)
                if at is None:
                    return None
                found.add(at)
            if len(found) == known:
                return frozenset(found)
            stores = rest

    def _stores(self) -> Iterator[Store]:
        """Those that may put something that is no number anywhere but into variables."""
        arch, function = self.flow.arch, self.function
        for p in arch.storing(function):
            effect = arch.effect(function, p)
            for n, memory in enumerate(effect.stores if not effect.fills else ()):
                is_wide = memory.size * 8 >= arch.bits
                if is_wide and any(
                    each >= 0 and _may_hold(self.flow, function, each) for each in memory[:2]
                ):
                    slots = self._made_of(p, arch.stored(function, p, n))
                    if slots is None or slots:
                        yield p, memory, slots

    def _made_of(self, p: int, expr: Expr) -> Slots:
        """The slots of which one holds a frame address where an expression is one.

        None where it may be one whatever they hold.
        """
        match expr:
            case Reg(number):
                return self._origin(p, number)
            case Load(memory):
                source = _loaded(self.flow, self.function, p, memory)
                return self._origin(p, source) if isinstance(source, int) else source
            case Address(memory):
                return self._base(p, memory)
            case Binary(_, left, right, _) | Either(left, right) | Choose(_, left, right):
                parts: tuple[Expr, ...] = (left, right)
            case Insert(old, new, _, _):
                parts = (old, new)
            case SignExtend(operand, _, _):
                parts = (operand,)
            case _:
                return NOWHERE
        return _united(self._made_of(p, each) for each in parts)

    def _base(self, i: int, memory: Memory) -> Slots:
        """The same of the registers of an operand."""
        return _united(self._origin(i, each) for each in memory[:2] if each >= 0)

    def _origin(self, i: int, register: int) -> Slots:
        """The same of a register."""
        if not _may_hold(self.flow, self.function, register):
            return NOWHERE
        operand = Memory(register, NO_REGISTER, 1, 0, 0)
        if not self.is_close or self.flow.frames.is_plain(self.function, i, operand):
            return None
        return _united(_sources(self.flow, self.function, i, register))

    def _slot(self, i: int, memory: Memory) -> int | None:
        """The slot that an operand names, by a copy of the stack pointer too; None for others.

        Asks nothing that asks for the slots.
        """
        flow, function = self.flow, self.function
        for _ in range(MAX_COPIES):
            if memory.base < 0 or memory.index_register != NO_REGISTER:
                return None
            if flow.frames.is_plain(function, i, memory):
                return flow.frames.offset(function, i, memory)
            made = flow.reaching.made(function, i, memory.base) if self.is_close else []
            if len(made) != 1 or not isinstance(made[0], int) or function.flows[made[0]] in CALLS:
                return None
            i = made[0]
            match flow.arch.define(function, i, memory.base):
                case Reg(number, _, 0):
                    memory = memory._replace(base=number)
                case Address(copied):
                    behind = copied.displacement + memory.displacement
                    memory = copied._replace(displacement=behind)
                case _:
                    return None
        return None


def _united(parts: Iterable[Slots]) -> Slots:
    found: set[int] = set()
    for each in parts:
        if each is None:
            return None
        found |= each
    return frozenset(found)


def _is_one(slots: Slots, held: set[int]) -> bool:
    """Whether what depends on some slots may be a frame address, where some hold one."""
    return slots is None or not held.isdisjoint(slots)
