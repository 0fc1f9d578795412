"""Names of routines that code passes to a look-up: static, initialised, built on the stack.

Knows UNICODE_STRING and character arrays; knows nothing of what becomes of the routine.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from hvci.binary.analysis.ledger import ImportCall
from hvci.binary.analysis.wiring import Analysis
from hvci.binary.calls.imports.direct import ImportCalls
from hvci.binary.flow import atoms
from hvci.binary.flow.atoms import Atom, Atoms, Kind
from hvci.binary.form.code import Function, slot

INITIALISERS = frozenset(
    ("RtlInitUnicodeString", "RtlInitUnicodeStringEx", "NdisInitUnicodeString")
)
MAX_NAME = 96
"""Characters; no routine has a longer name."""


class Text(NamedTuple):
    """How a name is passed: `counted` as a UNICODE_STRING, else as characters; `wide` or not."""

    counted: bool
    wide: bool


class Found(NamedTuple):
    """What is known about a name: the name, the parameter that brings it, or why it is not read."""

    name: str = ""
    place: int = 0
    """Location of the parameter at entry of the function, when `form` is given."""
    form: Text | None = None
    reason: str = ""


class Names:
    """Reads names in one image."""

    def __init__(self, analysis: Analysis) -> None:
        self.analysis = analysis
        self.image = analysis.image
        self.flow = analysis.flow
        self._initialised: dict[int, list[ImportCall]] = {}
        """Calls of initialisers by the start of their function; all of them under -1."""
        self._targets: dict[tuple[int, int], frozenset[Atom]] = {}
        """What each initialising call initialises, once asked."""

    def read(self, function: Function, i: int, held: Atoms, form: Text) -> list[Found]:
        """All that a name can be, at instruction `i`, when `held` points to it."""
        order = self.flow.globals.tables.get(held)
        found: list[Found] = []
        for atom in order or sorted(held):
            found += self._read(function, i, self._address(atom), form)
        return found or [Found(reason="no known way through the driver leads to the look-up")]

    def argument(self, function: Function, i: int, position: int = 0) -> Atoms:
        """An argument of a call, not followed to the callers."""
        self.flow.begin()
        size = self.image.pointer_size
        return self.flow.interprocedural.argument(function, i, position, size)

    def _address(self, atom: Atom) -> Atom:
        """On x86 an address in the image looks like a constant."""
        rva = atom.value - self.image.base
        if atom.kind is Kind.CONST and self.image.bits == 32 and self.image.holds(rva):
            return Atom(Kind.ADDRESS, rva)
        return atom

    def _read(self, function: Function, i: int, atom: Atom, form: Text) -> Iterator[Found]:
        if atom.kind is Kind.PARAMETER and atom.value == function.start and not atom.ops:
            yield Found(place=atom.place, form=form)
        elif form.counted:
            yield from self._counted(function, i, atom)
        elif atom.kind is Kind.ADDRESS:
            yield self._static(atom.value, form.wide)
        elif atom.kind is Kind.STACK:
            yield self._on_stack(function, i, atom.value, form.wide)
        else:
            yield Found(reason=atoms.describe(atom))

    def _static(self, rva: int, wide: bool) -> Found:
        text = self.image.wide_text(rva, MAX_NAME) if wide else self.image.text(rva, MAX_NAME)
        return Found(text) if _is_name(text) else Found(reason="text that is no routine's name")

    # ---- UNICODE_STRING

    def _counted(self, function: Function, i: int, atom: Atom) -> Iterator[Found]:
        if atom.kind not in (Kind.ADDRESS, Kind.STACK):
            yield Found(reason=atoms.describe(atom))
            return
        if atom.kind is Kind.ADDRESS:
            buffer = self.image.pointer(atom.value + self.image.pointer_size) - self.image.base
            if self.image.holds(buffer) and self.image.u16(atom.value):
                text = self.image.wide_text(buffer, self.image.u16(atom.value) // 2)
                yield Found(text) if _is_name(text) else Found(reason="an initialised string")
                return
        setter = self._initialiser(function, i, atom)
        if setter is not None:
            source = self.argument(*setter, 1)
            yield from self.read(*setter, source, Text(counted=False, wide=True))
        elif atom.kind is Kind.STACK:
            yield from self._inline(function, i, atom)
        else:
            yield Found(reason=f"the string at {atom.value:#x}, which nothing was seen to set")

    def _initialiser(self, function: Function, i: int, atom: Atom) -> tuple[Function, int] | None:
        """The last call before that initialises the string; for a global one, any."""
        local = atom.kind is Kind.STACK
        best = None
        for call in self._initialisers(function if local else None):
            if local and call.i >= i:
                continue
            key = call.function.start, call.i
            held = self._targets.get(key)
            if held is None:
                at = self.argument(call.function, call.i)
                held = frozenset(self._address(each) for each in at)
                self._targets[key] = held
            if atom in held:
                best = call.function, call.i
        return best

    def _initialisers(self, function: Function | None) -> list[ImportCall]:
        """Calls of initialisers, in one function or anywhere."""
        key = function.start if function is not None else -1
        if key not in self._initialised:
            self._initialised[key] = ImportCalls(self.analysis).find(INITIALISERS, function)
        return self._initialised[key]

    def _inline(self, function: Function, i: int, atom: Atom) -> Iterator[Found]:
        """A string in the frame whose fields are stored one by one."""
        at = slot(atom.value + self.image.pointer_size)
        buffer = self.flow.value(function, i, at)
        yield from self.read(function, i, buffer, Text(counted=False, wide=True))

    def _on_stack(self, function: Function, i: int, offset: int, wide: bool) -> Found:
        """Characters that stores put into the frame one after the other."""
        step = 2 if wide else 1
        text = ""
        for n in range(MAX_NAME):
            held = self.flow.value(function, i, slot(offset + step * n))
            atom = atoms.single(atoms.truncate(held, step))
            if atom is None or atom.kind is not Kind.CONST:
                return Found(reason="a text in the frame that is not all constants")
            if not atom.value:
                break
            text += chr(atom.value)
        return Found(text) if _is_name(text) else Found(reason="text that is no routine's name")


def _is_name(text: str) -> bool:
    """Whether a text can name a routine."""
    return text.isascii() and text.isidentifier()
