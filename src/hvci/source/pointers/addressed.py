"""What is written to a variable or field through its address: by copies, exchanges and stores.

Knows syntax trees and the routines that copy; follows no pointer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from hvci.source.pointers.places import SOURCES
from hvci.source.preprocess.tree import File, Function, arguments, text_of
from hvci.source.program.program import Program

if TYPE_CHECKING:
    from tree_sitter import Node

_EXCHANGING = re.compile(
    rb"_?Interlocked(?:Compare)?ExchangePointer\w*|_?InterlockedExchange\w*|WritePointer\w*"
)
_BEFORE = re.compile(rb"&[\s(]*(?:[\w.()\[\]\s]|->)*\Z")
_LONGEST = 80
_SAME = ("cast_expression", "parenthesized_expression")


class Written(NamedTuple):
    """A value that is written through an address, and where that stands."""

    file: File
    value: Node
    offset: int


def in_function(function: Function, name: bytes) -> Iterator[Written]:
    """What a function writes to a variable of its own through the variable's address."""
    for node in function.nodes("pointer_expression"):
        inner = node.child_by_field_name("argument")
        if text_of(node).startswith(b"&") and text_of(bare(inner)) == name:
            value = _value(node)
            if value is not None:
                yield Written(function.file, value, node.start_byte)


def anywhere(program: Program, name: bytes) -> Iterator[Written]:
    """What a program writes through the address of a field, or of a variable, of a name."""
    for unit in program.naming(name):
        code = unit.source.code
        for at in unit.source.places(name):
            if _BEFORE.search(code, max(0, at - _LONGEST), at) is None or unit.in_define(at):
                continue
            if unit.live(at) is False:
                continue
            file = unit.trees.at(at)
            if (value := written_at(file, at, at + len(name))) is not None:
                yield Written(file, value, at)


def written_at(file: File, start: int, end: int) -> Node | None:
    """What is written through the address of the field or variable whose name stands there."""
    address = _address(file.node_at(start, end))
    return _value(address) if address is not None else None


def bare(node: Node | None) -> Node | None:
    """An expression without casts and parentheses."""
    while node is not None and node.type in _SAME:
        node = node.child_by_field_name("value") or next(iter(node.named_children), None)
    return node


def pointee(node: Node | None) -> Node | None:
    """What an expression is the address of, where it says so itself."""
    node = bare(node)
    if node is None or node.type != "pointer_expression" or not text_of(node).startswith(b"&"):
        return None
    return bare(node.child_by_field_name("argument"))


def copied_by(call: Node) -> Node | None:
    """What a call of a routine that copies takes the bytes of: a variable, or a list."""
    name, given = text_of(call.child_by_field_name("function")).strip(), arguments(call)
    at = SOURCES.get(name.decode("latin-1"), -1)
    if not 0 <= at < len(given):
        return None
    inner = pointee(given[at])
    return inner if inner is not None else bare(given[at])


def _address(node: Node | None) -> Node | None:
    """The expression that takes the address of a variable, field or element."""
    while node is not None and node.parent is not None:
        above = node.parent
        if above.type == "pointer_expression":
            return above if text_of(above).startswith(b"&") else None
        if above.type == "parenthesized_expression":
            node = above
            continue
        is_field = above.type == "field_expression" and above.child_by_field_name("field") == node
        first = above.child_by_field_name("argument")
        if not is_field and not (above.type == "subscript_expression" and first == node):
            return None
        node = above
    return None


def _value(address: Node) -> Node | None:
    """What is written where an address points, by the call or assignment around it."""
    node = address
    while node.parent is not None and node.parent.type in _SAME:
        node = node.parent
    above = node.parent
    if above is None:
        return None
    if above.type == "argument_list":
        return _handed(above, node)
    if above.type == "pointer_expression" and text_of(above).startswith(b"*"):
        return _assigned(above)
    if above.type == "subscript_expression" and above.child_by_field_name("argument") == node:
        return _assigned(above)
    return None


def written_by(call: Node) -> Node | None:
    """What a call of a routine that copies or exchanges writes where its first argument points."""
    listed, given = call.child_by_field_name("arguments"), arguments(call)
    return _handed(listed, given[0]) if listed is not None and given else None


def _handed(listed: Node, node: Node) -> Node | None:
    """What a call writes where its first argument points."""
    call = listed.parent
    given = arguments(call) if call is not None and call.type == "call_expression" else []
    if call is None or len(given) < 2 or given[0] != node:
        return None
    name = text_of(call.child_by_field_name("function")).strip()
    source = SOURCES.get(name.decode("latin-1"), -1)
    if 0 <= source < len(given):
        return pointee(given[source])
    return given[1] if _EXCHANGING.fullmatch(name) is not None else None


def _assigned(left: Node) -> Node | None:
    """What an assignment gives to its left side."""
    while left.parent is not None and left.parent.type == "parenthesized_expression":
        left = left.parent
    above = left.parent
    if above is None or above.type != "assignment_expression":
        return None
    return above.child_by_field_name("right") if above.child_by_field_name("left") == left else None


def name_of(node: Node) -> bytes:
    """The variable or field whose address an argument is; empty for anything else."""
    inner = pointee(node)
    if inner is not None and inner.type == "field_expression":
        inner = inner.child_by_field_name("field")
    return text_of(inner)


def is_through(assignment: Node, parameter: bytes, is_reference: bool) -> bool:
    """Whether an assignment writes where a parameter points, or what it is a reference to."""
    left = text_of(assignment.child_by_field_name("left")).replace(b" ", b"")
    if left == parameter:
        return is_reference
    return left in (b"*" + parameter, b"(*" + parameter + b")", parameter + b"[0]")
