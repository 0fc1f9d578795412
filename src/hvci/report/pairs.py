"""Which driver of one run is which of another, or which one a name means: by name, then by path.

Knows the paths and machines of reports; compares nothing that they say.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import product

from hvci.model import Report, Target
from hvci.report.identity import short_name

Pair = tuple[str, Report | None, Report | None]
"""What a driver is called, and its reports before and after."""


def pairs(old: Sequence[Report], new: Sequence[Report]) -> Iterator[Pair]:
    """Pair the drivers of two runs, in order of names; a lone one on each side is always a pair.

    Of several drivers of one name those are paired whose folders agree longest from the end, and
    never two for different machines. Each report is in one pair.
    """
    if len(old) == 1 and len(new) == 1:
        yield _of_two(old[0].target, new[0].target), old[0], new[0]
        return
    before, after = _by_name(old), _by_name(new)
    for name in sorted({*before, *after}):
        yield from _pairs(name, before.get(name, []), after.get(name, []))


def _of_two(old: Target, new: Target) -> str:
    """What the drivers of a pair are called that may be different ones."""
    names = dict.fromkeys(short_name(one.path) for one in (old, new))
    machines = dict.fromkeys(str(one.machine) for one in (old, new) if one.machine)
    of = f" ({' -> '.join(machines)})" if len(machines) > 1 else ""
    return " -> ".join(names) + of


def _by_name(reports: Iterable[Report]) -> dict[str, list[Report]]:
    found: dict[str, list[Report]] = defaultdict(list)
    for report in reports:
        found[short_name(report.target.path)].append(report)
    return found


def _pairs(name: str, old: list[Report], new: list[Report]) -> Iterator[Pair]:
    """The pairs of drivers of one name, in the order of the paths that they are called by."""
    machines = {one.target.machine for one in (*old, *new)}
    if len(old) <= 1 and len(new) <= 1 and len(machines) == 1:
        yield name, next(iter(old), None), next(iter(new), None)
        return
    likely = sorted(
        product(range(len(old)), range(len(new))),
        key=lambda at: (-shared(old[at[0]].target.path, new[at[1]].target.path), at),
    )
    left_old, left_new = dict(enumerate(old)), dict(enumerate(new))
    found: list[tuple[Report | None, Report | None]] = []
    for first, second in likely:
        same = old[first].target.machine is new[second].target.machine
        if same and first in left_old and second in left_new:
            found.append((left_old.pop(first), left_new.pop(second)))
    found += [(one, None) for one in left_old.values()]
    found += [(None, one) for one in left_new.values()]
    yield from sorted(_called(found), key=lambda pair: pair[0])


def shared(one: str, other: str) -> int:
    """How many parts of two paths are the same from the end, in any case of letters."""
    count = 0
    for left, right in zip(reversed(_parts(one)), reversed(_parts(other)), strict=False):
        if left.lower() != right.lower():
            break
        count += 1
    return count


def _called(found: Sequence[tuple[Report | None, Report | None]]) -> Iterator[Pair]:
    """Pairs with the end of a path that no other of them has, as short as can be."""
    paths = [(other or one) for one, other in found]
    ends = [one.target.path for one in paths if one is not None]
    for at, (one, other) in enumerate(found):
        rest = (path for place, path in enumerate(ends) if place != at)
        most = max((shared(ends[at], path) for path in rest), default=0)
        yield "/".join(_parts(ends[at])[-most - 1 :]), one, other


def named(name: str, reports: Iterable[Report], path: str = "") -> list[Report]:
    """The reports of a driver that is named, in any case of letters.

    Where a path is known, of several those whose path agrees longest with it from the end.
    """
    found = [one for one in reports if short_name(one.target.path).lower() == name.lower()]
    if len(found) > 1 and path:
        most = max(shared(one.target.path, path) for one in found)
        found = [one for one in found if shared(one.target.path, path) == most]
    return found


def _parts(path: str) -> list[str]:
    return [part for part in path.replace("\\", "/").split("/") if part]
