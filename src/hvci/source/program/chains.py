"""Chains of names such as `a.b->c[i]`: where they begin, what holds them, what they point to.

Knows syntax trees and names; knows nothing of values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from hvci.source.preprocess.tree import Function, text_of
from hvci.source.program.scope import variable

if TYPE_CHECKING:
    from tree_sitter import Node

_NO_PART = re.compile(rb"\s+|[&*()]")


def bare(node: Node) -> Node:
    """An expression without casts and parentheses around it."""
    while True:
        if node.type == "cast_expression":
            inner = node.child_by_field_name("value")
        elif node.type == "parenthesized_expression" and node.named_children:
            inner = node.named_children[-1]
        elif node.type == "binary_expression" and _is_cast(node):
            inner = node.child_by_field_name("right")
        else:
            return node
        if inner is None:
            return node
        node = inner


def _is_cast(node: Node) -> bool:
    """Whether `(TYPE)&name` was taken for a mask, which the grammar cannot tell."""
    left = node.child_by_field_name("left")
    if left is None or text_of(node.child_by_field_name("operator")) != b"&":
        return False
    return left.type == "parenthesized_expression" and text_of(left)[1:-1].isupper()


def declared_name(item: Node) -> Node:
    """The name that a declarator declares."""
    node = item
    while (inner := node.child_by_field_name("declarator")) is not None:
        node = inner
    return node.named_children[-1] if node.type == "reference_declarator" else node


def flat(node: Node) -> bytes:
    """A chain of names as a text without blanks, parentheses, stars and signs of addresses."""
    return _NO_PART.sub(b"", text_of(bare(node))).replace(b"->", b".")


def pointed(node: Node) -> bytes:
    """What an argument points to; the argument itself is a pointer or the address of something."""
    inner = bare(node)
    return flat(inner) if inner.type != "call_expression" else b""


def wholes_of(base: Node) -> Iterator[bytes]:
    """The record that holds a field, and the records around it."""
    text = flat(base)
    while text:
        yield text
        before = max(text.rfind(b"."), text.rfind(b"["))
        text = text[:before] if before > 0 else b""


def callee(call: Node) -> bytes:
    """The name that a call is made by."""
    return text_of(call.child_by_field_name("function")).rpartition(b"::")[2].strip()


def cast_inside(node: Node) -> Iterator[bytes]:
    """What is cast in the target of an assignment."""
    todo = [node]
    while todo:
        one = todo.pop()
        if one.type == "cast_expression":
            yield flat(one)
        todo.extend(one.named_children)


def root_of(node: Node) -> bytes:
    """The variable that a chain of names begins with."""
    match = re.match(rb"\w+", flat(node))
    return match[0] if match is not None else b""


def type_of(name: bytes, function: Function, offset: int) -> bytes:
    """The type that a function declares a variable with."""
    if name in function.parameters:
        kind = function.types[function.parameters.index(name)]
        return kind.rpartition(b" ")[2]
    for node in function.nodes("declaration"):
        named = node.children_by_field_name("declarator")
        if node.start_byte < offset and any(text_of(declared_name(one)) == name for one in named):
            return text_of(node.child_by_field_name("type")).rpartition(b" ")[2]
    return b""


def is_own_record(base: Node, function: Function) -> bool:
    """Whether a record is a local variable, not what a pointer leads to or a global one."""
    if b"->" in text_of(base) or text_of(base)[:1] == b"*":
        return False
    above = base.parent
    if above is not None and text_of(above)[base.end_byte - above.start_byte :][:2] == b"->":
        return False
    return variable(function, root_of(base), base.start_byte) is not None
