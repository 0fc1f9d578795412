"""What gets the value of a name: the variable, field or parameter that it is given to.

Knows trees and the functions of a program; follows no value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from hvci.source.preprocess.tree import ancestors, arguments, text_of
from hvci.source.program.program import Program

if TYPE_CHECKING:
    from tree_sitter import Node

_WORD = re.compile(rb"\w+")
_LAST = re.compile(rb"(\w+)\W*\Z")
_ASKED_ABOUT = ("sizeof_expression", "alignof_expression", "decltype", "condition_clause")
_ENDS = ("compound_statement", "translation_unit", "ERROR", "field_declaration_list")


def holders(program: Program, node: Node) -> Iterator[bytes]:
    """The names of what gets a routine; empty for what is not followed, none for no use."""
    for above in ancestors(node):
        if above.type in ("assignment_expression", "init_declarator", "initializer_pair"):
            yield from _assigned(above, node)
            return
        if above.type in ("optional_parameter_declaration", "parameter_declaration"):
            yield _name(text_of(above.child_by_field_name("declarator")))
            return
        if above.type == "argument_list" and above.parent is not None:
            yield from _given(program, above.parent, node)
            return
        if above.type == "call_expression":
            break  # it is called, in an expression that may choose another
        if above.type in _ASKED_ABOUT or _is_compared(above) or _is_condition(above, node):
            return
        if above.type == "initializer_list" and _is_positional(above):
            yield b""
            return
        if above.type in _ENDS or above.type.endswith("statement"):
            break
    yield b""


def _assigned(above: Node, node: Node) -> Iterator[bytes]:
    target = next(
        (
            one
            for one in map(above.child_by_field_name, ("left", "declarator", "designator"))
            if one is not None
        ),
        None,
    )
    if target is not None and target.end_byte > node.start_byte:
        return
    if target is None or (target.type == "function_declarator"):
        inner = re.search(rb"\*\s*(?:\w+\s+)*?(\w+)\s*(?:\[[^\]]*\]\s*)?\)", text_of(target))
        yield inner[1] if inner else b""
        return
    yield _name(text_of(target))


def _name(text: bytes) -> bytes:
    """The variable or field that is written, without the brackets of an element."""
    bare = re.sub(rb"\[[^\]]*\]", b"", text)
    inner = re.search(rb"\(\s*(?:\w+\s+)*\*\s*(?:\w+\s+)*?(\w+)\s*\)\s*\(", bare)
    match = inner or _LAST.search(bare)
    return match[1] if match else b""


def _given(program: Program, call: Node, node: Node) -> Iterator[bytes]:
    """The parameter of a function of the program that gets a routine."""
    called = text_of(call.child_by_field_name("function")).rpartition(b"::")[2].strip()
    given = [one.start_byte <= node.start_byte < one.end_byte for one in arguments(call)]
    functions = program.functions(called) if _WORD.fullmatch(called) else []
    if not functions or True not in given:
        yield b""
    for function in functions:
        index = given.index(True) if True in given else len(function.parameters)
        known = index < len(function.parameters)
        yield function.parameters[index] if known else b""


def _is_compared(node: Node) -> bool:
    """Whether a routine is only asked for: a weak one may be missing."""
    if node.type == "binary_expression":
        return text_of(node.child_by_field_name("operator")) in (b"==", b"!=", b"&&", b"||")
    if node.type == "unary_expression":
        return text_of(node.child_by_field_name("operator")) == b"!"
    return False


def _is_condition(above: Node, node: Node) -> bool:
    """Whether a statement asks whether a routine is there."""
    condition = above.child_by_field_name("condition")
    return condition is not None and condition.start_byte <= node.start_byte < condition.end_byte


def _is_positional(node: Node) -> bool:
    return all(one.type != "initializer_pair" for one in node.named_children)
