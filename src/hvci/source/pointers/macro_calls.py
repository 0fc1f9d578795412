"""Calls through pointers that a macro makes of its arguments.

Knows macros and their uses; where a pointer comes from is for `roots`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from hvci.source.pointers.through import called
from hvci.source.preprocess.tree import arguments, parse, text_of, walk
from hvci.source.program.program import Macro, Program, Use

if TYPE_CHECKING:
    from tree_sitter import Node

MAX_MACROS = 200
"""Macros of one program that are taken apart."""


def calls_of_arguments(program: Program) -> Iterator[tuple[Use, Node]]:
    """Each use of a macro that calls one of its arguments, with that argument."""
    left = MAX_MACROS
    for path in program.paths:
        text = program.space.text(path)
        every = text.directives.macros.values() if text is not None else ()
        for macro in (one for many in every for one in many if _may_call(one)):
            left -= 1
            if left < 0:
                program.cut(
                    f"more than {MAX_MACROS} macros call what they get, not all are followed"
                )
                return
            index = _called_parameter(macro, program)
            for use in program.uses(macro.name) if index is not None else ():
                given = arguments(use.node)
                known = program.macros(macro.name, use.source.path)
                defined = any(one is macro for one, _ in known)
                if defined and index is not None and index < len(given):
                    yield use, given[index]


def _may_call(macro: Macro) -> bool:
    """Whether a parameter stands, in parentheses, before others."""
    names = [name for name in macro.parameters or () if name in macro.body]
    if not names or b")" not in macro.body:
        return False
    pattern = rb"\b(?:" + b"|".join(map(re.escape, names)) + rb")\s*\)+\s*\("
    return re.search(pattern, macro.body) is not None


def _called_parameter(macro: Macro, program: Program) -> int | None:
    """The position of the parameter that a macro calls."""
    assert macro.parameters is not None
    for node in walk(parse(b"int q=(" + macro.body + b");").root_node):
        if node.type != "call_expression":
            continue
        name = text_of(_bare(called(node.child_by_field_name("function"), program)))
        if name in macro.parameters:
            return macro.parameters.index(name)
    return None


def _bare(node: Node | None) -> Node | None:
    """A pointer without its casts."""
    while node is not None and node.named_children:
        if node.type not in ("parenthesized_expression", "cast_expression", "call_expression"):
            break
        listed = node.child_by_field_name("arguments")
        node = (listed or node).named_children[-1]
    return node
