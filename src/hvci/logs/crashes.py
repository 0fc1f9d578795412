"""Finds bug checks in text, in the forms in which Windows, debuggers and people write them.

Knows layouts, nothing of what a bug check means. Unknown lines are skipped, never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import takewhile

from hvci.report.bugchecks import BUGCHECKS, VERIFIER, number, plain
from hvci.report.exceptions import EXECUTION

_LIVE = {0x1C4: VERIFIER}
"""Codes of live dumps, whose parameters are those of the bug check."""
_HEX = r"(?:0x)?[0-9a-fA-F]+(?:`[0-9a-fA-F]+)?"
_FOUR = rf"{_HEX}(?:\s*,\s*{_HEX}){{0,3}}"
_ARGUMENT = re.compile(
    rf"^(?:Arg(?:ument)?\s*|BUGCHECK_P|BCP|(?:Bug[Cc]heck)?Param[eè]t[a-z]*\s*)([1-4])\s*[:=]?\s+"
    rf"({_HEX})(?![\w`])",
    re.IGNORECASE,
)
_GLUED = re.compile(rf"^(?:Arg|BUGCHECK_P|BCP)([1-4]):({_HEX})(?![\w`])", re.IGNORECASE)
_CODE_LINE = re.compile(
    rf"^(?:BUGCHECK_CODE|BCCode|Bug\s*Check\s*Code|Bugcheck\s+code)\s*:?\s*({_HEX})\s*$",
    re.IGNORECASE,
)
_DECIMAL_CODE = re.compile(r"^BugcheckCode\s*:?\s+(\d+)\s*$", re.IGNORECASE)
_ARGUMENTS = re.compile(rf"^Arguments:?\s+({_HEX}(?:\s+{_HEX}){{3}})\s*$")
_TITLE = re.compile(r"^(\w+)\s+\(([0-9a-fA-F]{1,8})\)\s*$")
_STOP = re.compile(
    rf"(?:Bug\s*Check(?:\s+code)?:?|bugcheck was:|STOP:|Fatal System Error:)\s*({_HEX})\s*,?\s*"
    rf"[{{(]\s*({_FOUR})\s*[}})]",
    re.IGNORECASE,
)
_LISTED = re.compile(
    r"(?<![\w`'])(0x[0-9a-f]{8})"
    r"((?:[\s,;\"]+(?:0x)?[0-9a-f]{8}[`']?(?:[0-9a-f]{8})?){4})(?![\w`'])",
    re.IGNORECASE,
)
"""A row of a list of small dumps: the code and its parameters in columns."""
_ANY_LANGUAGE = re.compile(
    r"(0x[0-9a-f]{8})\s*\((0x[0-9a-f]{8,16}(?:\s*,\s*0x[0-9a-f]{8,16}){3})\)", re.IGNORECASE
)
_BARE = re.compile(
    r"(?:^|\s)(?:Stop ?code|Bug ?Check(?: Code| String)?)\s*:?\s+"
    r"(?:(?P<code>0x[0-9a-f]{1,8})(?:\W+[a-z][a-z0-9_ ]+)?|(?P<words>[a-z][a-z0-9_ ]+?))"
    r"(?:\s*\((?P<behind>0x[0-9a-f]{1,8})\)|\W*)$",
    re.IGNORECASE,
)
"""A heading without parameters: the code, the name, or the one behind the other."""
_NAME_ALONE = re.compile(r"^(?:0x[0-9a-fA-F]{1,8}\W+)?([A-Z][A-Z0-9_]+_[A-Z0-9_]+)$")
_BUCKET = re.compile(
    r"^(?:BUGCHECK_STR|DEFAULT_BUCKET_ID|FAILURE_BUCKET_ID):\s*0x([0-9a-f]+)_", re.I
)
_IMAGE = re.compile(
    r"^(?:IMAGE_NAME|FAILURE_IMAGE_NAME|What failed|Caused By Driver|Probably caused by)\s*:\s*"
    r"([\w.+-]+\.sys)",
    re.IGNORECASE,
)
_DRIVER_COLUMN = re.compile(r"[\s,;\"]+([\w.+-]+\.sys)(?!\w)", re.IGNORECASE)
_MODULE = re.compile(r"following module:\s*([\w.+-]+\.sys)", re.IGNORECASE)
_SYMBOL = re.compile(
    rf"(?<![\w.-])([A-Za-z][\w.-]*?)(?:\.sys)?(?:!([\w:~<>]+))?\+({_HEX})(?!\w)", re.IGNORECASE
)
_EXECUTED = re.compile(rf"Attempt to execute non-executable address ({_HEX})", re.IGNORECASE)
_RECORDED = re.compile(
    rf"^(?:Parameter\[([01])\]|EXCEPTION_PARAMETER([12])):\s+({_HEX})(?![\w`])", re.IGNORECASE
)
"""The two parameters of an access violation, counted from 0 or from 1."""
_PROBLEM = re.compile(r"^P([1-5])\s*:\s*([0-9a-fA-F]+)\s*$")


@dataclass(frozen=True, slots=True)
class Crash:
    """One bug check."""

    code: int
    parameters: tuple[int, ...]
    """As many as the log holds, from the first on: one that is missing is not taken for 0."""
    driver: str = ""
    offsets: tuple[tuple[str, int], ...] = ()
    """Module and offset of the places that the log names; the first ones are nearest."""
    functions: tuple[tuple[str, str], ...] = ()
    """Module and function of the places that symbols name."""
    record: tuple[int, int] | None = None
    """Access and address that the exception record of an access violation holds."""


def crashes(lines: list[str]) -> tuple[list[Crash], list[int]]:
    """The bug checks of a log that memory integrity can cause, and the codes of others."""
    found = [crash for part in _analyses(lines) if (crash := _crash(part)) is not None]
    found = [replace(one, code=_LIVE.get(one.code, plain(one.code))) for one in found]
    ours = dict.fromkeys(
        crash for crash in found if crash.code in BUGCHECKS and not _only_named(crash, found)
    )
    others = dict.fromkeys(crash.code for crash in found if crash.code not in BUGCHECKS)
    return list(ours), list(others)


def _only_named(crash: Crash, found: list[Crash]) -> bool:
    """Whether a bug check without parameters is one that stands elsewhere with them."""
    return not crash.parameters and any(
        other.code == crash.code and other.parameters and crash.driver in ("", other.driver)
        for other in found
    )


def _analyses(lines: list[str]) -> Iterator[list[str]]:
    """The log cut where a bug check begins; what stands before the first belongs to it.

    Several headings of one bug check follow one another: the same code begins nothing new, unless
    it comes with other parameters, or bare behind a list of arguments.
    """
    part: list[str] = []
    code: int | None = None
    parameters: tuple[int, ...] | None = None
    listed = False
    for index, line in enumerate(lines):
        after = lines[index + 1] if index + 1 < len(lines) else ""
        begun = _begins(line, after)
        if begun is not None:
            stop = _stop(line, after)
            given = stop[1] if stop else None
            differs = given is not None and parameters not in (None, given)
            if code is not None and (begun != code or differs or (listed and given is None)):
                yield part
                part, parameters, listed = [], None, False
            code, parameters = begun, given or parameters
        elif code is not None and _argument(line):
            listed = True
        part.append(line)
    yield part


def _begins(line: str, after: str) -> int | None:
    """The code of the bug check that a line begins."""
    if match := _TITLE.match(line):
        code = int(match[2], 16)
        return code if match[1].isupper() else None
    if match := _DECIMAL_CODE.match(line):
        return int(match[1]) or None
    if match := _CODE_LINE.match(line):
        return number(match[1])
    stop = _stop(line, after)
    return stop[0] if stop else _by_words(line)


def _by_words(line: str) -> int | None:
    match = _BARE.search(line)
    if match and (code := match["code"] or match["behind"]):
        return int(code, 16)
    alone = _NAME_ALONE.match(line)
    words = match["words"] if match else alone[1] if alone else ""
    name = words.upper().replace(" ", "_")
    return next((code for code, known in BUGCHECKS.items() if known == name), None)


def _crash(lines: list[str]) -> Crash | None:
    code, parameters = None, dict[int, int]()
    for index, line in enumerate(lines):
        after = lines[index + 1] if index + 1 < len(lines) else ""
        if stop := _stop(line, after):
            code = stop[0] if code is None else code
            parameters = parameters or dict(enumerate(stop[1], start=1))
        if code is None:
            code = _begins(line, after)
        if argument := _argument(line):
            parameters[argument[0]] = argument[1]
        elif match := _ARGUMENTS.match(line):
            parameters = dict(enumerate(map(number, match[1].split()), start=1))
        elif code is None and (match := _BUCKET.match(line)):
            code = int(match[1], 16)
    code, parameters = _from_problem(lines, code, parameters)
    values = tuple(parameters[index] for index in takewhile(parameters.__contains__, range(1, 5)))
    if code is None and values and 0x2000 <= values[0] <= 0x2006:
        code = VERIFIER  # no other bug check has such a first parameter
    if code is None:
        return None
    return Crash(code, values, _driver(lines), *_places(lines), _record(lines))


def _argument(line: str) -> tuple[int, int] | None:
    match = _ARGUMENT.match(line) or _GLUED.match(line)
    return (int(match[1]), number(match[2])) if match else None


def _stop(line: str, after: str) -> tuple[int, tuple[int, ...]] | None:
    """Code and parameters in one line, or in two as the kernel debugger prints them."""
    match = _STOP.search(line) or _ANY_LANGUAGE.search(line)
    if match is None and (row := _LISTED.search(line)):
        return number(row[1]), tuple(map(number, re.findall(r"[\da-fA-Fx`']{8,}", row[2])))
    if match is None and line.rstrip()[-1:].isalnum() and after.lstrip()[:1] == "(":
        match = _STOP.search(f"{line.rstrip()} {after.lstrip()}")
    if match is None:
        return None
    return number(match[1]), tuple(number(word.strip()) for word in match[2].split(","))


def _from_problem(
    lines: list[str], code: int | None, parameters: dict[int, int]
) -> tuple[int | None, dict[int, int]]:
    """The signature of an error report: P1 is the code, P2 to P5 its parameters."""
    if code is not None or not any("BlueScreen" in line for line in lines):
        return code, parameters
    found = {int(m[1]): int(m[2], 16) for line in lines if (m := _PROBLEM.match(line))}
    return found.pop(1, None), {index - 1: value for index, value in found.items()}


def _record(lines: list[str]) -> tuple[int, int] | None:
    """What an exception record says of an access, in a sentence or as its two parameters."""
    found: dict[int, int] = {}
    for line in lines:
        if match := _EXECUTED.search(line):
            return EXECUTION, number(match[1])
        if match := _RECORDED.match(line):
            found.setdefault(int(match[1] or match[2]) - (match[1] is None), number(match[3]))
    return (found[0], found[1]) if 0 in found and 1 in found else None


def _driver(lines: list[str]) -> str:
    matches = (_IMAGE.match(line) or _MODULE.search(line) for line in lines)
    found = next((match[1] for match in matches if match), "")
    return found or next((name for line in lines if (name := _in_row(line))), "")


def _in_row(line: str) -> str:
    """The driver that a list of small dumps names behind the parameters."""
    row = _LISTED.search(line)
    named = _DRIVER_COLUMN.match(line[row.end() :]) if row else None
    return named[1] if named else ""


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
