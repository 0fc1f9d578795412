"""What a condition says when some names in it are constants.

Theory of operation: constants are compared by name where both are names and by number where both
are numbers; whatever cannot be compared is not told. Knows expressions; knows no statements.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hvci.source.preprocess.tree import text_of
from hvci.source.values.guess import Guess

if TYPE_CHECKING:
    from tree_sitter import Node

Truth = bool | None


@dataclass(frozen=True)
class Known:
    """A constant: its last name, and its number where it has one."""

    name: bytes
    number: int | None
    value: Guess | None = field(default=None, compare=False)
    """All that is known of it."""

    def equals(self, other: Known) -> Truth:
        """Whether two constants are the same; None: cannot be told."""
        if self.name and self.name == other.name:
            return True
        if self.number is not None and other.number is not None:
            return self.number == other.number
        return False if self.name and other.name else None


Given = Mapping[bytes, Known]
"""Parameters that are constants, by their names."""
Constant = Callable[["Node"], Known | None]
"""What an expression is, when it is a constant."""
_WRAPPERS = ("parenthesized_expression", "condition_clause")
_ORDERS: Mapping[bytes, Callable[[int, int], bool]] = {
    b"<": operator.lt,
    b"<=": operator.le,
    b">": operator.gt,
    b">=": operator.ge,
}
COMPARING = (*_ORDERS, b"==", b"!=", b"&&", b"||")
"""Operators whose results are true or false."""


def bare(node: Node | None) -> Node | None:
    """An expression without the parentheses and casts around it."""
    while node is not None and node.named_children:
        if node.type in _WRAPPERS:
            node = node.named_children[-1]
        elif node.type == "cast_expression":
            node = node.child_by_field_name("value")
        else:
            break
    return node


@dataclass(frozen=True)
class Conditions:
    """Evaluates conditions over constants."""

    given: Given
    constant: Constant

    def truth(self, condition: Node | None) -> Truth:
        """Which way a condition goes; None where it cannot be told."""
        node = bare(condition)
        if node is None:
            return None
        if node.type == "binary_expression":
            return self._compared(node)
        if node.type == "unary_expression":
            inner = self.truth(node.child_by_field_name("argument"))
            is_not = text_of(node.child_by_field_name("operator")) == b"!"
            return not inner if is_not and inner is not None else None
        known = self.value(node)
        return None if known is None or known.number is None else known.number != 0

    def _compared(self, node: Node) -> Truth:
        sign = text_of(node.child_by_field_name("operator"))
        left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
        if sign in (b"&&", b"||"):
            return _joined(self.truth(left), self.truth(right), sign == b"||")
        first, second = self.value(left), self.value(right)
        if first is None or second is None:
            return None
        if sign in (b"==", b"!="):
            same = first.equals(second)
            return same if same is None or sign == b"==" else not same
        if first.number is None or second.number is None:
            return None
        if sign == b"&":
            return first.number & second.number != 0
        order = _ORDERS.get(sign)
        return order(first.number, second.number) if order is not None else None

    def value(self, node: Node | None) -> Known | None:
        """The constant that an expression is."""
        node = bare(node)
        if node is None:
            return None
        return self.given.get(text_of(node)) or self.constant(node)


def _joined(left: Truth, right: Truth, either: bool) -> Truth:
    """`left || right`, or `left && right`."""
    if left is either or right is either:
        return either
    return None if left is None or right is None else not either
