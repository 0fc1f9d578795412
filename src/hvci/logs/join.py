"""Joins what a log says with what the reports found: which call site made the counter move?

Knows logs and reports; opens no file and judges nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from hvci.catalog import ddis
from hvci.logs.crashes import Crash
from hvci.logs.parse import Counted, Listed, Log
from hvci.model import Counter, Finding, ImageSite, JudgedCall, Outcome, Question, Report
from hvci.report import words
from hvci.report.bugchecks import VERIFIER, decode_bugcheck
from hvci.report.identity import short_name
from hvci.report.safe import safe

LONGEST_CALL = 8
"""Bytes of the longest call instruction: a return address lies at most so far behind its site."""
MOST_SHOWN = 40
PARAMETERS = 4
SEVERAL = (
    "several drivers of this name were given, and the log does not tell which of them ran: give "
    "that one"
)
OTHER_BUILD = (
    "the call at the place that the log names does not ask for that: the driver given is another "
    "build of it"
)
MISSING = (
    "the log does not hold the parameters of the bug check: take the four numbers from event 1001 "
    "of the System log or from !analyze -v"
)


@dataclass(frozen=True, slots=True)
class Joined:
    """One thing a log says, in words, with what may have caused it."""

    title: str
    facts: tuple[str, ...] = ()
    causes: tuple[str, ...] = ()
    """Places, the surest first."""
    sure: bool = False
    """The log names the very place."""
    unrelated: bool = False
    """No finding of hvci can explain it."""


def join(log: Log, reports: Iterable[Report]) -> tuple[Joined, ...]:
    """Every entry of the log with its causes in the reports of the same driver."""
    known = list(reports)
    return tuple(joined for entry in log.entries for joined in _join(entry, log, known))


def _join(entry: Counted | Crash | Listed, log: Log, reports: list[Report]) -> Iterator[Joined]:
    if isinstance(entry, Counted):
        yield from _counters(entry, reports)
    elif isinstance(entry, Crash):
        yield _crash(entry, log, reports)
    else:
        yield _listed(entry, reports)


def _stem(name: str) -> str:
    """What a driver, or the project that builds it, is called."""
    last = short_name(name).rpartition("#")[2].lower()
    return last.removesuffix(".sys").removesuffix(".vcxproj")


def _of_driver(name: str, reports: list[Report]) -> list[Report]:
    """The reports of that driver, one of each content; all of them when the log names no driver.

    Where none has its name those of sources are meant that do not tell what they build.
    """
    own = [one for one in reports if not name or _stem(one.target.path) == _stem(name)]
    found: dict[tuple[str, str], Report] = {}
    for one in own or filter(_is_unnamed, reports):
        found.setdefault((one.target.sha256, _stem(one.target.path)), one)
    return list(found.values())


def _is_unnamed(report: Report) -> bool:
    path = report.target.path
    return report.target.kind == "source" and "#" not in path and not path.endswith(".vcxproj")


def _doubt(own: list[Report]) -> tuple[str, ...]:
    """What to say where the log can mean several drivers of one name."""
    names = [_stem(one.target.path) for one in own]
    return (SEVERAL,) if len(set(names)) < len(names) else ()


def _named_lines(own: list[Report], lines: Callable[[Report], Iterable[str]]) -> Iterator[str]:
    """Lines about reports, each with the path of its driver where there are several."""
    for report in own:
        path = f"{safe(report.target.path)}: " if len(own) > 1 else ""
        yield from (f"{path}{line}" for line in lines(report))


def _line(finding: Finding) -> str:
    return f"{words.place(finding.site)}  {safe(finding.message, 1000)}"


def _counters(entry: Counted, reports: list[Report]) -> Iterator[Joined]:
    driver = safe(entry.driver) or "driver not named"
    own = _of_driver(entry.driver, reports)
    for counter, count in entry.counters.items():
        if count:
            moved = partial(_moved, counter)
            # What moves a counter and breaks nothing explains what nothing else does.
            causes = [*_named_lines(own, partial(moved, False))]
            causes = causes or [*_named_lines(own, partial(moved, True))]
            facts = (f"moved by rule {counter.rule}", *_doubt(own))
            title = f"{driver}: {words.counter_label(counter)} {count}"
            yield Joined(title, facts, tuple(causes))


def _moved(counter: Counter, notes: bool, report: Report) -> Iterator[str]:
    """The findings of a driver that move a counter: notes, or all others."""
    for result in report.results:
        for one in result.findings if result.counter is counter else ():
            if (one.outcome is Outcome.NOTE) is notes:
                yield f"{_line(one)} (a note)" if notes else _line(one)


def _listed(entry: Listed, reports: list[Report]) -> Joined:
    inf = (f"installed by {safe(entry.inf)}",) if entry.inf else ()
    own = _of_driver(entry.driver, reports)
    causes = _named_lines(own, _failures)
    title = f"{safe(entry.driver)}: listed as incompatible"
    return Joined(title, (*inf, *_doubt(own)), tuple(causes))


def _failures(report: Report) -> Iterator[str]:
    return (_line(one) for one in report.findings if one.outcome is Outcome.FAIL)


def _crash(entry: Crash, log: Log, reports: list[Report]) -> Joined:
    decoded = decode_bugcheck(entry.code, entry.parameters, entry.record)
    facts = tuple(f"{label}: {text}" for label, text in decoded.facts)
    if not entry.parameters:
        facts = (MISSING, *facts)
    elif len(entry.parameters) < PARAMETERS:
        facts = (*facts, f"the log holds {len(entry.parameters)} of the four parameters only")
    own = _of_driver(entry.driver, reports)
    if decoded.unrelated:
        return Joined(f"{_named(entry.driver)}{decoded.title}", facts, unrelated=True)
    doubt = _doubt(own)
    if not doubt and any(_is_other(entry, log.bases, one) for one in own):
        doubt = (OTHER_BUILD,)
    sure = [*_named_lines(own, lambda one: _exact(entry, log.bases, one, decoded.rule))]
    causes = sure or [*_named_lines(own, lambda one: _likely(entry, one, decoded.rule))]
    title = f"{_named(entry.driver)}{decoded.title}"
    return Joined(title, (*facts, *doubt), tuple(dict.fromkeys(causes)), bool(sure) and not doubt)


def _named(driver: str) -> str:
    return f"{safe(driver)}: " if driver else ""


def _offsets(entry: Crash, bases: Mapping[str, tuple[int, int]], report: Report) -> Iterator[int]:
    """Offsets into the driver that the log names: its parameters first, then its symbols."""
    stem = _stem(report.target.path)
    for start, end in [bases[stem]] if stem in bases else []:
        yield from (address - start for address in entry.parameters if start <= address < end)
    yield from (offset for module, offset in entry.offsets if module == stem)


def _called_at(
    entry: Crash, bases: Mapping[str, tuple[int, int]], report: Report
) -> Iterator[JudgedCall]:
    """The calls right before a return address that the log names."""
    for offset in _offsets(entry, bases, report):
        for judged in report.calls:
            site = judged.call.site
            if isinstance(site, ImageSite) and 0 < offset - site.rva <= LONGEST_CALL:
                yield judged


def _is_other(entry: Crash, bases: Mapping[str, tuple[int, int]], report: Report) -> bool:
    """Whether no call at a place that the log names can have had its parameters."""
    called = [*_called_at(entry, bases, report)]
    return bool(called) and not any(_fits(entry, one) for one in called)


def _exact(
    entry: Crash, bases: Mapping[str, tuple[int, int]], report: Report, rule: str
) -> Iterator[str]:
    """The call sites right before a return address, and findings at an address itself."""
    yield from (_call(one) for one in _called_at(entry, bases, report) if _fits(entry, one))
    for offset in _offsets(entry, bases, report):
        for result in report.results:
            for finding in result.findings if rule in ("", result.rule) else ():
                behind = LONGEST_CALL if result.rule == "dynamic-code" else 0
                site = finding.site
                if isinstance(site, ImageSite) and 0 <= offset - site.rva <= behind:
                    yield _line(finding)


def _call(judged: JudgedCall) -> str:
    call = judged.call
    arguments = ", ".join(
        f"{name} {' or '.join(f'{number:#x}' for number in sorted(value.possible)) or 'unknown'}"
        for name, value in sorted(call.arguments.items())
    )
    return f"{words.place(call.site)}  {safe(call.ddi)}({arguments})"


def _likely(entry: Crash, report: Report, rule: str) -> Iterator[str]:
    """Findings of the rule, less those whose arguments contradict the parameters."""
    functions = {name for module, name in entry.functions if module == _stem(report.target.path)}
    by_site = {(judged.call.site, judged.call.ddi): judged for judged in report.calls}
    found, running = [], []
    for result in report.results:
        if rule not in ("", result.rule):
            continue
        for finding in result.findings:
            judged = by_site.get((finding.site, finding.ddi or ""))
            if finding.outcome is not Outcome.NOTE and _fits(entry, judged):
                found.append(finding)
                running += [finding] if Question.RUNS in result.questions else []
    if entry.code != VERIFIER:  # Driver Verifier alone stops for what does not break by itself
        found = running or found
    named = [finding for finding in found if finding.site.function in functions]
    yield from map(_line, named or found)


def _fits(entry: Crash, judged: JudgedCall | None) -> bool:
    """Whether a call can have had the pool type and the tag of bug check 0xC4."""
    if judged is None or entry.code != VERIFIER or len(entry.parameters) < 3:
        return True
    row = ddis().get(judged.call.ddi)
    watched = ((row.deciding, 2), (row.tag, 3)) if row else ()
    for name, index in watched:
        value = judged.call.arguments.get(name)
        if index >= len(entry.parameters) or not value or not value.complete:
            continue
        given = entry.parameters[index]
        if given not in value.possible and (index == 2 or given):
            return False
    return True


def to_text(joined: Iterable[Joined]) -> str:
    """What the log says and what explains it, as text."""
    return "\n".join("".join(f"{line}\n" for line in _lines(item)) for item in joined)


def _lines(item: Joined) -> Iterator[str]:
    yield item.title
    yield from (f"  {fact}" for fact in item.facts)
    if item.unrelated:
        return
    if not item.causes:
        yield "  no finding of hvci explains it; give the driver as a target, or the right version"
        return
    yield "  the log names this place:" if item.sure else "  findings that can have caused it:"
    yield from (f"    {cause}" for cause in item.causes[:MOST_SHOWN])
    if len(item.causes) > MOST_SHOWN:
        yield f"    and {len(item.causes) - MOST_SHOWN} more"
