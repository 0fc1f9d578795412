"""Whether the driver comes to a place on every Windows that is aimed at, as far as conditions say.

Knows what stands over a place in its function; knows neither callers nor DDIs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial

from tree_sitter import Node

from hvci.source.preprocess.tree import ancestors, is_same, text_of
from hvci.source.program.program import Use
from hvci.source.values.dead import unreached
from hvci.source.values.resolve import Resolver
from hvci.source.values.settled import settled

_LONGEST = 60
_SUCCESS = re.compile(
    rb"!?\(?\s*NT_(?:SUCCESS|ERROR|WARNING)\s*\(.*\)|\(?(?:nt)?status\s*(?:[<>=!]=?)\s*"
    rb"(?:0|STATUS_SUCCESS)\)?|\(?\w+\s*!=\s*(?:NULL|nullptr)\)?",
    re.IGNORECASE | re.DOTALL,
)
"""Asks whether something went well: where it did not, the driver does not start."""
_BRANCHES = ("if_statement", "conditional_expression", "while_statement", "for_statement")
_JOINED = (b"&&", b"||", b"and", b"or")


def runs_always(resolver: Resolver, use: Use) -> tuple[bool | None, str]:
    """Whether a call surely is made (True), or never; None and the condition where that is open.

    Conditions that ask for the version, and that nobody could decide, count as met.
    """
    function = use.function
    if function is None:
        return True, ""
    if unreached(use.node, partial(settled, function, resolver=resolver)):
        return False, ""
    if resolver.versions.fate(use.node, use.file, function) is False:
        return False, ""
    for condition in _conditions(use.node):
        if _is_open(resolver, use, condition):
            return None, _shown(condition)
    return True, ""


def _conditions(node: Node) -> Iterator[Node]:
    """What decides in a function whether a place runs; not a condition that holds the place."""
    below = node
    for above in ancestors(node):
        if above.type == "function_definition":
            return
        held = None
        if above.type in (*_BRANCHES, "switch_statement"):
            held = above.child_by_field_name("condition")
        elif _is_joined(above):
            held = above.child_by_field_name("left")
        if held is not None and not is_same(held, below) and _depends(above, below):
            yield held
        below = above


def _depends(above: Node, below: Node) -> bool:
    """Whether a part of a statement waits for its condition: what a `for` begins with does not."""
    return above.type != "for_statement" or not is_same(
        above.child_by_field_name("initializer"), below
    )


def _is_joined(node: Node) -> bool:
    operator = node.child_by_field_name("operator")
    return node.type == "binary_expression" and text_of(operator) in _JOINED


def _is_open(resolver: Resolver, use: Use, condition: Node) -> bool:
    """Whether a condition may fail for another reason than the version, or than a failure."""
    assert use.function is not None
    if settled(use.function, condition, resolver) is not None:
        return False
    if resolver.versions.truth(condition, use.file, use.function) is not None:
        return False
    inner = condition
    while inner.type in ("parenthesized_expression", "condition_clause") and inner.named_children:
        inner = inner.named_children[-1]
    if _is_joined(inner):
        sides = (inner.child_by_field_name("left"), inner.child_by_field_name("right"))
        return any(_is_open(resolver, use, side) for side in sides if side is not None)
    if _SUCCESS.fullmatch(text_of(inner).strip()):
        return False
    return not resolver.versions.concerns(inner, use.function)


def _shown(condition: Node) -> str:
    text = b" ".join(text_of(condition).split()).decode("utf-8", "replace")
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
