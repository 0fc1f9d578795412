"""Which values of a list a part of what it initializes gets.

Knows lists and the structures that declare fields; knows no values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from hvci.source.preprocess.tree import text_of
from hvci.source.program.program import Program
from hvci.source.program.records import others_of, records

if TYPE_CHECKING:
    from tree_sitter import Node

_STEP = re.compile(rb"\[[^\]]*\]|\w+")


def chosen(program: Program, listed: Node, part: bytes) -> Iterator[Node]:
    """The values for a part, such as `[2].field`; all that it may be where that is not told."""
    steps = _STEP.findall(part)
    if not steps and len(listed.named_children) != 1:
        return  # the address of an array
    values = [listed]
    for step in steps:
        values = [inner for value in values for inner in _step(program, value, step)]
    for value in values:
        yield from _leaves(value)


def _leaves(value: Node) -> Iterator[Node]:
    if value.type != "initializer_list":
        yield value
        return
    for item in value.named_children:
        inner = item.child_by_field_name("value") if item.type == "initializer_pair" else item
        if inner is not None and inner.type != "comment":
            yield from _leaves(inner)


def _step(program: Program, value: Node, step: bytes) -> list[Node]:
    """The values in a list for one field or element."""
    if value.type == "compound_literal_expression":
        value = value.child_by_field_name("value") or value
    if value.type != "initializer_list":
        return [value]
    items = [one for one in value.named_children if one.type != "comment"]
    if step[:1] == b"[":
        return _element(items, step)
    return _field(program, items, step)


def _element(items: list[Node], step: bytes) -> list[Node]:
    if any(one.type == "initializer_pair" for one in items):
        inner = (one.child_by_field_name("value") for one in items)
        return [one or item for one, item in zip(inner, items, strict=True)]
    number = step.strip(b"[] ")
    if number.isdigit() and all(one.type == items[0].type for one in items[:1]):
        at = int(number)
        return items[at : at + 1]
    return items


def _field(program: Program, items: list[Node], name: bytes) -> list[Node]:
    named = [one for one in items if one.type == "initializer_pair"]
    if named and len(named) == len(items):
        names = {name, *others_of(program, name)}
        wanted = (
            one.child_by_field_name("value")
            for one in named
            if text_of(one.named_children[0]).lstrip(b". ") in names
        )
        return [one for one in wanted if one is not None]
    known = records(program, name)
    if len({one.order for one in known}) == 1 and not named:
        order, names = known[0].order, {name, *known[0].others}
        at = next((at for at, one in enumerate(order) if one in names), len(items))
        return items[at : at + 1]
    return [one.child_by_field_name("value") or one for one in items]
