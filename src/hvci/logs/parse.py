"""Reads what Windows tools print about memory integrity; a log may hold several things at once.

Knows the layouts of the logs, nothing of reports. Unknown lines are skipped, never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from hvci.model import Counter
from hvci.report.bugchecks import BUGCHECKS, number

LONGEST_LINE = 2000
"""No tool writes longer ones; bounds the work on a line of a hostile log."""

_ADDRESS = r"(?:0x)?[0-9a-fA-F]+(?:`[0-9a-fA-F]+)?"
_MODULE_LINE = re.compile(
    r"^\s*(?:(?:module(?: name)?|driver)\s*:\s*(?:0x[0-9a-f`]+\s+)?(\S+)\s*(?:\(.*\)\s*)?$"
    r"|name\s*:\s*([^\s,]+),\s*loads"
    r"|nt!_VF_TARGET_DRIVER\s+0x[0-9a-f`]+\s*:\s*(\S+))",
    re.IGNORECASE,
)
_REASON = re.compile(r"^\s*reason\s*:\s*", re.IGNORECASE)
_ARGUMENT = re.compile(rf"^Arg([1-4]):\s*({_ADDRESS})", re.IGNORECASE)
_P_LINE = re.compile(rf"^BUGCHECK_P([1-4]):\s*({_ADDRESS})", re.IGNORECASE)
_CODE_LINE = re.compile(rf"^BUGCHECK_CODE:\s*({_ADDRESS})", re.IGNORECASE)
_TITLE = re.compile(r"^(\w+)\s+\(([0-9a-fA-F]{1,8})\)\s*$")
_STOP = re.compile(
    rf"(?:BugCheck|STOP:)\s*({_ADDRESS})\s*,?\s*[{{(]\s*({_ADDRESS}(?:\s*,\s*{_ADDRESS}){{0,3}})",
    re.IGNORECASE,
)
_IMAGE_NAME = re.compile(r"^(?:IMAGE_NAME|FAILURE_IMAGE_NAME):\s*(\S+)", re.IGNORECASE)
_SYMBOL = re.compile(rf"(?<![\w.])([A-Za-z][\w.-]*)(?:!([\w:~<>]+))?\+({_ADDRESS})\b")
_RANGE = re.compile(
    r"^\s*([0-9a-f]{8}`?[0-9a-f]{8}|[0-9a-f]{8})\s+([0-9a-f]{8}`?[0-9a-f]{8}|[0-9a-f]{8})\s+(\w+)",
    re.IGNORECASE,
)
_SYS_NAME = re.compile(r"([\w.+-]+\.sys)\b", re.IGNORECASE)
_INF_NAME = re.compile(r"\b(oem\d+\.inf)\b", re.IGNORECASE)
_SCAN = re.compile(r"hvci\s+incompatible\s+driver|VbsGetIssues", re.IGNORECASE)

_COUNTERS = {
    re.sub(r"\W+", "", name.lower()): counter
    for counter in Counter
    for name in (counter.hlk_name, f"{counter.hlk_name} Count")
}
_COUNTER_LINE = re.compile(r"^\s*([A-Za-z][A-Za-z -]+?)\s*:\s*(0x[0-9a-fA-F]+|\d+)\b")


@dataclass(frozen=True, slots=True)
class Counted:
    """Counters of one driver, or of all when the log names none."""

    counters: Mapping[Counter, int]
    driver: str = ""


@dataclass(frozen=True, slots=True)
class Crash:
    """One bug check."""

    code: int
    parameters: tuple[int, ...]
    driver: str = ""
    offsets: tuple[tuple[str, int], ...] = ()
    """Module and offset of the places that the log names; the first ones are nearest."""
    functions: tuple[tuple[str, str], ...] = ()
    """Module and function of the places that symbols name."""


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


def decode_text(data: bytes) -> str:
    """A log as text; Windows tools write UTF-16 as well."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    return data.decode("utf-8-sig", "replace")


