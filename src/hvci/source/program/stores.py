"""Where a program gives values to a variable or field, and arguments to a template.

Knows syntax trees and names; knows nothing of values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from hvci.source.preprocess.tree import File, Function, ancestors, parse, text_of
from hvci.source.program.chains import flat
from hvci.source.program.program import Program, Unit, Use
from hvci.source.program.records import in_order
from hvci.source.program.references import changing
from hvci.source.program.scope import variable

if TYPE_CHECKING:
    from tree_sitter import Node

MAX_STORES = 1000


@dataclass(frozen=True)
class Store:
    """One value that is given to a name."""

    file: File
    value: Node
    offset: int
    fixed: bool = False
    """It is what a constant is, for good."""
    operator: bytes = b"="
    """Or what it is combined with before, such as "|="."""

    @property
    def is_whole(self) -> bool:
        """Whether all of a variable gets the value, and not an element of it."""
        above = self.value.parent
        if above is None or above.type != "assignment_expression":
            return True
        return b"[" not in text_of(above.child_by_field_name("left"))

    @property
    def is_through(self) -> bool:
        """Whether the value goes to where the name points: `*name = v`, `*(T *)name = v`."""
        above = self.value.parent
        if above is None or above.type != "assignment_expression":
            return False
        left = above.child_by_field_name("left")
        while left is not None and left.type == "parenthesized_expression" and left.named_children:
            left = left.named_children[-1]
        return left is not None and left.type == "pointer_expression"

    @property
    def owner(self) -> bytes:
        """The object whose field gets the value, `a.b` for `a->b.field`; empty: not told."""
        lists = 0
        for above in ancestors(self.value):
            if above.type == "assignment_expression":
                left = above.child_by_field_name("left")
                target = flat(left) if left is not None and not lists else b""
                return target.rpartition(b".")[0] if b"[" not in target else b""
            if above.type == "init_declarator":
                named = above.child_by_field_name("declarator")
                is_plain = lists == 1 and named is not None and named.type == "identifier"
                return text_of(named) if is_plain else b""
            if above.type.endswith("statement"):
                break
            lists += above.type == "initializer_list"
        return b""


def stores(program: Program, name: bytes, of_field: bool = False) -> tuple[Store, ...]:
    """Assignments, initializers and enumerators of a name that a build may keep.

    With `of_field`, those of variables that C code gives the name of a field are left out.
    """
    key = b"." + name if of_field else name
    if key not in program.stored:
        program.stored[key] = tuple(_found(program, name, of_field))
    return program.stored[key]


def _found(program: Program, name: bytes, of_field: bool) -> list[Store]:
    found: list[Store] = []
    for unit in program.naming(name):
        code = unit.source.code
        given = _IS_GIVEN if unit.source.is_c else _IS_GIVEN_OR_MADE
        for at in unit.source.places(name):
            match = given.match(code, at + len(name))
            if match is None or len(found) >= MAX_STORES:
                continue
            if match[0].lstrip()[:1] == b")" and not _is_declared_pointer(code, at):
                continue
            if of_field and unit.source.is_c and not _may_be_field(code, at):
                continue
            if store := _store(unit, at, name):
                found.append(store)
    listed = in_order(program, name, MAX_STORES - len(found))
    return [*found, *(Store(one.file, one.value, one.offset) for one in listed)]


_CALLABLE = rb"(?:\)\s*\([^;{}=]{0,300}\)\s*)?"
"""What stands behind the name of a pointer to functions, where it is declared."""
_IS_GIVEN = re.compile(rb"(?:\s*\[[^\]\n]*\])*\s*" + _CALLABLE + rb"(?:[|&^+*-]|<<|>>)?=(?!=)")
_IS_GIVEN_OR_MADE = re.compile(
    rb"(?:\s*\[[^\]\n]*\])*\s*(?:" + _CALLABLE + rb"(?:[|&^+*-]|<<|>>)?=(?!=)|[({])"
)


def _is_declared_pointer(code: bytes, start: int) -> bool:
    """Whether a name before a parenthesis is that of a pointer: `(*name)(…) = v`, no cast."""
    return _STAR.search(code, max(0, start - _BEFORE), start) is not None


_STAR = re.compile(rb"\*\s*(?:(?:const|volatile|CONST)\s+)*\Z")


def _may_be_field(code: bytes, start: int) -> bool:
    """Whether a name of C code stands behind an object; methods of C++ name their fields alone."""
    before = code[max(0, start - _BEFORE) : start].rstrip()
    return not before or before.endswith((b".", b"->"))


_BEFORE = 80
"""Bytes before a name in which the object ends that it is a field of."""


def _store(unit: Unit, start: int, name: bytes) -> Store | None:
    if unit.in_define(start) or unit.live(start) is False:
        return None
    file = unit.trees.at(start)
    node = file.node_at(start, start + len(name))
    for above in (node, *ancestors(node)) if node is not None else ():
        if above.type == "assignment_expression":
            made = _of(file, above.child_by_field_name("right"), start)
            operator = text_of(above.child_by_field_name("operator"))
            return replace(made, operator=operator) if made is not None else None
        if above.type == "init_declarator":
            kinds = above.parent.children if above.parent is not None else []
            words = [text_of(one) for one in kinds if one.type == "type_qualifier"]
            fixed = b"const" in words or b"constexpr" in words
            return _of(file, above.child_by_field_name("value"), start, fixed)
        if above.type in ("enumerator", "initializer_pair"):
            is_one = above.type == "enumerator"
            return _of(file, above.child_by_field_name("value"), start, is_one)
        if above.type == "field_declaration":
            return _of(file, above.child_by_field_name("default_value"), start)
        if above.type == "field_initializer":
            return _of(file, above.named_children[-1], start)
        if above.type.endswith(("statement", "argument_list")):
            break
    return None


def _of(file: File, value: Node | None, start: int, fixed: bool = False) -> Store | None:
    is_one = value is not None and value.start_byte > start
    return Store(file, value, start, fixed) if is_one and value is not None else None


def left_zero(program: Program, name: bytes) -> tuple[Store, ...]:
    """What a variable outside of functions is at first where nothing says it: zero."""
    key = b"0" + name
    if key not in program.stored:
        program.stored[key] = tuple(_left_zero(program, name))
    return program.stored[key]


def _left_zero(program: Program, name: bytes) -> Iterator[Store]:
    zero = parse(b"int q = 0;").root_node.descendant_for_byte_range(8, 9)
    assert zero is not None
    for unit in program.naming(name):
        for at in unit.source.places(name):
            if _IS_BARE.match(unit.source.code, at + len(name)) is None:
                continue
            if unit.in_define(at) or unit.live(at) is False:
                continue
            file = unit.trees.at(at)
            node = file.node_at(at, at + len(name))
            if node is not None and _is_outside(node):
                yield Store(file, zero, at)


_IS_BARE = re.compile(rb"(?:\s*\[[^\]\n]*\])*\s*[;,]")


def _is_outside(node: Node) -> bool:
    """Whether a name is declared outside of functions, and here."""
    above = node.parent
    while above is not None and above.type in ("array_declarator", "parenthesized_declarator"):
        above = above.parent
    if above is None or above.type != "declaration":
        return False
    words = [text_of(one) for one in above.children if one.type == "storage_class_specifier"]
    inside = ("compound_statement", "ERROR", "field_declaration_list", "parameter_list")
    return b"extern" not in words and not any(one.type in inside for one in ancestors(above))


def escapes(program: Program, name: bytes) -> str:
    """Who gets the address of a variable or field and may write there; empty when nobody does."""
    key = b"&" + name
    if key not in program.stored:
        found = next((one for one in _addresses(program, name) if one), "")
        program.stored[key] = (found,)
    return str(program.stored[key][0])


def _addresses(program: Program, name: bytes) -> Iterator[str]:
    for unit in program.naming(name):
        code = unit.source.code
        for start in unit.source.places(name):
            if _GOES_ON.match(code, start + len(name)) is not None:
                continue
            sign = code.rfind(b"&", 0, start)
            if sign < 0 or _OF_OBJECT.fullmatch(code, sign + 1, start) is None:
                yield _by_reference(program, unit, start, name)
                continue
            if not unit.in_define(start) and unit.live(start) is not False:
                yield _receiver(unit, start, name)


def _by_reference(program: Program, unit: Unit, start: int, name: bytes) -> str:
    """What of C++ takes a variable or field by reference at a place, and may change it."""
    if unit.source.is_c or _MAY_TAKE.match(unit.source.code, start + len(name)) is None:
        return ""
    if unit.in_define(start) or unit.live(start) is False:
        return ""
    file = unit.trees.at(start)
    function = file.function_at(start)
    if function is not None and variable(function, name, start) is not None:
        return ""
    node = file.node_at(start, start + len(name))
    return changing(program, node, is_sure=True) if node is not None else ""


_MAY_TAKE = re.compile(rb"\s*(?:[,)};]|<<|>>|&(?!&)|\|(?!\|))")
"""What stands behind a name that something gets by reference."""
_GOES_ON = re.compile(rb"\s*(?:\.|->|\()")
_OF_OBJECT = re.compile(rb"(?:[\w.()\[\]\s]|->)*+")
"""What stands between `&` and the field whose address is taken."""


def _receiver(unit: Unit, start: int, name: bytes) -> str:
    node = unit.trees.at(start).node_at(start, start + len(name))
    if node is None or node.type not in ("identifier", "field_identifier"):
        return ""
    above = node.parent
    while above is not None and above.type in ("field_expression", "parenthesized_expression"):
        if above.type == "field_expression" and above.child_by_field_name("argument") == node:
            return ""
        node, above = above, above.parent
    if above is None or above.type != "pointer_expression" or text_of(above)[:1] != b"&":
        return ""
    for outer in ancestors(above):
        if outer.type == "call_expression":
            called = text_of(outer.child_by_field_name("function"))
            return called.decode("utf-8", "replace")[:80]
        if outer.type.endswith("statement"):
            break
    return "a pointer"


def prototype_default(program: Program, function: Function, index: int) -> Node | None:
    """What a declaration of a function elsewhere gives to a parameter that a call leaves out."""
    if function.file.source.is_c:
        return None
    count = len(function.parameters)
    key = b"%s(%d" % (function.name, count)
    if key not in program.stored:
        program.stored[key] = next(_defaults(program, function.name, count), (None,) * count)
    found = program.stored[key]
    return found[index] if index < len(found) else None


def _defaults(program: Program, name: bytes, count: int) -> Iterator[tuple[Node | None, ...]]:
    """What declarations of a function with so many parameters give to them by default."""
    for unit in program.naming(name):
        code = unit.source.code
        for at in unit.source.places(name):
            if code[at + len(name) :][:8].lstrip()[:1] != b"(" or unit.in_define(at):
                continue
            node = unit.trees.at(at).node_at(at, at + len(name))
            above = node.parent if node is not None else None
            if above is not None and above.type == "operator_name":
                above = above.parent
            listed = above.child_by_field_name("parameters") if above is not None else None
            given = listed.named_children if listed is not None else []
            if len(given) == count and any(one.type.startswith("optional") for one in given):
                yield tuple(one.child_by_field_name("default_value") for one in given)


class Counted(NamedTuple):
    """An enumerator of a name: the last value that its list gives, and the steps from there."""

    file: File
    item: Node
    first: Store | None
    """None: the beginning of the list, which counts from 0."""
    steps: int


def enumerators(program: Program, name: bytes) -> Iterator[Counted]:
    """Every enumerator of a name."""
    pattern = re.compile(rb"\b" + re.escape(name) + rb"\b")
    for unit in program.naming(name):
        for match in pattern.finditer(unit.source.code):
            if unit.in_define(match.start()) or unit.live(match.start()) is False:
                continue
            file = unit.trees.at(match.start())
            node = file.node_at(match.start(), match.end())
            item = node.parent if node is not None else None
            if item is not None and item.type == "enumerator" and item.children[0] == node:
                yield Counted(file, item, *_counted(file, item))


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


def template_names(inside: Node) -> list[bytes]:
    """The parameters of the template that a node is in."""
    above = next((n for n in ancestors(inside) if n.type == "template_declaration"), None)
    listed = above.child_by_field_name("parameters") if above is not None else None
    return [_parameter(item) for item in listed.named_children] if listed is not None else []


def template_arguments(
    program: Program, inside: Node, function: Function | None, name: bytes
) -> list[tuple[Use, Node]] | None:
    """What the uses of a template give to the parameter of that name; None when it has none."""
    above = next((n for n in ancestors(inside) if n.type == "template_declaration"), None)
    listed = above.child_by_field_name("parameters") if above is not None else None
    names = template_names(inside)
    if above is None or name not in names:
        return None
    owner = _owner(above)
    if not owner and function is not None:
        owner = _class_of(function) or function.name
    if not owner or listed is None:
        return None
    index = names.index(name)
    default = listed.named_children[index].child_by_field_name("default_value") or (
        listed.named_children[index].child_by_field_name("default_type")
    )
    return list(
        _arguments(program, owner, index, default, function is not None and owner == function.name)
    )


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
            return _is_of(above, name)
    return False


def _is_of(template: Node, name: bytes) -> bool:
    """Whether a template is the one of that name, or a member of it."""
    if owner := _owner(template):
        return owner == name
    if any(one.type == "alias_declaration" for one in template.named_children):
        return False
    head = text_of(template).partition(b"{")[0]
    own = re.escape(name) + rb"\b\s*(?:<[^;{}()]*>)?\s*(?:::\s*~?[\w ]+)?\s*\("
    return re.search(rb"\b" + own, head) is not None


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
