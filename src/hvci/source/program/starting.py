"""What runs before a place in a function, by the calls that stand before it.

Knows calls by name; knows nothing of values, and of no order but that of the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from hvci.source.preprocess.tree import Function, text_of
from hvci.source.program.program import Program

Key = tuple[str, int]
"""Path and offset of a function."""


def key_of(function: Function) -> Key:
    """What tells a function from others."""
    return function.file.source.path, function.node.start_byte


def called_before(program: Program, entry: Function, offset: int) -> Iterator[Key]:
    """Functions that run before an offset of a function, called from there or from each other."""
    todo, seen = list(_named(entry, offset)), set[bytes]()
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        for function in program.functions(name):
            yield key_of(function)
            todo += _named(function, function.node.end_byte)
        for macro, _ in program.macros(name):
            todo += _WORD.findall(macro.body)


def _named(function: Function, offset: int) -> Iterator[bytes]:
    """What a function calls before an offset; macros may stand alone and call as well."""
    for node in function.nodes("call_expression"):
        if node.start_byte < offset:
            yield from _LAST.findall(text_of(node.child_by_field_name("function")))
    body = function.file.source.code[function.node.start_byte : offset]
    yield from _ALONE.findall(body)


_WORD = re.compile(rb"[A-Za-z_]\w*")
_LAST = re.compile(rb"(\w+)\s*(?:<[^<>]*>)?\Z")
_ALONE = re.compile(rb"[;{}]\s*([A-Za-z_]\w*)\s*(?=[;}])")
"""A word that is a statement."""
