"""What a local variable was given before a place: its assignments, and which of them surely ran.

Knows the statements of one function; knows nothing of values or other functions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from hvci.source.tree import Function, ancestors, text_of

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


class _Index:
    """What stands in a function, by the names that it is about; made in one walk."""

    def __init__(self, function: Function) -> None:
        self.declared: set[bytes] = set()
        self.written: dict[bytes, list[Node]] = {}
        self.addresses: dict[bytes, list[Node]] = {}
        for node in function.nodes("declaration", "init_declarator"):
            self.declared.update(_declared(node))
        for node in function.nodes("init_declarator", "assignment_expression"):
            if node.type == "init_declarator":
                self._write(node, node.child_by_field_name("declarator"), "value")
            else:
                self._write(node, node.child_by_field_name("left"), "right")
        for node in function.nodes("pointer_expression"):
            text = text_of(node).replace(b" ", b"")
            if text[:1] == b"&":
                self.addresses.setdefault(text[1:], []).append(node)

    def _write(self, node: Node, target: Node | None, value: str) -> None:
        if target is not None and node.child_by_field_name(value) is not None:
            self.written.setdefault(text_of(_bare(target)), []).append(node)


_INDEXES: WeakKeyDictionary[Function, _Index] = WeakKeyDictionary()


def _index(function: Function) -> _Index:
    if function not in _INDEXES:
        _INDEXES[function] = _Index(function)
    return _INDEXES[function]


def variable(function: Function, name: bytes) -> Variable | None:
    """The variable of that name, or None when the function declares none."""
    parameter = function.parameters.index(name) if name in function.parameters else None
    index = _index(function)
    if parameter is None and name not in index.declared:
        return None
    assignments = tuple(_assignment(node) for node in index.written.get(name, ()))
    addresses = ((node.start_byte, _receiver(node)) for node in index.addresses.get(name, ()))
    return Variable(parameter, assignments, tuple(addresses))


def _declared(node: Node) -> list[bytes]:
    named = node.children_by_field_name("declarator")
    return [text_of(_bare(item)) for item in named]


def _bare(node: Node) -> Node:
    """The name inside a declarator, without initializer, pointers, arrays and parentheses."""
    while (inner := node.child_by_field_name("declarator")) is not None:
        node = inner
    return node


def _assignment(node: Node) -> Assignment:
    is_init = node.type == "init_declarator"
    value = node.child_by_field_name("value" if is_init else "right")
    operator = b"=" if is_init else text_of(node.child_by_field_name("operator"))
    above = list(ancestors(node))
    loops = tuple((item.start_byte, item.end_byte) for item in above if item.type in LOOPS)
    assert value is not None
    spelled = operator.decode("ascii", "replace")
    return Assignment(spelled, value, node.start_byte, _block(above), loops)


def _block(above: list[Node]) -> tuple[int, int]:
    """The block of a statement; an empty range for one that an `if` or a loop may skip."""
    for item in above:
        if item.type in BLOCKS:
            return item.start_byte, item.end_byte
        if item.type in ("if_statement", "conditional_expression", "switch_statement", *LOOPS):
            break
    return 0, 0


def _receiver(node: Node) -> str:
    """The function that an address is given to."""
    for item in ancestors(node):
        if item.type == "call_expression":
            called = text_of(item.child_by_field_name("function"))
            return called.decode("utf-8", "replace")[:80]
        if item.type.endswith("statement"):
            break
    return "a pointer"
