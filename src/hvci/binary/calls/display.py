"""Calls of display miniports through their copy of the interface of dxgkrnl.sys.

DxgkDdiStartDevice receives the interface and keeps a copy; its address stands in the table that
DriverEntry hands to dxgkrnl.sys. Knows the layout of both structures; judges nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from hvci.binary.calls.found import Answer, Found, Shared
from hvci.binary.flow.atoms import Atom, Kind, Lookup
from hvci.binary.form.code import (
    CALLS,
    IMAGE_BASE,
    Choose,
    Either,
    Expr,
    Flow,
    Function,
    Load,
    Location,
    Reg,
    is_slot,
    slot,
)
from hvci.model import Via

DEVICE = "\\Device\\DxgKrnl".encode("utf-16-le")
"""What the display library opens to reach dxgkrnl.sys."""
MEMBERS = {"DxgkCbMapMemory": {64: 0x28, 32: 0x18}}
"""Offsets of routines in DXGKRNL_INTERFACE, in bytes, by word size."""
VERSIONS = range(0x1000, 0x20000)
"""DRIVER_INITIALIZATION_DATA.Version: DXGKDDI_INTERFACE_VERSION_*."""
START_DEVICE = 2
"""DxgkDdiStartDevice, in pointers from the start of DRIVER_INITIALIZATION_DATA."""
INTERFACE_ARGUMENT = 2
"""DxgkDdiStartDevice(Context, StartInfo, DxgkInterface, ...)."""
MAX_REACHED = 200


class Display:
    """Calls through the copies of the display interface in one image."""

    def __init__(self, shared: Shared) -> None:
        self.analysis, self.pointers = shared.analysis, shared.pointers
        self.image = self.analysis.image
        self.follow = self.analysis.flow.interprocedural
        self.users = self._teach()

    def find(self) -> Iterator[Answer]:
        """Every call of a routine of the interface."""
        for function, i, routine in self.pointers.within(self.users):
            if (routine.kind, routine.value) == (Kind.ROUTINE, Lookup.CALLBACK):
                yield Found(function, i, routine.why, Via.CALLBACK)

    def _teach(self) -> list[Function]:
        """Tell the data flow what the copies hold; return the functions that use them."""
        if next(self.image.find(DEVICE), None) is None:
            return []
        places: list[int] = []
        for copy in sorted(set(self._copies())):
            for name, offsets in MEMBERS.items():
                member = copy + offsets[self.image.bits]
                routine = Atom(Kind.ROUTINE, Lookup.CALLBACK, why=name)
                self.analysis.flow.globals.known[member] = frozenset((routine,))
                places += self.analysis.references.to_data(member)
        found = (self.analysis.functions.at(place) for place in places)
        return [function for function in found if function is not None]

    def _copies(self) -> Iterator[int]:
        """RVAs of globals that a start routine copies the interface to."""
        for start in sorted(set(self._start_routines())):
            function = self.analysis.functions.starting_at(start)
            if function is None:
                continue
            interface = Atom(Kind.PARAMETER, start, self.follow.at_entry(INTERFACE_ARGUMENT))
            for i, kind in enumerate(function.flows):
                if kind in CALLS and self._is_given(function, i, interface):
                    target = {
                        self.analysis.address_of(atom) for atom in self._argument(function, i, 0)
                    }
                    yield from (rva for rva in target if rva is not None)

    def _is_given(self, function: Function, i: int, interface: Atom) -> bool:
        """Whether the second argument of a call is what the function was given."""
        registers = self.analysis.arch.parameter_registers
        if registers:
            return self._is_copy(function, i, Location(registers[1]), interface)
        return interface in self._argument(function, i, 1)

    def _is_copy(self, function: Function, i: int, location: Location, interface: Atom) -> bool:
        """Whether copies, the frame or a global hand on what the function was given.

        What calls return is not asked, nor what fields hold: those are long questions, and the
        usual arguments.
        """
        arch, flow = self.analysis.arch, self.analysis.flow
        flow.begin()
        work, seen = [(i, location)], set[tuple[int, Location]]()
        while work:
            at = work.pop()
            if at in seen:
                continue
            seen.add(at)
            for d in flow.definitions(function, *at):
                if not isinstance(d, int):
                    if interface in d:
                        return True
                    continue
                if function.flows[d] in CALLS:
                    continue
                is_stored = is_slot(at[1])
                expr = arch.stored(function, d) if is_stored else arch.define(function, d, at[1])
                for each in _outcomes(expr):
                    if isinstance(each, Reg):
                        work.append((d, Location(each.number)))
                    if not isinstance(each, Load):
                        continue
                    offset = flow.frames.offset(function, d, each.memory)
                    if offset is not None:
                        work.append((d, slot(offset)))
                    is_global = offset is None and each.memory.base == IMAGE_BASE
                    if is_global and interface in flow.evaluate(function, d, each, 0):
                        return True
        return False

    def _argument(self, function: Function, i: int, position: int) -> frozenset[Atom]:
        self.analysis.flow.begin()
        return self.follow.argument(function, i, position, self.image.pointer_size)

    def _start_routines(self) -> Iterator[int]:
        """Code whose address lies in a local table that begins with an interface version."""
        width = START_DEVICE * self.image.pointer_size
        for function in self._reached():
            stores = self._frame_stores(function)
            for offset in sorted(stores.keys() & {each + width for each in stores}):
                head = self._single(function, stores[offset - width])
                if head is None or head.kind is not Kind.CONST or head.value not in VERSIONS:
                    continue
                value = self._single(function, stores[offset])
                rva = self.analysis.address_of(value) if value is not None else None
                if rva is not None and self.image.is_code(rva):
                    yield rva

    def _frame_stores(self, function: Function) -> dict[int, list[tuple[int, int]]]:
        """By frame offset, what is stored there: (instruction, operand), in order."""
        arch, flow = self.analysis.arch, self.analysis.flow
        found: dict[int, list[tuple[int, int]]] = {}
        for i in range(len(function.rvas)):
            for n, memory in enumerate(arch.effect(function, i).stores):
                flow.begin()
                offset = flow.frames.offset(function, i, memory)
                if offset is not None:
                    found.setdefault(offset, []).append((i, n))
        return found

    def _single(self, function: Function, stores: list[tuple[int, int]]) -> Atom | None:
        """The single value that the last store with one leaves at a place of the frame."""
        arch, flow = self.analysis.arch, self.analysis.flow
        for i, n in reversed(stores):
            flow.begin()
            held = flow.evaluate(function, i, arch.stored(function, i, n), 0)
            if len(held) == 1:
                return min(held)
        return None

    def _reached(self) -> list[Function]:
        """The functions that direct calls and jumps lead to from the entry point."""
        functions, arch = self.analysis.functions, self.analysis.arch
        found: dict[int, Function] = {}
        work = [int(self.image.headers.entry)]
        while work and len(found) < MAX_REACHED:
            function = functions.at(work.pop())
            if function is None or function.start in found:
                continue
            found[function.start] = function
            for i, kind in enumerate(function.flows):
                if kind in (Flow.CALL, Flow.JUMP):
                    work.append(arch.direct_target(function, i))
        return [found[start] for start in sorted(found)]


def _outcomes(expr: Expr) -> Iterator[Expr]:
    """What an expression may be, one of several or the only one."""
    match expr:
        case Either(left, right) | Choose(_, left, right):
            yield from _outcomes(left)
            yield from _outcomes(right)
        case _:
            yield expr
