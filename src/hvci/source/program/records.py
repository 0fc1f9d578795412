"""What lists of values that name no fields give to a field of a structure.

Theory of operation: the structures that declare the field are looked for by its name, their types
by their names, and the value at its position is taken from each list that such a type gets. Fields
behind a structure inside are not found. Knows syntax trees and names; knows nothing of values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from hvci.source.preprocess.tree import File, ancestors, text_of
from hvci.source.program.program import Program, Unit

if TYPE_CHECKING:
    from tree_sitter import Node

_RECORDS = ("struct_specifier", "class_specifier")
_DECLARED = re.compile(rb"(?:\s*\[[^\]\n]*\])*\s*[;,:]")
MAX_RECORDS = 12


class Listed(NamedTuple):
    """One value of a list."""

    file: File
    value: Node
    offset: int


def in_order(program: Program, name: bytes, left: int) -> Iterator[Listed]:
    """The values that lists give to fields of a name by their place, at most so many."""
    for position, kind in _records(program, name):
        for unit in program.naming(kind):
            for at in unit.source.places(kind):
                for one in _lists(unit, at, kind, position):
                    if left <= 0:
                        return
                    left -= 1
                    yield one


def _records(program: Program, name: bytes) -> set[tuple[int, bytes]]:
    """Position of the field and name of the type, of every structure that declares it."""
    found: set[tuple[int, bytes]] = set()
    for unit in program.naming(name):
        code = unit.source.code
        if b"struct" not in code and b"class" not in code:
            continue
        for at in unit.source.places(name):
            if _DECLARED.match(code, at + len(name)) is None or unit.in_define(at):
                continue
            if unit.live(at) is not False and len(found) < MAX_RECORDS:
                found.update(_declared(unit, at, name))
    return found


def _declared(unit: Unit, start: int, name: bytes) -> Iterator[tuple[int, bytes]]:
    node = unit.trees.at(start).node_at(start, start + len(name))
    if node is None or node.type != "field_identifier":
        return
    above = list(ancestors(node))
    listed = next((one for one in above if one.type == "field_declaration_list"), None)
    record = listed.parent if listed is not None else None
    if listed is None or record is None or record.type not in _RECORDS:
        return
    position = 0
    for item in listed.named_children:
        if item.type != "field_declaration":
            continue
        for declarator in item.children_by_field_name("declarator"):
            if declarator.start_byte <= start < declarator.end_byte:
                yield from ((position, kind) for kind in _names(record))
                return
            position += 1


def _names(record: Node) -> Iterator[bytes]:
    if (tag := record.child_by_field_name("name")) is not None:
        yield text_of(tag)
    outer = record.parent
    if outer is not None and outer.type == "type_definition":
        for declarator in outer.children_by_field_name("declarator"):
            if declarator.type == "type_identifier":
                yield text_of(declarator)


def _lists(unit: Unit, start: int, kind: bytes, position: int) -> Iterator[Listed]:
    """The values at a position of the lists that a type gets where it stands."""
    if unit.in_define(start) or unit.live(start) is False:
        return
    file = unit.trees.at(start)
    node = file.node_at(start, start + len(kind))
    for above in ancestors(node) if node is not None else ():
        if above.type in ("declaration", "compound_literal_expression"):
            for item in above.named_children:
                value = item.child_by_field_name("value") or item
                if value.type == "initializer_list":
                    yield from _at(file, value, position)
            return
        if above.type in ("parameter_declaration", "compound_statement", "argument_list"):
            return


def _at(file: File, value: Node, position: int) -> Iterator[Listed]:
    items = [one for one in value.named_children if one.type != "comment"]
    if any(one.type == "initializer_list" for one in items):
        for item in items:
            inner = item.named_children[-1] if item.type == "initializer_pair" else item
            if inner.type == "initializer_list":
                yield from _at(file, inner, position)
    elif position < len(items) and not _is_zero(items) and _is_plain(items):
        item = items[position]
        yield Listed(file, item, item.start_byte)


def _is_plain(items: list[Node]) -> bool:
    return all(one.type != "initializer_pair" for one in items)


def _is_zero(items: list[Node]) -> bool:
    """Whether a list only makes everything zero: that says nothing of a field."""
    return not items or (len(items) == 1 and text_of(items[0]) in (b"0", b"NULL", b"nullptr"))
