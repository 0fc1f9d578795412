"""Methods of audio miniports that the port driver calls: found through the tables of methods.

A class compares an identifier in its QueryInterface, and the method table that begins with it, or
stands beside it in the constructor, is the table of the interface. Knows the layout of such tables
on every architecture; judges nothing.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from hvci import catalog
from hvci.binary.analysis.wiring import Analysis
from hvci.binary.form.code import Const, Expr, Function, ImageAddress, Load, Memory
from hvci.binary.pe.sets import members
from hvci.catalog import Binding, Ddi

PORTCLS = "portcls.sys"
INBOUND, OUTBOUND = "inbound", "outbound"
NEIGHBOURHOOD = 16
"""Instructions around a reference to one table in which a constructor stores the others."""
MAX_METHODS = 64
GENERAL = (1 << 32) - 1
"""Mask of the registers that can hold an address."""
CLOSE = 64
"""Bytes of code between two words of an identifier that is compared."""


class Method(NamedTuple):
    """One method that the image implements."""

    ddi: Ddi
    table: int
    """RVA of the method table."""
    start: int
    """RVA of the method's first instruction."""


def interface_methods(direction: str) -> list[Ddi]:
    """The catalogued methods of port class interfaces that are called in one direction."""
    return [
        ddi
        for ddi in catalog.with_line(f'binding = "{Binding.COM_VTABLE}"').values()
        if ddi.direction == direction and ddi.seed
    ]


def places_of(analysis: Analysis, identifier: str) -> list[int]:
    """RVAs where an identifier stands in the image."""
    known = analysis.identifiers.get(identifier)
    if known is not None:
        return known
    wanted, memory = _layout(identifier), analysis.image.memory
    found = analysis.identifiers[identifier] = []
    at = memory.find(wanted)
    while at >= 0:
        found.append(at)
        at = memory.find(wanted, at + 1)
    return found


def _layout(identifier: str) -> bytes:
    """An identifier's bytes in memory; importing `uuid` takes as long as ten drivers' search."""
    first, second, third, fourth, fifth = map(bytes.fromhex, identifier.split("-"))
    return first[::-1] + second[::-1] + third[::-1] + fourth + fifth


def users_of(analysis: Analysis, identifier: str) -> list[tuple[Function, int]]:
    """Every instruction that names an identifier or compares with its parts."""
    found: dict[tuple[int, int], tuple[Function, int]] = {}
    for place in _uses(analysis, identifier):
        user = analysis.functions.instruction_at(place)
        if user is not None:
            found[user[0].start, user[1]] = user
    return [found[key] for key in sorted(found)]


def user_starts(analysis: Analysis, identifier: str) -> list[int]:
    """Starts of the functions with such instructions; those are not decoded for it."""
    found = set()
    for place in _uses(analysis, identifier):
        outline = analysis.functions.outline(place)
        if outline is not None:
            found.add(outline.start)
        else:
            user = analysis.functions.instruction_at(place)
            found |= {user[0].start} if user is not None else set()
    return sorted(found)


def _uses(analysis: Analysis, identifier: str) -> Iterator[int]:
    """RVAs in candidate instructions that name an identifier or compare with its parts."""
    for place in places_of(analysis, identifier):
        yield from analysis.references.to_data(place)
    yield from _comparisons(analysis, identifier)


def _comparisons(analysis: Analysis, identifier: str) -> Iterator[int]:
    """RVAs with the first word of an identifier, where the second stands close by."""
    fields = _layout(identifier)
    first, second = (int.from_bytes(fields[at : at + 4], "little") for at in (0, 4))
    places = analysis.references.constants(first)
    behind = analysis.references.constants(second) if places else []
    for place in places:
        near = bisect_left(behind, place)
        if near < len(behind) and behind[near] - place <= CLOSE:
            yield place


