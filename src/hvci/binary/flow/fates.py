"""What becomes of a pointer: what is written and read through it, and who gets it.

Knows offsets from where the pointer points, not what that is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from hvci.binary.flow import atoms
from hvci.binary.form.code import (
    FIRST_SLOT,
    NO_REGISTER,
    Address,
    Binary,
    Const,
    Either,
    Expr,
    Function,
    Insert,
    Load,
    Location,
    Memory,
    Reg,
    SignExtend,
    is_slot,
    slot_offset,
)
from hvci.catalog.memory import BLOCK_ROUTINES, PUT, TEXT_ROUTINES
from hvci.catalog.prototypes import Prototype, prototype, x86_bytes

MOVING = 1 << 40
"""As what was added to a pointer: anything, as in a loop over what it points to."""
SINKING = -MOVING
"""The same of a loop that comes down from where the pointer points."""
ANY_SIZE = -1
"""As the size of a write: it goes upwards, how far is not known."""

DOWNWARDS = -2
"""As the size of a write: it goes downwards, how far is not known."""

OBJECT_REACH = 0x100
"""How far upwards from its start an object may reach, in bytes."""
BACK_REACH = 0x40
"""How far behind something a pointer may lie from which code comes back to it, in bytes.

The end of an array from which a loop counts down, or a link in a list of structures.
"""

WITHIN_OBJECT = "a callee in an object"
"""As the name of who gets a pointer by the address of what holds it."""
STACK_ARGUMENTS = 16
"""Arguments in memory that a callee may have."""
X86_SLOT = 4
"""Bytes of an argument on the x86 stack."""

Place = tuple[Function, int]
Held = frozenset[tuple[Location, int]]
"""Locations that hold the pointer, each with what was added to it."""


class Write(NamedTuple):
    """A store through the pointer, `offset` bytes behind where it points."""

    function: Function
    i: int
    n: int
    """Which of the memory operands of the instruction's effect."""
    offset: int
    size: int
    calls: tuple[Place, ...] = ()
    """The calls that lead there, the outermost first."""


class Read(NamedTuple):
    """A load through the pointer, `offset` bytes behind where it points."""

    offset: int
    size: int
    """Below 0 for that of the elements of an array, 0 where not known."""


class Passed(NamedTuple):
    """A routine of others gets the pointer, moved by `offset`."""

    function: Function
    i: int
    offset: int
    name: str
    argument: int = -1
    """Which of its documented arguments that is; below 0 where not known."""
    calls: tuple[Place, ...] = ()
    """The calls that lead there, the outermost first."""


class Kept(NamedTuple):
    """A variable that the pointer is put into, moved by `offset`."""

    rva: int
    offset: int = 0


class Fate(NamedTuple):
    """What becomes of a pointer."""

    writes: frozenset[Write] = frozenset()
    reads: frozenset[Read] = frozenset()
    passed: frozenset[Passed] = frozenset()
    returned: frozenset[int] = frozenset()
    """What is added to it where the function returns it."""
    kept: frozenset[Kept] = frozenset()
    """The variables that it is put into."""
    is_lost: bool = False
    """It goes where it is not followed."""
    called: frozenset[Place] = frozenset()
    """The calls and jumps through it, by the function that has it first."""
    loads: frozenset[Place] = frozenset()
    """The instructions that load something through it, calls as well."""
    within: frozenset[Passed] = frozenset()
    """The calls that get it in an object, by the address of that; a routine is not called so."""
    given: frozenset[Place] = frozenset()
    """The calls of the function that has it first which get it as an argument."""
    landed: frozenset[Place] = frozenset()
    """Where it is stored outside frames, and the calls through it in other functions."""
    is_gone: bool = False
    """It goes where nothing tells what becomes of it, those places apart."""

    @property
    def gets_out(self) -> bool:
        """Whether others may have the pointer, routines that it is passed to apart."""
        return self.is_lost or bool(self.returned or self.kept)


NOTHING = Fate()
LOST = Fate(is_lost=True, is_gone=True)


