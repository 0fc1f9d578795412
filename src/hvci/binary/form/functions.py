"""Which bytes are functions, whatever the architecture: the common ground of those who tell.

Decodes a function when somebody asks for an address in it, and only then.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

from hvci.binary.form.code import Architecture, Expr, Flow, Function
from hvci.binary.form.exceptions import Exceptions
from hvci.binary.form.references import References, Rvas
from hvci.binary.pe.image import PeImage
from hvci.binary.pe.sets import distinct

MAX_FUNCTION = 0x10000
"""Bytes decoded of one fragment; real functions are shorter, and hostile ones are cut."""
MAX_GAP = 0x1000
SHORT_GAP = 0x100
"""Bytes decoded at once outside known functions, once `MAX_DECODED` are decoded."""
MAX_DECODED = 4 << 20
"""Bytes decoded of one image besides its size; real drivers need less than their size."""


class Outline(NamedTuple):
    """A function that need not be decoded."""

    start: int
    spans: list[tuple[int, int]]
    """The stretches of code that are decoded, in order."""


class Functions(ABC):
    """The functions of one image."""

    def __init__(self, image: PeImage, architecture: Architecture, references: References) -> None:
        self.image = image
        self.architecture = architecture
        self.references = references
        self._known: dict[tuple[str, int], Function] = {}
        self._unwound: dict[int, Function] = {}
        self.is_overworked = False
        """Whether far more was decoded than there is: code outside known functions overlaps."""
        self._undecoded = image.size + MAX_DECODED

    @property
    @abstractmethod
    def unwind(self) -> Exceptions:
        """What the exception data says of the functions."""

    @abstractmethod
    def at(self, rva: int) -> Function | None:
        """The function that holds an RVA; None when no code does."""

    def instruction_at(self, rva: int) -> tuple[Function, int] | None:
        """The instruction that holds an RVA, its first byte included."""
        function = self.at(rva)
        if function is None:
            return None
        i = bisect_right(function.rvas, rva) - 1
        return (function, i) if i >= 0 and rva < function.end(i) else None

    def import_call(self, function: Function, i: int, slot: int) -> tuple[int, Flow] | None:
        """The call or jump through what instruction `i` loads from the slot of an import.

        None when that is not plain to see.
        """
        return None

    def plain_argument(self, function: Function, i: int, register: int) -> Expr | None:
        """What plain words put into a register before instruction `i`; None when not plain."""
        return None

    def outline(self, rva: int) -> Outline | None:
        """The function that holds an RVA; None where only decoding tells."""
        return None

    @property
    def starts(self) -> Sequence[int]:
        """Where functions start, sorted; only where no exception data tells it."""
        return ()

    def starts_within(self, outline: Outline) -> Rvas | None:
        """RVAs of the instructions of a function; None where only decoding tells."""
        return None

    def boundary(self, rva: int) -> int | None:
        """RVA of the instruction that holds an RVA; None where that is not known."""
        found = self.instruction_at(rva)
        return None if found is None else found[0].rvas[found[1]]

    def likely_boundary(self, rva: int) -> int | None:
        """The same outside of known functions as well, where no more than decoding tells it."""
        return self.boundary(rva)

    def starting_at(self, rva: int) -> Function | None:
        """The function that starts at an RVA; None when the RVA lies inside another."""
        function = self.at(rva)
        return function if function is not None and function.start == rva else None

    def read(self, start: int, end: int) -> Function:
        """Code from one RVA up to another, taken to be a function whatever lies there."""
        return self._decode(start, [(start, end)], "gap")

    def reached(self) -> list[int]:
        """RVAs of code that something calls, jumps to or names, sorted; every function has one."""
        references = self.references
        targets = [np.array([*self._named, *self.unwind.starts], np.int64)]
        targets += [references.branch_targets, references.pointers[0]]
        targets += [references.naming(start, end)[0] for start, end in self.image.code_ranges]
        found = distinct(np.concatenate(targets))
        return [int(rva) for rva in found[references.in_code(found)]]

    def decoded(self) -> list[Function]:
        """The functions that somebody asked for, by start."""
        found = {function.start: function for function in self._known.values()}
        found |= {function.start: function for function in self._unwound.values()}
        return [found[start] for start in sorted(found)]

    def release(self) -> None:
        """Drop what others keep with the functions, and the gaps: they refer back to them."""
        vars(self).pop("_gaps", None)
        for function in (*self._known.values(), *self._unwound.values()):
            function.forget()

    def _decode(self, start: int, fragments: list[tuple[int, int]], kind: str) -> Function:
        for first, end in fragments:
            self._undecoded -= end - first
        self.is_overworked = self._undecoded < 0
        return self.architecture.function(start, fragments, kind)

    def gap_start(self, rva: int) -> int:
        """What is called, jumped to or exported right before an RVA outside known functions."""
        low, _ = self.unwind.gap(rva)
        targets = self.references.branch_targets
        first, last = targets.searchsorted((low, rva + 1))
        known = [start for start in self._named if low <= start <= rva]
        return max(known, default=low) if first == last else max(*known, int(targets[last - 1]), 0)

    @cached_property
    def _named(self) -> list[int]:
        """The entry point and the exports."""
        return [int(self.image.headers.entry), *self.image.exports]

    @cached_property
    def address_taken(self) -> dict[int, bool]:
        """Cache of `takes_address` by RVA."""
        return {}

    def takes_address(self, rva: int) -> bool:
        """Whether the address of a function is stored anywhere."""
        known = self.address_taken.get(rva)
        if known is None:
            known = self.references.takes_address(rva) and not self._is_only_called(rva)
            self.address_taken[rva] = known
        return known

    def _is_only_called(self, rva: int) -> bool:
        """Whether the address of a function is made for calls only."""
        return False

    def _named_calls(self, start: int, place: int) -> Iterator[tuple[Function, int]]:
        """Calls through the register that an operand at a place gives the address of a function."""
        yield from ()

    def callers(self, start: int) -> list[tuple[Function, int]]:
        """Direct calls of, and tail jumps to, the function that starts at an RVA."""
        found = []
        for site in (*self.references.to_code(start), *self.references.short_branches(start)):
            function = self.at(site)
            if function is None:
                continue
            i = function.find(site)
            if i is None or self.architecture.direct_target(function, i) != start:
                continue
            if function.start == start and i in function.targets:
                continue  # a loop back to its own start
            found.append((function, i))
        for place in self.references.named.get(start, ()):
            found += self._named_calls(start, place)
        return found