class Miniports:
    """The miniport classes of one image."""

    def __init__(self, analysis: Analysis) -> None:
        self.analysis = analysis
        self.image = analysis.image
        self.methods: list[Method] = []
        self._lengths: dict[int, int] = {}
        self.is_audio = any(item.module == PORTCLS for item in self.image.imports.values())
        if self.is_audio:
            found = {
                (method.start, ddi.name): method
                for ddi in interface_methods(INBOUND)
                for method in self._find(ddi)
            }
            self.methods = [found[key] for key in sorted(found)]
        self._teach()

    def _teach(self) -> None:
        """Tell the data flow that the port driver decides what these methods receive."""
        follow = self.analysis.flow.interprocedural
        for method in self.methods:
            place = follow.at_entry(1 + method.ddi.position(method.ddi.deciding))
            follow.inbound[method.start, place] = inbound_reason(method.ddi)

    def _find(self, ddi: Ddi) -> Iterator[Method]:
        for start in user_starts(self.analysis, ddi.iid):
            for table in self._tables_starting_with(start):
                own = self.length(table) > ddi.slot
                candidates = [table] if own else self._siblings(table)
                methods = (self._method(ddi, candidate) for candidate in candidates)
                yield from islice(filter(None, methods), 1)

    def _method(self, ddi: Ddi, table: int) -> Method | None:
        """The method at the slot of a table, when the table and the method have the shape."""
        if self.length(table) <= ddi.slot:
            return None
        start = self.slot(table, ddi.slot)
        function = self.analysis.functions.starting_at(start)
        if function is None or self._reads_behind(function, len(ddi.parameters)):
            return None
        return Method(ddi, table, start)

    # ---- tables

    def slot(self, table: int, number: int) -> int:
        """RVA of a method."""
        return self.image.pointer(table + number * self.image.pointer_size) - self.image.base

    def length(self, table: int) -> int:
        """Number of methods: up to what is no code, or to the next table."""
        if table not in self._lengths:
            self._lengths[table] = self._count(table)
        return self._lengths[table]

    def _count(self, table: int) -> int:
        for number in range(MAX_METHODS):
            place = table + number * self.image.pointer_size
            if not self.image.is_code(self.slot(table, number)):
                return number
            if number and self._is_named(place):
                return number
        return MAX_METHODS

    def _is_named(self, rva: int) -> bool:
        """Whether code names an address in data."""
        references, at = self.analysis.references, self.analysis.functions.instruction_at
        named = (place for place in references.to_data(rva) if references.may_take(place, rva))
        return any(user is not None and rva in self._names(*user) for user in map(at, named))

    def _tables_starting_with(self, start: int) -> list[int]:
        return [
            place
            for place in self.analysis.references.pointers_to(start)
            if not self.image.is_code(place) and self._is_named(place)
        ]

    def _siblings(self, table: int) -> list[int]:
        """Other tables that a constructor of the same class stores, the nearest first."""
        found = set(self._stored_beside(table))
        return sorted(found, key=lambda rva: (abs(rva - table), rva))

    def _stored_beside(self, table: int) -> Iterator[int]:
        for reference in self.analysis.references.to_data(table):
            if not self.analysis.references.may_take(reference, table):
                continue
            user = self.analysis.functions.instruction_at(reference)
            if user is None or table not in self._names(*user):
                continue
            function, i = user
            first, last = max(0, i - NEIGHBOURHOOD), i + NEIGHBOURHOOD
            for k in range(first, min(last, len(function.rvas))):
                for rva in self._names(function, k):
                    if rva != table and not self.image.is_code(rva):
                        yield rva

    def _names(self, function: Function, i: int) -> list[int]:
        """The addresses in the image that an instruction puts into a register or memory."""
        found = []
        for expr in _results(self.analysis, function, i):
            if isinstance(expr, ImageAddress):
                found.append(expr.rva)
            elif isinstance(expr, Const) and self.image.bits == 32:
                rva = expr.value - self.image.base
                found += [rva] if self.image.holds(rva) else []
        return found

    # ---- shape

    def _reads_behind(self, function: Function, last: int) -> bool:
        """Whether a function reads a parameter on the stack behind the last that it has.

        What takes a question to the data flow comes last; and from the end, where the answer to
        one holds for those on its way.
        """
        others: list[tuple[int, Memory]] = []
        frames = self.analysis.flow.frames
        for i in range(len(function.rvas)):
            for expr in _results(self.analysis, function, i):
                if not isinstance(expr, Load):
                    continue
                if not frames.is_plain(function, i, expr.memory):
                    others.append((i, expr.memory))
                elif self._parameter(function, i, expr.memory) > last:
                    return True
        return any(self._parameter(function, i, memory) > last for i, memory in reversed(others))

    def _parameter(self, function: Function, i: int, memory: Memory) -> int:
        """The parameter on the stack that an operand names; -1 when it names none."""
        arch = self.analysis.arch
        step, above = self.image.pointer_size, arch.arguments_above(is_call=True)
        offset = self.analysis.flow.frames.offset(function, i, memory)
        if offset is None or offset < arch.return_address_size:
            return -1
        return (offset - arch.return_address_size) // step - above


def inbound_reason(ddi: Ddi) -> str:
    """Who decides the pool type that a method receives."""
    return f"decided by the port driver: the {ddi.deciding} parameter of {ddi.name}"


def _results(analysis: Analysis, function: Function, i: int) -> Iterator[Expr]:
    """What an instruction leaves in registers and in memory."""
    arch = analysis.arch
    effect = arch.effect(function, i)
    if function.flows[i]:
        return
    written = effect.registers & GENERAL & ~(1 << arch.stack_pointer)
    for register in members(written):
        yield arch.define(function, i, register)
    for n in range(len(effect.stores)):
        yield arch.stored(function, i, n)
