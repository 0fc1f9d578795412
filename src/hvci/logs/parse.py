"""Reads what Windows tools print about memory integrity; a log may hold several things at once.

Knows the layouts of the logs, nothing of reports. Unknown lines are skipped, never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from hvci.logs.crashes import Crash, crashes
from hvci.model import Counter
from hvci.report.bugchecks import number

LONGEST_LINE = 2000
"""No tool writes longer ones; bounds the work on a line of a hostile log."""

_PREFIX = re.compile(r"^\s*(?:\d{1,5}\.\s|[-*>|]\s)?\s*")
"""Blanks, and what forums put before a line: numbers, bullets, quotation marks."""
_MODULE_LINE = re.compile(
    r"^\s*(?:(?:module(?: name)?|driver)\s*:\s*(?:0x[0-9a-f`]+\s+)?(\S+)\s*(?:\(.*\)\s*)?$"
    r"|name\s*:\s*([^\s,]+),\s*loads"
    r"|nt!_VF_TARGET_DRIVER\s+0x[0-9a-f`]+\s*:\s*(\S+))",
    re.IGNORECASE,
)
_REASON = re.compile(r"^\s*reason\s*:\s*", re.IGNORECASE)
_RANGE = re.compile(
    r"^\s*([0-9a-f]{8}`?[0-9a-f]{8}|[0-9a-f]{8})\s+([0-9a-f]{8}`?[0-9a-f]{8}|[0-9a-f]{8})\s+(\w+)",
    re.IGNORECASE,
)
_SYS_NAME = re.compile(r"([\w.+-]+\.sys)\b", re.IGNORECASE)
_INF_NAME = re.compile(r"\b(oem\d+\.inf)\b", re.IGNORECASE)
_SCAN = re.compile(
    r"hvci\s+incompatible\s+driver|VbsGetIssues|incompatible drivers?\b|"
    r"incompatibilities with (?:your|these) drivers",
    re.IGNORECASE,
)
_SAME_LINE = re.compile(r"^\s*module\s*:\s*(\S+\.sys)\s+(reason\s*:.*)$", re.IGNORECASE)
"""What some versions of the readiness tool write in one line."""

_COUNTERS = {
    re.sub(r"\W+", "", name.lower()): counter
    for counter in Counter
    for name in (counter.hlk_name, f"{counter.hlk_name} Count")
}
_COUNTER_LINE = re.compile(r"^\s*([A-Za-z][A-Za-z -]+?)\s*:\s*(0x[0-9a-fA-F]{1,16}|\d{1,20})\b")


@dataclass(frozen=True, slots=True)
class Counted:
    """Counters of one driver, or of all when the log names none."""

    counters: Mapping[Counter, int]
    driver: str = ""


@dataclass(frozen=True, slots=True)
class Listed:
    """A driver that a scan lists as incompatible, without a reason."""

    driver: str
    inf: str = ""


@dataclass(frozen=True, slots=True)
class Log:
    """All that a log says."""

    entries: tuple[Counted | Crash | Listed, ...] = ()
    bases: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """First and last address of the modules that the log lists, by lower-case name."""
    others: tuple[int, ...] = ()
    """Bug checks that memory integrity is not known to cause."""


def decode_text(data: bytes) -> str:
    """A log as text; Windows tools write UTF-16 as well."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    return data.decode("utf-8-sig", "replace")


def parse_log(text: str) -> Log:
    """Everything in a log that hvci understands."""
    lines = [line[:LONGEST_LINE].rstrip() for line in text.splitlines()]
    bare = [_PREFIX.sub("", line) for line in lines]
    ours, others = crashes(bare)
    entries: tuple[Counted | Crash | Listed, ...] = (*_counted(bare), *ours, *_listed(lines))
    return Log(entries, dict(_ranges(lines)), tuple(others))


def _counter(line: str) -> tuple[Counter, int] | None:
    match = _COUNTER_LINE.match(_REASON.sub("", line))
    if match is None:
        return None
    counter = _COUNTERS.get(re.sub(r"\W+", "", match[1].lower()))
    if counter is None:
        return None
    return counter, int(match[2], 16 if match[2][:2] in ("0x", "0X") else 10)


def _split(lines: list[str]) -> Iterator[str]:
    for line in lines:
        if match := _SAME_LINE.match(line):
            yield from (f"Module: {match[1]}", match[2])
        else:
            yield line


def _counted(lines: list[str]) -> Iterator[Counted]:
    """Counter lines, cut where a module is named or a counter comes a second time."""
    driver = ""
    found: dict[Counter, int] = {}
    for line in _split(lines):
        named = _MODULE_LINE.match(line)
        counted = _counter(line)
        if found and (named or (counted and counted[0] in found)):
            yield Counted(found, driver)
            found = {}
        if named:
            driver = next(filter(None, named.groups()))
        elif counted:
            found[counted[0]] = counted[1]
    if found:
        yield Counted(found, driver)


def _ranges(lines: list[str]) -> Iterator[tuple[str, tuple[int, int]]]:
    """Modules as the `lm` command lists them."""
    for line in lines:
        if match := _RANGE.match(line):
            start, end = number(match[1]), number(match[2])
            if start < end:
                yield match[3].lower(), (start, end)


def _listed(lines: list[str]) -> Iterator[Listed]:
    """Drivers that a scan or Windows Security names, with the INF that an administrator needs.

    The INF stands in the driver's line or below it.
    """
    start = next((i for i, line in enumerate(lines) if _SCAN.search(line)), None)
    if start is None or any(_counter(line) for line in lines):
        return
    found: list[Listed] = []
    for line in lines[start:]:
        inf = _INF_NAME.search(line)
        names = _SYS_NAME.findall(line)
        found += [Listed(name, inf[1] if inf else "") for name in names]
        if inf and not names and found and not found[-1].inf:
            found[-1] = Listed(found[-1].driver, inf[1])
    yield from dict.fromkeys(found)
