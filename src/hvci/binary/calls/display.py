"""Calls of display miniports through their copy of the interface of dxgkrnl.sys.

DxgkDdiStartDevice receives the interface and keeps a copy; its address stands in the table that
DriverEntry hands to dxgkrnl.sys. Knows the layout of both structures; judges nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from hvci.binary.calls.found import Answer, Found, Shared
from hvci.binary.flow.atoms import Atom, Kind, Lookup
from hvci.binary.form.code import CALLS, Flow, Function
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
                if kind in CALLS and interface in self._argument(function, i, 1):
                    target = {
                        self.analysis.address_of(atom) for atom in self._argument(function, i, 0)
                    }
                    yield from (rva for rva in target if rva is not None)

    def _argument(self, function: Function, i: int, position: int) -> frozenset[Atom]:
        self.analysis.flow.begin()
        return self.follow.argument(function, i, position, self.image.pointer_size)

    def _start_routines(self) -> Iterator[int]:
        """Code whose address lies in a local table that begins with an interface version."""
        for function in self._reached():
            stored = dict(self._frame_stores(function))
            for offset, value in sorted(stored.items()):
                rva = self.analysis.address_of(value)
                head = stored.get(offset - START_DEVICE * self.image.pointer_size)
                is_version = head is not None and head.kind is Kind.CONST and head.value in VERSIONS
                if rva is not None and self.image.is_code(rva) and is_version:
                    yield rva

    def _frame_stores(self, function: Function) -> Iterator[tuple[int, Atom]]:
        """Frame offsets with the single value that an instruction stores there."""
        arch, flow = self.analysis.arch, self.analysis.flow
        for i in range(len(function.rvas)):
            for n, memory in enumerate(arch.effect(function, i).stores):
                flow.begin()
                offset = flow.frames.offset(function, i, memory)
                if offset is not None:
                    held = flow.evaluate(function, i, arch.stored(function, i, n), 0)
                    if len(held) == 1:
                        yield offset, min(held)

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
