"""What objects of a class get where no declaration of them stands around it.

Theory of operation: each place that names the class says of what it is the type: a parameter gets
the arguments of the calls, a function what it returns, a member what the class and its
constructors give it, a variable what is assigned. Knows trees and names; knows no values.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from hvci.source.preprocess.tree import File, ancestors, arguments, text_of
from hvci.source.program.program import Program, Unit
from hvci.source.text.text import words

if TYPE_CHECKING:
    from tree_sitter import Node

Given = tuple[File, "Node"]
LIST = "initializer_list"


class Made(NamedTuple):
    """One object that is made."""

    file: File
    offset: int
    given: list[Node] | None
    """What its constructor gets; None: that is not known."""


Objects = Callable[[Program, bytes], Sequence[Made]]
_PARAMETERS = ("parameter_declaration", "optional_parameter_declaration")
_TEMPLATES = ("template_type", "template_method", "template_function")
_GIVEN = re.compile(rb"\s*(?:=(?!=)|\{)")
_GIVEN_LIST = re.compile(rb"\s*(?:=\s*)?[{#]")
"""The same in front of a list, which the line of a directive may part from it."""


def named(unit: Unit, name: bytes) -> Iterator[Given]:
    """Where a file names a class, with what belongs to its name: `n::` and arguments."""
    for at in unit.source.places(name):
        if unit.in_define(at) or unit.live(at) is False:
            continue
        file = unit.trees.at(at)
        node = file.node_at(at, at + len(name))
        while node is not None and node.parent is not None:
            above = node.parent
            is_last = above.type == "qualified_identifier" and above.end_byte == node.end_byte
            if not is_last and (
                above.type not in _TEMPLATES or above.child_by_field_name("name") != node
            ):
                break
            node = above
        if node is not None and node.parent is not None:
            yield file, node


def lists(program: Program, unit: Unit, name: bytes, objects: Objects) -> Iterator[Given]:
    """The lists among `values`; only what stands before a brace is parsed for them."""
    if unit.source.is_c or not any(_may_list(program, unit, name)):
        return iter(())
    every = values(program, unit, name, objects, only_lists=True)
    return (one for one in every if one[1].type == LIST)


def _may_list(program: Program, unit: Unit, name: bytes) -> Iterator[bool]:
    """Whether an object of a class may get a list, for each place that names the class."""
    code, braced = unit.source.code, _before_braces(program)
    for at in unit.source.places(name):
        rest = _REST.match(code, at + len(name))
        assert rest is not None
        behind = code[rest.end() : rest.end() + 1]
        is_passed = behind in (b"(", b")") and not _SEPARATORS.isdisjoint(braced)
        is_returned = behind == b"(" and b"return" in braced
        yield behind == b"{" or is_passed or is_returned or not braced.isdisjoint(words(rest[0]))


_REST = re.compile(rb"[^;{}()]*+")


def _before_braces(program: Program) -> frozenset[bytes]:
    """What lists of C++ stand behind in a program."""
    key = b"={"
    if key not in program.stored:
        every = (unit.source for unit in program.units if not unit.source.is_c)
        program.stored[key] = (frozenset().union(*(one.before_braces for one in every)),)
    found = program.stored[key][0]
    assert isinstance(found, frozenset)
    return found


def values(
    program: Program,
    unit: Unit,
    name: bytes,
    objects: Objects,
    only_lists: bool = False,
) -> Iterator[Given]:
    """What objects of a class get: as arguments, results, in assignments, as members, by `new`.

    `objects` tells what constructors of another class get, as `constructors.made` does.
    """
    for file, node in named(unit, name) if not unit.source.is_c else ():
        above = node.parent
        assert above is not None
        if above.type == "new_expression":
            listed = above.child_by_field_name("arguments")
            yield from _one(file, listed if listed is not None and listed.type == LIST else None)
        if above.child_by_field_name("type") != node:
            continue
        yield from _one(file, _default(above))
        if above.type in _PARAMETERS:
            yield from _passed(program, above, objects, only_lists)
        elif above.type == "function_definition":
            yield from _returned(file, above)
        elif above.type in ("field_declaration", "declaration"):
            for declarator in above.children_by_field_name("declarator"):
                inner = declarator.child_by_field_name("declarator") or declarator
                yield from _given(program, text_of(inner), only_lists)


def _one(file: File, node: Node | None) -> Iterator[Given]:
    if node is not None:
        yield file, node


def _default(above: Node) -> Node | None:
    """What a member or parameter has by default; `= {…}` looks like a cast list of no type."""
    found = above.child_by_field_name("default_value")
    if found is not None and found.type == "compound_literal_expression":
        return found if text_of(found.child_by_field_name("type")) else found.named_children[-1]
    return found


def _passed(
    program: Program, parameter: Node, objects: Objects, only_lists: bool
) -> Iterator[Given]:
    """What the calls of a function give to one of its parameters."""
    listed = parameter.parent
    declarator = listed.parent if listed is not None else None
    if listed is None or declarator is None:
        return
    name = _called(declarator)
    if not _WORD.fullmatch(name):
        return
    index = [one for one in listed.named_children if one.type in _PARAMETERS].index(parameter)
    is_any = not only_lists or _may_pass_lists(program, name)
    for use in program.uses(name) if is_any else ():
        given = arguments(use.node)
        if index < len(given):
            yield use.file, given[index]
    if _is_constructor(declarator, name):
        for one in objects(program, name):
            if one.given is not None and index < len(one.given):
                yield one.file, one.given[index]


def _may_pass_lists(program: Program, name: bytes) -> bool:
    """Whether a file that may call a function holds an argument in braces."""
    units = (unit for unit in program.naming(name) if not unit.source.is_c)
    return any(not _SEPARATORS.isdisjoint(unit.source.before_braces) for unit in units)


_SEPARATORS = frozenset((b"(", b","))


def _called(declarator: Node) -> bytes:
    """The name by which the function of a declarator is called."""
    above = declarator.parent
    if above is not None and above.type == "lambda_expression":
        held = above.parent
        declared = held.child_by_field_name("declarator") if held is not None else None
        return text_of(declared)
    return text_of(declarator.child_by_field_name("declarator")).rpartition(b"::")[2].strip()


def _is_constructor(declarator: Node, name: bytes) -> bool:
    """Whether a function has the name of the class that it is declared in or belongs to."""
    whole = text_of(declarator.child_by_field_name("declarator"))
    if b"::" in whole:
        return whole.split(b"::")[-2].partition(b"<")[0].strip() == name
    around = (one for one in ancestors(declarator) if one.type in _CLASSES)
    return any(text_of(one.child_by_field_name("name")) == name for one in around)


_WORD = re.compile(rb"\w+")
_CLASSES = ("class_specifier", "struct_specifier")


def _returned(file: File, function: Node) -> Iterator[Given]:
    body = function.child_by_field_name("body")
    held = file.function_at(body.start_byte + 1) if body is not None else None
    for node in held.nodes("return_statement") if held is not None else ():
        yield from ((file, one) for one in node.named_children)


def _given(program: Program, name: bytes, only_lists: bool) -> Iterator[Given]:
    """What is assigned to a variable or member, and what constructors give it in braces."""
    if not _WORD.fullmatch(name):
        return
    is_given = _GIVEN_LIST if only_lists else _GIVEN
    for unit in program.naming(name):
        if only_lists and name not in unit.source.before_braces:
            continue
        code = unit.source.code
        for at in unit.source.places(name):
            end = at + len(name)
            if is_given.match(code, end) is None or unit.in_define(at) or unit.live(at) is False:
                continue
            file = unit.trees.at(at)
            node = file.node_at(at, end)
            for above in ancestors(node) if node is not None else ():
                if above.type == "assignment_expression":
                    yield from _one(file, above.child_by_field_name("right"))
                if above.type == "field_initializer":
                    yield file, above.named_children[-1]
                if above.type not in ("field_expression", "qualified_identifier"):
                    break
