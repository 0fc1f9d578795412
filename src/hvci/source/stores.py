"""Where a program gives values to a variable or field, and arguments to a template.

Knows syntax trees and names; knows nothing of values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hvci.source.program import Program, Unit, Use
from hvci.source.tree import File, Function, ancestors, text_of

if TYPE_CHECKING:
    from tree_sitter import Node

MAX_STORES = 200


@dataclass(frozen=True)
class Store:
    """One value that is given to a name."""

    file: File
    value: Node
    offset: int


def stores(program: Program, name: bytes) -> list[Store]:
    """Assignments, initializers and enumerators of a name that a build may keep."""
    pattern = re.compile(rb"\b" + re.escape(name) + rb"\b(?:\s*\[[^\]\n]*\])*\s*\|?=(?!=)")
    found: list[Store] = []
    for unit in program.naming(name):
        for match in pattern.finditer(unit.source.code):
            if len(found) < MAX_STORES and (store := _store(unit, match.start(), name)):
                found.append(store)
    return found


def _store(unit: Unit, start: int, name: bytes) -> Store | None:
    if unit.in_define(start) or unit.live(start) is False:
        return None
    file = unit.trees.at(start)
    node = file.node_at(start, start + len(name))
    for above in (node, *ancestors(node)) if node is not None else ():
        if above.type == "assignment_expression":
            return _of(file, above.child_by_field_name("right"), start)
        if above.type in ("init_declarator", "enumerator", "initializer_pair"):
            return _of(file, above.child_by_field_name("value"), start)
        if above.type.endswith(("statement", "argument_list")):
            break
    return None


def _of(file: File, value: Node | None, start: int) -> Store | None:
    return Store(file, value, start) if value is not None and value.start_byte > start else None


def template_arguments(
    program: Program, function: Function, name: bytes
) -> list[tuple[Use, Node]] | None:
    """What the uses of a template give to the parameter of that name; None when it has none."""
    above = next((n for n in ancestors(function.node) if n.type == "template_declaration"), None)
    listed = above.child_by_field_name("parameters") if above is not None else None
    names = [_parameter(item) for item in listed.named_children] if listed is not None else []
    if above is None or name not in names:
        return None
    owner = _owner(above) or function.name
    return list(_arguments(program, owner, names.index(name)))


def _parameter(node: Node) -> bytes:
    declarator = node.child_by_field_name("declarator")
    if declarator is not None:
        return text_of(declarator)
    return text_of(node.named_children[-1]) if node.named_children else b""


def _owner(template: Node) -> bytes:
    """The class that a template declares."""
    for item in template.named_children:
        if item.type in ("class_specifier", "struct_specifier"):
            return text_of(item.child_by_field_name("name"))
    return b""


def _arguments(program: Program, owner: bytes, index: int) -> Iterator[tuple[Use, Node]]:
    pattern = re.compile(rb"\b" + re.escape(owner) + rb"\s*<")
    for unit in program.naming(owner):
        for match in pattern.finditer(unit.source.code):
            if unit.in_define(match.start()) or unit.live(match.start()) is False:
                continue
            file = unit.trees.at(match.start())
            node = file.node_at(match.start(), match.start() + len(owner))
            above = node.parent if node is not None else None
            given = above.child_by_field_name("arguments") if above is not None else None
            if above is not None and given is not None and index < len(given.named_children):
                place = file.function_at(match.start())
                use = Use(unit.source, file, above, match.start(), place)
                yield use, given.named_children[index]
