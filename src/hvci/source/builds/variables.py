"""What variables and functions of a makefile stand for.

Knows assignments, `$(...)` and the functions that name files; runs no shell.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

MAX_TEXT = 2 << 20
"""Of a file with all that is written out in it."""
MAX_DEPTH = 12

_ASSIGNMENT = re.compile(
    r"^[ ]*(?:export[ ]+|override[ ]+)?([\w.-]+)[ \t]*(\+?|:{1,3}|\?)=[ \t]*([^\n]*)", re.MULTILINE
)
_VARIABLE = re.compile(r"\$[({]([\w.-]+)[)}]")
_SUBSTITUTED = re.compile(r"\$[({]([\w.-]+):([^=(){}]*)=([^(){}]*)[)}]")
_FUNCTION = re.compile(
    r"\$[({](wildcard|patsubst|addprefix|addsuffix|notdir|dir|sort|subst|strip|basename|filter-out"
    r"|filter|abspath|realpath|firstword|lastword)\s+([^(){}]*)[)}]"
)
_BY_MAKE = {"CURDIR": ".", "PWD": ".", "MAKEFILE_LIST": "./Makefile"}
"""Variables that make sets by itself: where it is, and the file that it reads."""


def values_of(text: str) -> dict[str, str]:
    """What each variable of a text holds at its end."""
    values = dict(_BY_MAKE)
    every = [*_ASSIGNMENT.finditer(text)]
    assigned = {match[1] for match in every}
    for match in every:
        name, how, value = match[1], match[2], match[3].strip()
        if how[:1] == ":" or (not how and f"$({name})" in value):
            value = _at_once(value, values, assigned)
        if how == "+" and name in values:
            values[name] += " " + value
        elif how != "?" or name not in values:
            values[name] = value
    return values


def _at_once(text: str, values: dict[str, str], assigned: Collection[str]) -> str:
    """A text with what variables hold by now; those that nothing sets stay."""

    def held(match: re.Match[str]) -> str:
        return values.get(match[1], "" if match[1] in assigned else match[0])

    for _ in range(MAX_DEPTH if "$" in text else 0):
        before, text = text, _VARIABLE.sub(held, text)[:MAX_TEXT]
        if text == before:
            break
    return text


def expanded(text: str, values: dict[str, str], path: str, depth: int = 0) -> str:
    """A text with its variables, and with the functions that name files."""
    before = text
    text = _foreach(text, values, path, depth)
    text = _SUBSTITUTED.sub(lambda m: _ended(values.get(m[1], ""), m[2], m[3]), text)
    text = _FUNCTION.sub(lambda m: _called(m[1], m[2], path), text)
    text = _VARIABLE.sub(lambda m: values.get(m[1], ""), text)[:MAX_TEXT]
    return text if text == before or depth > MAX_DEPTH else expanded(text, values, path, depth + 1)


def _ended(words: str, old: str, new: str) -> str:
    """Words in which a pattern with one `%` gives way to another; without it, their ends."""
    old, new = old.strip(), new.strip()
    if "%" not in old:
        old, new = "%" + old, "%" + new
    front, _, back = old.partition("%")
    found = []
    for word in words.split():
        if len(word) >= len(front + back) and word.startswith(front) and word.endswith(back):
            stem = word[len(front) : len(word) - len(back)]
            found.append(new.replace("%", stem, 1))
        else:
            found.append(word)
    return " ".join(found)


_FOREACH = re.compile(r"\$[({]foreach\s+([\w.-]+)\s*,")


def _foreach(text: str, values: dict[str, str], path: str, depth: int) -> str:
    """A text with each `$(foreach name,words,text)` written out."""
    while depth <= MAX_DEPTH and (match := _FOREACH.search(text)) is not None:
        end = _closing(text, match.end())
        words, comma, body = text[match.end() : end].partition(",")
        if not comma:
            return text
        name = re.compile(r"\$[({]" + re.escape(match[1]) + r"[)}]")
        most = MAX_TEXT // max(len(body), 1) + 1
        every = expanded(words, values, path, depth + 1).split()[:most]
        made = " ".join(name.sub(word.replace("\\", "/"), body) for word in every)
        text = f"{text[: match.start()]}{made}{text[end + 1 :]}"[:MAX_TEXT]
    return text


def _closing(text: str, start: int) -> int:
    """Where the parenthesis is closed that is open at an offset; the end where it is not."""
    depth = 1
    for at in range(start, min(len(text), start + 20_000)):
        depth += {"(": 1, "{": 1, ")": -1, "}": -1}.get(text[at], 0)
        if not depth:
            return at
    return len(text)


def _called(name: str, given: str, path: str) -> str:
    words = given.split(",")
    if name == "wildcard":
        every = [files_like(Path(path).parent, pattern) for pattern in given.split()]
        if None in every:
            return f"$({name} {given})"  # it stays, and is told
        return " ".join(sorted(one for many in every for one in many or ()))
    if name == "patsubst" and len(words) == 3:
        return _ended(words[2], words[0], words[1])
    if name == "subst" and len(words) == 3:
        return words[2].replace(words[0], words[1])
    if name == "addprefix" and len(words) == 2:
        return " ".join(words[0].strip() + one for one in words[1].split())
    if name == "addsuffix" and len(words) == 2:
        return " ".join(one + words[0].strip() for one in words[1].split())
    if name == "notdir":
        return " ".join(one.rpartition("/")[2] for one in given.split())
    if name == "dir":
        return " ".join(
            one.rpartition("/")[0] + "/" if "/" in one else "./" for one in given.split()
        )
    if name in ("firstword", "lastword"):
        return "".join((given.split() or [""])[-1 if name == "lastword" else 0])
    if name == "basename":
        return " ".join(one.rpartition(".")[0] or one for one in given.split())
    if name in ("filter", "filter-out") and len(words) == 2:
        kept = (one for one in words[1].split() if fits(one, words[0]) == (name == "filter"))
        return " ".join(kept)
    return given


def fits(word: str, patterns: str) -> bool:
    """Whether one of the patterns, with one `%` each, is a word's."""
    for pattern in patterns.split():
        front, sign, back = pattern.partition("%")
        if word == pattern or (sign and word.startswith(front) and word.endswith(back)):
            return True
    return False


def files_like(folder: Path, pattern: str) -> list[str] | None:
    """The files of a folder that fit a pattern, from there; None where it leads elsewhere."""
    try:
        found = sorted(folder.glob(pattern))
    except (ValueError, NotImplementedError, OSError):  # absolute, or no pattern
        return None
    return [str(one.relative_to(folder)).replace("\\", "/") for one in found]
