"""Calls through pointers that the driver looked up by name or copied from its imports."""

from __future__ import annotations

from collections.abc import Iterator

from hvci import catalog
from hvci.binary.calls.byname import ByName
from hvci.binary.calls.found import Answer, Fallback, Found, Open, Shared
from hvci.binary.flow.atoms import Atom, Kind, Lookup
from hvci.binary.flow.fates import Place
from hvci.model import Via

FALLBACKS = {"MmMapIoSpace": "MmMapIoSpaceEx"}
"""What drivers call on Windows versions without the better routine."""


class KeptPointers:
    """Calls through pointers to routines that the driver keeps."""

    def __init__(self, shared: Shared) -> None:
        self.analysis, self.imports, self.pointers = shared

    def find(self) -> Iterator[Answer]:
        """Every such call; what is passed on or looked up by an unknown name is open."""
        by_name = ByName(self.analysis)
        functions = by_name.learn()
        followed: set[Atom] = set()
        through: set[tuple[Place, Atom]] = set()
        if functions or self.imports.escapes:
            users = by_name.users(functions, self.imports.escapes)
            for function, i, pointer in self.pointers.within(users, takers=by_name.takers):
                through.add(((function, i), pointer))
                name = self._name(pointer)
                is_loaded = self.analysis.arch.loads_call_targets
                if is_loaded or self.imports.comes_from_memory(function, i):
                    followed.add(pointer)
                if name in FALLBACKS.values():
                    yield Fallback(function, name)
                if name in catalog.ddis() and pointer.value != Lookup.KMDF:
                    is_import = pointer.kind is Kind.IMPORT
                    yield Found(function, i, name, Via.REGISTER if is_import else Via.BY_NAME)
        for rva, reason in by_name.unread:
            yield Open(f"a routine is looked up by a name that is not known: {reason}", rva)
        for rva, name in by_name.handed_on:
            yield Open(f"the address of {name} is stored or passed on, or may be called", rva)
        lost = {(rva, self._name(pointer)) for rva, pointer in by_name.lost}
        lost |= {
            (taker.rvas[k], self._name(pointer))
            for (taker, k), pointers in by_name.called
            for pointer in pointers
            if ((taker, k), pointer) not in through
        }
        lost |= {
            (escape.rva, escape.name)
            for escape in self.imports.escapes
            if not escape.is_known
            and (escape.of_address or Atom(Kind.IMPORT, escape.slot) not in followed)
        }
        for rva, name in sorted(lost):
            if name in catalog.ddis():
                what = f"the address of {name} is stored or passed on"
                yield Open(f"{what}; calls through it are not followed", rva, name)

    def _name(self, pointer: Atom) -> str:
        """The routine that a pointer leads to."""
        if pointer.kind is Kind.IMPORT:
            return self.analysis.image.imports[pointer.value].name
        return pointer.why
