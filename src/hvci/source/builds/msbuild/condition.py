"""Evaluates the conditions of MSBuild elements.

Knows the condition grammar; properties were put in before.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from hvci.source.builds.boolean import Boolean

_TOKEN = re.compile(
    r"'[^']*'|==|!=|<=|>=|[<>()!,]|[A-Za-z_][\w.]*|[+-]?(?:0[xX][0-9a-fA-F]+|[\d.]+)"
    r"|[$%@]\([^()]*\)|\S"
)
_VERSION = re.compile(r"[vV]?\d+(?:\.\d+){1,3}")
_OPERATORS = ("==", "!=", "<", ">", "<=", ">=")
_TRUE = ("true", "on", "yes", "!false")
Exists = Callable[[str], bool]


@lru_cache(maxsize=1 << 12)
def _tokens(text: str) -> tuple[str, ...]:
    return tuple(_TOKEN.findall(text))


class _Condition(Boolean):
    either, both, negation = "or", "and", "!"

    def __init__(self, text: str, exists: Exists) -> None:
        super().__init__()
        self.tokens = _tokens(text)
        self.exists = exists

    def peek(self) -> str:
        return self.tokens[self.at].lower() if self.at < len(self.tokens) else ""

    def take(self) -> str:
        word = self.tokens[self.at] if self.at < len(self.tokens) else ""
        self.at += 1
        return word

    def truth(self) -> bool | None:
        value = self.holds()
        return None if self.is_open or self.at < len(self.tokens) else value

    def term(self) -> bool:
        word = self.take()
        if word.lower() in ("exists", "hastrailingslash") and self.peek() == "(":
            return self._function(word.lower())
        return self._compared(word.strip("'"))

    def _function(self, name: str) -> bool:
        self.take()
        argument = self.take().strip("'")
        self.take()
        if name == "exists":
            return bool(argument) and self.exists(argument)
        return argument.endswith(("\\", "/"))

    def _compared(self, left: str) -> bool:
        operator = self.peek()
        if operator not in _OPERATORS:
            return left.lower() in _TRUE
        self.take()
        right = self.take().strip("'")
        if operator in ("==", "!="):
            return _are_equal(left, right) == (operator == "==")
        a, b = _comparable(left, right)
        if not a or not b:
            return False
        return {"<": a < b, ">": a > b, "<=": a <= b, ">=": a >= b}[operator]


def _are_equal(left: str, right: str) -> bool:
    if left.lower() == right.lower():
        return True
    a, b = _number(left), _number(right)
    return a is not None and a == b


def _number(text: str) -> float | None:
    try:
        return float(int(text, 16) if text[:2].lower() == "0x" else float(text))
    except ValueError:
        return None


def _comparable(left: str, right: str) -> tuple[list[float], list[float]]:
    """Two numbers, or versions as their parts; empty for what is neither."""
    a, b = _number(left), _number(right)
    if a is not None and b is not None:
        return [a], [b]
    return version(left), version(right)


def version(text: str) -> list[float]:
    """The four parts of a version; empty for what is none."""
    if not _VERSION.fullmatch(text) and not text.isdigit():
        return []
    parts = [float(one) for one in text.lstrip("vV").split(".")]
    return parts + [0.0] * (4 - len(parts))


def condition_holds(text: str, exists: Exists) -> bool | None:
    """Whether a condition holds; `exists` answers for paths beside the project file.

    None: it could not be read.
    """
    if not text.strip():
        return True
    if "exists" not in text.lower():
        return _plain(text)
    return _Condition(text, exists).truth()


@lru_cache(maxsize=1 << 12)
def _plain(text: str) -> bool | None:
    """A condition that asks for no file; the configurations of all projects ask the same."""
    return _Condition(text, lambda path: False).truth()