def joined(fates: Iterable[Fate]) -> Fate:
    """All of some fates."""
    return Fate(
        frozenset().union(*(each.writes for each in fates)),
        frozenset().union(*(each.reads for each in fates)),
        frozenset().union(*(each.passed for each in fates)),
        kept=frozenset().union(*(each.kept for each in fates)),
        is_lost=any(each.is_lost for each in fates),
        called=frozenset().union(*(each.called for each in fates)),
        loads=frozenset().union(*(each.loads for each in fates)),
        within=frozenset().union(*(each.within for each in fates)),
        landed=frozenset().union(*(each.landed for each in fates)),
        is_gone=any(each.is_gone for each in fates),
    )


def shifted(fate: Fate, by: int, calls: tuple[Place, ...] = ()) -> Fate:
    """What becomes of a pointer of which, moved by something and through some calls, a fate is."""
    return fate._replace(
        writes=frozenset(_write_behind(by, each, calls) for each in fate.writes),
        reads=frozenset(read_behind(by, each) for each in fate.reads),
        passed=frozenset(_passed_behind(by, each, calls) for each in fate.passed),
        within=frozenset(_passed_behind(by, each, calls) for each in fate.within),
        kept=frozenset(each._replace(offset=moved(each.offset, by)) for each in fate.kept),
    )


def _write_behind(start: int, write: Write, calls: tuple[Place, ...]) -> Write:
    """A store through a pointer that was moved before, and went through some calls."""
    at, size = within(start, write.offset, write.size)
    return write._replace(offset=at, size=size, calls=(*calls, *write.calls))


def _passed_behind(start: int, passed: Passed, calls: tuple[Place, ...]) -> Passed:
    """The same of a call of a routine that gets the pointer."""
    at = moved(passed.offset, start)
    return passed._replace(offset=at, calls=(*calls, *passed.calls))


def moved(offset: int, delta: int) -> int:
    """What is added to a pointer that is moved on."""
    return next((far for far in (SINKING, MOVING) if far in (offset, delta)), offset + delta)


def is_moving(offset: int) -> bool:
    """Whether a pointer was moved by a number that is not known."""
    return offset in (MOVING, SINKING)


def within(start: int, offset: int, size: int) -> tuple[int, int]:
    """Offset and size of an access through a pointer that was moved before."""
    at = moved(start, offset)
    if is_moving(at):
        return 0, ANY_SIZE if at == MOVING else DOWNWARDS
    return at, size


def covers(offset: int, width: int, behind: int, size: int) -> bool:
    """Whether some bytes behind a pointer are among those that a store writes."""
    if width == ANY_SIZE:
        return offset <= behind < offset + OBJECT_REACH
    if width == DOWNWARDS:
        return offset - OBJECT_REACH < behind < offset + size
    return offset < behind + size and behind < offset + width


def may_read(fate: Fate, behind: int, size: int) -> bool:
    """Whether a pointer so far behind another one is loaded through that, or may be."""
    return any(
        not -size < read.size < 0
        if read.size <= 0
        else read.size >= size and covers(*read, behind, size)
        for read in fate.reads
    )


def read_behind(start: int, read: Read) -> Read:
    """A load through a pointer that was moved before."""
    at = moved(start, read.offset)
    return Read(0, -abs(read.size)) if is_moving(at) else Read(at, read.size)


def loaded(expr: Expr) -> Iterator[Memory]:
    """The memory that an expression reads."""
    match expr:
        case Load(memory):
            yield memory
        case Binary(_, left, right, _) | Either(left, right):
            yield from loaded(left)
            yield from loaded(right)
        case SignExtend(operand, _, _):
            yield from loaded(operand)
        case Insert(old, new, _, _):
            yield from loaded(old)
            yield from loaded(new)


def most_arguments(name: str) -> int:
    """How many arguments a routine of others has at most, as far as that is known."""
    size, shape = x86_bytes(name), prototype(name)
    if shape is not None and not shape.arguments:
        return 0
    return size // X86_SLOT if size else STACK_ARGUMENTS


def documented(name: str, bits: int) -> Prototype | None:
    """The shape of a routine of others, where the number of an argument tells where it lies."""
    shape = prototype(name)
    if shape is not None and bits == 32 and x86_bytes(name) != X86_SLOT * shape.arguments:
        return None  # some are wider than a word
    return shape


