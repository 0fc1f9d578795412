"""Calls and stores through pointers: the expression that is the pointer.

Knows syntax trees; knows nothing of values.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hvci.source.pointers.addressed import pointee
from hvci.source.pointers.makers import cast_inside
from hvci.source.preprocess.tree import File, text_of
from hvci.source.program.program import Program

if TYPE_CHECKING:
    from tree_sitter import Node


def call_at(file: File, opening: int) -> Node | None:
    """The call whose arguments open at an offset."""
    node = file.node_at(opening, opening + 1)
    while node is not None and node.type != "call_expression":
        if node.type.endswith(("statement", "declaration", "definition")):
            return None
        node = node.parent
    listed = node.child_by_field_name("arguments") if node is not None else None
    return node if listed is not None and listed.start_byte == opening else None


def called(node: Node | None, program: Program) -> Node | None:
    """The pointer that a call goes through; None where it is loaded from what a pointer names."""
    stars = 0
    while node is not None:
        if node.type == "parenthesized_expression":
            node = _inside(node)
        elif node.type == "subscript_expression" and _is_first(node):
            # `((ROUTINE *)&p)[0]` loads what p holds
            node = pointee(node.child_by_field_name("argument"))
        elif node.type == "pointer_expression" and text_of(node).startswith(b"*"):
            stars += 1
            node = node.child_by_field_name("argument")
        elif node.type == "cast_expression" and stars:
            kind = node.child_by_field_name("type")
            # `*(ROUTINE *)p` loads a pointer, `*(ROUTINE)p` is a call of p
            loads = text_of(kind).count(b"*") - text_of(kind).count(b"(*")
            stars -= 1
            if loads > 0 and not _is_function_type(text_of(kind), program):
                return pointee(node.child_by_field_name("value"))
            node = node.child_by_field_name("value")
        elif stars and node.type == "call_expression" and cast_inside(node, program) is not None:
            stars -= 1
            node = cast_inside(node, program)
        else:
            return None if stars > 1 or (stars and node.type == "subscript_expression") else node
    return None


def _inside(node: Node) -> Node | None:
    """What stands in parentheses: behind a cast to `typeof(…)`, which the grammar cannot read."""
    inner = [one for one in node.named_children if one.type != "comment"]
    if len(inner) > 1 and inner[-1].type == "ERROR":
        return inner[-1].named_children[-1] if inner[-1].named_children else None
    return inner[0] if inner else None


def _is_first(node: Node) -> bool:
    """Whether the first element is named where the address of a variable is the list."""
    index = node.child_by_field_name("indices") or node.child_by_field_name("index")
    is_zero = text_of(index).strip(b"[] ") == b"0"
    return is_zero and pointee(node.child_by_field_name("argument")) is not None


def is_loaded(call: Node) -> bool:
    """Whether a call names its pointer with a star before it."""
    node = call.child_by_field_name("function")
    while node is not None and node.type == "parenthesized_expression":
        node = next((one for one in node.named_children if one.type != "comment"), None)
    return node is not None and node.type == "pointer_expression"


def _is_function_type(kind: bytes, program: Program) -> bool:
    """Whether a type is declared as a function: then a pointer to it is called as it is."""
    word = kind.replace(b"*", b" ").split()[-1:] or [b""]
    declared = re.compile(rb"\btypedef\b[^;{}()]*?\b" + re.escape(word[0]) + rb"\s*\(")
    return any(declared.search(unit.source.code) for unit in program.naming(word[0]))


def stored_through(left: Node | None) -> Node | None:
    """The pointer through which an assignment writes; None when it writes a variable."""
    while left is not None and left.type == "parenthesized_expression":
        left = next(iter(left.named_children), None)
    if left is None:
        return None
    if left.type == "pointer_expression" and text_of(left).startswith(b"*"):
        return _moved(left.child_by_field_name("argument"))
    if left.type == "subscript_expression":
        return left.child_by_field_name("argument")
    if left.type == "field_expression" and b"->" in text_of(left):
        inner = left.child_by_field_name("argument")
        while inner is not None and inner.type == "field_expression" and b"->" in text_of(inner):
            inner = inner.child_by_field_name("argument")
        named = ("parenthesized_expression", "identifier")
        return inner if inner is not None and inner.type in named else None
    return None


def _moved(pointer: Node | None) -> Node | None:
    """What a pointer is that moves on as it is used: `p` of `p++`."""
    while pointer is not None and pointer.type in ("parenthesized_expression", "update_expression"):
        pointer = next(iter(pointer.named_children), None)
    return pointer
