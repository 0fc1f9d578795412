"""Which way comparisons go, as far as the data flow knows what is compared.

Knows relations between numbers; knows neither Windows nor code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from hvci.binary.flow import atoms
from hvci.binary.flow.atoms import NOTHING, Atom, Atoms, Kind
from hvci.binary.form.code import Condition, Expr, Function

if TYPE_CHECKING:
    from hvci.binary.flow.dataflow import Dataflow

MOST_CALLERS = 16
"""Callers that are asked for a parameter that is compared."""
_RELATIONS: dict[str, Callable[[int, int], bool]] = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "ge": lambda a, b: a >= b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
}


class Deciding:
    """Answers for the conditions of one image; `is_something` tells which atoms are never 0."""

    def __init__(self, flow: Dataflow, is_something: Callable[[Atom], bool]) -> None:
        self.flow = flow
        self.is_something = is_something

    def holds(self, function: Function, condition: Condition) -> bool | None:
        """Whether a condition always holds or never does; None where it may do either."""
        if condition.guard is None:
            return self._compared(function, condition)
        is_made = self.holds(function, condition.guard)
        if is_made is False:
            return condition.otherwise
        answer = self._compared(function, condition)
        return answer if is_made or answer is condition.otherwise else None

    def _compared(self, function: Function, condition: Condition) -> bool | None:
        left = self._values(function, condition, condition.left)
        right = self._values(function, condition, condition.right) if left else NOTHING
        found = {self._relation(condition, a, b) for a in left for b in right}
        return found.pop() if len(found) == 1 else None

    def _relation(self, condition: Condition, left: Atom, right: Atom) -> bool | None:
        """Whether a condition holds for two values; None where that is not known."""
        if right.kind is not Kind.CONST:
            return None
        if left.kind is not Kind.CONST:
            is_asked = condition.name in ("eq", "ne") and not right.value
            return condition.name == "ne" if is_asked and self.is_something(left) else None
        return holds(condition.name, left.value, right.value, 8 * condition.size)

    def _values(self, function: Function, condition: Condition, expr: Expr) -> Atoms:
        """All that an operand can be."""
        self.flow.begin()
        held = self.flow.evaluate(function, condition.since, expr, 0)
        held = self.flow.interprocedural.resolve(held, most=MOST_CALLERS)
        return atoms.truncate(held, condition.size)


def holds(name: str, left: int, right: int, bits: int) -> bool:
    """Whether a relation holds between two numbers of some bits."""
    mask = (1 << bits) - 1
    if name in ("neg", "pos"):
        return (atoms.signed(left - right, bits) < 0) is (name == "neg")
    if name[0] == "s":
        return _RELATIONS[name[1:]](atoms.signed(left, bits), atoms.signed(right, bits))
    relation = _RELATIONS[name[1:] if name[0] == "u" else name]
    return relation(left & mask, right & mask)
