"""The end of the books: imports and references to their slots that nobody accounted for.

Asks the ledger, and looks for what takes slots along without naming them. Knows no rule.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from functools import cached_property
from typing import NamedTuple

from hvci.binary.analysis.ledger import Fate, Reference
from hvci.binary.analysis.wiring import Analysis
from hvci.binary.calls.imports import taken as importtable


class Unaccounted(NamedTuple):
    """What is not known of an import."""

    name: str
    rva: int | None
    reason: str


class Accounts:
    """The books of one image."""

    def __init__(self, analysis: Analysis, names: Container[str]) -> None:
        self.analysis = analysis
        self.ledger = analysis.ledger
        self.slots = {
            slot: item.name for slot, item in analysis.image.imports.items() if item.name in names
        }
        """The slots that matter, with the names of their imports."""

    def references(self, name: str) -> list[Reference]:
        """Every reference to the slots of an import, or to its thunks, that the scan proposed."""
        analysis, found = self.analysis, []
        for place, slot in analysis.import_hits.get(name, ()):
            found.append(Reference(place, slot, name))
            thunk = analysis.thunk_at.get(place)
            if thunk is not None:
                callers = analysis.references.to_code(thunk)
                found += [Reference(site, thunk, name) for site in callers]
                if analysis.functions.takes_address(thunk):
                    found.append(Reference(thunk, thunk, name))
        return found

    def unaccounted(
        self, names: Container[str], listed: Mapping[str, Container[int]] | None = None
    ) -> Iterator[Unaccounted]:
        """What is not known of some imports.

        `listed` has the RVAs of the calls that somebody will see, by name of the import; None
        where calls are not shown.
        """
        for name in sorted({name for name in self.slots.values() if name in names}):
            references = self.references(name)
            shown = None if listed is None else listed.get(name, ())
            places = sorted({each.place for each in self.ledger.open(references, shown)})
            for place in places:
                yield Unaccounted(name, place, f"a use of {name} that is not followed")
            for place, reason in self._taken_along.get(name, ()):
                yield Unaccounted(name, place, f"{reason}; calls of {name} by it are not followed")
            is_known = places or name in self._taken_along or self.ledger.is_used(references)
            if not is_known:
                yield Unaccounted(name, None, f"{name} is imported, and no use of it was found")

    @cached_property
    def _taken_along(self) -> dict[str, list[tuple[int, str]]]:
        """(place, in words) of what takes slots along, by name of the import."""
        found: dict[str, list[tuple[int, str]]] = {}
        for place, slot, reason in importtable.taken_along(self.analysis, self.slots):
            name = self.slots[slot]
            if self.ledger.fate(Reference(place, slot, name)) in (None, Fate.NOTHING):
                found.setdefault(name, []).append((place, reason))
        return found
