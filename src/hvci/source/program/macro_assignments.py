"""What macros assign where they are used: no statement of the text shows it.

Theory of operation: the body of each macro with an assignment is written out for a use of it, and
the assignments in that are found by their names. Blind spot: macros that use such a macro.
Knows words and trees; evaluates nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from hvci.source.preprocess.tree import arguments, parse, text_of, walk
from hvci.source.program.program import Macro, Program, Use

if TYPE_CHECKING:
    from tree_sitter import Node

_WORD = re.compile(rb"\w+")
_ASSIGNS = re.compile(rb"[\w\s)\]](?:[|&^+*-]|<<|>>)?=(?!=)")
_ALL = b"#= "
_INNER = ("parenthesized_expression", "subscript_expression")


MAX_USES, LONGEST = 200, 400
"""Uses of macros that are written out for one name, and bytes that arguments may take."""


class Given(NamedTuple):
    """One assignment that a use of a macro makes."""

    use: Use
    macro: bytes
    value: bytes
    operator: bytes


def assigned(program: Program, name: bytes) -> tuple[Given, ...]:
    """What the uses of macros give to variables and fields of a name."""
    key = b"#=" + name
    if key not in program.stored:
        program.stored[key] = tuple(_found(program, name))
    return program.stored[key]


def _found(program: Program, name: bytes) -> Iterator[Given]:
    word, left = re.compile(rb"\b%b\b" % re.escape(name)), MAX_USES
    for macro, targets in _assigning(program):
        is_named = name in targets
        if not is_named and targets.isdisjoint(macro.parameters or ()):
            continue
        for use in _uses(program, macro, None if is_named else word):
            left -= 1
            if left < 0:
                shown = name.decode("utf-8", "replace")
                program.cut(f"macros may assign {shown} in more than {MAX_USES} places")
                return
            yield from _of_use(program, macro, use, name)


def _uses(program: Program, macro: Macro, word: re.Pattern[bytes] | None) -> Iterator[Use]:
    """The uses of a macro; with a word, those near which it stands."""
    for unit in program.naming(macro.name):
        code = unit.source.code
        for at in unit.source.places(macro.name):
            end = at + len(macro.name)
            if word is not None and word.search(code, end, end + LONGEST) is None:
                continue
            if not unit.in_define(at) and unit.live(at) is not False:
                file = unit.trees.at(at)
                node = file.node_at(at, end)
                above = node.parent if node is not None else None
                if above is not None and above.type == "call_expression":
                    node = above
                if node is not None:
                    yield Use(unit.source, file, node, at, file.function_at(at))


def _assigning(program: Program) -> tuple[tuple[Macro, frozenset[bytes]], ...]:
    """The macros of a program that assign, with the last names of what they assign."""
    if _ALL not in program.stored:
        every = (
            macro
            for path in program.paths
            if (text := program.space.text(path)) is not None
            for many in text.directives.macros.values()
            for macro in many
        )
        found = ((one, _targets(one)) for one in every if _ASSIGNS.search(one.body))
        program.stored[_ALL] = tuple(one for one in found if one[1])
    return program.stored[_ALL]


def _targets(macro: Macro) -> frozenset[bytes]:
    return frozenset(_target(node) for node in _assignments(macro.body)) - {b""}


def _assignments(body: bytes) -> Iterator[Node]:
    """The assignments in what a macro stands for."""
    for node in walk(parse(b"void q(void){" + body + b";}").root_node):
        if node.type == "assignment_expression":
            yield node


def _of_use(program: Program, macro: Macro, use: Use, name: bytes) -> Iterator[Given]:
    known = program.macros(macro.name, use.source.path)
    if all(one is not macro for one, _ in known) or use.function is None:
        return
    given = map(text_of, arguments(use.node))
    words = dict(zip(macro.parameters or (), given, strict=False))
    body = _WORD.sub(lambda match: words.get(match[0], match[0]), macro.body)
    for node in _assignments(body):
        if _target(node) == name:
            value = text_of(node.child_by_field_name("right"))
            yield Given(use, macro.name, value, text_of(node.child_by_field_name("operator")))


def _target(node: Node) -> bytes:
    """The last name of what is assigned; empty for what a pointer leads to."""
    left = node.child_by_field_name("left")
    while left is not None and left.type in _INNER and left.named_children:
        left = left.named_children[-1 if left.type == _INNER[0] else 0]
    if left is not None and left.type == "field_expression":
        left = left.child_by_field_name("field")
    return text_of(left) if left is not None and left.type != "pointer_expression" else b""
