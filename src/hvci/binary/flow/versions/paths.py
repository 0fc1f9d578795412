"""Which instructions of a function run where some branches always go one way.

Knows flow of control; knows no values.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from hvci.binary.form.code import Flow, Function

Edge = tuple[int, int]
CHOSEN = "chosen"
"""As the key in a function's cache: of instructions that choose, whether they take the second."""
STRETCHES = "stretches"
"""As the first of a key in a function's cache, before a location: how control comes to places."""
VARIABLE = "NtBuildNumber"
"""A variable of the kernel that tells its version."""
DEAD = "dead"
"""As the key in a function's cache: what never runs, and the ways that are never taken."""


def onward(function: Function, i: int) -> Iterator[int]:
    """The instructions to which control goes on from one."""
    if i in function.jumps:
        yield function.jumps[i]
    if function.flows[i] == Flow.INDIRECT_JUMP:
        yield from (j for j, before in function.sources.items() if i in before)
    if i + 1 < len(function.flows) and function.follows(i + 1):
        yield i + 1


def reached(
    function: Function,
    others: Collection[int],
    never: Collection[Edge] = (),
    without: Collection[int] = (),
) -> set[int]:
    """The instructions that control comes to from the start and from others, not over some edges.

    And never behind some instructions, which are reached themselves.
    """
    seen = {function.entry, *others}
    work = [*seen]
    while work:
        i = work.pop()
        if i in without:
            continue
        for j in onward(function, i):
            if j not in seen and (i, j) not in never:
                seen.add(j)
                work.append(j)
    return seen


class Dead:
    """What never runs in a function."""

    def __init__(
        self, function: Function, ways: dict[int, bool], others: Collection[int] = ()
    ) -> None:
        """`ways` tells of branches whether they are taken, `others` where else code is entered."""
        self.edges = {edge for p, taken in ways.items() for edge in _never(function, p, taken)}
        self.code = reached(function, others) - reached(function, others, self.edges)

    def __or__(self, other: Dead) -> Dead:
        """What never runs for either of two reasons."""
        both = Dead.__new__(Dead)
        both.edges, both.code = self.edges | other.edges, self.code | other.code
        return both

    def is_way(self, p: int, j: int) -> bool:
        """Whether control may come from one instruction to another."""
        return p not in self.code and (p, j) not in self.edges


@contextmanager
def suppose(function: Function, dead: Dead) -> Iterator[None]:
    """Take some code of a function for dead for a while; what is learnt then is not kept."""
    cache, joins = function.cache, function.joins
    known: Dead | None = cache.get(DEAD)
    function.cache = {
        key: held.copy() if isinstance(held, dict | list | set) else held
        for key, held in cache.items()
        if key[0] != STRETCHES
    }
    function.joins = {}
    function.cache[DEAD] = dead if known is None else known | dead
    try:
        yield
    finally:
        function.cache, function.joins = cache, joins


def _never(function: Function, p: int, taken: bool) -> Iterator[Edge]:
    """The way that a branch never takes."""
    target = function.jumps.get(p)
    if target == p + 1:
        return
    if taken:
        yield p, p + 1
    elif target is not None:
        yield p, target


def never_runs(function: Function, i: int) -> bool:
    """Whether an instruction was found never to run."""
    dead: Dead | None = function.cache.get(DEAD)
    return dead is not None and i in dead.code


def until(function: Function, others: Collection[int], i: int) -> set[int]:
    """The instructions that may run before another one does."""
    dead: Dead | None = function.cache.get(DEAD)
    return reached(function, others, dead.edges if dead is not None else (), (i,)) - {i}


def behind(function: Function, i: int) -> set[int]:
    """The instructions that may run after another one."""
    dead: Dead | None = function.cache.get(DEAD)
    never = dead.edges if dead is not None else ()
    seen: set[int] = set()
    work = [i]
    while work:
        at = work.pop()
        for j in onward(function, at):
            if j not in seen and (at, j) not in never:
                seen.add(j)
                work.append(j)
    return seen


def leaves(function: Function, i: int) -> bool:
    """Whether an instruction ends the function for its caller."""
    flow = function.flows[i]
    if flow == Flow.INDIRECT_JUMP:
        return not any(i in before for before in function.sources.values())
    is_jump = flow in (Flow.JUMP, Flow.BRANCH)
    return flow == Flow.RETURN or (is_jump and i not in function.jumps)
