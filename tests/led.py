"""Whether what is said of a driver allows what its pointers led to when its program was run.

The drivers come from bench/random_drivers.py and bench/random_sources.py with `--pointers`.
"""

from collections.abc import Iterator, Mapping, Set
from pathlib import Path

from hvci.evaluate import evaluate
from hvci.model import Outcome
from received import Answer

BROKEN = {
    "dynamic-code": {"called data"},
    "writes-executable-memory": {"written code", "written kernel"},
}
"""By rule, what a run must not do: how a pointer is used, and what it leads to."""
Uses = Mapping[str, Set[int]]


def judge(driver: bytes | Path, uses: Uses) -> Answer:
    """Judge what is said of a driver, or of sources, that used its pointers like this.

    A site of the answer is a rule here: it is open where it is not decided, and a problem where it
    passes, though a run broke it.
    """
    told = {result.rule: result.outcome for result in evaluate(driver).results}
    loud = any(told[rule] is Outcome.FAIL and not _broke(rule, uses) for rule in BROKEN)
    is_open = [told[rule] is Outcome.UNDECIDED for rule in BROKEN]
    return Answer(tuple(_problems(uses, told)), (), 0, len(BROKEN), loud, sum(is_open))


def _problems(uses: Uses, told: Mapping[str, Outcome]) -> Iterator[str]:
    for rule in BROKEN:
        numbers = sorted(_broke(rule, uses))
        if numbers and told[rule] not in (Outcome.FAIL, Outcome.UNDECIDED):
            places = ", ".join(f"{number:#x}" for number in numbers)
            yield f"{rule} is {told[rule]}, and runs broke it at {places}"


def _broke(rule: str, uses: Uses) -> set[int]:
    """The numbers of the uses that broke a rule."""
    return {number for use in BROKEN[rule] for number in uses.get(use, ())}
