"""Stack slots of one function: which instruction writes them, and with what."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from hvci.binary.flow import atoms
from hvci.binary.flow.atoms import IN_PARTS, Atom, Atoms, Kind
from hvci.binary.flow.far.bounds import bound
from hvci.binary.flow.fates import (
    ANY_SIZE,
    BACK_REACH,
    LOST,
    OBJECT_REACH,
    Fate,
    Write,
    covers,
)
from hvci.binary.flow.frame.elsewhere import is_elsewhere
from hvci.binary.flow.loops import steps_down
from hvci.binary.form.code import (
    IMAGE_BASE,
    NO_REGISTER,
    Effect,
    Function,
    Load,
    Location,
    Memory,
    slot,
    slot_offset,
)
from hvci.binary.pe.sets import members

if TYPE_CHECKING:
    from hvci.binary.flow.dataflow import Dataflow

MAX_KEPT = 12
"""Questions nested deeper may have gone without an answer for their depth alone."""
WORD, HALF = 8, 4
"""Bytes of a general register, and of half of it."""
SLOT = 4
"""Bytes of the options that are asked for."""


MAX_FILL = 1 << 16
"""Elements of a frame that one instruction fills."""
MAX_REFINED = 250
"""Instructions of a function whose addresses of local variables are followed."""


class Leak(Enum):
    """Whether a callee may write a slot."""

    NONE = "none"
    POSSIBLE = "possible"
    """The address of something before it is passed on, which may be an object that holds it."""
    CERTAIN = "certain"
    """Its own address is passed on."""


class Element(Enum):
    """Whether a store at no fixed place may write a slot."""

    NONE = "none"
    CHOSEN = "chosen"
    """Its index, whose values are all known, may choose the slot."""
    OPEN = "open"
    """The slot may belong to the array."""


class Touch(NamedTuple):
    """Where in the frame an instruction stores."""

    spans: tuple[tuple[int, int], ...]
    """Offsets of the first byte that it surely writes, and of the one behind the last."""
    may_move: bool
    """Whether it may write at a place that is not always the same."""


class Array(NamedTuple):
    """Where in the frame an instruction may write an element."""

    first: int
    """Offset of the first byte."""
    size: int
    """Bytes that are surely part of it, or that it may reach to where that is not known."""
    operand: int = -1
    """The operand that tells how far it may reach besides; below 0 where none does."""
    start: int = 0
    """Offset from which that counts."""


_ASKED: list[Array] = []
_LOOKING: list[tuple[int, int]] = []
"""Stand for where an instruction stores, and what addresses are taken, while that is asked."""
NO_TOUCH = Touch((), may_move=False)


class Frames:
    """Answers about stack slots, for one image."""

    def __init__(self, flow: Dataflow) -> None:
        self.flow = flow
        self._asked_again = False
        """Whether where an instruction stores was asked while that was being worked out."""

    def touch(self, function: Function, p: int, nesting: int) -> Touch:
        """Where in the frame instruction `p` stores."""
        touch: Touch | None = function.touches.get(p)
        if touch is None:
            effect = self.flow.arch.effect(function, p)
            touch, is_settled = self._touch(function, p, effect, nesting)
            if is_settled:
                function.touches[p] = touch
        return touch

    def _touch(
        self, function: Function, p: int, effect: Effect, nesting: int
    ) -> tuple[Touch, bool]:
        """Where the stores of an instruction go, and whether that is the answer for good."""
        if not effect.stores:
            return NO_TOUCH, True
        spans, may_move, is_settled = [], False, True
        for memory in effect.stores:
            place = self.offset(function, p, memory, nesting)
            if place is None:
                is_settled &= self.is_settled(function, p, memory)
            else:
                size = self._filled(function, p, memory, nesting) if effect.fills else memory.size
                spans.append((place, place + max(size, 1)))
            may_move |= self._may_move(function, p, memory)
        return Touch(tuple(spans), may_move), is_settled

    def _filled(self, function: Function, p: int, memory: Memory, nesting: int) -> int:
        """Bytes that a block copy or fill writes; as far as an object reaches, where not known."""
        if self.flow.arch.count_register < 0:
            return OBJECT_REACH
        counter = Location(self.flow.arch.count_register)
        count = atoms.single(self.flow.value(function, p, counter, nesting + 1))
        is_known = count is not None and count.kind is Kind.CONST and count.value < MAX_FILL
        return max(count.value * memory.size, OBJECT_REACH) if count and is_known else OBJECT_REACH

    def is_settled(self, function: Function, p: int, memory: Memory) -> bool:
        """Whether it is certain that an operand is at no known place of the frame."""
        if memory.index_register != NO_REGISTER or memory.base < 0:
            return True
        if self.is_plain(function, p, memory):
            return True
        if not self.flow.arch.may_hold_stack_address(function, memory.base):
            return True
        return (p, memory.base) in function.cache.get("bases", ())

    def element(self, function: Function, p: int, location: Location, nesting: int) -> Element:
        """Whether what `p` writes at no fixed place is an element of an array at a slot."""
        if nesting > MAX_KEPT:
            return Element.OPEN  # too deep to tell where it goes
        known: dict[int, list[Array]] = function.cache.setdefault("arrays", {})
        spans = known.get(p)
        if spans is None:
            known[p] = _ASKED  # nothing, for what asks again on the way
            again, self._asked_again = self._asked_again, False
            spans = self.flow.apart(lambda: [*self._arrays(function, p, nesting)])
            if self._asked_again:  # the index lacks what comes from the element itself
                spans = [each._replace(size=max(each.size, OBJECT_REACH)) for each in spans]
            known[p], self._asked_again = spans, again or self._asked_again
        self._asked_again |= spans is _ASKED
        wanted = slot_offset(location)
        near = {
            (each.first == wanted, size)
            for each in spans
            if each.first <= wanted < each.first + (size := self._reach(function, p, each, wanted))
        }
        if not near:
            return Element.NONE
        is_chosen = all(is_first and SLOT <= size < OBJECT_REACH for is_first, size in near)
        return Element.CHOSEN if is_chosen else Element.OPEN

    def widest(self, function: Function, definitions: Iterable[int | Atoms]) -> int:
        """The most bytes that one of some instructions stores."""
        effect = self.flow.arch.effect
        stores = (effect(function, d).stores for d in definitions if isinstance(d, int))
        return max((memory.size for each in stores for memory in each), default=0)

    def held(self, function: Function, i: int, offset: int, size: int, nesting: int) -> Atoms:
        """What some bytes of the frame hold; eight of them may have been written in halves."""
        value, at = self.flow.value, slot(offset)
        found = value(function, i, at, nesting)
        if offset in function.cache.get("narrowed", ()) and size > 1:
            found = self._with_rest(function, i, offset, min(size, HALF), nesting)
        if size <= HALF or any(atom.kind not in atoms.NUMERIC for atom in found):
            return atoms.truncate(found, size)
        definitions = self.flow.reaching.definitions(function, i, at, nesting).definitions
        if all(
            self._is_whole(function, d, offset, size, nesting)
            for d in definitions
            if isinstance(d, int)
        ):
            return atoms.truncate(found, size)
        upper = self.held(function, i, offset + HALF, HALF, nesting)
        return atoms.joined(atoms.truncate(found, HALF), atoms.truncate(upper, HALF))

    def _with_rest(self, function: Function, i: int, offset: int, size: int, nesting: int) -> Atoms:
        """What some bytes hold where an instruction may have written the first of them only."""
        out: set[Atom] = set()
        reached = self.flow.reaching.definitions(function, i, slot(offset), nesting)
        for d in reached.definitions:
            if not isinstance(d, int):
                out |= d
                continue
            held = self.stored(function, d, slot(offset), nesting)
            width = self.width(function, d, offset, nesting)
            if width < size:
                behind = range(offset + width, offset + size)
                if nesting > MAX_KEPT or d == i or self._is_written(function, behind, nesting):
                    return atoms.unknown(IN_PARTS)
                rest = self.held(function, d, offset, size, nesting + 2)
                held = atoms.laid_over(rest, held, width)
            out |= held
        return atoms.bounded(out | self.flow.reaching.doubts(function, slot(offset), reached))

    def _is_written(self, function: Function, places: range, nesting: int) -> bool:
        """Whether an instruction writes one of some bytes without the one before them."""
        return any(
            start in places
            for p in self.flow.arch.storing(function)
            for start, _ in self.touch(function, p, nesting).spans
        )

    def width(self, function: Function, d: int, offset: int, nesting: int) -> int:
        """Bytes from an offset on that an instruction writes of what it writes there."""
        effect = self.flow.arch.effect(function, d)
        for memory in effect.stores:
            place = self.offset(function, d, memory, nesting)
            if place is not None and place <= offset < place + memory.size:
                return WORD if effect.fills else place + memory.size - offset
        return WORD

    def _is_whole(self, function: Function, d: int, start: int, size: int, nesting: int) -> bool:
        """Whether an instruction that writes a slot writes all of some bytes there."""
        effect = self.flow.arch.effect(function, d)
        for memory in effect.stores:
            place = self.offset(function, d, memory, nesting)
            if place is not None and place <= start < place + memory.size:
                return effect.fills or start + size <= place + memory.size
        return True

    def _may_move(self, function: Function, p: int, memory: Memory) -> bool:
        """Whether an operand may lie at a place in the frame that is not always the same."""
        for each in _turned(memory):
            if each.base >= 0 and self.flow.arch.may_hold_stack_address(function, each.base):
                return each.index_register != NO_REGISTER or not self.is_plain(function, p, each)
        return False

    def _arrays(self, function: Function, p: int, nesting: int) -> Iterator[Array]:
        """What instruction `p` may write an element of."""
        stores = self.flow.arch.effect(function, p).stores
        for n, memory in ((n, each) for n, store in enumerate(stores) for each in _turned(store)):
            if memory.base < 0 or not self._may_move(function, p, memory):
                continue
            first = memory._replace(index_register=NO_REGISTER)
            start = self.offset(function, p, first, nesting)
            if start is None:
                yield from self._elements(function, p, n, memory, nesting)
            elif memory.index_register != NO_REGISTER:
                index = self.flow.value(function, p, Location(memory.index_register), nesting + 1)
                steps = [
                    atoms.signed(step.value, 32) * memory.scale
                    for step in index
                    if step.kind is Kind.CONST
                ]
                if index and memory.size and len(steps) == len(index):
                    yield from (Array(start + step, memory.size) for step in steps)
                else:
                    low = min((0, *(step for step in steps if step > -OBJECT_REACH)))
                    register = memory.index_register
                    is_below = any(map(atoms.is_below, index))
                    if is_below or steps_down(self.flow, function, p, register, nesting):
                        low -= OBJECT_REACH
                    yield Array(start + low, OBJECT_REACH - low, n, start)

    def _reach(self, function: Function, p: int, array: Array, wanted: int) -> int:
        """How far an array reaches, as far as it matters for a slot behind where it begins."""
        first, size, n, start = array
        if n < 0 or wanted < first + size or start >= -OBJECT_REACH:
            return size  # no local variable lies behind that
        known: dict[tuple[int, int, int], int] = function.cache.setdefault("reaches", {})
        key = p, n, start
        if key not in known:
            known[key] = 0  # while it is asked for
            write = Write(function, p, n, 0, ANY_SIZE)
            known[key] = self.flow.apart(lambda: bound(self.flow, write, start, Kind.STACK))
        return max(size, start + known[key] - first)

    def _elements(
        self, function: Function, p: int, n: int, memory: Memory, nesting: int
    ) -> Iterator[Array]:
        """The same of an operand whose base is no one place of the frame."""
        held = self.flow.value(function, p, Location(memory.base), nesting + 1)
        is_stepped = any(atoms.is_stepped(atom) for atom in held)
        is_down = is_stepped and steps_down(
            self.flow, function, p, memory.base, nesting, unclear=True
        )
        is_one = memory.index_register == NO_REGISTER and memory.size and not is_stepped
        for atom in held:
            start = atom if atom.kind is Kind.STACK else atom.of
            if start is not None and start.kind is Kind.STACK:  # one of several, or where it began
                place = start.value + memory.displacement
                is_known = is_one and start is atom
                yield (
                    Array(place, memory.size) if is_known else Array(place, OBJECT_REACH, n, place)
                )
                if is_down or atoms.is_below(atom):
                    yield Array(place - OBJECT_REACH, OBJECT_REACH)

    def offset(self, function: Function, i: int, memory: Memory, nesting: int = 0) -> int | None:
        """The frame offset that a memory operand names; None when it is not in the frame."""
        if memory.index_register != NO_REGISTER or memory.base < 0:
            return None
        if memory.base == self.flow.arch.stack_pointer:
            depth = self.flow.depth.before(function, i)
            return None if depth is None else depth + memory.displacement
        is_frame = memory.base == self.flow.arch.frame_pointer
        frame = self.flow.depth.frame_pointer(function, i) if is_frame else None
        if frame is not None:
            return frame + memory.displacement
        if not self.flow.arch.may_hold_stack_address(function, memory.base):
            return None
        held = self._base(function, i, memory.base, nesting)
        return None if held is None else held + memory.displacement

    def is_plain(self, function: Function, i: int, memory: Memory) -> bool:
        """Whether the frame offset of an operand takes no question to the data flow."""
        if memory.base == self.flow.arch.frame_pointer:
            return self.flow.depth.frame_pointer(function, i) is not None
        return memory.base == self.flow.arch.stack_pointer

    def _base(self, function: Function, i: int, register: int, nesting: int) -> int | None:
        """The frame offset that a register holds; None for anything else, or while it is asked."""
        known: dict[tuple[int, int], int | None] = function.cache.setdefault("bases", {})
        key = i, register
        if key in known:
            return known[key]
        asked: set[tuple[int, int]] = function.cache.setdefault("asked bases", set())
        if key in asked:
            self.flow.note_cycle()
            return None
        if is_elsewhere(self.flow, function, i, register):
            known[key] = None
            return None
        asked.add(key)
        base = atoms.single(self.flow.value(function, i, Location(register), nesting + 1))
        asked.discard(key)
        answer = base.value if base is not None and base.kind is Kind.STACK else None
        if answer is not None or (nesting <= MAX_KEPT and not self.flow.is_spent):
            known[key] = answer
        return answer

    def leak(self, function: Function, location: Location) -> Leak:
        """Whether the function passes the address of the object that holds a slot."""
        wanted = slot_offset(location)
        taken = self._taken_around(function, wanted)
        if not taken:
            return Leak.NONE
        return Leak.CERTAIN if taken[-1][0] == wanted else Leak.POSSIBLE

    def _taken_around(self, function: Function, wanted: int) -> list[tuple[int, int]]:
        """Offsets of the objects that may hold a slot, with what takes their addresses."""
        taken = self.taken(function)
        # behind the local variables lies what the caller has put there
        first = wanted - OBJECT_REACH + 1 if wanted < 0 else wanted
        return taken[bisect_left(taken, (first, 0)) : bisect_left(taken, (wanted + 1, 0))]

    def fates_around(self, function: Function, wanted: int) -> Iterator[tuple[int, Fate]]:
        """Offsets of the objects that may hold a slot, with what becomes of their addresses.

        And of what lies behind it, from which code may come back to what is before that.
        """
        for at, i in (*self._taken_around(function, wanted), *self._taken_behind(function, wanted)):
            yield at, self.fate(function, i)

    def _taken_behind(self, function: Function, wanted: int) -> list[tuple[int, int]]:
        """Offsets of the objects behind a slot, with what takes their addresses."""
        taken = self.taken(function)
        # an array may end where the local variables do
        last = min(wanted + BACK_REACH, 1) if wanted < 0 else wanted + BACK_REACH
        return taken[bisect_left(taken, (wanted + 1, 0)) : bisect_left(taken, (last, 0))]

    def taken(self, function: Function) -> list[tuple[int, int]]:
        """Frame offsets whose addresses a function takes, with the instructions, sorted."""
        taken: list[tuple[int, int]] | None = function.cache.get("leaked")
        if taken is None:
            function.cache["leaked"] = _LOOKING
            taken = function.cache["leaked"] = sorted(
                (offset, i)
                for i, memory in self.flow.arch.taken_addresses(function)
                if (offset := self.offset(function, i, memory, 3)) is not None
            )
        if taken is _LOOKING:
            self.flow.note_cycle()
        return taken

    def is_in_object(self, function: Function, location: Location, i: int) -> bool:
        """Whether a slot may belong to an object of the frame that call `i` gets the address of."""
        taken, wanted = self.taken(function), slot_offset(location)
        last = bisect_left(taken, (wanted + 1, 0)) - 1
        if wanted >= 0 or last < 0 or taken[last][0] <= wanted - OBJECT_REACH:
            return False
        first = bisect_left(taken, (taken[last][0], 0))
        fates = (self.fate(function, each) for _, each in taken[first : last + 1])
        return any(
            fate.is_lost
            or (function, i) in fate.given
            or any((each.function, each.i) == (function, i) for each in fate.within)
            for fate in fates
        )

    def is_reached_back(self, function: Function, location: Location) -> bool:
        """Whether a callee may write a slot from a field behind it that it gets the address of."""
        known: dict[int, bool] = function.cache.setdefault("reached back", {})
        wanted = slot_offset(location)
        if wanted not in known:
            known[wanted] = any(
                covers(write.offset, write.size, wanted - at, SLOT)
                for at, i in self._taken_behind(function, wanted)
                for write in self.flow.globals.writes.makers.others(self.fate(function, i))
            )
        return known[wanted]

    def is_handed_on(self, function: Function, location: Location, leak: Leak) -> bool:
        """Whether a callee may write a slot, by what becomes of the addresses that are taken."""
        taken, wanted = function.cache["leaked"], slot_offset(location)
        first = wanted if leak is Leak.CERTAIN else wanted - OBJECT_REACH + 1
        low, high = bisect_left(taken, (first, 0)), bisect_left(taken, (wanted + 1, 0))
        return any(self._is_handed(function, i, wanted, at) for at, i in reversed(taken[low:high]))

    def _is_handed(self, function: Function, i: int, wanted: int, at: int) -> bool:
        """Whether a callee may write a place through the address that an instruction takes."""
        behind = wanted - at
        if len(function.instructions) > MAX_REFINED:
            return True
        fate = self.fate(function, i)
        versions = self.flow.versions
        if versions is not None and versions.is_told(function, wanted):
            others = (one for one in fate.passed if not versions.asks(one.function, one.i))
            fate = fate._replace(passed=frozenset(others))
        if fate.gets_out or (not behind and fate.within):
            return True
        may_write, passed = self.flow.interprocedural.may_write, fate.passed | fate.within
        return any(may_write(each, behind, MAX_KEPT) for each in passed) or any(
            covers(each.offset, each.size, behind, SLOT) for each in fate.writes if each.calls
        )

    def fate(self, function: Function, i: int) -> Fate:
        """What becomes of the address that an instruction takes."""
        fates: dict[int, Fate] = function.cache.setdefault("handed", {})
        fate = fates.get(i)
        if fate is None:
            fates[i] = LOST  # while it is asked for
            made = self.flow.arch.effect(function, i).registers
            held = frozenset((Location(each), 0) for each in members(made))
            pointees = self.flow.globals.writes.makers.pointees
            fate = self.flow.apart(lambda: pointees.from_instruction(function, i, held))
            fates[i] = fate
        return fate

    def stored(self, function: Function, d: int, location: Location, nesting: int) -> Atoms:
        """What instruction `d`, which writes a slot, leaves in it."""
        effect = self.flow.arch.effect(function, d)
        wanted = slot_offset(location)
        for n, memory in enumerate(effect.stores):
            place = self.offset(function, d, memory, nesting)
            if place is None and self._may_move(function, d, memory):
                place = wanted  # one of several that an index or the base chooses
            if place is None or not (place <= wanted < place + memory.size or effect.fills):
                continue
            if effect.fills:
                return atoms.unknown("a local variable that a block copy or fill writes")
            expr = self.flow.arch.stored(function, d, n)
            if isinstance(expr, Load) and expr.memory.base == IMAGE_BASE and memory.size > WORD:
                # of a constant moved through a vector register, each part is a global of its own
                inner = expr.memory.displacement + wanted - place
                return self.flow.globals.value(inner, min(WORD, memory.size), nesting)
            if place + memory.size - wanted < SLOT:
                function.cache.setdefault("narrowed", set()).add(wanted)
            value = self.flow.made(function, d, expr, nesting)
            return atoms.part(value, 8, 8 * (wanted - place))
        return atoms.unknown("a store that is not followed")


def _turned(memory: Memory) -> tuple[Memory, ...]:
    """An operand, and the same with base and index exchanged where the index is not scaled."""
    if memory.index_register < 0 or memory.scale != 1:
        return (memory,)
    return memory, memory._replace(base=memory.index_register, index_register=memory.base)
