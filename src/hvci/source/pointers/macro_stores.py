"""Values that macros put into fields: `#define SET(o, r) (o)->Routine = (r)`.

Knows macros and their uses; where a value comes from is for `roots`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

from hvci.source.preprocess.tree import Text, arguments, parse, text_of, walk
from hvci.source.program.program import Macro, Program, Use
from hvci.source.text.text import Source

if TYPE_CHECKING:
    from tree_sitter import Node

MAX_MACROS = 200
"""Macros of one program that are taken apart."""
_STORES = re.compile(rb"(?:\.|->)\s*\w+\s*(?:\[[^\]\n]*\]\s*)?=(?!=)")


class Put(NamedTuple):
    """One use of a macro that gives a field a value."""

    use: Use
    value: Node
    """As the body has it."""
    words: tuple[tuple[bytes, Node], ...]
    """The parameters, and what the use gives for them."""


def puts(program: Program) -> dict[bytes, tuple[Put, ...]]:
    """What the macros of a program put into fields, by the field; worked out once."""
    if b"#=" not in program.stored:
        found: dict[bytes, list[Put]] = {}
        for field, put in _puts(program):
            found.setdefault(field, []).append(put)
        program.stored[b"#="] = ({field: tuple(many) for field, many in found.items()},)
    known: dict[bytes, tuple[Put, ...]] = program.stored[b"#="][0]
    return known


def _puts(program: Program) -> Iterator[tuple[bytes, Put]]:
    left = MAX_MACROS
    for path in program.paths:
        text = program.space.text(path)
        for macro in _storing(text) if text is not None else ():
            left -= 1
            if left < 0:
                what = f"more than {MAX_MACROS} macros give fields what they get"
                program.cut(f"{what}, and not all are followed")
                return
            stores = list(_stores(macro))
            for use in program.uses(macro.name) if stores else ():
                if not any(one is macro for one, _ in program.macros(macro.name, use.source.path)):
                    continue
                words = tuple(zip(macro.parameters or (), arguments(use.node), strict=False))
                for field, value in stores:
                    named = next((text_of(one) for word, one in words if word == field), field)
                    yield named.strip(), Put(use, value, words)


_KNOWN: WeakKeyDictionary[Source, tuple[Macro, ...]] = WeakKeyDictionary()


def _storing(text: Text) -> tuple[Macro, ...]:
    """The macros of a text that may give fields values; worked out once for all programs."""
    if text.source not in _KNOWN:
        every = (one for many in text.directives.macros.values() for one in many)
        _KNOWN[text.source] = tuple(filter(_may_store, every))
    return _KNOWN[text.source]


def _may_store(macro: Macro) -> bool:
    """Whether a field gets something that a parameter may be in."""
    return bool(macro.parameters) and _STORES.search(macro.body) is not None


def _stores(macro: Macro) -> Iterator[tuple[bytes, Node]]:
    """The fields that the body of a macro gives values, with these."""
    for node in walk(parse(b"void f(){" + macro.body + b";}").root_node):
        if node.type != "assignment_expression":
            continue
        left = node.child_by_field_name("left")
        if left is not None and left.type == "subscript_expression":
            left = left.child_by_field_name("argument")
        value = node.child_by_field_name("right")
        if left is not None and left.type == "field_expression" and value is not None:
            yield text_of(left.child_by_field_name("field")), value
