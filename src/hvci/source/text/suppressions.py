"""What the author of a source file accepted: warning pragmas and `hvci: allow(...)` comments.

Knows lines of text; knows nothing of calls.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from hvci.model import Allowance
from hvci.model.judged import COUNTED_RULES
from hvci.source.text.text import Source

_COUNTED = frozenset(COUNTED_RULES)
_WARNINGS = {
    "30029": frozenset(("executable-by-default",)),
    "30030": _COUNTED | {"executable-by-default"},
    "30031": frozenset(("nx-opt-in", "execute-pool-type", "execute-page-mapping")),
    "30032": frozenset(("execute-pool-type", "execute-page-mapping")),
    "30033": frozenset(("nx-opt-in", "execute-pool-type", "execute-page-mapping")),
    "30034": frozenset(("execute-pool-type",)),
    "30035": frozenset(("nx-opt-in",)),
}
_NAMES = {
    "BANNED_MEM_ALLOCATION_NOTYPE": "30029",
    "BANNED_MEM_ALLOCATION_UNSAFE": "30030",
    "BANNED_MEM_ALLOCATION_MAYBE_SAFE": "30031",
    "BANNED_MEM_ALLOCATION_FORCE_UNSAFE": "30032",
    "BANNED_MEM_ALLOCATION_MAYBE_UNSAFE_DRIVER_LOADED": "30033",
    "BANNED_MEM_ALLOCATION_MAYBE_UNSAFE": "30034",
    "BANNED_MEM_ALLOCATION_MAYBE_BAD_CALL_SITE": "30035",
}
_PRAGMA = re.compile(
    rb"^[ \t]*(?:#[ \t]*pragma|__pragma\s*\()[ \t]*(warning|prefast)[ \t]*\(([^\n]*)", re.MULTILINE
)
_STACK = re.compile(r"^\s*(push|pop)\b")
_ACTION = re.compile(r"(disable|suppress)\s*:\s*([\w\s]*)")
_REASON = re.compile(r'"([^"]*)"')
_COMMENT = re.compile(rb"hvci:[ \t]*allow\(([\w\-, ]*)\)[ \t]*([^\r\n]*)")
_TO_THE_END = 1 << 30
LONGEST_STATEMENT = 40
"""Lines that one pragma or comment for the next statement can cover."""


def allowances(source: Source) -> list[Allowance]:
    """Everything that the file accepts."""
    text = source.text
    found: list[Allowance] = []
    if b"pragma" in text and (b"3003" in text or b"30029" in text or b"BANNED_MEM" in text):
        found += _pragmas(source)
    if b"hvci:" in text:
        found += _comments(source)
    return found


def _rules(words: str) -> frozenset[str]:
    numbers = (_NAMES.get(word.removeprefix("__WARNING_"), word) for word in words.split())
    return frozenset().union(*(_WARNINGS.get(number, frozenset()) for number in numbers))


def _pragmas(source: Source) -> Iterator[Allowance]:
    """Warning pragmas; `disable` holds until the matching `pop`, or to the end of the file."""
    open_: list[list[tuple[int, frozenset[str], str]]] = [[]]
    for match in _PRAGMA.finditer(source.text):
        line = source.position(match.start())[0]
        body = match[2].decode("utf-8", "replace")
        if stack := _STACK.match(body):
            if stack[1] == "push":
                open_.append([])
            elif len(open_) > 1:
                yield from _closed(source.path, open_.pop(), line, body)
            continue
        reason = (_REASON.search(body) or [body, ""])[1]
        for action, words in _ACTION.findall(body):
            if not (rules := _rules(words)):
                continue
            by = f"#pragma {match[1].decode()}({action}: {words.strip()}) in line {line}"
            if action == "disable":
                open_[-1].append((line, rules, f"{by}\n{reason}"))
            else:
                last = statement_end(source, line + 1)
                yield Allowance(rules, source.path, line + 1, last, reason, by)
    for level in open_:
        yield from _closed(source.path, level, _TO_THE_END, "")


def _closed(
    path: str, level: list[tuple[int, frozenset[str], str]], line: int, body: str
) -> Iterator[Allowance]:
    for first, rules, said in level:
        by, _, reason = said.partition("\n")
        yield Allowance(rules, path, first, line, reason, by)


def _comments(source: Source) -> Iterator[Allowance]:
    for match in _COMMENT.finditer(source.text):
        line = source.position(match.start())[0]
        rules = frozenset(word.strip() for word in match[1].decode().split(",") if word.strip())
        reason = match[2].decode("utf-8", "replace").replace("*/", "").strip()
        start = source.line_start(line)
        alone = not source.code[start : match.start()].strip()
        first = line + 1 if alone else line
        last = statement_end(source, first) if alone else line
        by = f"a comment in line {line}"
        yield Allowance(rules, source.path, first, last, reason, by)


def statement_end(source: Source, line: int) -> int:
    """The last line of the statement that begins at or after a line."""
    start = source.line_start(min(line, source.position(len(source.text))[0]))
    match = re.compile(rb"[;{}]").search(source.code, start)
    last = source.position(match.start())[0] if match else line
    return min(last, line + LONGEST_STATEMENT)
