"""Lambda expressions in a function: whose parameter a name is, and what runs when they are called.

Knows the statements of one function; knows nothing of values.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from hvci.source.preprocess.tree import Function, arguments, text_of

if TYPE_CHECKING:
    from tree_sitter import Node


class Parameter(NamedTuple):
    """One parameter of a lambda, and what the calls of its function give to it."""

    given: list[Node]
    default: Node | None
    is_whole: bool
    """Nothing else can call it."""


def around(function: Function, offset: int) -> Node | None:
    """The inmost lambda that holds an offset."""
    if function.file.source.is_c:
        return None
    found = [one for one in function.nodes("lambda_expression") if _holds(one, offset)]
    return found[-1] if found else None


def captures(node: Node, name: bytes) -> bool:
    """Whether a lambda sees what others write to a variable after it is made."""
    listed = text_of(node.child_by_field_name("captures")).strip(b"[] ")
    items = [b"".join(item.split()) for item in listed.split(b",")]
    if b"&" + name in items:
        return True
    return items[:1] == [b"&"] and name not in items


def parameter(function: Function, name: bytes, offset: int) -> Parameter | None:
    """The parameter or own variable of a lambda that a name is at an offset; None: it is none."""
    for node in reversed(function.nodes("lambda_expression")):
        if not _holds(node, offset):
            continue
        if (value := _captured(node, name)) is not None:
            return Parameter([value], None, True)
        declared = _parameters(node)
        for index, one in enumerate(declared):
            if re.search(rb"\b%b\b" % re.escape(name), text_of(one).partition(b"=")[0]):
                return _given(function, node, index, one.child_by_field_name("default_value"))
    return None


def _captured(node: Node, name: bytes) -> Node | None:
    """What a lambda keeps under a name of its own: `[name = value]`."""
    listed = node.child_by_field_name("captures")
    for one in listed.named_children if listed is not None else ():
        left = one.child_by_field_name("left")
        if left is not None and text_of(left).lstrip(b"& ") == name:
            return one.child_by_field_name("right")
    return None


def _holds(node: Node, offset: int) -> bool:
    body = node.child_by_field_name("body")
    return body is not None and body.start_byte <= offset < body.end_byte


def _parameters(node: Node) -> list[Node]:
    declarator = node.child_by_field_name("declarator")
    listed = declarator.child_by_field_name("parameters") if declarator is not None else None
    return listed.named_children if listed is not None else []


def _given(function: Function, node: Node, index: int, default: Node | None) -> Parameter:
    above = node.parent
    if above is not None and above.type == "call_expression":
        return Parameter(arguments(above)[index : index + 1], default, True)
    if above is None or above.type != "init_declarator":
        return Parameter([], default, False)
    name = text_of(above.child_by_field_name("declarator"))
    calls = [
        one
        for one in function.nodes("call_expression")
        if text_of(one.child_by_field_name("function")) == name
    ]
    code = function.file.source.code[function.node.start_byte : function.node.end_byte]
    named = re.findall(rb"\b%b\b" % re.escape(name), code)
    every = [one for call in calls for one in arguments(call)[index : index + 1]]
    is_short = any(len(arguments(call)) <= index for call in calls)
    return Parameter(every, default if is_short else None, len(named) == len(calls) + 1)
