"""Places of memory that expressions name: variables, their fields, and what pointers lead to.

Knows syntax trees and declarations; follows no pointer.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from hvci.source.pointers.addressed import pointee
from hvci.source.preprocess.tree import Function, text_of
from hvci.source.program.chains import bare
from hvci.source.program.scope import declares

if TYPE_CHECKING:
    from tree_sitter import Node

_ELEMENT = re.compile(rb"\[[^\]]*\]")
ANY = b"[]"
"""An element that no number tells."""


class Place(NamedTuple):
    """A variable, a part of one, or a part of what one points to."""

    name: bytes
    function: Function | None
    """Whose variable it is; None: of no function."""
    declared: int
    """Where that function declares it; tells variables of one name apart."""
    through: bool = False
    """What the variable points to is meant."""
    part: bytes = b""
    """Fields and elements, such as `a.b[]`; empty for all of it."""

    @property
    def pointer(self) -> Place:
        """The variable itself."""
        return self._replace(through=False, part=b"")

    @property
    def field(self) -> bytes:
        """The last field; empty where there is none."""
        return _ELEMENT.sub(b"", self.part).rpartition(b".")[2]

    @property
    def is_element(self) -> bool:
        """Whether it is an element of the field."""
        return self.part.endswith(b"]")

    @property
    def parameter(self) -> int | None:
        """Its position among the parameters of its function."""
        if self.function is None or self.declared or self.name not in self.function.parameters:
            return None
        return self.function.parameters.index(self.name)


def overlap(first: bytes, second: bytes) -> bool:
    """Whether two parts may be the same, whatever their elements are."""
    if first == second:
        return True
    if ANY not in first and ANY not in second:
        return False
    one, other = (re.split(rb"(\[[^\]]*\])", part) for part in (first, second))
    return len(one) == len(other) and all(
        a == b or (a[:1] == b[:1] == b"[" and ANY in (a, b))
        for a, b in zip(one, other, strict=True)
    )


def place_of(node: Node | None, function: Function | None, offset: int) -> Place | None:
    """The place that an expression names in a function; None for any other expression."""
    if node is None:
        return None
    node = bare(node)
    if node.type == "identifier":
        return named(text_of(node), function, offset)
    if node.type == "field_expression":
        return _field(node, function, offset)
    if node.type == "pointer_expression" and text_of(node).startswith(b"*"):
        inner = node.child_by_field_name("argument")
        if (named_ := pointee(inner)) is not None:
            return place_of(named_, function, offset)
        return behind(place_of(inner, function, offset), b"")
    if node.type == "subscript_expression":
        return _element(node, function, offset)
    return None


def named(name: bytes, function: Function | None, offset: int) -> Place | None:
    """The variable that a name means."""
    if not name:
        return None
    declared = declares(function, name, offset) if function is not None else None
    if declared is not None:
        return Place(name, function, declared)
    is_c = function is None or function.file.source.is_c
    return Place(name, None, 0) if is_c else None


def behind(pointer: Place | None, part: bytes) -> Place | None:
    """A part of what a variable points to; None where the pointer is no variable."""
    if pointer is None or pointer.through or pointer.part:
        return None
    return pointer._replace(through=True, part=part)


def within(whole: Place, part: bytes) -> Place:
    """A field or element of a place."""
    dot = b"." if whole.part and part[:1] != b"[" else b""
    return whole._replace(part=whole.part + dot + part)


def _field(node: Node, function: Function | None, offset: int) -> Place | None:
    argument = node.child_by_field_name("argument")
    inner = pointee(argument)
    base = place_of(argument if inner is None else inner, function, offset)
    name = text_of(node.child_by_field_name("field"))
    operator = text_of(node.child_by_field_name("operator"))
    if base is None:
        return None
    if inner is not None:
        return within(base, name)
    return behind(base, name) if operator == b"->" else within(base, name)


def _element(node: Node, function: Function | None, offset: int) -> Place | None:
    argument = node.child_by_field_name("argument")
    base = place_of(argument, function, offset)
    index = node.child_by_field_name("index") or node.child_by_field_name("indices")
    number = text_of(index).strip(b"[] ")
    if base is None:
        return None
    element = b"[%d]" % int(number) if number.isdigit() else ANY
    if base.part or is_array(base):
        return within(base, element)
    return behind(base, b"" if element == b"[0]" else element)


def is_array(place: Place) -> bool:
    """Whether a variable is an array; one outside of functions is where its elements are named."""
    function = place.function
    if function is None or place.parameter is not None:
        return function is None
    begin = max(place.declared, function.node.start_byte)
    body = function.file.source.code[begin : function.node.end_byte]
    found = re.search(rb"\b%b\b\s*(\[)?" % re.escape(place.name), body)
    return found is not None and found[1] is not None
