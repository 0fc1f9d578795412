"""What runs before a place in a function, by the calls that stand before it.

Knows calls by name; knows nothing of values, and of no order but that of the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from hvci.source.preprocess.tree import Function, text_of
from hvci.source.program.program import Program

Key = tuple[str, int]
"""Path and offset of a function."""


@dataclass(frozen=True)
class Before:
    """What runs before a place."""

    functions: frozenset[Key] = frozenset()
    macros: frozenset[bytes] = frozenset()
    """Names of macros that stand for text there: a call in one of them runs there too."""


NOTHING = Before()


def key_of(function: Function) -> Key:
    """What tells a function from others."""
    return function.file.source.path, function.node.start_byte


def run_before(program: Program, entry: Function, offset: int) -> Before:
    """What runs before an offset of a function: there, or in what is called from there."""
    todo, seen = set(_named(program, entry, offset)), set[bytes]()
    functions, macros = set[Key](), set[bytes]()
    while todo:
        name = todo.pop()
        seen.add(name)
        found = set[bytes]()
        for function in program.functions(name):
            functions.add(key_of(function))
            found.update(_named(program, function, function.node.end_byte))
        for macro, _ in program.macros(name):
            macros.add(name)
            found.update(_WORD.findall(macro.body))
        todo |= found - seen
    return Before(frozenset(functions), frozenset(macros))


def called_before(program: Program, entry: Function, offset: int) -> frozenset[Key]:
    """Functions that run before an offset of a function, called from there or from each other."""
    return run_before(program, entry, offset).functions


def _named(program: Program, function: Function, offset: int) -> Iterator[bytes]:
    """What a function calls before an offset, and the macros that it names: they call as well."""
    for node in function.nodes("call_expression"):
        if node.start_byte < offset:
            yield from _LAST.findall(text_of(node.child_by_field_name("function")))
    body = function.file.source.code[function.node.start_byte : offset]
    yield from program.defined.intersection(_WORD.findall(body))


_WORD = re.compile(rb"[A-Za-z_]\w*")
_LAST = re.compile(rb"(\w+)\s*(?:<[^<>]*>)?\Z")
