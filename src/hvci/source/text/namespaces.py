"""Which namespaces of C++ an offset of a text is in.

Knows braces and the word `namespace`; knows no grammar.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from weakref import WeakKeyDictionary

from hvci.source.text.text import Source

Spaces = tuple[bytes, ...]
"""Namespaces, classes and enumerations, outermost first."""
_OPENS = re.compile(rb"\b(inline\s+)?namespace\b((?:\s*\[\[[^\]]*\]\])?[\s\w:]*)\{")
_BRACE = re.compile(rb"[{}]")
_WORD = re.compile(rb"\w+")


class Namespace(NamedTuple):
    """The braces of one namespace."""

    start: int
    end: int
    names: Spaces
    """Several where it is written as `a::b`; none where it has no name or is `inline`."""
    is_nameless: bool


_KNOWN: WeakKeyDictionary[Source, tuple[Namespace, ...]] = WeakKeyDictionary()


def namespaces(source: Source) -> tuple[Namespace, ...]:
    """The namespaces of a text, in the order of their beginnings."""
    if source.is_c:
        return ()
    if source not in _KNOWN:
        _KNOWN[source] = tuple(_found(source.code)) if b"namespace" in source.code else ()
    return _KNOWN[source]


def _found(code: bytes) -> list[Namespace]:
    opening = {match.end() - 1: match for match in _OPENS.finditer(code)}
    found, open_ = list[Namespace](), list[int]()
    if opening:
        for brace in _BRACE.finditer(code):
            if brace[0] == b"{":
                open_.append(brace.start())
            elif open_ and (match := opening.get(begin := open_.pop())) is not None:
                found.append(_namespace(match, begin, brace.end()))
    return sorted(found)


def _namespace(match: re.Match[bytes], begin: int, end: int) -> Namespace:
    names = tuple(word for word in _WORD.findall(match[2]) if word != b"inline")
    return Namespace(begin, end, () if match[1] else names, not names)


def around(source: Source, offset: int) -> Spaces:
    """The names of the namespaces around an offset, outermost first."""
    every = namespaces(source)
    return tuple(name for one in every if one.start <= offset < one.end for name in one.names)


def is_nameless(source: Source, offset: int) -> bool:
    """Whether a namespace without a name is around an offset."""
    every = namespaces(source)
    return any(one.is_nameless for one in every if one.start <= offset < one.end)


def qualifier_of(text: bytes) -> Spaces | None:
    """What stands before the last name of `a::b::c`; nothing is left of `::c`."""
    parts, depth, begin = list[bytes](), 0, 0
    for match in _MARK.finditer(text):
        if match[0] != b"::":
            depth += 1 if match[0] == b"<" else -1
        elif depth == 0:
            parts.append(b"".join(text[begin : match.start()].split()))
            begin = match.end()
    return tuple(part for part in parts if part) if parts else None


_MARK = re.compile(rb"::|[<>]")
