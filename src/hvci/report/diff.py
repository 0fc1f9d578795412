"""What changed between two reports: fixed, new, unchanged and moved, by name rather than address.

Knows fingerprints and places; prints nothing and opens no file.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby, product

from hvci.model import Gate, ImageSite, Outcome, Report
from hvci.report import words
from hvci.report.document import Document
from hvci.report.identity import (
    Named,
    named_findings,
    offset_in_function,
    short_name,
    where,
)
from hvci.report.pairs import pairs, shared
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
    doubts: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Why rules are open that were not so before and of which no finding tells it, with them."""
    refused: str = ""
    """Why the driver has no report any more although a file of its name is there."""

    @property
    def worse(self) -> bool:
        """Whether something fails or is in doubt that was not so before."""
        is_open = bool(self.doubts or self.refused)
        return is_open or any(_is_worse(item) for item in self.changes)


_BAD = (Outcome.NOTE, Outcome.UNDECIDED, Outcome.FAIL)


def _is_worse(item: Changed) -> bool:
    if item.change not in (Change.NEW, Change.CHANGED) or item.shown.finding.suppressed:
        return False
    before = _BAD.index(item.before.finding.outcome) if item.before else 0
    return _BAD.index(item.shown.finding.outcome) > before


def compare(old: Document, new: Document) -> tuple[Difference, ...]:
    """What changed in each driver of two runs."""
    return tuple(_difference(new, *pair) for pair in pairs(old.reports, new.reports))


def _difference(
    told: Document, name: str, before: Report | None, after: Report | None
) -> Difference:
    old = list(named_findings(before)) if before else []
    new = list(named_findings(after)) if after else []
    changes = sorted(_changes(old, new), key=_order)
    refused = _refused(before, told) if before and not after else ""
    return Difference(name, before, after, tuple(changes), tuple(_doubts(before, after)), refused)


def _refused(before: Report, told: Document) -> str:
    """What is said of the file of a driver's name that is none any more."""
    name = short_name(before.target.path).lower()
    found = [one for one in told.errors if short_name(one.path).lower() == name]
    nearest = max(found, key=lambda one: shared(one.path, before.target.path), default=None)
    return nearest.message if nearest else ""


_IN_DOUBT = (Outcome.FAIL, Outcome.UNDECIDED, Outcome.NOT_CHECKED)


def _doubts(before: Report | None, after: Report | None) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What a limit leaves open, which is no finding; nothing where all of it is accepted."""
    if after is None or after.gate is Gate.PASS:
        return
    results = before.results if before else ()
    known = {one.rule for one in results if one.outcome in _IN_DOUBT}
    for reason, rules in words.open_rules(after).items():
        if new := tuple(rule for rule in rules if rule not in known):
            yield reason, new


def _order(item: Changed) -> tuple[int, str, tuple[int, str, int, int]]:
    shown = item.shown
    rank = list(Change).index(item.change)
    return (rank, shown.result.rule, words.place_key(shown.finding.site))


def _changes(old: list[Named], new: list[Named]) -> Iterator[Changed]:
    """Match equal findings first; then what is left by rule, DDI and function."""
    left_old = list(old)
    left_new = []
    for named, known in _pairs(old, new):
        if known is None:
            left_new.append(named)
            continue
        left_old.remove(known)
        same = known.finding.site == named.finding.site
        yield Changed(Change.UNCHANGED if same else Change.MOVED, known, named)
    for named in left_new:
        known = next((item for item in left_old if _loose(item) == _loose(named)), None)
        if known is None:
            yield Changed(Change.NEW, None, named)
            continue
        left_old.remove(known)
        yield Changed(Change.CHANGED, known, named)
    yield from (Changed(Change.FIXED, named, None) for named in left_old)


def _pairs(old: list[Named], new: list[Named]) -> Iterator[tuple[Named, Named | None]]:
    """Each new finding with the equal old one that it most likely was."""
    by_kind: dict[tuple[str, ...], list[Named]] = defaultdict(list)
    for named in old:
        by_kind[named.kind].append(named)
    for _, group in groupby(sorted(new, key=lambda named: named.kind), lambda named: named.kind):
        yield from _closest(list(group), by_kind)


def _closest(
    group: list[Named], by_kind: dict[tuple[str, ...], list[Named]]
) -> Iterator[tuple[Named, Named | None]]:
    """Pair equal findings by how far they are from the start of their function.

    Functions without a name are told apart by nothing else that a rebuild keeps.
    """
    known = by_kind[group[0].kind]
    ranked = sorted(
        product(range(len(group)), range(len(known))),
        key=lambda pair: _distance(group[pair[0]], known[pair[1]]),
    )
    paired: dict[int, int] = {}
    taken: set[int] = set()
    for ours, theirs in ranked:
        if ours not in paired and theirs not in taken:
            paired[ours] = theirs
            taken.add(theirs)
    for index, named in enumerate(group):
        yield named, known[paired[index]] if index in paired else None


def _distance(one: Named, other: Named) -> tuple[int, int]:
    here, there = one.finding.site, other.finding.site
    if isinstance(here, ImageSite) and isinstance(there, ImageSite):
        inside = offset_in_function(here) - offset_in_function(there)
        return abs(inside), abs(here.rva - there.rva)
    return 0, abs((here.line or 0) - (there.line or 0))


def _loose(named: Named) -> tuple[str, ...]:
    return (named.result.rule, named.finding.ddi or "", *where(named.finding))


def to_diff_text(differences: Iterable[Difference], *, verbose: bool = False) -> str:
    """The differences as text; what stayed the same is counted and listed only when asked."""
    return "\n".join("".join(f"{line}\n" for line in _lines(d, verbose)) for d in differences)


def _lines(difference: Difference, verbose: bool) -> Iterator[str]:
    before, after = (_verdict(report) for report in (difference.before, difference.after))
    after = f"no answer ({safe(difference.refused, 1000)})" if difference.refused else after
    yield f"{safe(difference.name)}: {before} -> {after}"
    if aims := _aims(difference):
        yield f"  judged for {aims}: what differs may be that"
    for change in Change:
        items = [item for item in difference.changes if item.change is change]
        if not items:
            continue
        yield f"  {change.value}: {len(items)}"
        if verbose or change not in (Change.MOVED, Change.UNCHANGED):
            yield from (f"    {line}" for item in items for line in _item(item))
    if difference.doubts:
        yield "  open now:"
        yield from (f"    {', '.join(rules)}: {reason}" for reason, rules in difference.doubts)


def _aims(difference: Difference) -> str:
    """The Windows versions that the two were judged for, where these differ."""
    there = [one for one in (difference.before, difference.after) if one is not None]
    names = dict.fromkeys(words.judged_for(one) for one in there)
    return ", then for ".join(names) if len(names) > 1 else ""


def _verdict(report: Report | None) -> str:
    return "not there" if report is None else report.verdict.value


def _item(item: Changed) -> Iterator[str]:
    shown = item.shown
    message = safe(shown.finding.message, 1000)
    yield f"{shown.result.rule}  {words.place(shown.finding.site)}  {message}"
    if item.before and item.after and item.before.finding != item.after.finding:
        finding = item.before.finding
        yield f"  was: {words.place(finding.site)}  {safe(finding.message, 1000)}"
