"""What a function does that its statements do not show: macros and files that are included in it.

Knows words of texts and of macros; knows no values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from hvci.source.preprocess.tree import Function
from hvci.source.program.program import Program
from hvci.source.text.directives import Included
from hvci.source.text.text import Source

_WORD = re.compile(rb"[A-Za-z_]\w*")
MAX_INNER = 4
"""Macros that name others."""


def returning(program: Program, function: Function) -> str:
    """What may return from a function; empty where nothing does."""
    start, end = function.node.byte_range
    words = set(_WORD.findall(function.file.source.code[start:end]))
    for name in sorted(program.defined & words):
        if _returns(program, name, function.file.source.path):
            return f"the macro {name.decode('utf-8', 'replace')}"
    for _, source in included(program, function):
        if b"return" in program.space.words.of(source.path):
            return source.path
    return ""


def _returns(program: Program, name: bytes, path: str) -> bool:
    """Whether what a macro stands for in a file has a `return`."""
    todo, seen = {name}, set[bytes]()
    for _ in range(MAX_INNER):
        inner = set[bytes]()
        for one in todo:
            for macro, _ in program.macros(one, path):
                inner.update(_WORD.findall(macro.body))
        if b"return" in inner:
            return True
        seen |= todo
        todo = inner & program.defined - seen
    return False


def included(program: Program, function: Function) -> Iterator[tuple[int, Source]]:
    """The files that are included inside of a function, and where."""
    path, (start, end) = function.file.source.path, function.node.byte_range
    text = program.space.text(path)
    for line in text.directives.lines if text is not None else ():
        if start < line.offset < end and isinstance(line.what, Included):
            folders = program.reading(path)[0].places
            found = program.space.includes.find(path, line.what, folders)
            source = program.space.source(found) if found is not None else None
            if source is not None:
                yield line.offset, source
