"""Where a program gives values to a variable or field, and arguments to a template.

Knows syntax trees and names; knows nothing of values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hvci.source.program import Program, Unit, Use
from hvci.source.text import places
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


def stores(program: Program, name: bytes) -> tuple[Store, ...]:
    """Assignments, initializers and enumerators of a name that a build may keep."""
    if name not in program.stored:
        program.stored[name] = tuple(_found(program, name))
    return program.stored[name]


def _found(program: Program, name: bytes) -> list[Store]:
    found: list[Store] = []
    for unit in program.naming(name):
        code = unit.source.code
        for at in places(code, name):
            if _IS_GIVEN.match(code, at + len(name)) is None or len(found) >= MAX_STORES:
                continue
            if store := _store(unit, at, name):
                found.append(store)
    return found


_IS_GIVEN = re.compile(rb"(?:\s*\[[^\]\n]*\])*\s*\|?=(?!=)")


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


def enumerators(program: Program, name: bytes) -> Iterator[tuple[Store | None, int]]:
    """For each enumerator of a name: the last value that its list gives, and the steps from there.

    None stands for the beginning of a list, which counts from 0.
    """
    pattern = re.compile(rb"\b" + re.escape(name) + rb"\b")
    for unit in program.naming(name):
        for match in pattern.finditer(unit.source.code):
            if unit.in_define(match.start()) or unit.live(match.start()) is False:
                continue
            file = unit.trees.at(match.start())
            node = file.node_at(match.start(), match.end())
            item = node.parent if node is not None else None
            if item is not None and item.type == "enumerator" and item.children[0] == node:
                yield _counted(file, item)


def _counted(file: File, item: Node) -> tuple[Store | None, int]:
    steps, current = 0, item
    while (value := current.child_by_field_name("value")) is None:
        before = current.prev_named_sibling
        while before is not None and before.type != "enumerator":
            before = before.prev_named_sibling
        if before is None:
            return None, steps
        current, steps = before, steps + 1
    return Store(file, value, value.start_byte), steps


def template_names(function: Function) -> list[bytes]:
    """The parameters of a template function."""
    above = next((n for n in ancestors(function.node) if n.type == "template_declaration"), None)
    listed = above.child_by_field_name("parameters") if above is not None else None
    return [_parameter(item) for item in listed.named_children] if listed is not None else []


def template_arguments(
    program: Program, function: Function, name: bytes
) -> list[tuple[Use, Node]] | None:
    """What the uses of a template give to the parameter of that name; None when it has none."""
    above = next((n for n in ancestors(function.node) if n.type == "template_declaration"), None)
    listed = above.child_by_field_name("parameters") if above is not None else None
    names = template_names(function)
    if above is None or name not in names:
        return None
    owner = _owner(above) or _class_of(function) or function.name
    assert listed is not None
    index = names.index(name)
    default = listed.named_children[index].child_by_field_name("default_value") or (
        listed.named_children[index].child_by_field_name("default_type")
    )
    return list(_arguments(program, owner, index, default, owner == function.name))


def is_unused_template(function: Function, program: Program) -> bool:
    """Whether a function is part of a template that nothing in the sources uses: it has no code."""
    above = next((n for n in ancestors(function.node) if n.type == "template_declaration"), None)
    listed = above.child_by_field_name("parameters") if above is not None else None
    if above is None or listed is None or not listed.named_children:
        return False
    owner = _owner(above) or _class_of(function)
    name = owner or function.name
    pattern = re.compile(rb"\b" + re.escape(name) + rb"\b")
    for unit in program.naming(name):
        for match in pattern.finditer(unit.source.code):
            if unit.live(match.start()) is not False and not _declares(unit, match.start(), name):
                return False
    return True


def _declares(unit: Unit, start: int, name: bytes) -> bool:
    """Whether a name stands where the template is declared or a member of it is defined."""
    if unit.in_define(start):
        return False
    node = unit.trees.at(start).node_at(start, start + len(name))
    for above in (node, *ancestors(node)) if node is not None else ():
        if above.type in ("compound_statement", "argument_list", "template_argument_list"):
            return above.type == "compound_statement" and _inside_own(above, name)
        if above.type == "template_declaration":
            return True
    return False


def _inside_own(node: Node, name: bytes) -> bool:
    """Whether a block belongs to the template itself: a use there uses nothing by itself."""
    for above in ancestors(node):
        if above.type == "template_declaration":
            return _owner(above) == name or name in text_of(above)[:400].split(b"{")[0]
    return False


def _class_of(function: Function) -> bytes:
    """The class that a member defined outside of it belongs to."""
    before = function.qualified.rpartition(b"::")[0]
    return before.partition(b"<")[0].rpartition(b"::")[2] if before else b""


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


def _arguments(
    program: Program, owner: bytes, index: int, default: Node | None, is_function: bool
) -> Iterator[tuple[Use, Node]]:
    """What each use of a template gives to one parameter; its default where it gives nothing."""
    ends = rb"\s*[<(]" if is_function and default is not None else rb"\s*<"
    pattern = re.compile(rb"\b" + re.escape(owner) + ends)
    for unit in program.naming(owner):
        for match in pattern.finditer(unit.source.code):
            if unit.in_define(match.start()) or unit.live(match.start()) is False:
                continue
            file = unit.trees.at(match.start())
            node = file.node_at(match.start(), match.start() + len(owner))
            above = node.parent if node is not None else None
            given = above.child_by_field_name("arguments") if above is not None else None
            if above is None or given is None or _is_own(above):
                continue
            use = Use(unit.source, file, above, match.start(), file.function_at(match.start()))
            if given.type == "template_argument_list" and index < len(given.named_children):
                yield use, given.named_children[index]
            elif default is not None:
                yield use, default


def _is_own(node: Node) -> bool:
    """Whether a name with arguments stands in the declarator of a member of that template."""
    for above in ancestors(node):
        if above.type == "function_declarator":
            return True
        if above.type != "qualified_identifier":
            return False
    return False