def parse_log(text: str) -> Log:
    """Everything in a log that hvci understands."""
    lines = [line[:LONGEST_LINE].rstrip() for line in text.splitlines()]
    entries: tuple[Counted | Crash | Listed, ...] = (
        *_counted(lines),
        *_crashes(lines),
        *_listed(lines),
    )
    return Log(entries, dict(_ranges(lines)))


def _counter(line: str) -> tuple[Counter, int] | None:
    match = _COUNTER_LINE.match(_REASON.sub("", line))
    if match is None:
        return None
    counter = _COUNTERS.get(re.sub(r"\W+", "", match[1].lower()))
    return None if counter is None else (counter, int(match[2], 0))


def _counted(lines: list[str]) -> Iterator[Counted]:
    """Counter lines, cut where a module is named or a counter comes a second time."""
    driver = ""
    found: dict[Counter, int] = {}
    for line in lines:
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


def _crashes(lines: list[str]) -> Iterator[Crash]:
    """Every crash of the log, each once."""
    crashes = (_crash(analysis) for analysis in _analyses(lines))
    yield from dict.fromkeys(crash for crash in crashes if crash is not None)


def _analyses(lines: list[str]) -> Iterator[list[str]]:
    """The log cut where an analysis begins; what stands before the first belongs to it."""
    analysis: list[str] = []
    begun = False
    for line in lines:
        if _is_title(line):
            if begun:
                yield analysis
                analysis = []
            begun = True
        analysis.append(line)
    yield analysis


def _is_title(line: str) -> bool:
    match = _TITLE.match(line)
    return match is not None and int(match[2], 16) in BUGCHECKS


def _crash(lines: list[str]) -> Crash | None:
    """One crash from WinDbg's headings, or from the short line when that is all there is."""
    code, parameters = _from_headings(lines)
    if code is None:
        code, parameters = _from_stop(lines)
    if code is None or code not in BUGCHECKS:
        return None
    driver = next((match[1] for line in lines if (match := _IMAGE_NAME.match(line))), "")
    return Crash(code, parameters, driver, *_places(lines))


def _from_headings(lines: list[str]) -> tuple[int | None, tuple[int, ...]]:
    code: int | None = None
    parameters: dict[int, int] = {}
    for line in lines:
        if match := _CODE_LINE.match(line):
            code = number(match[1])
        elif (match := _TITLE.match(line)) and _is_title(line):
            code = int(match[2], 16)
        elif match := _ARGUMENT.match(line) or _P_LINE.match(line):
            parameters[int(match[1])] = number(match[2])
    return code, tuple(parameters.get(index, 0) for index in range(1, 5)) if parameters else ()


def _from_stop(lines: list[str]) -> tuple[int | None, tuple[int, ...]]:
    for line in lines:
        if match := _STOP.search(line):
            return number(match[1]), tuple(number(word.strip()) for word in match[2].split(","))
    return None, ()


def _places(
    lines: list[str],
) -> tuple[tuple[tuple[str, int], ...], tuple[tuple[str, str], ...]]:
    offsets: dict[tuple[str, int], None] = {}
    functions: dict[tuple[str, str], None] = {}
    for line in lines:
        for match in _SYMBOL.finditer(line):
            if match[2]:
                functions[match[1].lower(), match[2]] = None
            else:
                offsets[match[1].lower(), number(match[3])] = None
    return tuple(offsets), tuple(functions)


def _ranges(lines: list[str]) -> Iterator[tuple[str, tuple[int, int]]]:
    """Modules as the `lm` command lists them."""
    for line in lines:
        if match := _RANGE.match(line):
            start, end = number(match[1]), number(match[2])
            if start < end:
                yield match[3].lower(), (start, end)


def _listed(lines: list[str]) -> Iterator[Listed]:
    """Drivers that hvciscan names, with the INF that an administrator needs."""
    start = next((i for i, line in enumerate(lines) if _SCAN.search(line)), None)
    if start is None or any(_counter(line) for line in lines):
        return
    for line in lines[start:]:
        inf = _INF_NAME.search(line)
        for name in _SYS_NAME.findall(line):
            yield Listed(name, inf[1] if inf else "")
