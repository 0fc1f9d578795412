"""A program in C and in Python at once: what every kind of random program shares."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

MOST_STEPS = 4000
"""Opaque values of one run: a recursion ends there."""


class Both(NamedTuple):
    """The same in both languages."""

    c: str
    py: str


class Twin(ABC):
    """One driver; whoever writes it says what stands in a block and in a condition."""

    def __init__(self, choice: random.Random) -> None:
        self.random = choice
        self.c: list[str] = []
        self.py: list[str] = []

    @property
    def source(self) -> str:
        """The first file."""
        return "\n".join([*self.c, ""])

    @property
    def sources(self) -> list[str]:
        """The text of each file."""
        return [self.source]

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def run_often(
        self, opaque: random.Random, value: Callable[[], int], names: dict[str, object], runs: int
    ) -> None:
        """Run the Python many times; `value` gives what nobody can know, as `R()` of the C."""
        left = 0

        def read() -> int:
            nonlocal left
            left -= 1
            if left < 0:
                raise TimeoutError
            return value()

        known: dict[str, Any] = {**names, "R": read, "choice": opaque.choice}
        exec(compile("\n".join(self.py), "program", "exec"), known)
        for _ in range(runs):
            left = MOST_STEPS
            try:
                known["run"](3)
            except TimeoutError:
                continue

    @abstractmethod
    def condition(self, where: Any) -> Both:
        """What decides on a branch of a function."""

    @abstractmethod
    def block(self, where: Any, count: int, level: int) -> list[Both]:
        """Some statements of a function."""

    def _line(self, level: int, c: str, py: str) -> Both:
        return Both("    " * level + c, "    " * level + py)

    def _if(self, where: Any, level: int) -> list[Both]:
        test = self.condition(where)
        lines = [self._line(level, f"if ({test.c}) {{", f"if {test.py}:")]
        lines += self.block(where, self.random.randint(1, 3), level + 1)
        if self.chance(0.4):
            lines.append(self._line(level, "} else {", "else:"))
            lines += self.block(where, self.random.randint(1, 2), level + 1)
        return [*lines, self._line(level, "}", "")]

    def _loop(self, where: Any, level: int) -> list[Both]:
        i = f"i{level}_{self.random.randrange(10**6)}"
        head = f"for (ULONG {i} = 0, {i}n = R() & 3; {i} < {i}n; {i}++) {{"
        lines = [self._line(level, head, f"for {i} in range(R() & 3):")]
        lines += self.block(where, self.random.randint(1, 3), level + 1)
        return [*lines, self._line(level, "}", "")]

    def _add(self, head: Both, lines: list[Both], tail: Both) -> None:
        self.c += [head.c, *(line.c for line in lines if line.c.strip()), f"    {tail.c}", "}"]
        self.py += [head.py, *(line.py for line in lines if line.py.strip()), f"    {tail.py}"]
