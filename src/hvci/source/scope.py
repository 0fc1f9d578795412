"""What a local variable was given before a place: its assignments, and which of them surely ran.

Knows the statements of one function; knows nothing of values or other functions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hvci.source.tree import Function, ancestors, text_of, walk

if TYPE_CHECKING:
    from tree_sitter import Node

BLOCKS = ("compound_statement", "case_statement", "translation_unit", "labeled_statement")
LOOPS = ("for_statement", "while_statement", "do_statement")


@dataclass(frozen=True)
class Assignment:
    """One place where a variable gets a value."""

    operator: str
    """"=", or "|=" and the like."""
    value: Node
    start: int
    block: tuple[int, int]
    """Range of the block that it stands in: every way to a later place there passes here."""
    loops: tuple[tuple[int, int], ...]
    """Ranges of the loops around it."""

    def surely_before(self, offset: int) -> bool:
        """Whether every way to the offset passes here."""
        return self.start < offset and self.block[0] <= offset < self.block[1]

    def replaces(self, offset: int) -> bool:
        """Whether no value from before it can be seen at the offset."""
        return self.operator == "=" and self.surely_before(offset)


@dataclass(frozen=True)
class Variable:
    """One local variable or parameter of a function."""

    parameter: int | None
    """Index among the parameters."""
    assignments: tuple[Assignment, ...]
    """In the order of the text."""
    addresses: tuple[tuple[int, str], ...]
    """Where its address is given away, and to whom."""

    def before(self, offset: int) -> list[tuple[Assignment, bool]]:
        """The assignments that can matter at an offset, and whether each surely ran.

        Those before the last sure one are left out; those behind the offset, in a loop around
        both, come last and are never sure.
        """
        earlier = [item for item in self.assignments if item.start < offset]
        sure = [i for i, item in enumerate(earlier) if item.replaces(offset)]
        kept = earlier[sure[-1] :] if sure else earlier
        found = [(item, item.surely_before(offset)) for item in kept]
        found += [
            (item, False)
            for item in self.assignments
            if item.start >= offset and any(a <= offset < b for a, b in item.loops)
        ]
        return found

    def given_away(self, since: int, offset: int) -> str:
        """Who got its address between two offsets; empty when nobody did."""
        return next((to for at, to in self.addresses if since <= at < offset), "")


def variable(function: Function, name: bytes) -> Variable | None:
    """The variable of that name, or None when the function declares none."""
    parameter = function.parameters.index(name) if name in function.parameters else None
    declared, found, addresses = parameter is not None, [], []
    for node in walk(function.node):
        if node.type == "declaration" or node.type == "init_declarator":
            declared = declared or name in _declared(node)
        if (assignment := _assignment(node, name)) is not None:
            found.append(assignment)
        elif node.type == "pointer_expression" and _is_address(node, name):
            addresses.append((node.start_byte, _receiver(node)))
    if not declared:
        return None
    return Variable(parameter, tuple(found), tuple(addresses))


def _declared(node: Node) -> list[bytes]:
    named = node.children_by_field_name("declarator")
    return [text_of(_bare(item)) for item in named]


def _bare(node: Node) -> Node:
    """The name inside a declarator, without initializer, pointers, arrays and parentheses."""
    while (inner := node.child_by_field_name("declarator")) is not None:
        node = inner
    return node


def _assignment(node: Node, name: bytes) -> Assignment | None:
    if node.type == "init_declarator":
        target, operator = node.child_by_field_name("declarator"), "="
        value = node.child_by_field_name("value")
    elif node.type == "assignment_expression":
        target, value = node.child_by_field_name("left"), node.child_by_field_name("right")
        operator = text_of(node.child_by_field_name("operator")).decode("ascii", "replace")
    else:
        return None
    if target is None or value is None or text_of(_bare(target)) != name:
        return None
    above = list(ancestors(node))
    loops = tuple((item.start_byte, item.end_byte) for item in above if item.type in LOOPS)
    return Assignment(operator, value, node.start_byte, _block(above), loops)


def _block(above: list[Node]) -> tuple[int, int]:
    """The block of a statement; an empty range for one that an `if` or a loop may skip."""
    for item in above:
        if item.type in BLOCKS:
            return item.start_byte, item.end_byte
        if item.type in ("if_statement", "conditional_expression", "switch_statement", *LOOPS):
            break
    return 0, 0


def _is_address(node: Node, name: bytes) -> bool:
    return text_of(node).replace(b" ", b"") == b"&" + name


def _receiver(node: Node) -> str:
    """The function that an address is given to."""
    for item in ancestors(node):
        if item.type == "call_expression":
            called = text_of(item.child_by_field_name("function"))
            return called.decode("utf-8", "replace")[:80]
        if item.type.endswith("statement"):
            break
    return "a pointer"