def outputs(name: str, bits: int) -> Iterator[tuple[int, int]]:
    """The arguments through which a routine of others writes, and how many bytes.

    0: what it points to, and nobody knows how large that is.
    """
    if name in TEXT_ROUTINES:
        yield TEXT_ROUTINES[name], OBJECT_REACH
        return
    shape = documented(name, bits)
    for index in (0,) if name in BLOCK_ROUTINES else shape.outputs if shape is not None else ():
        yield index, extent(name, index, bits)


def extent(name: str, argument: int, bits: int) -> int:
    """How many bytes a routine of others writes through an argument, as prototypes have it."""
    if (block := BLOCK_ROUTINES.get(name)) is not None:
        return 0 if argument else -block.length
    shape = documented(name, bits)
    return 0 if shape is None else shape.extent(argument)


def reach(passed: Passed, bits: int) -> int:
    """How far a routine of others may write through what it gets, as `extent` has it.

    One that writes texts, or of which nothing is known, may write all of an object.
    """
    if passed.name in TEXT_ROUTINES:
        return OBJECT_REACH if passed.argument in (TEXT_ROUTINES[passed.name], -1) else 0
    return OBJECT_REACH if is_unknown(passed.name) else extent(passed.name, passed.argument, bits)


def put_there(passed: Passed, behind: int, bits: int) -> atoms.Atoms:
    """The memory whose address a routine puts so far behind the pointer; nothing where it does not.

    As if the call returned it.
    """
    put = PUT.get(passed.name)
    if put is None or passed.argument != put.at(bits) or passed.offset != behind:
        return atoms.NOTHING
    rva = passed.function.rvas[passed.i]
    return frozenset((atoms.Atom(atoms.Kind.RESULT, rva, why=passed.name),))


def is_unknown(name: str) -> bool:
    """Whether nothing is known of what a routine does: it is no export of Windows' kernel."""
    if not name or name == WITHIN_OBJECT:
        return False
    return prototype(name) is None and x86_bytes(name) is None


def is_source(passed: Passed) -> bool:
    """Whether a routine only copies from what it gets."""
    block = BLOCK_ROUTINES.get(passed.name)
    return block is not None and passed.argument == block.source


def parts(held: Iterable[tuple[Location, int]]) -> tuple[int, frozenset[Location]]:
    """The registers among some locations, as a mask, and the slots among them."""
    registers, slots = 0, []
    for place, _ in held:
        if place > FIRST_SLOT:
            slots.append(place)
        else:
            registers |= 1 << place
    return registers, frozenset(slots)


def added(
    expr: Expr, held: Held, size: int, slot_at: Callable[[Memory], Location | None]
) -> set[int]:
    """What an expression of `size` bytes adds to a pointer, for each way in which it is that.

    `slot_at` tells which slot of the frame an operand names.
    """
    match expr:
        case Reg(number, width, 0) if width == size:
            return {offset for place, offset in held if place == number}
        case Load(memory) if memory.size == size and any(is_slot(place) for place, _ in held):
            at = slot_at(memory._replace(index_register=NO_REGISTER))
            if memory.index_register == NO_REGISTER or at is None:
                return {offset for place, offset in held if place == at}
            elements = range(slot_offset(at), slot_offset(at) + OBJECT_REACH, size)
            return {by for place, by in held if is_slot(place) and slot_offset(place) in elements}
        case Address(Memory(base, index, _, delta, _)):
            delta = MOVING if index != NO_REGISTER else delta
            return {moved(offset, delta) for place, offset in held if place in (base, index)}
        case Binary("add" | "sub" | "or" as name, left, Const(value), width):
            delta = atoms.signed(value, 8 * width) * (-1 if name == "sub" else 1)
            return {moved(offset, delta) for offset in added(left, held, size, slot_at)}
        case Binary("add" | "sub", left, right, _) | Either(left, right):
            both = added(left, held, size, slot_at) | added(right, held, size, slot_at)
            if isinstance(expr, Either) or not both:
                return both
            return {MOVING, SINKING} if expr.name == "sub" else {MOVING}
    return set()
