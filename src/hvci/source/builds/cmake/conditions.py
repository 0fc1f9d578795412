"""Evaluates the conditions of CMake's `if`.

Knows the grammar of conditions; what a variable holds is asked.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hvci.source.builds.boolean import Boolean
from hvci.source.text.disk import is_folder, is_there

_FALSE = frozenset(("", "0", "OFF", "NO", "FALSE", "N", "IGNORE", "NOTFOUND"))
_TRUE = frozenset(("1", "ON", "YES", "TRUE", "Y"))
_UNARY = ("EXISTS", "IS_DIRECTORY", "DEFINED", "TARGET", "COMMAND", "POLICY", "TEST", "IS_ABSOLUTE")
_BINARY = frozenset(
    (
        *("STREQUAL", "STRLESS", "STRGREATER", "EQUAL", "LESS", "GREATER", "LESS_EQUAL"),
        *("STRLESS_EQUAL", "STRGREATER_EQUAL"),
        *("GREATER_EQUAL", "MATCHES", "IN_LIST", "VERSION_EQUAL", "VERSION_LESS"),
        *("VERSION_GREATER", "VERSION_LESS_EQUAL", "VERSION_GREATER_EQUAL"),
    )
)


@dataclass(frozen=True)
class Word:
    """One word of a condition, with variables replaced."""

    text: str
    quoted: bool


@dataclass(frozen=True)
class Known:
    """What a condition can ask for."""

    variable: Callable[[str], str | None]
    target: Callable[[str], bool]
    command: Callable[[str], bool]
    path: Callable[[str], str]


def holds(words: list[Word], known: Known) -> bool:
    """Whether a condition holds."""
    return _Condition(words, known).holds()


class _Condition(Boolean):
    either, both, negation = "OR", "AND", "NOT"

    def __init__(self, words: list[Word], known: Known) -> None:
        super().__init__()
        self.words = words
        self.known = known

    def peek(self) -> str:
        if self.at >= len(self.words) or self.words[self.at].quoted:
            return ""
        return self.words[self.at].text

    def take(self) -> Word:
        word = self.words[self.at] if self.at < len(self.words) else Word("", quoted=True)
        self.at += 1
        return word

    def term(self) -> bool:
        word = self.peek()
        if word in _UNARY and self.at + 1 < len(self.words):
            self.take()
            return self._asked(word, self.take().text)
        left = self.take()
        if self.peek() in _BINARY:
            operator = self.take().text
            return self._compared(left, operator, self.take())
        return self._truth(left)

    def _asked(self, what: str, name: str) -> bool:
        if what == "DEFINED":
            return self.known.variable(name) is not None
        if what == "TARGET":
            return self.known.target(name)
        if what == "COMMAND":
            return self.known.command(name)
        if what in ("EXISTS", "IS_DIRECTORY"):
            path = Path(self.known.path(name))
            return is_there(path) if what == "EXISTS" else is_folder(path)
        return what == "IS_ABSOLUTE" and name.startswith("/")

    def _truth(self, word: Word) -> bool:
        text = word.text.upper()
        if text in _TRUE:
            return True
        if text in _FALSE or text.endswith("-NOTFOUND"):
            return False
        if re.fullmatch(r"-?[\d.]+", text):
            return float(text) != 0 if text.count(".") < 2 and text != "." else True
        value = None if word.quoted else self.known.variable(word.text)
        return value is not None and value.upper() not in _FALSE and "-NOTFOUND" not in value

    def _value(self, word: Word) -> str:
        held = None if word.quoted else self.known.variable(word.text)
        return word.text if held is None else held

    def _compared(self, left: Word, operator: str, right: Word) -> bool:
        if operator == "IN_LIST":
            return self._value(left) in (self.known.variable(right.text) or "").split(";")
        a, b = self._value(left), self._value(right)
        if operator == "MATCHES":
            return matches(right.text, a) is not None
        if operator.startswith("STR"):
            return {
                "STREQUAL": a == b,
                "STRLESS": a < b,
                "STRGREATER": a > b,
                "STRLESS_EQUAL": a <= b,
                "STRGREATER_EQUAL": a >= b,
            }[operator]
        if operator.startswith("VERSION_"):
            return _ordered(_version(a), operator.removeprefix("VERSION_"), _version(b))
        try:
            return _ordered(float(a), operator, float(b))
        except ValueError:
            return False


def _version(text: str) -> list[int]:
    parts = [int(word) for word in re.findall(r"\d+", text)[:8]]
    return parts + [0] * (8 - len(parts))


def _ordered(a: list[int] | float, operator: str, b: list[int] | float) -> bool:
    less = a < b  # type: ignore[operator]
    return {
        "EQUAL": a == b,
        "LESS": less,
        "GREATER": not less and a != b,
        "LESS_EQUAL": less or a == b,
        "GREATER_EQUAL": not less,
    }[operator]


def matches(pattern: str, text: str) -> re.Match[str] | None:
    """A match of a CMake pattern; None also for one that is not understood."""
    try:
        return re.search(pattern[:400], text[:4000])
    except re.error:
        return None
