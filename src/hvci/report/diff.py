"""What changed between two reports: fixed, new, unchanged and moved, by name rather than address.

Knows fingerprints and places; prints nothing and opens no file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from hvci.model import Outcome, Report
from hvci.report import words
from hvci.report.document import Document
from hvci.report.identity import Named, named_findings, short_name, where
from hvci.report.safe import safe


class Change(StrEnum):
    """What became of a finding, in the order in which they are told."""

    NEW = "new"
    CHANGED = "changed"
    """The same call, with another value or another outcome."""
    FIXED = "fixed"
    MOVED = "moved"
    """The same finding at another place."""
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class Changed:
    """One finding before and after; one of the two is missing when it is new or fixed."""

    change: Change
    before: Named | None
    after: Named | None

    @property
    def shown(self) -> Named:
        """The side that is there, the later one first."""
        one = self.after or self.before
        assert one is not None
        return one


@dataclass(frozen=True, slots=True)
class Difference:
    """Two drivers and what changed; one of the two is missing when it came or went."""

    name: str
    before: Report | None
    after: Report | None
    changes: tuple[Changed, ...]

    @property
    def worse(self) -> bool:
        """Whether something fails or is in doubt that was not so before."""
        return any(_is_worse(item) for item in self.changes)


_BAD = (Outcome.NOTE, Outcome.UNDECIDED, Outcome.FAIL)


def _is_worse(item: Changed) -> bool:
    if item.change not in (Change.NEW, Change.CHANGED) or item.shown.finding.suppressed:
        return False
    before = _BAD.index(item.before.finding.outcome) if item.before else 0
    return _BAD.index(item.shown.finding.outcome) > before


def compare(old: Document, new: Document) -> tuple[Difference, ...]:
    """Pair the drivers of two runs by file name; a lone one on each side is always a pair."""
    if len(old.reports) == 1 and len(new.reports) == 1:
        name = short_name(new.reports[0].target.path)
        return (_difference(name, old.reports[0], new.reports[0]),)
    before = {short_name(report.target.path): report for report in old.reports}
    after = {short_name(report.target.path): report for report in new.reports}
    names = sorted({*before, *after})
    return tuple(_difference(name, before.get(name), after.get(name)) for name in names)


def _difference(name: str, before: Report | None, after: Report | None) -> Difference:
    old = list(named_findings(before)) if before else []
    new = list(named_findings(after)) if after else []
    changes = sorted(_changes(old, new), key=_order)
    return Difference(name, before, after, tuple(changes))


def _order(item: Changed) -> tuple[int, str, tuple[int, str, int, int]]:
    shown = item.shown
    rank = list(Change).index(item.change)
    return (rank, shown.result.rule, words.place_key(shown.finding.site))


def _changes(old: list[Named], new: list[Named]) -> Iterator[Changed]:
    """Match by fingerprint first; then what is left by rule, DDI and function."""
    by_name = {named.fingerprint: named for named in old}
    left_new = []
    for named in new:
        known = by_name.pop(named.fingerprint, None)
        if known is None:
            left_new.append(named)
            continue
        same = known.finding.site == named.finding.site
        yield Changed(Change.UNCHANGED if same else Change.MOVED, known, named)
    left_old = list(by_name.values())
    for named in left_new:
        known = next((item for item in left_old if _loose(item) == _loose(named)), None)
        if known is None:
            yield Changed(Change.NEW, None, named)
            continue
        left_old.remove(known)
        yield Changed(Change.CHANGED, known, named)
    yield from (Changed(Change.FIXED, named, None) for named in left_old)


def _loose(named: Named) -> tuple[str, ...]:
    return (named.result.rule, named.finding.ddi or "", *where(named.finding))


def to_diff_text(differences: Iterable[Difference], *, verbose: bool = False) -> str:
    """The differences as text; what stayed the same is counted and listed only when asked."""
    return "\n".join("".join(f"{line}\n" for line in _lines(d, verbose)) for d in differences)


def _lines(difference: Difference, verbose: bool) -> Iterator[str]:
    before, after = (_verdict(report) for report in (difference.before, difference.after))
    yield f"{safe(difference.name)}: {before} -> {after}"
    for change in Change:
        items = [item for item in difference.changes if item.change is change]
        if not items:
            continue
        yield f"  {change.value}: {len(items)}"
        if verbose or change not in (Change.MOVED, Change.UNCHANGED):
            yield from (f"    {line}" for item in items for line in _item(item))


def _verdict(report: Report | None) -> str:
    return "not there" if report is None else report.verdict.value


def _item(item: Changed) -> Iterator[str]:
    shown = item.shown
    message = safe(shown.finding.message, 1000)
    yield f"{shown.result.rule}  {words.place(shown.finding.site)}  {message}"
    if item.before and item.after and item.before.finding != item.after.finding:
        finding = item.before.finding
        yield f"  was: {words.place(finding.site)}  {safe(finding.message, 1000)}"
