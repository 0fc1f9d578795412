"""Which statements of a function run when some of its parameters are constants.

Theory of operation: a `switch` or an `if` over constants leads one way; whatever cannot be compared
leads everywhere. Knows the statements of one function; knows nothing of DDIs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from hvci.source.preprocess.tree import Function, ancestors, is_same, text_of
from hvci.source.program.scope import LOOPS
from hvci.source.values.comparing import Conditions, Constant, Given, Known, Truth, bare

if TYPE_CHECKING:
    from tree_sitter import Node

MAX_DEPTH = 200


def assigned(node: Node) -> set[bytes]:
    """Names that a function gives a new value to, or whose address it gives away."""
    found, todo = set(), [node]
    while todo:
        current = todo.pop()
        if current.type == "assignment_expression":
            found.add(text_of(current.child_by_field_name("left")))
        elif current.type in ("update_expression", "pointer_expression"):
            found.add(text_of(current.child_by_field_name("argument")))
        todo += current.named_children
    return found


class Reached:
    """What runs in a function when some names are constants."""

    def __init__(self, given: Given, constant: Constant) -> None:
        self.conditions = Conditions(given, constant)

    def truth(self, condition: Node | None) -> Truth:
        """Which way a condition goes."""
        return self.conditions.truth(condition)

    def returns(self, node: Node, depth: int = 0) -> Iterator[Node]:
        """The return statements below a statement that may run."""
        if node.type == "return_statement":
            yield node
        elif depth > MAX_DEPTH or node.type == "lambda_expression":
            return
        elif node.type == "switch_statement":
            for statement in self._cases(node):
                yield from self.returns(statement, depth + 1)
        elif node.type == "if_statement":
            yield from self._branches(node, depth)
        else:
            for child in node.named_children:
                yield from self.returns(child, depth + 1)
                if self._ends(child):
                    return

    def fate(self, node: Node) -> Truth:
        """Whether a statement surely runs (True), or never (False), as far as conditions tell."""
        below, sure = node, True
        for above in ancestors(node):
            if above.type == "function_definition":
                break
            truth: Truth = True
            if above.type in ("if_statement", "conditional_expression"):
                truth = self._leads(above, below)
            elif above.type == "switch_statement":
                truth = self.enters(above, node)
            elif above.type in LOOPS:
                truth = None
            if truth is False:
                return False
            sure = sure and truth is True
            below = above
        return True if sure else None

    def _leads(self, above: Node, below: Node) -> Truth:
        """Whether a condition leads to the branch below it."""
        if is_same(above.child_by_field_name("condition"), below):
            return True
        wanted = is_same(above.child_by_field_name("consequence"), below)
        truth = self.truth(above.child_by_field_name("condition"))
        return None if truth is None else truth is wanted

    def enters(self, switch: Node, node: Node) -> Truth:
        """Whether a `switch` leads to a statement in one of its cases."""
        start = self.start(switch)
        if start is None:
            return None
        holds = (case.start_byte <= node.start_byte < case.end_byte for case in self._cases(switch))
        return any(holds)

    def _branches(self, node: Node, depth: int) -> Iterator[Node]:
        truth = self.truth(node.child_by_field_name("condition"))
        for name, wanted in (("consequence", True), ("alternative", False)):
            branch = node.child_by_field_name(name)
            if branch is not None and truth in (None, wanted):
                yield from self.returns(branch, depth + 1)

    def _cases(self, node: Node) -> Iterator[Node]:
        """The statements that run from the label that fits to the end of the block."""
        body, start = node.child_by_field_name("body"), self.start(node)
        if body is None:
            return
        if start is None:
            yield from body.named_children
            return
        for case in _labelled(body)[start:]:
            yield case
            if any(self._ends(child) or child.type == "break_statement" for child in _inner(case)):
                return

    def _leaves(self, node: Node) -> bool:
        """Whether a `switch` over a constant ends with a return, not behind its block."""
        if self.start(node) is None:
            return False
        for case in self._cases(node):
            for child in _inner(case):
                if child.type == "break_statement":
                    return False
                if self._ends(child):
                    return True
        return False

    def start(self, node: Node) -> int | None:
        """The position of the label that a `switch` leads to, behind all where none fits.

        None where that cannot be told.
        """
        asked, body = bare(node.child_by_field_name("condition")), node.child_by_field_name("body")
        value = self.conditions.value(asked)
        if value is None or body is None:
            return None
        cases = _labelled(body)
        default = len(cases)
        for index, case in enumerate(cases):
            label = case.child_by_field_name("value")
            if label is None:
                default = index
                continue
            known = self.conditions.value(label)
            same = known.equals(value) if known is not None else None
            if same or same is None:
                return index if same else None
        return default

    def _ends(self, node: Node) -> bool:
        """Whether what stands behind a statement is not reached."""
        if node.type in ("return_statement", "goto_statement", "throw_statement"):
            return True
        if node.type in ("compound_statement", "else_clause"):
            return any(map(self._ends, node.named_children))
        if node.type == "switch_statement":
            return self._leaves(node)
        if node.type != "if_statement":
            return False
        branches = [node.child_by_field_name(name) for name in ("consequence", "alternative")]
        truth = self.truth(node.child_by_field_name("condition"))
        taken = branches if truth is None else [branches[0 if truth else 1]]
        return all(one is not None and self._ends(one) for one in taken)


def _labelled(body: Node) -> list[Node]:
    return [one for one in body.named_children if one.type == "case_statement"]


def _inner(case: Node) -> Iterator[Node]:
    """The statements of a case, those of a block as well."""
    for child in case.named_children:
        if child.type == "compound_statement":
            yield from child.named_children
        yield child


def lasting(function: Function, given: Given) -> dict[bytes, Known]:
    """The parameters that stay constants in a whole function."""
    body = function.body
    changed = assigned(body) if body is not None and given else set()
    return {name: value for name, value in given.items() if name not in changed}


def returns_for(function: Function, given: Given, constant: Constant) -> list[Node]:
    """The return statements that may run when some parameters are constants."""
    body = function.body
    return list(Reached(given, constant).returns(body)) if body is not None else []
