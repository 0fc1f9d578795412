"""What became of every reference to what calls go through: one book for all finders of calls.

Whoever looks at a reference signs for it. A reference that nobody signed for, or a call that was
signed for and is not listed, is open: silence is never the answer. Finds nothing itself.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from enum import IntEnum
from typing import NamedTuple

from hvci.binary.form.code import Function
from hvci.model import Via


class Fate(IntEnum):
    """What a reference turned out to be."""

    NOTHING = 0
    """Certainly no use: bytes of something else, or a jump that nothing leads to."""
    COMPARED = 1
    """Looked at, and handed to nobody."""
    CALL = 2
    """A call, or several."""
    FOLLOWED = 3
    """A load whose content goes to calls that were found, and nowhere else."""
    LIMIT = 4
    """Something that a limit says."""


class Reference(NamedTuple):
    """A place that names what calls go through."""

    place: int
    """RVA in the instruction, or of the pointer."""
    target: int
    """RVA of the slot, table or thunk that is named."""
    name: str


class ImportCall(NamedTuple):
    """One call or tail jump."""

    function: Function
    i: int
    name: str
    via: Via


class Ledger:
    """The references of one image that somebody signed for."""

    def __init__(self) -> None:
        self._fates: dict[tuple[int, int], Fate] = {}
        self._calls: dict[tuple[int, int], set[int]] = {}

    def sign(self, reference: Reference, fate: Fate) -> None:
        """Say what a reference is; what weighs more stays."""
        key = reference[:2]
        self._fates[key] = max(fate, self._fates.get(key, Fate.NOTHING))

    def call(self, reference: Reference, rva: int) -> None:
        """Sign for a reference that the call at an RVA uses."""
        self.sign(reference, Fate.CALL)
        self._calls.setdefault(reference[:2], set()).add(rva)

    def fate(self, reference: Reference) -> Fate | None:
        """What was signed for; None when nobody did."""
        return self._fates.get(reference[:2])

    def open(
        self, references: Iterable[Reference], listed: Container[int] | None = None
    ) -> Iterator[Reference]:
        """The references that are not accounted for.

        Where the RVAs of the listed calls are given, a call that is not among them is none.
        """
        for reference in references:
            fate = self._fates.get(reference[:2])
            if fate is None:
                yield reference
            elif fate is Fate.CALL and listed is not None:
                calls = self._calls.get(reference[:2], ())
                if not calls or any(rva not in listed for rva in calls):
                    yield reference

    def is_used(self, references: Iterable[Reference]) -> bool:
        """Whether any of some references is a use."""
        return any(self._fates.get(each[:2], Fate.NOTHING) for each in references)
