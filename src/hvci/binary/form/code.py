"""Machine code in terms that every architecture shares: functions, flow, effects, expressions.

The architectures (arch/) fill these types; the data flow (flow/) reads nothing else. Registers
are small numbers given by the architecture; a `Location` is a register or a stack slot.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator, Sequence
from enum import IntEnum
from itertools import compress, count
from typing import Any, NamedTuple, NewType, Protocol

import numpy as np
import numpy.typing as npt

from hvci.binary.form.moves import Moves

Location = NewType("Location", int)
"""A register number, or a stack slot made by `slot`."""

_SLOT_ZERO, _LOW_BYTE = 1 << 40, 1 << 20
FIRST_SLOT = _SLOT_ZERO >> 1
"""Less than any stack slot and more than any register, as a location."""
NO_REGISTER = -1
IMAGE_BASE = -2
"""As the base of a `Memory`: its displacement is an RVA."""


def slot(offset: int) -> Location:
    """The stack slot at an offset from the stack pointer at function entry, in bytes."""
    return Location(_SLOT_ZERO + offset)


def is_slot(location: Location) -> bool:
    """Whether a location is a stack slot."""
    return location > FIRST_SLOT


def slot_offset(location: Location) -> int:
    """The offset of a stack slot."""
    return location - _SLOT_ZERO


def low_byte(register: int) -> Location:
    """The low byte of a register alone: its other bytes may be anything."""
    return Location(_LOW_BYTE | register)


def is_low_byte(location: Location) -> bool:
    """Whether a location is the low byte of a register."""
    return bool(location & _LOW_BYTE) and not is_slot(location)


def register_of(location: Location) -> int:
    """The register of a location that is no stack slot."""
    return location & ~_LOW_BYTE


class Flow(IntEnum):
    """What an instruction does to the flow of control."""

    NEXT = 0
    JUMP = 1
    BRANCH = 2
    INDIRECT_JUMP = 3
    CALL = 4
    INDIRECT_CALL = 5
    RETURN = 6
    STOP = 7


def any_of(*flows: Flow) -> bytes:
    """A mask for `Function.where`."""
    return bytes(flow in flows for flow in range(256))


DIRECT_JUMP, INDIRECT_JUMP = any_of(Flow.JUMP, Flow.BRANCH), any_of(Flow.INDIRECT_JUMP)
BY_POINTER = frozenset((Flow.INDIRECT_CALL, Flow.INDIRECT_JUMP))
ANY_POINTER_CALL = any_of(Flow.INDIRECT_JUMP, Flow.CALL, Flow.INDIRECT_CALL)
CALLS = frozenset((Flow.CALL, Flow.INDIRECT_CALL))
NO_FALL_THROUGH = frozenset((Flow.JUMP, Flow.INDIRECT_JUMP, Flow.RETURN, Flow.STOP))


class Memory(NamedTuple):
    """A memory operand; `size` is in bytes."""

    base: int
    index_register: int
    scale: int
    displacement: int
    size: int


class Const(NamedTuple):
    """A constant."""

    value: int


class Reg(NamedTuple):
    """`size` bytes of a register, `shift` bits up."""

    number: int
    size: int = 8
    shift: int = 0


class Load(NamedTuple):
    """What memory holds."""

    memory: Memory


class Address(NamedTuple):
    """The address that a memory operand names."""

    memory: Memory


class ImageAddress(NamedTuple):
    """The address of an RVA."""

    rva: int


class Binary(NamedTuple):
    """Arithmetic in `size` bytes; names as in atoms.py."""

    name: str
    left: Expr
    right: Expr
    size: int


class Either(NamedTuple):
    """One of two, depending on something that is not followed."""

    left: Expr
    right: Expr


class Equality(NamedTuple):
    """A register that equals a constant on one edge of a conditional branch.

    `since` is the index of the instruction that compared it.
    """

    register: int
    constant: int
    size: int
    since: int


class Edge(NamedTuple):
    """Registers that equal a constant of `size` bytes on one edge of a conditional branch."""

    registers: frozenset[int]
    constant: int
    size: int


class Choose(NamedTuple):
    """`equal` when a register was equal to a constant before the comparison, else `other`."""

    comparison: Equality
    equal: Expr
    other: Expr


class Condition(NamedTuple):
    """A comparison, before instruction `since`, that decides what an instruction does.

    The name is that of a relation: eq, ne, then u or s for the sign and lt, le, gt, ge; neg and pos
    are about the difference.
    """

    name: str
    left: Expr
    right: Expr
    size: int
    since: int
    guard: Condition | None = None
    """What must hold for the comparison to be made at all."""
    otherwise: bool = False
    """What the instruction finds where it is not made."""


class Insert(NamedTuple):
    """`old` with `size` bytes replaced, `shift` bits up."""

    old: Expr
    new: Expr
    size: int
    shift: int


class SignExtend(NamedTuple):
    """Sign extension between sizes in bytes."""

    operand: Expr
    from_size: int
    to_size: int


class Opaque(NamedTuple):
    """Something that is not followed, and why."""

    why: str


Expr = (
    Const
    | Reg
    | Load
    | Address
    | ImageAddress
    | Binary
    | Either
    | Choose
    | Insert
    | SignExtend
    | Opaque
)


class Effect(NamedTuple):
    """What an instruction changes: registers as a bit mask, and memory operands written."""

    registers: int
    stores: tuple[Memory, ...] = ()
    fills: bool = False
    """A string instruction: it writes from its operand upwards, how far is not known."""


class Function:
    """One decoded function; instructions are named by index, in the order of their RVAs."""

    __slots__ = (
        "cache",
        "edges",
        "effects",
        "ends",
        "entry",
        "flows",
        "fragments",
        "frames",
        "indirect_jumps",
        "instructions",
        "joins",
        "jumps",
        "kind",
        "rvas",
        "sources",
        "start",
        "stores_back",
        "targets",
        "touches",
        "walked_back",
    )

    def __init__(self, start: int, fragments: Sequence[tuple[int, int]], kind: str) -> None:
        self.start = start
        self.fragments = fragments
        self.kind = kind
        """How its bounds are known: "unwind", "start" or "gap"; a "stretch" holds several."""
        self.instructions: list[Any] = []
        self.rvas: Sequence[int] = []
        self.ends: dict[int, int] = {}
        """RVA behind the last instruction of each fragment, by its index."""
        self.flows = b""
        """A `Flow` for each instruction."""
        self.entry = 0
        self.targets: dict[int, int] = {}
        """Target RVA of direct jumps and branches, by instruction index."""
        self.jumps: dict[int, int] = {}
        """Index of the target of those that stay in the function, by instruction index."""
        self.sources: dict[int, list[int]] = {}
        """Indices of the jumps that lead to an instruction: direct ones first, then by table."""
        self.indirect_jumps: list[int] = []
        self.effects: dict[int, Effect] = {}
        self.edges: dict[int, Edge | None] = {}
        """What holds where branch `p` falls through (key 2 p) and where it jumps (2 p + 1)."""
        self.frames: dict[int, Callable[[], Any]] = {}
        """What reads the frame of each fragment from the exception data, by its start."""
        self.keep()

    def keep(self) -> None:
        """Make room for what is worked out once."""
        self.cache: dict[Any, Any] = {}
        """Anything that an analysis wants to keep with the function."""
        self.walked_back: dict[int, tuple[int, int]] = {}
        """How far straight code was walked back from a place, and the registers written there."""
        self.stores_back: dict[int, tuple[int, list[int]]] = {}
        """Where straight code without calls before a place begins, and its stores to the frame."""
        self.joins: dict[int, Any] = {}
        """How control comes to places where straight code begins."""
        self.touches: dict[int, Any] = {}
        """Where in the frame instructions store."""

    def forget(self) -> None:
        """Drop what was worked out, which may refer back to the function."""
        self.cache.clear()
        self.joins.clear()

    def link(self, targets: dict[int, int]) -> None:
        """Note the direct jumps once the instructions are there."""
        self.entry = self.find(self.start) or 0
        self.targets = targets
        rvas, sources, jumps = self.rvas, self.sources, self.jumps
        first, last = (rvas[0], rvas[-1]) if rvas else (1, 0)
        for source, rva in targets.items():
            if not first <= rva <= last:
                continue
            target = bisect_left(rvas, rva)
            if rvas[target] == rva:
                jumps[source] = target
                if target in sources:
                    sources[target].append(source)
                else:
                    sources[target] = [source]

    def where(self, mask: bytes) -> list[int]:
        """Indices of the instructions with some flows."""
        return list(compress(count(), self.flows.translate(mask)))

    def find(self, rva: int) -> int | None:
        """Index of the instruction that starts at an RVA; None when none does."""
        i = bisect_left(self.rvas, rva)
        return i if i < len(self.rvas) and self.rvas[i] == rva else None

    def end(self, i: int) -> int:
        """The RVA behind instruction `i`."""
        return self.ends[i] if i in self.ends else self.rvas[i + 1]

    def falls_through(self, i: int) -> bool:
        """Whether control can go from instruction `i` to the next one."""
        return self.flows[i] not in NO_FALL_THROUGH

    def follows(self, i: int) -> bool:
        """Whether instruction `i - 1` lies right before instruction `i` and falls through to it."""
        return (
            i > 0
            and self.flows[i - 1] not in NO_FALL_THROUGH
            and (i - 1 not in self.ends or self.ends[i - 1] == self.rvas[i])
        )

    def predecessors(self, i: int) -> list[int]:
        """Indices of the instructions that control can come from."""
        found = list(self.sources.get(i, ()))
        if self.follows(i):
            found.append(i - 1)
        return found


class Architecture(Protocol):
    """What dataflow asks of an architecture."""

    bits: int
    stack_pointer: int
    frame_pointer: int
    result: int
    """The register of a return value."""
    parameter_registers: tuple[int, ...]
    entry_registers: frozenset[int]
    """Registers that carry something of the caller into a function."""
    count_register: int
    """Holds how many elements a block copy or fill writes; below 0 where there is no such."""
    volatile: int
    """Mask of the registers that a call destroys."""

    def function(self, start: int, fragments: list[tuple[int, int]], kind: str) -> Function:
        """The function that lies in some stretches of code."""

    def boundaries(self, code: bytes, start: int) -> Iterator[int]:
        """RVAs of the instructions of a stretch of code that starts at an RVA, sorted."""

    def effect(self, function: Function, i: int) -> Effect:
        """What instruction `i` changes."""

    def changes(self, function: Function, i: int) -> Effect:
        """The same where only the registers matter: what it stores may be less exact."""

    def names(self, function: Function, i: int, registers: int) -> bool:
        """Whether instruction `i` may read, store or change one of some registers (a mask)."""

    def reads(self, function: Function, i: int) -> tuple[int, int]:
        """Masks of the registers read as the base of memory, and of those read otherwise."""

    def only_compares(self, function: Function, i: int) -> bool:
        """Whether an instruction makes nothing but flags, or a branch, of what it reads."""

    def storing(self, function: Function) -> list[int]:
        """Indices of the instructions that can store something, calls apart."""

    def moves(self, function: Function) -> Moves:
        """The copies and stores of whole registers in a function."""

    def define(self, function: Function, i: int, register: int) -> Expr:
        """What instruction `i` puts into a register that it changes."""

    def stored(self, function: Function, i: int, n: int = 0) -> Expr:
        """What instruction `i` stores into the `n`-th memory operand of its effect."""

    def equality(self, function: Function, branch: int, taken: bool) -> Equality | None:
        """What holds on an edge of a conditional branch."""

    def condition(self, function: Function, i: int) -> Condition | None:
        """What makes branch `i` jump, or an instruction that chooses choose the second of two.

        None where that is not followed.
        """

    def never_returns(self, function: Function, i: int) -> bool:
        """Whether call `i` goes to what its bytes show never to return."""

    def is_padding(self, function: Function, i: int) -> bool:
        """Whether an instruction that nothing leads to only fills space."""

    def direct_target(self, function: Function, i: int) -> int:
        """Target RVA of a direct call, jump or branch."""

    def indirect_operand(self, function: Function, i: int) -> Expr:
        """Where an indirect call or jump goes."""

    dispatch_register: int
    """Where Control Flow Guard's dispatch function expects the target."""
    return_address_size: int
    """Bytes that a call pushes."""

    def arguments_above(self, is_call: bool) -> int:
        """Slots between the stack pointer and the slot of argument 0, at a call or tail jump.

        Below 0 where the arguments in registers have no slots.
        """

    loads_call_targets: bool
    """Whether a call through memory is a load first and then a call through a register."""

    def other_operands(self, function: Function, i: int) -> Iterator[Memory]:
        """Memory that is read into no general register, or whose address is taken."""

    def hands_on(self, function: Function, i: int, registers: int = 0, alone: bool = False) -> bool:
        """Whether what instruction `i` puts into all or some (a mask) registers goes elsewhere.

        And sums of it with constants, unless it is the address of something `alone`.
        """

    def goes_on(self, function: Function, i: int) -> int:
        """The register (a mask) that the callee of a direct call or jump only goes on through.

        0 where it does something else, or where such calls are taken to be through the register.
        """

    def may_read(self, function: Function, i: int, registers: int) -> bool:
        """Whether instruction `i` may read one of some registers (a mask), calls apart."""

    def use_behind(self, function: Function, i: int, registers: int) -> int | None:
        """The first instruction behind `i` that changes the flow of control.

        None when some registers (a mask) are changed, copied or stored before, or where not asked.
        """

    def pushes_constant(self, function: Function, i: int, value: int) -> bool:
        """Whether instruction `i` pushes or stores a constant."""

    def taken_addresses(self, function: Function) -> Iterator[tuple[int, Memory]]:
        """Every instruction that takes the address of a frame location, with that location."""

    def may_hold_stack_address(self, function: Function, register: int) -> bool:
        """Whether the function ever puts an address of its frame into the register."""

    def numbers(self, low: int, high: int) -> npt.NDArray[np.int64]:
        """Every number from one to before another that code may add to a pointer, sorted."""

    def may_fill(self, slots: Collection[int]) -> Ahead:
        """What tells whether code soon fills memory; `slots` are of the imports that do."""


class Ahead(Protocol):
    """Tells at a glance what may stand behind an instruction."""

    def behind(self, place: int) -> bool:
        """Whether what is looked for may stand behind what names an address at a place."""

    def has_index(self, place: int) -> bool:
        """Whether a register is added to the operand at a place."""
