"""Conditions of build files: `or` over `and` over terms, with negation and parentheses.

Knows how terms are joined; what a term says, and how the words are spelled, is for each language.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

MAX_DEPTH = 60
"""Negations and parentheses inside each other."""


class Boolean(ABC):
    """Reads one condition from left to right."""

    either: ClassVar[str]
    both: ClassVar[str]
    negation: ClassVar[str]

    def __init__(self) -> None:
        self.at = 0
        self.depth = 0
        self.is_open = False
        """Something in the condition could not be followed."""

    @abstractmethod
    def peek(self) -> str:
        """The word at hand; empty at the end, and for what is no sign."""

    @abstractmethod
    def term(self) -> bool:
        """Take one term, and tell whether it holds."""

    def holds(self) -> bool:
        """Take terms joined by `or`."""
        value = self._all()
        while self.peek() == self.either:
            self.at += 1
            value = self._all() or value
        return value

    def _all(self) -> bool:
        value = self._one()
        while self.peek() == self.both:
            self.at += 1
            value = self._one() and value
        return value

    def _one(self) -> bool:
        if self.depth >= MAX_DEPTH:
            self.is_open = True
            return False
        self.depth += 1
        try:
            if self.peek() == self.negation:
                self.at += 1
                return not self._one()
            if self.peek() == "(":
                self.at += 1
                value = self.holds()
                self.at += 1
                return value
            return self.term()
        finally:
            self.depth -= 1
