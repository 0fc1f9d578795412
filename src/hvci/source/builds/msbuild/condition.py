"""Evaluates the conditions of MSBuild elements.

Knows the condition grammar; properties were put in before.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

_TOKEN = re.compile(
    r"\s*('[^']*'|==|!=|<=|>=|<|>|\(|\)|!|,|[A-Za-z_][\w.]*|[\d.]+|\$\([^()]*\)|%\([^()]*\))"
)
MAX_DEPTH = 40
Exists = Callable[[str], bool]


@lru_cache(maxsize=1 << 12)
def _tokens(text: str) -> tuple[str, ...]:
    return tuple(_TOKEN.findall(text))


class _Condition:
    def __init__(self, text: str, exists: Exists) -> None:
        self.tokens = _tokens(text)
        self.exists = exists
        self.at = 0
        self.depth = 0

    def peek(self) -> str:
        return self.tokens[self.at].lower() if self.at < len(self.tokens) else ""

    def take(self) -> str:
        word = self.tokens[self.at] if self.at < len(self.tokens) else ""
        self.at += 1
        return word

    def either(self) -> bool:
        value = self.both()
        while self.peek() == "or":
            self.take()
            value = self.both() or value
        return value

    def both(self) -> bool:
        value = self.one()
        while self.peek() == "and":
            self.take()
            value = self.one() and value
        return value

    def one(self) -> bool:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            return False
        if self.peek() == "!":
            self.take()
            return not self.one()
        if self.peek() == "(":
            self.take()
            value = self.either()
            self.take()
            return value
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
        if operator not in ("==", "!=", "<", ">", "<=", ">="):
            return left.lower() == "true"
        self.take()
        right = self.take().strip("'")
        if operator in ("==", "!="):
            return (left.lower() == right.lower()) == (operator == "==")
        try:
            a, b = float(left), float(right)
        except ValueError:
            return False
        return {"<": a < b, ">": a > b, "<=": a <= b, ">=": a >= b}[operator]


def condition_holds(text: str, exists: Exists) -> bool:
    """Whether a condition holds; `exists` answers for paths beside the project file."""
    if not text.strip():
        return True
    if "exists" not in text.lower():
        return _plain(text)
    return _Condition(text, exists).either()


@lru_cache(maxsize=1 << 12)
def _plain(text: str) -> bool:
    """A condition that asks for no file; the configurations of all projects ask the same."""
    return _Condition(text, lambda path: False).either()
