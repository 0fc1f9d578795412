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
_SUCCESS = re.compile(rb"NT_SUCCESS|NT_ERROR|STATUS_SUCCESS|\b(?:status|rc|ret)\b", re.IGNORECASE)
"""Asks whether something went well: where it did not, the driver does not start."""


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
        if above.type in ("if_statement", "conditional_expression"):
            condition = above.child_by_field_name("condition")
            if condition is not None and not is_same(condition, below):
                yield condition
        below = above


def _is_open(resolver: Resolver, use: Use, condition: Node) -> bool:
    """Whether a condition may fail for another reason than the version, or than a failure."""
    assert use.function is not None
    if _SUCCESS.search(text_of(condition)):
        return False
    if settled(use.function, condition, resolver) is not None:
        return False
    return not resolver.versions.concerns(condition, use.function)


def _shown(condition: Node) -> str:
    text = b" ".join(text_of(condition).split()).decode("utf-8", "replace")
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
