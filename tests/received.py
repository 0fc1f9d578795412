"""Whether what is said of a driver allows what its calls received when its program was run.

The drivers come from bench/random_drivers.py and bench/random_sources.py; each of their calls has
a pool tag of its own.
"""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from hvci import catalog
from hvci.evaluate import evaluate
from hvci.model import DdiCall, ImageSite, Outcome, Report, Site

ROUTINES = ("ExAllocatePoolWithTag", "ExAllocatePoolWithQuotaTag")
RULE = "execute-pool-type"


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said of one driver, beside what is true."""

    problems: tuple[str, ...]
    """What is said and cannot be, in words: calls not found too, unless a limit owns up to it."""
    limits: tuple[str, ...]
    unseen: int
    """Calls that were made and are not listed, with or without a limit."""
    sites: int
    loud: bool
    """The rule fails, and no call received a value that asks for executable memory."""
    open: int
    """Of the sites, those whose pool type is not decided."""


def answer(driver: bytes | Path, received: Mapping[int, Set[int]]) -> Answer:
    """Judge what is said of a driver, or of sources, whose calls received these values, by tag."""
    report = evaluate(driver)
    limits = tuple(limit.reason for limit in report.limits if RULE in limit.rules)
    calls = [judged.call for judged in report.calls if judged.call.ddi in ROUTINES]
    unseen = [tag for tag in sorted(received) if not _at(calls, tag)]
    problems = () if limits else tuple(_contradictions(report, calls, received))
    is_open = [not call.arguments["PoolType"].complete for call in calls]
    loud = _outcome(report) is Outcome.FAIL and not _asks(received)
    return Answer(problems, limits, len(unseen), len(calls), loud, sum(is_open))


def contradictions(driver: bytes | Path, received: Mapping[int, Set[int]]) -> Sequence[str]:
    """What was received, by tag, and is said to be impossible, in words."""
    return answer(driver, received).problems


def _contradictions(
    report: Report, calls: Sequence[DdiCall], received: Mapping[int, Set[int]]
) -> Iterator[str]:
    for tag, values in sorted(received.items()):
        at = _at(calls, tag)
        if not at:
            yield f"no call with the tag {tag:#x} was found"
        for value in sorted(values):
            if at and not any(_allows(call, "PoolType", value) for call in at):
                yield f"{value:#x} with the tag {tag:#x} at {_shown(at[0].site)}"
    if _outcome(report) is Outcome.PASS and _asks(received):
        yield "the rule passes, and executable memory is allocated"


def _outcome(report: Report) -> Outcome:
    return next(each for each in report.results if each.rule == RULE).outcome


def _asks(received: Mapping[int, Set[int]]) -> bool:
    """Whether a call received a value that asks for executable memory."""
    is_executable = catalog.ddis()[ROUTINES[0]].rule.executable.holds
    return any(is_executable(value) for values in received.values() for value in values)


def _at(calls: Sequence[DdiCall], tag: int) -> list[DdiCall]:
    return [call for call in calls if _allows(call, "Tag", tag)]


def _allows(call: DdiCall, name: str, value: int) -> bool:
    """Whether an argument may have a value; sources say no more than the bits that are sure."""
    argument = call.arguments[name]
    if not argument.complete or value in argument.possible:
        return True
    known = () if isinstance(call.site, ImageSite) or name == "Tag" else argument.possible
    is_executable = catalog.ddis()[call.ddi].rule.executable.holds
    return any(
        value & each == each != 0 and is_executable(value) == is_executable(each) for each in known
    )


def _shown(site: Site) -> str:
    return f"{site.rva:#x}" if isinstance(site, ImageSite) else f"line {site.line}"
