"""Ways to compile a file of which not every branch is known: together they hold each branch once.

One way alone would hide what the others give to a variable or a call. All combinations would be
too many, and branches on one name go together as they are counted from the first.
Knows groups of branches; knows nothing of their conditions.
"""

from __future__ import annotations

from hvci.source.preprocess.runs import Choice, Taken
from hvci.source.text.directives import Directives, Region

MAX_WAYS = 16
"""Of one file; each has a tree of its own."""
MAX_TRIES = 64


def ways(choice: Choice, lines: Directives) -> list[Choice]:
    """A choice as it is, or once for each branch of a group that stands first in it."""
    uncertain = [at for at, taken in enumerate(choice) if _is_open(taken)]
    if not uncertain:
        return [choice]
    used: dict[tuple[int, int], int] = {}
    wanted = {(at, one) for at in uncertain for one in _of(choice[at])}
    wanted = {pair for pair in wanted if _may_hold(lines.outer[pair[0]], choice)}
    found: list[Choice] = []
    for _ in range(MAX_TRIES):
        way, is_new = list(choice), False
        for at in uncertain:
            if _holds(lines.outer[at], way):
                first = min(_of(choice[at]), key=lambda one: used.get((at, one), 0))
                is_new |= (at, first) not in used
                used[at, first] = used.get((at, first), 0) + 1
                way[at] = (first, *(one for one in _of(choice[at]) if one != first))
        if is_new:
            found.append(tuple(way))
        if len(found) == MAX_WAYS or wanted <= used.keys():
            break
    return found or [choice]


def left_out(choice: Choice, found: list[Choice], lines: Directives) -> bool:
    """Whether the ways that were found pass by a branch that some way compiles."""
    uncertain = [at for at, taken in enumerate(choice) if _is_open(taken)]
    wanted = {(at, one) for at in uncertain for one in _of(choice[at])}
    held = {
        (at, _of(way[at])[0])
        for way in found
        for at in uncertain
        if _holds(lines.outer[at], list(way))
    }
    return any(_may_hold(lines.outer[at], choice) for at, _ in wanted - held)


def _is_open(taken: Taken) -> bool:
    return isinstance(taken, tuple) and len(taken) > 1


def _of(taken: Taken) -> tuple[int, ...]:
    return taken if isinstance(taken, tuple) else ()


def _may_hold(region: Region | None, choice: Choice) -> bool:
    """Whether some way compiles a branch and those around it."""
    while region is not None:
        taken = choice[region.group]
        if region.branch not in (taken if isinstance(taken, tuple) else (taken,)):
            return False
        region = region.outer
    return True


def _holds(region: Region | None, way: list[Taken]) -> bool:
    """Whether a way compiles a branch and those around it."""
    while region is not None:
        taken = way[region.group]
        if region.branch != (taken[0] if isinstance(taken, tuple) else taken):
            return False
        region = region.outer
    return True
