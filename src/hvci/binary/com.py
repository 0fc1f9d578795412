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
from uuid import UUID

from hvci import catalog
from hvci.binary.analysis import Analysis
from hvci.binary.code import Const, Expr, Function, ImageAddress, Load
from hvci.catalog import Binding, Ddi

PORTCLS = "portcls.sys"
INBOUND, OUTBOUND = "inbound", "outbound"
NEIGHBOURHOOD = 16
"""Instructions around a reference to one table in which a constructor stores the others."""
MAX_METHODS = 64
MAX_REGISTERS = 32
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
        for ddi in catalog.ddis().values()
        if ddi.binding is Binding.COM_VTABLE and ddi.direction == direction and ddi.seed
    ]


def places_of(analysis: Analysis, identifier: str) -> list[int]:
    """RVAs where an identifier stands in the image."""
    wanted, memory = UUID(identifier).bytes_le, analysis.image.memory
    found, at = [], memory.find(wanted)
    while at >= 0:
        found.append(at)
        at = memory.find(wanted, at + 1)
    return found


def users_of(analysis: Analysis, identifier: str) -> list[tuple[Function, int]]:
    """Every instruction that names an identifier or compares with its parts."""
    functions = analysis.functions
    found: dict[tuple[int, int], tuple[Function, int]] = {}
    for place in places_of(analysis, identifier):
        for reference in analysis.references.to_data(place):
            user = functions.instruction_at(reference)
            if user is not None:
                found[user[0].start, user[1]] = user
    for user in _comparisons(analysis, identifier):
        found[user[0].start, user[1]] = user
    return [found[key] for key in sorted(found)]


def _comparisons(analysis: Analysis, identifier: str) -> Iterator[tuple[Function, int]]:
    """Instructions with the first word of an identifier, where the second stands close by."""
    fields = UUID(identifier).bytes_le
    first, second = (int.from_bytes(fields[at : at + 4], "little") for at in (0, 4))
    behind = analysis.references.constants(second)
    for place in analysis.references.constants(first):
        near = bisect_left(behind, place)
        if near < len(behind) and behind[near] - place <= CLOSE:
            user = analysis.functions.instruction_at(place)
            if user is not None:
                yield user


class Miniports:
    """The miniport classes of one image."""

    def __init__(self, analysis: Analysis) -> None:
        self.analysis = analysis
        self.image = analysis.image
        self.methods: list[Method] = []
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
        for function, _ in users_of(self.analysis, ddi.iid):
            for table in self._tables_starting_with(function.start):
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
        if function is None or self._last_parameter(function) > len(ddi.parameters):
            return None
        return Method(ddi, table, start)

    # ---- tables

    def slot(self, table: int, number: int) -> int:
        """RVA of a method."""
        return self.image.pointer(table + number * self.image.pointer_size) - self.image.base

    def length(self, table: int) -> int:
        """Number of methods: up to what is no code, or to the next table."""
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
        named = (place for place in references.to_data(rva) if not references.only_reads(place))
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

    def _last_parameter(self, function: Function) -> int:
        """The highest parameter on the stack that a function reads; -1 when it reads none."""
        arch, last = self.analysis.arch, -1
        step, above = self.image.pointer_size, arch.arguments_above(is_call=True)
        for i in range(len(function.rvas)):
            for expr in _results(self.analysis, function, i):
                if isinstance(expr, Load):
                    offset = self.analysis.flow.frames.offset(function, i, expr.memory)
                    if offset is not None and offset >= arch.return_address_size:
                        position = (offset - arch.return_address_size) // step - above
                        last = max(last, position)
        return last


def inbound_reason(ddi: Ddi) -> str:
    """Who decides the pool type that a method receives."""
    return f"decided by the port driver: the {ddi.deciding} parameter of {ddi.name}"


def _results(analysis: Analysis, function: Function, i: int) -> Iterator[Expr]:
    """What an instruction leaves in registers and in memory."""
    arch = analysis.arch
    effect = arch.effect(function, i)
    if function.flows[i]:
        return
    for register in range(MAX_REGISTERS):
        if effect.registers >> register & 1 and register != arch.stack_pointer:
            yield arch.define(function, i, register)
    for n in range(len(effect.stores)):
        yield arch.stored(function, i, n)
