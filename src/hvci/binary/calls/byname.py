"""Calls of routines that the driver looks up by name or keeps in pointers of its own.

The look-ups are read first; then every place that keeps what they return is followed, and the
functions that use such places are searched for calls through them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from hvci import catalog
from hvci.binary.analysis.wiring import Analysis
from hvci.binary.calls.handedon import HandedOn, follow, is_lent
from hvci.binary.calls.imports.direct import Escape, ImportCalls
from hvci.binary.calls.names import Found, Names, Text
from hvci.binary.calls.variables import Variables
from hvci.binary.flow.atoms import NOTHING, Atom, Atoms, Kind, Lookup, first_index, signed
from hvci.binary.flow.fates import Place
from hvci.binary.form.code import BY_POINTER, CALLS, IMAGE_BASE, Function, Location, Memory
from hvci.catalog.memory import LOOKUPS

MAX_WRAPPERS = 3
"""How deep functions around a look-up may nest."""
MAX_CALLS = 2000
"""Look-ups and calls of wrappers that are read in one image."""
POINTERS = frozenset((Kind.ROUTINE, Kind.IMPORT))


class Search(NamedTuple):
    """A call that returns a routine by name, and where its name comes from."""

    function: Function
    i: int
    held: Atoms
    form: Text
    depth: int


class ByName:
    """The routines that one image finds by name."""

    def __init__(self, analysis: Analysis) -> None:
        self.analysis = analysis
        self.flow = analysis.flow
        self.unread: list[tuple[int, str]] = []
        """(RVA, reason) of look-ups whose name is not known."""
        self.lost: list[tuple[int, Atom]] = []
        """(RVA, pointer) of places that keep a pointer where it is not followed."""
        self.handed_on: list[tuple[int, str]] = []
        """(RVA, name) of places that hand on the address of a routine that looks others up."""
        self.takers: set[Function] = set()
        """The functions that get a pointer as an argument or a result."""
        self.called: list[tuple[Place, Atoms]] = []
        """Their calls through what they get, which are to be found."""
        self._landed: list[tuple[Place, Atoms]] = []
        """Their stores of it."""
        self._stored: set[Place] = set()
        """The stores of pointers that were followed, or whose pointer is lost."""
        self._asked: list[tuple[Function, int]] = []
        """The look-ups of routines whose calls are asked for."""
        self._variables = Variables(analysis)
        self._kept: dict[int, set[Atom]] = {}
        """The pointers in variables, by RVA."""

    # ---- names

    def learn(self) -> list[Function]:
        """Tell the data flow what look-ups return; return the functions that look up DDIs.

        Most drivers look up nothing that the catalogue has: where that goes is not followed.
        """
        imports = ImportCalls(self.analysis)
        searches = imports.find(LOOKUPS)
        self.handed_on += [(each.rva, each.name) for each in imports.escapes]
        self.handed_on += [(rva, name) for name, rva in imports.doubts]
        if not searches:
            return []
        names = Names(self.analysis)
        work = [
            Search(call.function, call.i, held, Text(each.counted, wide=each.counted), 0)
            for call in searches
            for each in [LOOKUPS[call.name]]
            for held in [names.argument(call.function, call.i, each.position)]
        ]
        functions: list[Function] = []
        for _ in range(MAX_CALLS):
            if not work:
                break
            search = work.pop(0)
            found = names.read(search.function, search.i, search.held, search.form)
            self._keep(search, found)
            if any(each.name in catalog.ddis() for each in found):
                functions.append(search.function)
                self._asked.append((search.function, search.i))
            work += self._callers(search, found)
        for search in work:
            self.unread.append((search.function.rvas[search.i], "too many look-ups to read all"))
        self.flow.forget()
        return functions

    def _keep(self, search: Search, found: list[Found]) -> None:
        """Note what a look-up returns."""
        rva = search.function.rvas[search.i]
        names = [each.name for each in found if each.name]
        routines = [Atom(Kind.ROUTINE, Lookup.BY_NAME, why=name) for name in names]
        if routines:
            held = frozenset(routines)
            self.flow.interprocedural.lookups[rva] = held
            if search.held in self.flow.globals.tables:
                self.flow.globals.tables[held] = tuple(routines)
        self.unread += [(rva, each.reason) for each in found if each.reason]
        self.handed_on += [(rva, name) for name in names if name in LOOKUPS]

    def _callers(self, search: Search, found: list[Found]) -> Iterator[Search]:
        """Calls of a function that passes its own parameter on as the name."""
        for each in found:
            if each.form is None:
                continue
            start = search.function.start
            callers = self.analysis.functions.callers(start)
            rva = search.function.rvas[search.i]
            if search.depth >= MAX_WRAPPERS or not callers:
                self.unread.append((rva, f"a parameter of sub_{start:x}"))
            if self.analysis.functions.takes_address(start):
                self.unread.append((rva, f"decided by an indirect caller of sub_{start:x}"))
            for function, i in callers:
                self.flow.begin()
                held = self.flow.interprocedural.passed(function, i, Location(each.place))
                yield Search(function, i, held, each.form, search.depth + 1)

    # ---- places that keep pointers

    def users(self, functions: Iterable[Function], escapes: Iterable[Escape]) -> list[Function]:
        """The functions that can call through pointers kept by others, and these themselves.

        From those that have a pointer first, over the variables that they put it into, to those
        that read these, and so on.
        """
        for function, i in self._asked:
            self._take(function, follow(self.analysis, function, i), self._looked_up(function, i))
        found = {function.start: function for function in (*functions, *self.takers)}
        work = {*found.values(), *(each.function for each in escapes if each.function is not None)}
        done: set[Function] = set()
        read: set[tuple[int, Atom]] = set()
        while work and not self.flow.exhausted:
            for function in sorted(work, key=lambda each: each.start):
                self._stores(function)
            done |= work
            work = set()
            self.flow.forget()
            for rva in sorted(self._kept):
                new = {atom for atom in self._kept[rva] if (rva, atom) not in read}
                if new:
                    read |= {(rva, atom) for atom in new}
                    work |= self._readers_of(rva, frozenset(new))
            found |= {function.start: function for function in (*work, *self.takers)}
            work = (work | self.takers) - done
        self.lost += [
            (taker.rvas[k], pointer)
            for (taker, k), pointers in self._landed
            if (taker, k) not in self._stored
            for pointer in sorted(pointers)
        ]
        self.flow.forget()
        return [found[start] for start in sorted(found)]

    def _looked_up(self, function: Function, i: int) -> Atoms:
        """What a look-up returns."""
        return self.flow.interprocedural.lookups.get(function.rvas[i], NOTHING)

    def _take(self, function: Function, handed: HandedOn, pointers: Atoms) -> None:
        """Note who gets pointers of a function, and where they are not followed."""
        self.lost += [(rva, each) for rva in sorted(handed.lost) for each in sorted(pointers)]
        for taker, k in handed.landed:
            if taker is not function:
                self.takers.add(taker)
            if taker.flows[k] in BY_POINTER:
                self.called.append(((taker, k), pointers))
            elif taker.flows[k] not in CALLS:
                self._landed.append(((taker, k), pointers))

    def _readers_of(self, rva: int, pointers: Atoms) -> set[Function]:
        """The functions that read what is kept in a variable, where that is asked for."""
        asked = frozenset(pointer for pointer in pointers if self._is_asked(pointer))
        found: set[Function] = set()
        for site in self.analysis.references.to_data(rva):
            at = self.analysis.functions.instruction_at(site)
            if at is not None:
                found.add(at[0])
        for function, _, handed in self._variables.reads(rva) if asked else ():
            found.add(function)
            self._take(function, handed, asked)
        return found

    def _stores(self, function: Function) -> None:
        """Note the globals into which a function puts pointers."""
        arch = self.analysis.arch
        for i in arch.storing(function):
            for n, memory in enumerate(arch.effect(function, i).stores):
                if memory.size != self.analysis.image.pointer_size:
                    continue
                self.flow.begin()
                held = self.flow.evaluate(function, i, arch.stored(function, i, n), 0)
                if function in self.takers:
                    held = self.flow.interprocedural.resolve(held)
                pointers = frozenset(atom for atom in held if atom.kind in POINTERS)
                if pointers:
                    self._stored.add((function, i))
                    self._place(function, i, memory, pointers)

    def _place(self, function: Function, i: int, memory: Memory, pointers: Atoms) -> None:
        """Note what a store of pointers writes; slots of the frame are followed anyway."""
        offset = self.flow.frames.offset(function, i, memory)
        if offset is not None:
            asked = sorted(pointer for pointer in pointers if self._is_asked(pointer))
            if asked and is_lent(self.analysis, function, offset):
                self.lost += [(function.rvas[i], pointer) for pointer in asked]
            return
        base, index = self._parts(function, i, memory)
        asked = sorted(pointer for pointer in pointers if self._is_asked(pointer))
        for atom in base:
            if atom.kind is Kind.ADDRESS:
                start = atom.value + memory.displacement
                for place, each in self._write(start, index, memory, pointers):
                    self._kept.setdefault(place, set()).update(each)
                    if asked and self._variables.are_others(place):
                        self.lost += [(function.rvas[i], pointer) for pointer in asked]
                if self._is_anywhere(index, pointers):
                    self.lost += [(function.rvas[i], pointer) for pointer in asked]
            elif atom.kind is not Kind.STACK:
                self.lost += [(function.rvas[i], pointer) for pointer in sorted(pointers)]

    def _is_anywhere(self, index: Atoms, pointers: Atoms) -> bool:
        """Whether a table gets pointers at an index that is not known, in no known order."""
        is_known = all(atom.kind is Kind.CONST for atom in index)
        return not is_known and pointers not in self.flow.globals.tables

    def _parts(self, function: Function, i: int, memory: Memory) -> tuple[Atoms, Atoms]:
        """The start of what a store writes into, and the index; compilers swap the two."""
        image = self.analysis.image
        held = [
            self.flow.value(function, i, Location(register)) if register >= 0 else NOTHING
            for register in (memory.base, memory.index_register)
        ]
        if memory.base == IMAGE_BASE:
            return frozenset((Atom(Kind.ADDRESS),)), held[1]
        if image.bits == 32 and image.holds(memory.displacement - image.base):
            return frozenset((Atom(Kind.ADDRESS, -image.base),)), held[0]
        swapped = any(atom.kind is Kind.ADDRESS for atom in held[1])
        return (held[1], held[0]) if swapped else (held[0], held[1])

    def _is_asked(self, pointer: Atom) -> bool:
        """Whether calls through a pointer are asked for."""
        if pointer.kind is Kind.IMPORT:
            return self.analysis.image.imports[pointer.value].name in catalog.ddis()
        return pointer.why in catalog.ddis()

    def _write(
        self, start: int, index: Atoms, memory: Memory, pointers: Atoms
    ) -> Iterator[tuple[int, set[Atom]]]:
        """Note a write; side by side tables of names and pointers run in step."""
        order = self.flow.globals.tables.get(pointers)
        if order is not None:
            step = max(memory.scale, self.analysis.image.pointer_size)
            first = start + first_index(index)
            places = [(first + n * step, {pointer}) for n, pointer in enumerate(order)]
        else:
            steps = {signed(atom.value, 32) for atom in index if atom.kind is Kind.CONST} or {0}
            places = [(start + step * memory.scale, {*pointers}) for step in sorted(steps)]
        for place, held in places:
            self.flow.globals.written.setdefault(place, set()).update(held)
            yield place, held
