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


class _Store(NamedTuple):
    """What a macro gives to a field of this name, or to the one that its parameter of it names."""

    macro: Macro
    field: bytes
    value: Node


def fields(program: Program) -> frozenset[bytes]:
    """The fields that macros of a program give values."""
    return frozenset(_every(program))


def puts(program: Program, field: bytes) -> tuple[Put, ...]:
    """What the macros of a program put into a field; worked out once."""
    key = b"#=" + field
    if key not in program.stored:
        every = _every(program).get(field, ())
        program.stored[key] = tuple(one for store in every for one in _uses(program, store, field))
    return program.stored[key]


def _every(program: Program) -> dict[bytes, tuple[_Store, ...]]:
    """The stores of all macros by the field; uses are asked only for names that parameters give."""
    if b"#fields" not in program.stored:
        found: dict[bytes, list[_Store]] = {}
        for store in _all(program):
            names = {store.field}
            if store.field in (store.macro.parameters or ()):
                names = {_named(use, store) for use in program.uses(store.macro.name)}
            for name in names:
                found.setdefault(name, []).append(store)
        program.stored[b"#fields"] = ({name: tuple(many) for name, many in found.items()},)
    known: dict[bytes, tuple[_Store, ...]] = program.stored[b"#fields"][0]
    return known


def _all(program: Program) -> Iterator[_Store]:
    left = MAX_MACROS
    for path in program.paths:
        text = program.space.text(path)
        for macro in _storing(text) if text is not None else ():
            left -= 1
            if left < 0:
                what = f"more than {MAX_MACROS} macros give fields what they get"
                program.cut(f"{what}, and not all are followed")
                return
            yield from _stores(macro)


def _uses(program: Program, store: _Store, field: bytes) -> Iterator[Put]:
    macro = store.macro
    for use in program.uses(macro.name):
        is_it = any(one is macro for one, _ in program.macros(macro.name, use.source.path))
        if is_it and _named(use, store) == field:
            words = zip(macro.parameters or (), arguments(use.node), strict=False)
            yield Put(use, store.value, tuple(words))


def _named(use: Use, store: _Store) -> bytes:
    """The field that a use gives a value."""
    given = zip(store.macro.parameters or (), arguments(use.node), strict=False)
    return next((text_of(one).strip() for word, one in given if word == store.field), store.field)


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


def _stores(macro: Macro) -> Iterator[_Store]:
    """The fields that the body of a macro gives values, with these."""
    for node in walk(parse(b"void f(){" + macro.body + b";}").root_node):
        if node.type != "assignment_expression":
            continue
        left = node.child_by_field_name("left")
        if left is not None and left.type == "subscript_expression":
            left = left.child_by_field_name("argument")
        value = node.child_by_field_name("right")
        if left is not None and left.type == "field_expression" and value is not None:
            yield _Store(macro, text_of(left.child_by_field_name("field")), value)
