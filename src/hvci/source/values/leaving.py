"""Which statements lead around a place of their function, though nothing failed.

Where something failed the driver is not loaded, so that it does not matter what is passed over.
Knows the statements of one function, and names of results; evaluates no condition.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from hvci.source.preprocess.tree import Function, ancestors, text_of, walk
from hvci.source.program.scope import LOOPS
from hvci.source.values.versions.telling import is_success

if TYPE_CHECKING:
    from tree_sitter import Node

_KINDS = ("return_statement", "goto_statement", "break_statement", "continue_statement")
_LEAVE = "seh_leave_statement"
_NONE = rb"FALSE|false|NULL|nullptr|-\s*\w+"
_ERROR = rb"(?:\w+_)?STATUS_(?!SUCCESS\b|PENDING\b|WAIT_0\b)\w+|E_\w+|0x[C-Fc-f]\w{7}[uUlL]*"
_FAILURE = re.compile(
    rb"(?:\(\s*(?:NTSTATUS|NDIS_STATUS)\s*\)\s*)?\(?\s*(?:%b|%b)\s*\)?" % (_NONE, _ERROR)
)


_SUCCESS = (b"STATUS_SUCCESS", b"NDIS_STATUS_SUCCESS", b"0", b"TRUE", b"true")


def leaving(function: Function, place: int) -> Iterator[tuple[Node, bool | None]]:
    """Statements before a place that lead around it, and whether all surely went well.

    Not those that say that something failed.
    """
    found = function.nodes(*_KINDS)
    if b"__leave" in text_of(function.node):
        found += [node for node in walk(function.node) if node.type == _LEAVE]
    for node in found:
        end = _target(function, node, place) if node.start_byte < place else 0
        went_well = outcome(function, node, end) if end else False
        if went_well is not False:
            yield node, went_well


def _target(function: Function, node: Node, place: int) -> int:
    """Where a statement leads, if that is behind a place; else 0."""
    if any(_is_apart(above, place) for above in ancestors(node)):
        return 0
    if node.type == "return_statement":
        return function.node.end_byte
    if node.type == "goto_statement":
        name = text_of(node.child_by_field_name("label"))
        for one in function.nodes("labeled_statement"):
            if text_of(one.child_by_field_name("label")) == name:
                return one.start_byte if one.start_byte > place else 0
        return 0
    for above in ancestors(node):
        is_owner = above.type in LOOPS if node.type != _LEAVE else above.type == "seh_try_statement"
        if is_owner or above.type in ("switch_statement", "for_range_loop"):
            # the cases of a `switch` are conditions of what they hold
            holds = above.start_byte < place < above.end_byte
            return above.end_byte if is_owner and holds else 0
    return 0


def _is_apart(above: Node, place: int) -> bool:
    """Whether a node is a function of its own around a statement only."""
    holds = above.start_byte <= place < above.end_byte
    return above.type == "lambda_expression" and not holds


def outcome(function: Function, node: Node, end: int) -> bool | None:
    """Whether a function says, where a statement leaves, that all went well, or something failed.

    None where that is not known.
    """
    said = node
    if node.type != "return_statement":
        every = function.nodes("return_statement")
        behind = next((one for one in every if one.start_byte >= end), None)
        if behind is None:
            return True
        said = behind
    if is_success(said):
        return True
    text = text_of(said).removeprefix(b"return").strip(b" ;()\t\r\n")
    if _FAILURE.fullmatch(text):
        return False
    asked = _condition(node)
    if re.search(rb"\b%b\b" % re.escape(text), asked):
        is_bad = rb"\(?\s*%b\s*(?:(?:!=|<)\s*(?:0|\w*STATUS_SUCCESS)\s*)?\)?" % re.escape(text)
        return False if re.fullmatch(is_bad, asked) else None
    value = text_of(_last(function, text, node.start_byte)).strip()
    if _FAILURE.fullmatch(value):
        return False
    return True if value in _SUCCESS else None


def _condition(node: Node) -> bytes:
    """What the `if` asks that a statement is the only one of."""
    above = node.parent
    if above is not None and above.type == "compound_statement":
        above = above.parent
    is_asked = above is not None and above.type == "if_statement"
    return text_of(above.child_by_field_name("condition")) if above and is_asked else b""


def _last(function: Function, name: bytes, offset: int) -> Node | None:
    """What was assigned to a variable last before an offset, in the order of the text."""
    value = None
    for node in function.nodes("assignment_expression", "init_declarator"):
        if node.start_byte >= offset:
            break
        named = node.child_by_field_name("left") or node.child_by_field_name("declarator")
        if text_of(named) == name:
            value = node.child_by_field_name("right") or node.child_by_field_name("value")
    return value
