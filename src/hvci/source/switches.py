"""Which returns of a function a constant argument leads to, through `switch` and `if`.

Theory of operation: what the argument is, and what the labels are, is compared by name where both
are names and by number where both are numbers; whatever cannot be compared leads everywhere. Knows
the statements of one function; knows nothing of DDIs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hvci.source.tree import Function, text_of

if TYPE_CHECKING:
    from tree_sitter import Node

Truth = bool | None
MAX_DEPTH = 200


@dataclass(frozen=True)
class Known:
    """A constant: its last name, and its number where it has one."""

    name: bytes
    number: int | None

    def equals(self, other: Known) -> Truth:
        """Whether two constants are the same; None: cannot be told."""
        if self.name and self.name == other.name:
            return True
        if self.number is not None and other.number is not None:
            return self.number == other.number
        return False if self.name and other.name else None


Constant = Callable[["Node"], Known | None]
"""What an expression is, when it is a constant."""


def returns(function: Function, given: Mapping[bytes, Known], constant: Constant) -> list[Node]:
    """The return statements that may run when some parameters are constants."""
    body = function.body
    if body is None:
        return []
    assigned = set(_assigned(body))
    known = {name: value for name, value in given.items() if name not in assigned}
    return list(_Reached(known, constant).of(body, 0))


def _assigned(node: Node) -> Iterator[bytes]:
    """Names that a function gives a new value to."""
    todo = [node]
    while todo:
        current = todo.pop()
        if current.type == "assignment_expression":
            yield text_of(current.child_by_field_name("left"))
        elif current.type in ("update_expression", "pointer_expression"):
            yield text_of(current.child_by_field_name("argument"))
        todo += current.named_children


class _Reached:
    def __init__(self, given: Mapping[bytes, Known], constant: Constant) -> None:
        self.given = given
        self.constant = constant

    def of(self, node: Node, depth: int) -> Iterator[Node]:
        """The returns below a statement."""
        if node.type == "return_statement":
            yield node
        elif depth > MAX_DEPTH or node.type == "lambda_expression":
            return
        elif node.type == "switch_statement":
            for statement in self._cases(node):
                yield from self.of(statement, depth + 1)
        elif node.type == "if_statement":
            yield from self._branches(node, depth)
        else:
            for child in node.named_children:
                yield from self.of(child, depth + 1)
                if _ends(child, self):
                    return

    def _branches(self, node: Node, depth: int) -> Iterator[Node]:
        truth = self.truth(node.child_by_field_name("condition"))
        for name, wanted in (("consequence", True), ("alternative", False)):
            branch = node.child_by_field_name(name)
            if branch is not None and truth in (None, wanted):
                yield from self.of(branch, depth + 1)

    def truth(self, condition: Node | None) -> Truth:
        """Which way a comparison of a parameter with a constant goes."""
        while condition is not None and condition.type in _WRAPPERS and condition.named_children:
            condition = condition.named_children[-1]
        if condition is None or condition.type != "binary_expression":
            return None
        operator = text_of(condition.child_by_field_name("operator"))
        left = self._value(condition.child_by_field_name("left"))
        right = self._value(condition.child_by_field_name("right"))
        if left is None or right is None or operator not in (b"==", b"!="):
            return None
        same = left.equals(right)
        return same if same is None or operator == b"==" else not same

    def _value(self, node: Node | None) -> Known | None:
        while node is not None and node.type == "parenthesized_expression":
            node = node.named_children[-1] if node.named_children else None
        if node is None:
            return None
        return self.given.get(text_of(node)) or self.constant(node)

    def _cases(self, node: Node) -> Iterator[Node]:
        """The statements that run from the label that fits to the end of the block."""
        body = node.child_by_field_name("body")
        asked = node.child_by_field_name("condition")
        inner = asked.named_children[-1] if asked is not None and asked.named_children else None
        value = self.given.get(text_of(inner)) if inner is not None else None
        cases = [one for one in body.named_children if one.type == "case_statement"] if body else []
        start = self._start(cases, value) if value is not None else 0
        if start is None or body is None:
            return
        if value is None:
            yield from body.named_children
            return
        for case in cases[start:]:
            yield case
            if any(_ends(child, self) or child.type == "break_statement" for child in _inner(case)):
                return

    def leaves(self, node: Node) -> bool:
        """Whether a `switch` over a constant ends with a return, not behind its block."""
        asked = node.child_by_field_name("condition")
        inner = asked.named_children[-1] if asked is not None and asked.named_children else None
        if inner is None or text_of(inner) not in self.given:
            return False
        for case in self._cases(node):
            for child in _inner(case):
                if child.type == "break_statement":
                    return False
                if _ends(child, self):
                    return True
        return False

    def _start(self, cases: list[Node], value: Known) -> int | None:
        """Index of the case that a value leads to; 0 with doubt counts all; None: to none."""
        default = None
        for index, case in enumerate(cases):
            label = case.child_by_field_name("value")
            if label is None:
                default = index
                continue
            known = self.constant(label)
            same = known.equals(value) if known is not None else None
            if same:
                return index
            if same is None:
                raise _Unclear
        return default


class _Unclear(Exception):
    """A label cannot be compared."""


_WRAPPERS = ("parenthesized_expression", "condition_clause")


def _inner(case: Node) -> Iterator[Node]:
    """The statements of a case, those of a block as well."""
    for child in case.named_children:
        if child.type == "compound_statement":
            yield from child.named_children
        yield child


def _ends(node: Node, reached: _Reached) -> bool:
    """Whether what stands behind a statement is not reached."""
    if node.type in ("return_statement", "goto_statement", "throw_statement"):
        return True
    if node.type in ("compound_statement", "else_clause"):
        return any(_ends(child, reached) for child in node.named_children)
    if node.type == "switch_statement":
        return reached.leaves(node)
    if node.type == "if_statement":
        truth = reached.truth(node.child_by_field_name("condition"))
        if truth is None:
            return False
        branch = node.child_by_field_name("consequence" if truth else "alternative")
        return branch is not None and _ends(branch, reached)
    return False


def returns_for(function: Function, given: Mapping[bytes, Known], constant: Constant) -> list[Node]:
    """The same; all returns where a label cannot be compared."""
    try:
        return returns(function, given, constant)
    except _Unclear:
        return returns(function, {}, constant)
