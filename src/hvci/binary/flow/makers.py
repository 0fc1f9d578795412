"""Where the image makes pointers to its globals, and what becomes of each.

In code, and in read-only data: compilers for windows-gnu reach the variables of other files through
a pointer of its own for each. Knows who makes a pointer, not what a write through it means.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from hvci.binary.flow.fates import (
    LOST,
    MOVING,
    OBJECT_REACH,
    Fate,
    Kept,
    Place,
    Write,
    loaded,
    may_read,
    shifted,
)
from hvci.binary.flow.loops import elements
from hvci.binary.flow.made_addresses import made as made_addresses
from hvci.binary.flow.pointees import MAX_NESTED, MAX_WALKED, Pointees
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
    Function,
    ImageAddress,
    Load,
    Location,
    Memory,
    slot,
)
from hvci.binary.pe.sets import members

if TYPE_CHECKING:
    from hvci.binary.flow.dataflow import Dataflow

MAX_REFERENCES = 4096
WIDEST = 16
"""Bytes that one access can move."""
MAX_POINTERS = {32: 64, 64: 1024}
"""Places that make a pointer to what lies before a variable, by the bits of the machine.

On x86 most of them name what they use; elsewhere code at -O0, or of a large model, makes a pointer
for each use.
"""


MAX_LOADS = 256
"""Places that load one pointer from data."""
MAX_KEPT = 16
"""Variables that one pointer is followed through."""


class Loads(NamedTuple):
    """What becomes of a pointer in data."""

    fates: list[Fate]
    is_sure: bool
    """Whether that is all that becomes of it."""
    is_cut: bool = False
    """Whether it is loaded in more places than are looked at."""


class Makers:
    """The pointers to globals of one image."""

    def __init__(self, flow: Dataflow) -> None:
        self.flow = flow
        self.image = flow.image
        self.pointees = Pointees(flow)
        self._fates: dict[tuple[int, int], Fate] = {}
        """What becomes of addresses, by the RVA of what makes one and the address itself."""
        self._short: dict[tuple[int, int], Fate] = {}
        """The same where fewer instructions were looked at."""
        self._elements: dict[int, list[Fate]] = {}
        self._data: dict[int, Loads] = {}
        """What becomes of pointers in data, by their RVA."""

    def in_code(
        self, low: int, high: int, wanted: int | None = None
    ) -> Iterator[tuple[Function, int, Fate]]:
        """Where code makes pointers to some RVAs, with what becomes of each.

        Where there are too many, only those that are nearest before the wanted one, or the last.
        """
        references = self.flow.functions.references
        wanted = high if wanted is None else wanted
        places = [*filter(references.may_make, references.to_data(low, high - low + 1))]
        while len(places) > MAX_POINTERS[self.image.bits] and (low, high) != (wanted, wanted):
            low, high = wanted - (wanted - low) // 4, wanted
            places = [*filter(references.may_make, references.to_data(low, high - low + 1))]
        for place in places:
            found = self.flow.functions.instruction_at(place)
            if found is None or found[0].flows[found[1]] in CALLS:
                continue
            function, i = found
            for start in sorted(self.made(function, i)):
                if low <= start <= high:
                    yield function, start, self.fate_of(function, i, start)

    def fate_of(self, function: Function, i: int, start: int, most: int = MAX_WALKED) -> Fate:
        """What becomes of the address that an instruction makes, worked out once.

        In so many instructions of its function, at least.
        """
        key = function.rvas[i], start
        known = self._fates.get(key)
        if known is not None:
            return known
        fates = self._fates if most == MAX_WALKED else self._short
        if key not in fates:
            fates[key] = LOST  # while it is asked for
            found = fates[key] = self.fate(function, i, start, most)
            if not found.is_lost:  # so the walk came to its end
                self._fates[key] = found
        return fates[key]

    def makes(self, place: int, rva: int) -> bool:
        """Whether the instruction around a place makes the address of an RVA."""
        if not self.flow.functions.references.may_take(place, rva):
            return False
        found = self.flow.functions.instruction_at(place)
        return found is not None and rva in self.made(*found)

    def made(self, function: Function, i: int) -> set[int]:
        """The RVAs of which an instruction makes the address, to hand it on or write by it."""
        arch = self.flow.arch
        found = self.all_made(function, i)
        is_kept = arch.loads_call_targets and not arch.hands_on(function, i, alone=True)
        return set() if found and is_kept else found

    def all_made(self, function: Function, i: int) -> set[int]:
        """The RVAs of which an instruction makes the address."""
        arch = self.flow.arch
        effect = arch.effect(function, i)
        values = [arch.define(function, i, register) for register in members(effect.registers)]
        values += [arch.stored(function, i, n) for n in range(len(effect.stores))]
        found: set[int] = set()
        for expr in values:
            rva = self.address_in(expr)
            if rva is not None:
                found.add(rva)
            elif arch.loads_call_targets and isinstance(expr, Binary):
                found |= made_addresses(self.flow, function, i, expr).rvas
        if self.image.bits == 32:
            found |= {rva for expr in values if (rva := self._sum_with(expr)) is not None}
            found |= {start for _, start in self._indexed(function, i)}
        if self.image.bits == 32 and not found:
            others = arch.other_operands(function, i)
            found |= {memory.displacement for memory in others if not memory.size}
        return found

    def _indexed(self, function: Function, i: int) -> Iterator[tuple[int, int]]:
        """(Number of the memory operand, RVA) of the tables of which x86 code writes an element."""
        for n, memory in enumerate(self.flow.arch.effect(function, i).stores):
            if memory.base >= 0 or memory.index_register != NO_REGISTER:
                yield from ((n, start) for start in self._tables(memory))

    def _tables(self, memory: Memory) -> Iterator[int]:
        """The RVA that an x86 operand with an index names, the index taken for 0."""
        rva = memory.displacement
        if memory.base != IMAGE_BASE:
            rva -= self.image.base
        if self.image.holds(rva):
            yield rva

    def address_in(self, expr: Expr) -> int | None:
        """The RVA that an expression is the address of; None for other expressions."""
        match expr:
            case ImageAddress(rva):
                return rva
            case Address(memory) if memory.base == IMAGE_BASE:
                return memory.displacement
            case Const(value) if self.image.bits == 32:
                rva = value - self.image.base
                return rva if self.image.holds(rva) else None
        return None

    def _sum_with(self, expr: Expr) -> int | None:
        """The RVA to which x86 code adds an index, as in `add eax, table` or by LEA."""
        match expr:
            case Binary("add", _, Const() as start, _):
                return self.address_in(start)
            case Address(memory) if memory.base >= 0 or memory.index_register != NO_REGISTER:
                return next(self._tables(memory), None)
        return None

    def fate(self, function: Function, i: int, start: int, most: int = MAX_WALKED) -> Fate:
        """What becomes of the address that an instruction makes."""
        arch = self.flow.arch
        effect = arch.effect(function, i)
        if self.image.bits == 32:
            tables = [n for n, table in self._indexed(function, i) if table == start]
            if tables:
                store = effect.stores[tables[0]]
                ways = elements(self.flow, function, i, store, MAX_NESTED)
                return Fate(frozenset(Write(function, i, tables[0], *way) for way in ways))
        held: set[tuple[Location, int]] = set()
        for register in members(effect.registers):
            expr = arch.define(function, i, register)
            if self.image.bits == 32 and self._sum_with(expr) == start:
                held.add((Location(register), MOVING))
            is_sum = arch.loads_call_targets and isinstance(expr, Binary)
            if self.address_in(expr) == start or (
                is_sum and start in made_addresses(self.flow, function, i, expr).rvas
            ):
                is_moved = isinstance(expr, Address) and expr.memory.index_register != NO_REGISTER
                held.add((Location(register), MOVING if is_moved else 0))
        for n, memory in enumerate(effect.stores):
            if self.address_in(arch.stored(function, i, n)) == start:
                offset = self.flow.frames.offset(function, i, memory)
                if offset is not None:
                    held.add((slot(offset), 0))
                elif memory.base == IMAGE_BASE and memory.index_register == NO_REGISTER:
                    return Fate(kept=frozenset((Kept(memory.displacement),)))
                else:
                    return LOST._replace(landed=frozenset(((function, i),)))
        return self.pointees.from_instruction(function, i, frozenset(held), most) if held else LOST

    # ---- pointers in data

    def in_data(self, low: int, high: int) -> Iterator[tuple[int, int]]:
        """(RVA, RVA that it points to) of the relocated pointers in data to some RVAs."""
        targets, places = self.flow.functions.references.pointers
        first, last = targets.searchsorted((low, high + 1))
        for k in range(int(first), int(last)):
            place = int(places[k])
            if not self.image.is_code(place):
                yield place, int(targets[k])

    def of_data(self, place: int) -> Loads:
        """What becomes of a pointer in data, or that code puts there, for each load of it.

        Sure where it is used only to reach what it points to. So compilers for windows-gnu reach
        the variables of other files, each through a pointer in read-only memory of its own.
        """
        if place not in self._data:
            self._data[place] = Loads([], is_sure=False)
            self._data[place] = self._loads(place)
        return self._data[place]

    def through(self, fate: Fate) -> Loads:
        """What becomes of a pointer out of the variables that it is put into, one after another."""
        fates: list[Fate] = []
        work, seen = [*fate.kept], set(fate.kept)
        is_sure, is_cut = not fate.is_lost and not fate.returned, False
        while work and len(seen) <= MAX_KEPT:
            variable = work.pop()
            loads = self.of_data(variable.rva)
            is_sure &= loads.is_sure
            is_cut |= loads.is_cut
            for each in loads.fates:
                fates.append(shifted(each, variable.offset))
                work += fates[-1].kept - seen
                seen |= fates[-1].kept
        return Loads(fates, is_sure and not work, is_cut or bool(work))

    def others(self, fate: Fate) -> Iterator[Write]:
        """What other functions write by a pointer, out of variables as well."""
        yield from (write for write in fate.writes if write.calls)
        for each in self.through(fate).fates if fate.kept else ():
            yield from each.writes

    def _loads(self, place: int) -> Loads:
        image, references = self.flow.image, self.flow.functions.references
        fates: list[Fate] = []
        reads = references.to_data(place - WIDEST + 1, WIDEST - 1 + image.pointer_size)
        if len(reads) > MAX_LOADS:
            return Loads([], is_sure=False, is_cut=True)
        for operand in reads:
            found = self.flow.functions.instruction_at(operand)
            if found is not None:
                fates += self._loaded(*found, place)
        is_lost = any(fate.is_lost or fate.returned or fate.passed for fate in fates)
        is_sure = bool(fates) and not is_lost and not self._is_read_unseen(place)
        return Loads(fates, is_sure)

    def by_table(self, place: int) -> list[Fate]:
        """What becomes of a pointer in data that is an element, or a field; worked out once."""
        if place not in self._elements:
            self._elements[place] = []
            self._elements[place] = [*self._by_table(place)]
        return self._elements[place]

    def _by_table(self, place: int) -> Iterator[Fate]:
        """What becomes of a pointer in data where it is loaded as an element, or a field, of that.

        By a pointer to where the table or structure begins; x86 code names it in the operand.
        """
        image, loads = self.flow.image, set[Place]()
        made = [*self.in_code(place - OBJECT_REACH, place)]
        nearest = max((start for _, start, _ in made), default=place)
        for _, start, fate in made:
            is_stepped = start == nearest and any(read.size < 0 for read in fate.reads)
            loads |= {
                (function, i)
                for function, i in fate.loads
                if any(
                    (start == nearest and memory.index_register != NO_REGISTER)
                    or memory.displacement == place - start
                    or (is_stepped and not memory.displacement)
                    for memory in self._pointers_read(function, i)
                )
            }
        if image.bits == 32:
            named = self._indexed_reads(place)
            nearest = max((start for start, _ in named), default=place)
            loads |= {each for start, each in named if start == nearest}
        for function, i in sorted(loads, key=lambda each: each[0].rvas[each[1]]):
            changed = members(self.flow.arch.effect(function, i).registers)
            held = frozenset((Location(register), 0) for register in changed)
            yield self.pointees.from_instruction(function, i, held)

    def _indexed_reads(self, place: int) -> list[tuple[int, Place]]:
        """(start, instruction) of the x86 loads of elements of tables that may hold a pointer."""
        near = self.flow.functions.references.to_data(place - OBJECT_REACH, OBJECT_REACH + 1)
        has_index = self.flow.arch.may_fill(()).has_index
        found = (self.flow.functions.instruction_at(each) for each in filter(has_index, near))
        return [
            (start, each)
            for each in found
            if each is not None
            for memory in self._pointers_read(*each)
            if memory.base >= 0 or memory.index_register >= 0
            for start in self._tables(memory)
            if start <= place
        ]

    def _pointers_read(self, function: Function, i: int) -> Iterator[Memory]:
        """The memory from which an instruction loads a pointer into a register."""
        if function.flows[i] in CALLS:
            return
        for register in members(self.flow.arch.effect(function, i).registers):
            match self.flow.arch.define(function, i, register):
                case Load(memory) if memory.size == self.image.pointer_size:
                    yield memory

    def _is_read_unseen(self, place: int) -> bool:
        """Whether a pointer in data may be read by more than the loads that name its place."""
        image = self.flow.image
        if image.bits == 32 or place in image.exports:
            return True
        if self.flow.functions.references.pointers_to(place):
            return True
        is_writable = image.is_writable(place)
        return any(
            fate.gets_out
            or (is_writable and fate.passed)
            or may_read(fate, place - start, image.pointer_size)
            for _, start, fate in self.in_code(place - OBJECT_REACH, place - 1)
        )

    def _loaded(self, function: Function, i: int, place: int) -> Iterator[Fate]:
        """What becomes of a pointer in data that an instruction names, where it loads that."""
        arch, size = self.flow.arch, self.image.pointer_size
        if place in self.made(function, i):
            yield LOST
            return
        effect, held = arch.effect(function, i), set[tuple[Location, int]]()
        for register in members(effect.registers):
            if self.is_load_of(function, i, arch.define(function, i, register), place):
                held.add((Location(register), 0))
        for n, memory in enumerate(effect.stores):
            if self.is_load_of(function, i, arch.stored(function, i, n), place):
                offset = self.flow.frames.offset(function, i, memory)
                if offset is None:
                    yield LOST
                else:
                    held.add((slot(offset), 0))
        if held:
            yield self.pointees.from_instruction(function, i, frozenset(held))
            return
        only_written = {
            memory
            for n, memory in enumerate(effect.stores)
            if not any(loaded(arch.stored(function, i, n)))
        }
        for memory in {*arch.other_operands(function, i)} - only_written:
            at = memory.displacement
            if memory.base == IMAGE_BASE and at < place + size and at + memory.size > place:
                yield LOST

    def is_load_of(self, function: Function, i: int, expr: Expr, place: int) -> bool:
        """Whether an expression may be the pointer at a place, whole."""
        match expr:
            case Either(left, right) | Choose(_, left, right):
                return any(self.is_load_of(function, i, each, place) for each in (left, right))
            case Load(Memory(base, index, _, displacement, size)):
                if size != self.image.pointer_size or index != NO_REGISTER:
                    return False
                if base == IMAGE_BASE:
                    return displacement == place
                is_kept = base >= 0 and self.flow.arch.loads_call_targets
                return is_kept and place in (
                    made_addresses(self.flow, function, i, Address(expr.memory)).rvas
                )
        return False
