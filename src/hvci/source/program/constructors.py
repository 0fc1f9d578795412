"""Where objects of a class are made, and with what: what its constructors get besides plain calls.

Theory of operation: each place that names the class is looked at in the tree: a declaration, `new`,
a member or base that initializer lists of constructors fill. What a template makes is not known.
Knows trees and names; knows no values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from hvci.source.preprocess.tree import File, Function, ancestors, text_of
from hvci.source.program.callbacks import POOL, other_names
from hvci.source.program.handed import LIST, Made, named, values
from hvci.source.program.program import Program, Unit

if TYPE_CHECKING:
    from tree_sitter import Node

_LISTS = ("argument_list", "initializer_list")
_CLASSES = ("class_specifier", "struct_specifier")
MAX_ALIASES = 40
MAX_PLACES = 400
"""Objects of one class that are looked at."""


def is_constructor(function: Function) -> bool:
    """Whether a function makes objects of its class."""
    before = function.qualified.rpartition(b"::")[0]
    if before:
        return before.partition(b"<")[0].rpartition(b"::")[2] == function.name
    above = next((one for one in ancestors(function.node) if one.type in _CLASSES), None)
    return above is not None and text_of(above.child_by_field_name("name")) == function.name


def made(program: Program, name: bytes) -> tuple[Made, ...]:
    """Every object of a class that is made otherwise than by a call of its name."""
    key = b"new " + name
    if key not in program.stored:
        program.stored[key] = ()  # a class may hold objects of itself
        found: list[Made] = []
        for one in (name, *aliases(program, name)):
            for unit in program.naming(one):
                if not unit.source.is_c:
                    found += _in(program, unit, one)
                    found += _handed(program, unit, one)
        if len(found) > MAX_PLACES:
            found[MAX_PLACES:] = [found[0]._replace(given=None)]
        program.stored[key] = tuple(found)
    return program.stored[key]


def aliases(program: Program, name: bytes) -> tuple[bytes, ...]:
    """Other names by which the constructors of a class are used: types, and heirs."""
    key = b"using " + name
    if key not in program.stored:
        program.stored[key] = ()
        found, todo = dict[bytes, None](), [name]
        while todo:
            if len(found) >= MAX_ALIASES:
                shown = name.decode("utf-8", "replace")
                what = f"the class {shown} has more than {MAX_ALIASES} other names and heirs"
                program.cut(f"{what}, and what constructors of the rest get is not followed")
                break
            one = todo.pop()
            units = (unit for unit in program.naming(one) if not unit.source.is_c)
            new = [*other_names(program, one)]
            new += (alias for unit in units for alias in _aliases_in(unit, one))
            todo += (alias for alias in new if alias not in found and alias != name)
            found |= dict.fromkeys(alias for alias in new if alias != name)
        program.stored[key] = tuple(found)
    return program.stored[key]


def _aliases_in(unit: Unit, name: bytes) -> Iterator[bytes]:
    for _, node in named(unit, name):
        above = node.parent
        if above is not None and above.type == "type_descriptor":
            above = above.parent
        if above is None:
            continue
        if above.type == "alias_declaration":
            yield text_of(above.child_by_field_name("name"))
        elif above.type == "type_definition":
            declared = above.children_by_field_name("declarator")
            yield from (text_of(one) for one in declared if one.type == "type_identifier")
        elif above.type == "using_declaration":
            heir = next((one for one in ancestors(above) if one.type in _CLASSES), None)
            if heir is not None and text_of(above).count(name) > 1:
                yield text_of(heir.child_by_field_name("name"))


def _in(program: Program, unit: Unit, name: bytes) -> Iterator[Made]:
    for file, node in named(unit, name):
        above = node.parent
        assert above is not None
        if above.type == "declaration" and above.child_by_field_name("type") == node:
            for declarator in above.children_by_field_name("declarator"):
                yield from _declared(file, above, declarator)
        elif above.type == "field_declaration" and above.child_by_field_name("type") == node:
            yield from _member(program, file, above)
        elif above.type == "field_initializer":
            yield Made(file, node.start_byte, above.named_children[-1].named_children)
        elif above.type == "base_class_clause" and not _initialised(program, name):
            yield Made(file, node.start_byte, [])
        elif above.type == "function_definition" and above.child_by_field_name("type") == node:
            yield from _returned(file, above)
        elif above.type == "new_expression":
            listed = above.child_by_field_name("arguments")
            yield Made(file, node.start_byte, listed.named_children if listed else [])
        elif above.type == "compound_literal_expression":
            value = above.child_by_field_name("value")
            yield Made(file, node.start_byte, value.named_children if value else [])
        elif above.type == "type_descriptor" and _is_made_by_template(above):
            yield Made(file, node.start_byte, None)


def _handed(program: Program, unit: Unit, name: bytes) -> Iterator[Made]:
    """Objects made of lists in braces, and of a pool where an object of the class is asked for."""
    for file, value in values(program, unit, name, made):
        if value.type == LIST:
            yield Made(file, value.start_byte, value.named_children)
        elif _is_pool(file, value):
            yield Made(file, value.start_byte, [value])


def _is_pool(file: File, value: Node) -> bool:
    """Whether a value is a pool by its name or the type of its variable, and no object already."""
    text = text_of(value)
    if value.type != "identifier":
        return value.type != "call_expression" and POOL.search(text) is not None
    function = file.function_at(value.start_byte)
    declared = re.compile(rb"\b_?POOL_(?:TYPE|FLAGS)\s+(?:\w+\s*,\s*)*" + re.escape(text) + rb"\b")
    return POOL.fullmatch(text) is not None or (
        function is not None and declared.search(text_of(function.node)) is not None
    )


def _declared(file: File, declaration: Node, declarator: Node) -> Iterator[Made]:
    """Variables of a class: `B x;`, `B x(…)`, `B x{…}`, `B x[2]`."""
    words = [text_of(one) for one in declaration.children]
    at = declarator.start_byte
    if declarator.type in ("identifier", "array_declarator") and b"extern" not in words:
        yield Made(file, at, [])
    elif declarator.type == "init_declarator":
        inner, value = (declarator.child_by_field_name(one) for one in ("declarator", "value"))
        is_object = inner is not None and inner.type in ("identifier", "array_declarator")
        if is_object and value is not None and value.type in _LISTS:
            lists = [one for one in value.named_children if one.type == "initializer_list"]
            if inner is not None and inner.type == "array_declarator" and lists:
                yield from (Made(file, at, one.named_children) for one in lists)
            else:
                yield Made(file, at, value.named_children)
        elif is_object and value is not None and value.type != "call_expression":
            if POOL.search(text_of(value)) is None:
                return
            yield Made(file, at, [value])
    elif declarator.type == "function_declarator" and any(
        one.type == "compound_statement" for one in ancestors(declaration)
    ):
        # `B x(a);` in a block is a variable that the grammar takes for a function
        listed = declarator.child_by_field_name("parameters")
        given = [one.named_children for one in (listed.named_children if listed else ())]
        is_plain = all(len(one) == 1 and one[0].type == "type_identifier" for one in given)
        yield Made(file, at, [one[0] for one in given] if is_plain else None)


def _returned(file: File, function: Node) -> Iterator[Made]:
    """What a function returns in braces is an object of its type."""
    body = function.child_by_field_name("body")
    held = file.function_at(body.start_byte + 1) if body is not None else None
    for node in held.nodes("return_statement") if held is not None else ():
        for one in node.named_children:
            if one.type == "initializer_list":
                yield Made(file, one.start_byte, one.named_children)


def _member(program: Program, file: File, declaration: Node) -> Iterator[Made]:
    """Members of a class: what they are given there, or in initializer lists."""
    for declarator in declaration.children_by_field_name("declarator"):
        if declarator.type in ("field_identifier", "array_declarator"):
            value = declaration.child_by_field_name("default_value")
            given = list(_initialised(program, text_of(declarator)))
            yield from given
            if value is not None and value.type in _LISTS:
                yield Made(file, value.start_byte, value.named_children)
            elif not given:
                yield Made(file, declarator.start_byte, [])


def _initialised(program: Program, name: bytes) -> list[Made]:
    """What initializer lists of constructors give to a member or base."""
    found: list[Made] = []
    for unit in program.naming(name):
        for file, node in named(unit, name):
            if node.parent is not None and node.parent.type == "field_initializer":
                given = node.parent.named_children[-1].named_children
                found.append(Made(file, node.start_byte, given))
    return found


def _is_made_by_template(node: Node) -> bool:
    """Whether a function template that is called gets the class, and may make objects of it."""
    listed = node.parent
    function = listed.parent if listed is not None else None
    return function is not None and function.type in ("template_function", "template_method")
