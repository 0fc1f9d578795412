"""Whether the driver comes to a place on every Windows that is aimed at, as far as conditions say.

Knows what stands over a place in its function, and what leads around it; knows neither callers nor
DDIs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial

from tree_sitter import Node

from hvci.source.preprocess.tree import Function, ancestors, is_same, text_of
from hvci.source.program.program import Use
from hvci.source.values.dead import unreached
from hvci.source.values.leaving import leaving, outcome
from hvci.source.values.resolve import Resolver
from hvci.source.values.settled import settled

_LONGEST = 60
_STATUS = rb"\(?(?:nt)?status\s*%b\s*(?:0|STATUS_SUCCESS)\)?"
_WELL = re.compile(
    rb"\(?\s*NT_SUCCESS\s*\(.*\)|"
    + _STATUS % b"(?:==|>=)"
    + rb"|\(?\w+\s*!=\s*(?:NULL|nullptr)\)?",
    re.IGNORECASE | re.DOTALL,
)
"""Asks whether something went well: where it did not, the driver does not start."""
_BADLY = re.compile(
    rb"\(?\s*NT_(?:ERROR|WARNING)\s*\(.*\)|"
    + _STATUS % b"(?:!=|<)"
    + rb"|\(?\w+\s*==\s*(?:NULL|nullptr)\)?",
    re.IGNORECASE | re.DOTALL,
)
_EXCHANGED = re.compile(rb"Interlocked\w*Exchange\w*\s*\(")
_LOOPS = ("while_statement", "for_statement")
_BRANCHES = ("if_statement", "conditional_expression", *_LOOPS)
_JOINED = (b"&&", b"||", b"and", b"or")
Guard = tuple[Node, bool]
"""A condition, and which way it has to go."""


def runs_always(resolver: Resolver, use: Use) -> tuple[bool | None, str]:
    """Whether a call surely is made (True), or never; None and the condition where that is open.

    Conditions that ask for the version, and that nobody could decide, count as met.
    """
    function = use.function
    if function is None:
        return True, ""
    if _is_never(resolver, use, function, use.node):
        return False, ""
    for condition, wanted in _guards(use.node, function):
        if _is_open(resolver, use, condition, wanted):
            return None, _shown(condition, wanted)
    for exit, _ in leaving(function, use.node.start_byte):
        guards = [each for each in _guards(exit, function) if not _holds(each[0], use.node)]
        if _is_never(resolver, use, function, exit):
            continue
        if guards and all(_goes(resolver, use, *guard) for guard in guards):
            return False, ""
        if guards and all(_is_open(resolver, use, one, not wanted) for one, wanted in guards):
            return None, _shown(guards[0][0], not guards[0][1])
    return True, ""


def _is_never(resolver: Resolver, use: Use, function: Function, node: Node) -> bool:
    """Whether constants or the version keep a place of a function from running."""
    if unreached(node, partial(settled, function, resolver=resolver)):
        return True
    return resolver.versions.fate(node, use.file, function) is False


def _guards(node: Node, function: Function) -> Iterator[Guard]:
    """What decides in a function whether a place runs; not a condition that holds the place."""
    below = node
    for above in ancestors(node):
        if above.type == "function_definition":
            return
        held, wanted = None, True
        if above.type in (*_BRANCHES, "switch_statement"):
            held = above.child_by_field_name("condition")
            wanted = not is_same(above.child_by_field_name("alternative"), below)
        elif _is_joined(above):
            held = above.child_by_field_name("left")
            wanted = text_of(above.child_by_field_name("operator")) in (b"&&", b"and")
        if held is not None and not is_same(held, below) and _depends(above, below, function):
            yield held, wanted
        below = above


def _depends(above: Node, below: Node, function: Function) -> bool:
    """Whether a part of a statement waits for its condition: what a `for` begins with does not.

    Neither does a branch where the other one says that something failed.
    """
    if above.type == "if_statement":
        for name in ("consequence", "alternative"):
            other = above.child_by_field_name(name)
            if other is not None and not is_same(other, below) and _gives_up(other, function):
                return False
    return above.type != "for_statement" or not is_same(
        above.child_by_field_name("initializer"), below
    )


def _gives_up(branch: Node, function: Function) -> bool:
    """Whether a branch ends with a `return` that says that something failed."""
    while branch.type in ("compound_statement", "else_clause") and branch.named_children:
        branch = branch.named_children[-1]
    return branch.type == "return_statement" and outcome(function, branch, 0) is False


def _is_joined(node: Node) -> bool:
    operator = node.child_by_field_name("operator")
    return node.type == "binary_expression" and text_of(operator) in _JOINED


def _holds(condition: Node, place: Node) -> bool:
    """Whether a condition decides on a place as well, as on what leads around it."""
    above = condition.parent
    return above is not None and above.start_byte <= place.start_byte < above.end_byte


def _goes(resolver: Resolver, use: Use, condition: Node, wanted: bool) -> bool:
    """Whether a condition surely goes one way."""
    assert use.function is not None
    truth = settled(use.function, condition, resolver)
    if truth is None:
        truth = resolver.versions.truth(condition, use.file, use.function)
    return truth is wanted


def _is_open(resolver: Resolver, use: Use, condition: Node, wanted: bool) -> bool:
    """Whether a condition may go the other way, not for the version and though nothing failed."""
    assert use.function is not None
    inner = condition
    while inner.type in ("parenthesized_expression", "condition_clause") and inner.named_children:
        inner = inner.named_children[-1]
    if any(_goes(resolver, use, condition, way) for way in (True, False)):
        return False
    if inner.type == "unary_expression" and text_of(inner)[:1] == b"!":
        argument = inner.child_by_field_name("argument")
        return argument is None or _is_open(resolver, use, argument, not wanted)
    if _is_joined(inner):
        sides = (inner.child_by_field_name("left"), inner.child_by_field_name("right"))
        both = text_of(inner.child_by_field_name("operator")) in (b"&&", b"and")
        needed = any if both is wanted else all
        return needed(_is_open(resolver, use, side, wanted) for side in sides if side is not None)
    text = text_of(inner).strip()
    if (_WELL if wanted else _BADLY).fullmatch(text) or _is_about_before(use.function, inner):
        return False
    return not resolver.versions.concerns(inner, use.function)


def _is_about_before(function: Function, node: Node) -> bool:
    """Whether a condition asks whether the same was done before: what it reads is set behind it."""
    if _EXCHANGED.match(text_of(node)):
        return True
    return any(
        one.start_byte > node.start_byte
        and text_of(one.child_by_field_name("left")) == text_of(node)
        for one in function.nodes("assignment_expression")
    )


def _shown(condition: Node, wanted: bool) -> str:
    text = b" ".join(text_of(condition).split()).decode("utf-8", "replace")
    text = text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
    return text if wanted else f"not {text}"
