"""The name of a routine that the kernel is asked for, where the text shows it.

Knows strings near a look-up; follows no variable but the string that it is given.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hvci.source.pointers.addressed import name_of
from hvci.source.preprocess.tree import File, Function, arguments
from hvci.source.program.program import Program

if TYPE_CHECKING:
    from tree_sitter import Node

_BY_NAME = re.compile(rb'\bL"(\w+)"')
REACH = 600
"""So many bytes before a look-up may hold the routine's name."""


def name(program: Program, call: Node, file: File | None, function: Function | None) -> bytes:
    """The name that a look-up is given, which stands shortly before; empty where none does."""
    if file is None:
        return b""
    begin = max(function.node.start_byte if function else 0, call.start_byte - REACH)
    names = _BY_NAME.findall(file.source.plain[begin : call.end_byte])
    names = names or _elsewhere(program, call)
    return names[-1] if names else b""


def _elsewhere(program: Program, call: Node) -> list[bytes]:
    """The text of a string that the argument of a look-up names, where it is initialised."""
    given = arguments(call)
    word = name_of(given[0]) if given else b""
    if not word:
        return []
    pattern = re.compile(rb"\b" + re.escape(word) + rb"\b[^;]{0,200}?\bL\"(\w+)\"")
    found = {one for unit in program.naming(word) for one in pattern.findall(unit.source.plain)}
    return sorted(found) if len(found) == 1 else []
