"""All that the code of the image writes into a global variable, by its name and through pointers.

Knows stores; knows neither what the file holds nor what a reader sees.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from hvci.binary.flow import atoms
from hvci.binary.flow.atoms import Atom, Atoms, Kind
from hvci.binary.flow.far.bounds import of_callers
from hvci.binary.flow.far.data import FarWrites
from hvci.binary.flow.far.nearest import Objects
from hvci.binary.flow.fates import (
    ANY_SIZE,
    BACK_REACH,
    DOWNWARDS,
    OBJECT_REACH,
    Fate,
    Kept,
    Passed,
    Place,
    Write,
    covers,
    put_there,
    shifted,
)
from hvci.binary.flow.made_addresses import made
from hvci.binary.flow.makers import MAX_REFERENCES, WIDEST, Makers
from hvci.binary.flow.versions.paths import never_runs
from hvci.binary.form.code import (
    CALLS,
    IMAGE_BASE,
    NO_REGISTER,
    Binary,
    Expr,
    Function,
    Load,
    Memory,
    Reg,
)

if TYPE_CHECKING:
    from hvci.binary.flow.dataflow import Dataflow

OPTION = 4
"""Bytes of the options that are asked for, which structures hold; pointers are no options."""
LARGE = 1 << 33
"""More than any option of eight bytes, as POOL_FLAGS are."""


class Change(NamedTuple):
    """What an instruction does to a global that it reads and writes in `size` bytes."""

    name: str
    right: Atoms
    size: int


class Writer(NamedTuple):
    """What one store leaves in a variable."""

    way: tuple[Place, ...]
    """The calls that lead there, the outermost first, then the store."""
    values: Atoms
    """Of a change what it adds, sets or clears."""


class Written(NamedTuple):
    """What the image writes into a variable."""

    values: Atoms
    changes: list[Change]
    writers: list[Writer]


def _may_be_number(held: Iterable[Atom]) -> bool:
    """Whether what was seen in a global is a number, or gets to be one by the callers."""
    return all(atom.kind in atoms.NUMERIC or atom.kind is Kind.PARAMETER for atom in held)


class Writes:
    """The writes of globals in one image."""

    def __init__(self, flow: Dataflow) -> None:
        self.flow = flow
        self.image = flow.image
        self.makers = Makers(flow)
        self.far = FarWrites(flow, self.makers)
        self.objects = Objects(flow, self.makers)
        self.of_pointers = False
        """Whether what is as large as a pointer is taken for one, not for an option, at first."""

    def find(self, rva: int, size: int, nesting: int) -> Written:
        """Everything that the code writes to a global, and the functions that do."""
        out: set[Atom] = set()
        writers: list[Writer] = []
        changes: list[Change] = []
        places = self._places(rva, size)
        if len(places) > MAX_REFERENCES:
            return Written(_too_many(rva), [], [])
        for place, written in self._by_name(places, rva, size, nesting):
            writers.append(_writer((place,), written))
            _note(written, out, changes)
        is_number = _may_be_number(out)
        if not is_number and any(self.makers.makes(place, rva) for place in places):
            # of what is no number anyway, nobody asks where it goes
            out |= atoms.unknown(f"the address of the global at {rva:#x} is passed on")
        reach = self._reach(rva, size, out) if is_number else 0
        for way, stored in self._through_pointers(rva, size, reach, nesting):
            writers += [_writer(way, stored)] if way else []
            _note(stored, out, changes)
        is_open = size < OPTION or any(atom.kind is Kind.UNKNOWN for atom in out)
        is_asked = reach > 1 and not is_open
        for way, stored in self._from_afar(rva, size, nesting) if is_asked else ():
            writers.append(_writer(way, stored))
            _note(stored, out, changes)
        if is_asked and not any(atom.kind is Kind.UNKNOWN for atom in out):
            out |= self._by_others(rva, size)
        return Written(frozenset(out), changes, writers)

    def _from_afar(
        self, rva: int, size: int, nesting: int
    ) -> Iterator[tuple[tuple[Place, ...], Atoms | Change]]:
        """What is surely written through pointers to what begins far before a global."""
        writes, fills = self.far.find(rva, size)
        for start, write in writes:
            if not never_runs(write.function, write.i):
                yield _way_to(write), self._by(write, start, (rva, size), nesting)
        for place in fills:
            yield (
                (place,),
                atoms.unknown(f"the global at {rva:#x} is part of what is filled or copied over"),
            )

    def _by_others(self, rva: int, size: int) -> Atoms:
        """What may be written, to what a global is part of, by pointers that nobody follows.

        Asked of what the file sets only: others get their values from code that names them.
        """
        is_set = self.image.number(rva, size) != 0
        start = self.objects.written_by_others(rva, size) if is_set else None
        if start is None:
            return atoms.NOTHING
        return atoms.unknown(
            f"the global at {rva:#x} may be part of what begins at {start:#x}, whose address goes "
            "where it is not followed"
        )

    def stored(self, rva: int, size: int) -> Iterator[Atoms]:
        """What stores leave in a global, one after the other, and never where its address goes.

        The same stores as those of `find`, for who needs no more than a kind of value.
        """
        places = self._places(rva, size)
        if len(places) > MAX_REFERENCES:
            return
        is_number, seen = True, set[Atom]()
        for _, written in self._by_name(places, rva, size, 0):
            if not isinstance(written, Change):
                seen |= written
                is_number &= _may_be_number(written)
                yield written
        reach = self._reach(rva, size, seen) if is_number else 0
        for _, written in self._through_pointers(rva, size, reach, 0):
            if not isinstance(written, Change):
                yield written

    def field(self, start: int, behind: int, size: int) -> Iterator[Atoms]:
        """What stores leave in a field of data at an RVA, by its name and by pointers to the data.

        Unlike `stored` for a pointer as well.
        """
        rva = start + behind
        places = self._places(rva, size)
        if len(places) > MAX_REFERENCES:
            return
        by_pointer = self._through_pointers(rva, size, behind + 1, 0)
        for _, written in chain(self._by_name(places, rva, size, 0), by_pointer):
            if not isinstance(written, Change):
                yield written

    def named(self, places: list[int], rva: int, size: int) -> Atoms:
        """What some instructions leave in a global, those that store and name it."""
        stores = (written for _, written in self._by_name(places, rva, size, 0))
        return frozenset(atom for held in stores if not isinstance(held, Change) for atom in held)

    def put(self, places: list[int], rva: int) -> Atoms:
        """The memory whose address routines put into a global that they get from some places."""
        found: Atoms = atoms.NOTHING
        for place in places:
            at = self.flow.functions.instruction_at(place)
            if at is not None and self.makers.makes(place, rva):
                for passed in self.makers.fate_of(*at, rva).passed:
                    found |= put_there(passed, 0, self.image.bits)
        return found

    def _reach(self, rva: int, size: int, written: Iterable[Atom]) -> int:
        """How far before an option the object that it is part of may begin.

        Eight bytes are a pointer, of which nobody asks that, unless a number was seen there.
        """
        known = (atom.value for atom in written if atom.kind in atoms.NUMERIC)
        numbers = {self.image.number(rva, size), *known} - {0}
        may_be_option = size <= OPTION and not (
            self.of_pointers and size == self.image.pointer_size
        )
        is_option = may_be_option or (numbers and max(numbers) < LARGE)
        return OBJECT_REACH if is_option else 1

    def _places(self, rva: int, size: int) -> list[int]:
        """RVAs of the instructions that may name a global, or what a wide store there begins at."""
        return self.flow.functions.references.to_data(rva - WIDEST + 1, WIDEST - 1 + size)

    def _by_name(
        self, places: Iterable[int], rva: int, size: int, nesting: int
    ) -> Iterator[tuple[Place, Atoms | Change]]:
        """What instructions at some RVAs write into a global that they name."""
        for place in places:
            if self.flow.functions.references.only_reads(place):
                continue
            found = self.flow.functions.instruction_at(place)
            if found is None:
                continue
            function, i = found
            if never_runs(function, i) or self._is_replaced(function, i, rva, size):
                continue
            written = self._written_by(function, i, rva, size, nesting)
            if written is not None:
                yield found, written

    def _is_replaced(self, function: Function, i: int, rva: int, size: int) -> bool:
        """Whether start-up code surely stores something else after a store."""
        versions = self.flow.versions
        started = versions.start_of(rva, size) if versions is not None else None
        return started is not None and (function, i) in started.replaced

    def _written_by(
        self, function: Function, i: int, rva: int, size: int, nesting: int
    ) -> Atoms | Change | None:
        """What one instruction that names a global, or what lies before it, writes into it.

        None when it only reads, or writes something else.
        """
        if function.flows[i] in CALLS:
            return None
        for n, memory in enumerate(self.flow.arch.effect(function, i).stores):
            starts, why_open = self._starts(function, i, memory)
            for start in starts:
                if not start - size < rva < start + memory.size:
                    continue
                is_plain = memory.base == IMAGE_BASE or self.image.bits == 64
                if memory.index_register != NO_REGISTER or not is_plain:
                    return atoms.unknown(f"an element of a table at {start:#x} is written")
                return self._stored(function, i, n, (start, memory.size), (rva, size), nesting)
            if why_open:
                return atoms.unknown(f"the global at {rva:#x} may be written through {why_open}")
        return None

    def _stored(
        self,
        function: Function,
        i: int,
        n: int,
        written: tuple[int, int],
        asked: tuple[int, int],
        nesting: int,
    ) -> Atoms | Change:
        """What a store of some bytes leaves in a global; both are (RVA, bytes)."""
        (start, width), (rva, size) = written, asked
        expr = self.flow.arch.stored(function, i, n)
        if width < size or start > rva:
            change = self._of_part(function, i, expr, start - rva, size, nesting)
            return change or atoms.unknown(f"only a part of the global at {rva:#x} is written")
        if isinstance(expr, Binary) and isinstance(expr.left, Load):
            if (start, expr.size) != asked:
                return atoms.unknown(f"the global at {rva:#x} is changed with others")
            right = self.flow.evaluate(function, i, expr.right, nesting + 1)
            return Change(expr.name, right, expr.size)
        stored = self.flow.evaluate(function, i, expr, nesting + 1)
        return atoms.part(stored, size, 8 * (rva - start))

    def _of_part(
        self, function: Function, i: int, expr: Expr, behind: int, size: int, nesting: int
    ) -> Change | None:
        """What setting or clearing bits of a part of a global does to the whole of it."""
        if not isinstance(expr, Binary) or not isinstance(expr.left, Load):
            return None
        if expr.name not in ("or", "and", "xor") or behind < 0:
            return None
        right = atoms.single(self.flow.evaluate(function, i, expr.right, nesting + 1))
        if right is None or right.kind is not Kind.CONST:
            return None
        mask, shift = (1 << 8 * expr.size) - 1, 8 * behind
        bits = (right.value & mask) << shift
        if expr.name == "and":
            bits |= ~(mask << shift)
        return Change(expr.name, atoms.const(bits & (1 << 8 * size) - 1), size)

    def _starts(self, function: Function, i: int, memory: Memory) -> tuple[Sequence[int], str]:
        """The RVAs that an operand can name, an index in it taken for 0; and why not all."""
        if memory.base == IMAGE_BASE:
            return [memory.displacement], ""
        if not self.flow.arch.loads_call_targets or memory.base < 0:
            rva = memory.displacement - self.image.base
            return [rva] if self.image.bits == 32 and self.image.holds(rva) else [], ""
        held = made(self.flow, function, i, Reg(memory.base))
        return [rva + memory.displacement for rva in sorted(held.rvas)], held.why_open

    # ---- pointers

    def _through_pointers(
        self, rva: int, size: int, reach: int, nesting: int
    ) -> Iterator[tuple[tuple[Place, ...], Atoms | Change]]:
        """What is written through pointers to the global, and to what it may be a field of.

        A pointer to the global itself that gets lost may change it to anything; one to what lies
        before it hardly does. The way is empty where no single place writes.
        """
        behind_it = BACK_REACH if reach > 1 else 0
        made = [*self.makers.in_code(rva - reach + 1, rva + behind_it, rva)] if reach else []
        starts = {start for _, start, _ in made}
        for _, start, fate in made:
            kept = self.makers.through(fate)
            if start == rva and fate.gets_out and not kept.is_sure:
                yield (), atoms.unknown(f"the address of the global at {rva:#x} is passed on")
            elif kept.is_cut and start <= rva:
                yield (), atoms.unknown("a global whose address is loaded in many places")
            for each in (fate, *kept.fates, *self._of_tables(fate.kept, start, rva)):
                yield from self._by_pointer(each, start, starts, (rva, size), nesting)
        for place, start in self.makers.in_data(rva - max(reach, 1) + 1, rva):
            loads = self.makers.through(Fate(kept=frozenset((Kept(place),))))
            if not loads.is_sure and start == rva:
                why = f"the address of the global at {rva:#x} is stored in data"
                yield (), atoms.unknown(why)
            held = {Kept(place)}.union(*(each.kept for each in loads.fates))
            for fate in (*loads.fates, *self._of_tables(held, start, rva)):
                yield from self._by_pointer(fate, start, (), (rva, size), nesting)

    def _of_tables(self, kept: Iterable[Kept], start: int, rva: int) -> Iterator[Fate]:
        """What becomes of a pointer, to what lies before a global, in tables and structures."""
        for variable in kept if start < rva else ():
            for fate in self.makers.by_table(variable.rva):
                yield shifted(fate, variable.offset)

    def _by_pointer(
        self,
        fate: Fate,
        start: int,
        starts: Collection[int],
        asked: tuple[int, int],
        nesting: int,
    ) -> Iterator[tuple[tuple[Place, ...], Atoms | Change]]:
        """What is written into a global through a pointer to an RVA.

        What is written with an index stays in its object: `starts` tells where others begin.
        """
        rva, size = asked
        behind, pointer = rva - start, self.image.pointer_size
        for write in sorted(fate.writes, key=_by_place):
            if write.size in (ANY_SIZE, DOWNWARDS) and self._lies_apart(write, start, starts, rva):
                continue
            is_alive = not never_runs(write.function, write.i)
            if is_alive and covers(write.offset, write.size, behind, size):
                yield _way_to(write), self._by(write, start, asked, nesting)
        versions = self.flow.versions
        for passed in sorted(fate.passed | fate.within, key=_by_place):
            told = None
            if versions is not None:
                told = versions.in_variable(passed.function, passed.i, rva)
            if told is not None:
                yield _way_to(passed), atoms.truncate(told, size)
            elif self.flow.interprocedural.may_write(passed, behind, nesting):
                what = f"the address of the global at {rva:#x} is passed to {passed.name}"
                held = put_there(passed, behind, self.image.bits) if size == pointer else None
                yield _way_to(passed), held or atoms.unknown(what)

    def _lies_apart(self, write: Write, start: int, starts: Collection[int], rva: int) -> bool:
        """Whether another object lies between a global and where writes with an index begin."""
        first = start + write.offset
        if write.size == ANY_SIZE:
            return any(start < each <= rva and first < each for each in starts)
        return rva < start and (write.offset > 0 or any(rva < each < start for each in starts))

    def _by(self, write: Write, start: int, asked: tuple[int, int], nesting: int) -> Atoms | Change:
        """What a store through a pointer leaves in a global, for the calls that lead there."""
        function, i, n, offset, size, calls = write
        if size in (ANY_SIZE, DOWNWARDS):
            return atoms.unknown(f"an element of a table at {start + offset:#x} is written")
        stored = self._stored(function, i, n, (start + offset, size), asked, nesting)
        if isinstance(stored, Change):
            return atoms.unknown(f"the global at {asked[0]:#x} is changed through a pointer")
        return of_callers(self.flow, stored, function, calls, nesting)


def _too_many(rva: int) -> Atoms:
    return atoms.unknown(f"the global at {rva:#x} is named in too many places")


def _note(stored: Atoms | Change, out: set[Atom], changes: list[Change]) -> None:
    """Note what is written; a place in the frame of the writer means nothing to a reader."""
    if isinstance(stored, Change):
        changes.append(stored._replace(right=atoms.kept(stored.right)))
        return
    for atom in atoms.kept(stored):
        is_local = atom.kind in (Kind.STACK, Kind.LEAKED)
        out |= atoms.unknown(atoms.describe(atom)) if is_local else {atom}


def _writer(way: tuple[Place, ...], written: Atoms | Change) -> Writer:
    return Writer(way, written.right if isinstance(written, Change) else written)


def _way_to(use: Write | Passed) -> tuple[Place, ...]:
    return (*use.calls, (use.function, use.i))


def _by_place(use: Write | Passed) -> tuple[int, int]:
    return use.function.rvas[use.i], use.offset
