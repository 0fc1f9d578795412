"""Which values of a list an element of an array gets.

Knows lists and the sizes of arrays; what numbers expressions are is asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from hvci.source.preprocess.tree import ancestors, text_of
from hvci.source.program.chains import declared_name
from hvci.source.program.records import is_zero, sizes

if TYPE_CHECKING:
    from tree_sitter import Node

Number = Callable[["Node | None"], int | None]
"""The number that an expression is, where it is one."""


def elements(value: Node, element: int | None, number: Number) -> list[Node | None]:
    """What an element may be: the value itself where that cannot be told, None for zero."""
    if value.type != "initializer_list" or element is None:
        return [value]
    placed = _placed(value, number)
    if placed is None:
        return [value]
    if element in placed:
        return [placed[element]]
    return [None] if element < max(_size(value, number) or 0, *placed, 0) else [value]


def element_of(value: Node, array: bytes) -> int | None:
    """Which element of an array a value in its list is part of; None where that is not told."""
    below = value
    for above in ancestors(value):
        if above.type == "init_declarator":
            is_list = value is not below and below.type == "initializer_list"
            if not is_list or text_of(declared_name(above)) != array or len(sizes(above)) != 1:
                return None
            items = [one for one in below.named_children if one.type != "comment"]
            if any(one.type != "initializer_list" for one in items):
                return None
            around = (one.start_byte <= value.start_byte < one.end_byte for one in items)
            return next((at for at, one in enumerate(around) if one), None)
        if above.type not in ("initializer_list", "initializer_pair"):
            return None
        below = above
    return None


def leaves_out(value: Node, number: Number) -> bool:
    """Whether an array has more elements than its list gives values to; they are zero."""
    if value.type != "initializer_list" or is_zero(value):
        return False
    placed = _placed(value, number)
    if placed is None:
        return False
    size = _size(value, number)
    return len(placed) < (max(placed, default=-1) + 1 if size is None else size)


def _placed(value: Node, number: Number) -> dict[int, Node] | None:
    """The values of a list by the elements that get them; None where that cannot be told."""
    found: dict[int, Node] = {}
    at = 0
    for item in value.named_children:
        inner: Node | None = item
        if item.type == "comment":
            continue
        if item.type == "initializer_pair":
            index = number(item.child_by_field_name("designator"))
            inner = item.child_by_field_name("value")
            if index is None:
                return None
            at = index
        if inner is None or inner.type == "initializer_list":
            return None
        found[at] = inner
        at += 1
    return found


def _size(value: Node, number: Number) -> int | None:
    """How many elements is declared; None where that is not said by a number."""
    item = value.parent
    declared = sizes(item) if item is not None and item.type == "init_declarator" else []
    return number(declared[0]) if declared and declared[0] is not None else None
