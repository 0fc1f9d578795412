"""Who reads a variable in which a pointer to a routine is kept, and what becomes of it there.

By its name, and through pointers to it or to what it is part of. Knows nothing of what it holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from hvci.binary.analysis.wiring import Analysis
from hvci.binary.calls.handedon import HandedOn, handed_on, is_read_by, reads_elsewhere
from hvci.binary.flow.atoms import Kind
from hvci.binary.flow.fates import (
    BACK_REACH,
    NOTHING,
    OBJECT_REACH,
    Fate,
    Passed,
    Place,
    may_read,
)
from hvci.binary.flow.makers import WIDEST
from hvci.binary.form.code import (
    BY_POINTER,
    CALLS,
    NO_REGISTER,
    Address,
    Function,
    Load,
    Location,
)
from hvci.binary.pe.sets import members
from hvci.catalog.givers import GIVERS
from hvci.catalog.memory import COPIES

MOST_READ = 256
"""Places that read one variable."""
NOWHERE: frozenset[int] = frozenset()


class Read(NamedTuple):
    """An instruction that reads a variable, or may, and what becomes of that."""

    function: Function
    i: int
    handed: HandedOn


class Variables:
    """The variables of one image."""

    def __init__(self, analysis: Analysis) -> None:
        self.analysis, self.flow = analysis, analysis.flow
        self.makers = analysis.flow.globals.writes.makers
        self.size = analysis.image.pointer_size

    def are_others(self, rva: int) -> bool:
        """Whether others than the functions that name a variable may read it.

        Of what lies before it only the nearest object may hold it, and only where the address of
        that is put into memory that is no variable: most objects before a variable are others.
        """
        made = [*self._made(rva)]
        nearest = max((start for _, start, _ in made if start <= rva), default=rva)
        for function, start, fate in made:
            kept = self.makers.through(fate)
            fates = [fate, *kept.fates]
            if any(reads_elsewhere(function, each, rva - start, self.size) for each in fates):
                return True
            if start == nearest and any(each.is_lost and each.landed for each in fates):
                return True
            if start == rva and (fate.gets_out and not kept.is_sure):
                return True
            passed = [use for each in fates for use in each.passed if start <= rva]
            if any(self._is_read_as_context(use, rva - start) for use in passed):
                return True
            passed = [use for use in passed if start == rva or use.name in COPIES]
            if any(is_read_by(self.analysis, each, rva - start) for each in passed):
                return True
        for place, start in self.makers.in_data(rva - OBJECT_REACH + 1, rva + BACK_REACH):
            loads = self.makers.of_data(place)
            if start == rva and not loads.is_sure:
                return True
            if any(may_read(each, rva - start, self.size) for each in loads.fates):
                return True
        return any(low <= rva < low + self.size for low in self.analysis.image.exports)

    def _is_read_as_context(self, use: Passed, behind: int) -> bool:
        """Whether a routine may read so far behind a pointer that Windows gives it."""
        gives = GIVERS.get(use.name)
        if gives is None or use.argument != gives.context:
            return False
        interprocedural, image = self.flow.interprocedural, self.analysis.image
        self.flow.begin()
        routines = interprocedural.argument(use.function, use.i, gives.routine, self.size)
        place = interprocedural.at_entry(gives.position(image.bits))
        for atom in routines:
            is_number = atom.kind is Kind.CONST and image.bits == 32
            rva = atom.value - image.base if is_number else atom.value
            if is_number or atom.kind is Kind.ADDRESS:
                routine = self.analysis.functions.starting_at(rva)
                fate = self.makers.pointees.parameter(routine, place, 1) if routine else NOTHING
                if may_read(fate, behind - use.offset, self.size):
                    return True
        return False

    def _made(self, rva: int) -> Iterator[tuple[Function, int, Fate]]:
        """The pointers to a variable, or to what lies around it, that code makes."""
        return self.makers.in_code(rva - OBJECT_REACH + 1, rva + BACK_REACH, rva)

    def _made_to_read(self, rva: int) -> Iterator[tuple[Function, int, Fate]]:
        """Those that ARM64 code makes only to read by them, with an index perhaps."""
        if not self.analysis.arch.loads_call_targets:
            return
        low = rva - OBJECT_REACH + 1
        for site in self.analysis.references.to_data(low, OBJECT_REACH)[:MOST_READ]:
            at = self.analysis.functions.instruction_at(site)
            for start in self.makers.all_made(*at) - self.makers.made(*at) if at else ():
                if at is not None and low <= start <= rva:
                    yield at[0], start, self.makers.fate(*at, start)

    def reads(self, rva: int) -> Iterator[Read]:
        """Every read of a variable in the functions that name it or make a pointer to it."""
        references, functions = self.analysis.references, self.analysis.functions
        named = references.to_data(rva - WIDEST + 1, WIDEST - 1 + self.size)
        seen: set[Place] = set()
        for site in named[:MOST_READ]:
            at = functions.instruction_at(site)
            if at is None or at in seen:
                continue
            seen.add(at)
            for fate in self.flow.interprocedural.readers.at(site, rva, self.size):
                yield self._read(*at, fate)
        for function, start, fate in (*self._made(rva), *self._made_to_read(rva)):
            if not may_read(fate, rva - start, self.size):
                continue
            for place in fate.loads - seen:
                if place[0] is function and self._may_name(*place, rva):
                    seen.add(place)
                    yield self._load(*place)

    def _read(self, function: Function, i: int, fate: Fate) -> Read:
        """A read by name; a call through the variable lands there."""
        if function.flows[i] in BY_POINTER:
            return Read(function, i, HandedOn(frozenset(((function, i),)), NOWHERE))
        return Read(function, i, handed_on(function, i, fate))

    def _load(self, function: Function, i: int) -> Read:
        """A read through a pointer."""
        arch = self.analysis.arch
        if function.flows[i] in CALLS | BY_POINTER:
            return Read(function, i, HandedOn(frozenset(((function, i),)), NOWHERE))
        loaded = arch.effect(function, i).registers
        held = frozenset(
            (Location(each), 0)
            for each in members(loaded)
            if isinstance(arch.define(function, i, each), Load)
        )
        if not held:
            return Read(function, i, HandedOn(frozenset(), frozenset((function.rvas[i],))))
        return self._read(function, i, self.makers.pointees.from_instruction(function, i, held))

    def _may_name(self, function: Function, i: int, rva: int) -> bool:
        """Whether an instruction that loads through a pointer may read a variable."""
        arch = self.analysis.arch
        loaded = arch.effect(function, i).registers
        exprs = [arch.define(function, i, each) for each in members(loaded)]
        if function.flows[i] in BY_POINTER:
            exprs = [arch.indirect_operand(function, i)]
        if self.flow.interprocedural.readers.is_plain_store(function, i):
            return False
        memories = [expr.memory for expr in exprs if isinstance(expr, Load)]
        for memory in memories:
            if memory.index_register != NO_REGISTER:
                return True
            self.flow.begin()
            held = self.flow.evaluate(function, i, Address(memory._replace(size=self.size)), 0)
            if any(atom.kind is not Kind.ADDRESS or atom.value == rva for atom in held):
                return True
        return not memories and not arch.only_compares(function, i)
