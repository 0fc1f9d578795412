"""The variables, fields and parameters that point at routines and may get memory instead.

Theory of operation: types of pointers to routines are known by their declarations, those of the
kit by their names. A name declared with one counts where it gets what may be memory: by itself, by
its address, or by a cast to its type anywhere. Knows texts; follows no pointer.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from weakref import WeakKeyDictionary

from hvci.source.pointers.entries import (
    CASTS_BEFORE,
    END,
    LONGEST,
    ROUTINE_TYPE,
    may_be_made,
    words_in,
)
from hvci.source.pointers.macro_stores import fields
from hvci.source.pointers.places import WORD, Words
from hvci.source.program.program import Program
from hvci.source.text.text import Source

_POINTER_TYPE = re.compile(rb"typedef\b[^;{}()]{0,160}\(\s*[\w\s]{0,40}\*\s*(\w+)\s*\)\s*\(")
_FUNCTION_TYPE = re.compile(rb"typedef\b[^;{}]{0,300}?\b(\w+)\s*\((?:[^;{}()]|\([^()]*\))*\)\s*;")
_OTHER_TYPE = re.compile(rb"typedef\s+(?:const\s+)?(\w+)\s*\*?\s*(\w+)\s*;")
_USING = re.compile(rb"using\s+(\w+)\s*=\s*[^;{}()]{0,160}\(\s*[\w\s]{0,40}\*\s*\)\s*\(")
_PARAMETER = re.compile(rb"\b(?:typename|class)\s+(\w+)\s*[,>=]")
"""A type that a template is given."""
_UNNAMED = re.compile(rb"\*\)\s*\([^()]*\)\s*(?=\)|>\s*\()")
_ASKING = (b"__typeof__", b"typeof", b"decltype")
_OF_NAME = re.compile(rb"\b(?:__typeof__|typeof|decltype)\s*\([^()\n]*\)")
_DECLARED = re.compile(
    rb"\((?<=[\s*]\()(?<!typedef[\s*]\()\s*(?:\w+\s+){0,2}\*+\s*(?:const\s+|volatile\s+)?(\w+)"
    rb"\s*(?:\[[^\]\n]*\]\s*)?\)\s*\("
)
"""A declarator of a pointer to a routine; a call through one looks alike.

It begins with one sign, which is looked for fast.
"""
_UNION = re.compile(rb"\bunion\b\s*\w*\s*\{([^{}]*(?:\{[^{}]*\}[^{}]*)*)\}")
_NAME = re.compile(rb"(?:\s*[*&]|\s+(?:const|volatile|CONST)\b)*\s*\b(\w+)\s*(?=[\[;,=){(:])")
"""What stands behind a type."""
_CAST_OR_GIVEN = re.compile(rb"\s*(?:\**\s*\)|>\s*\(|(\w+)\s*=(?!=))\s*([^;{}]{1,200})")
_TO = re.compile(rb"(\w+)\s*(?:\)\s*\([^()=]*\)\s*|\[[^\]\n]*\]\s*)?=[^=;{}]{0,80}\Z")
_PARTS = (b"ROUTINE", b"CALLBACK", b"DISPATCH", b"HANDLER", b"_FN", b"FUNCTION", b"PFN_", b"EVT_")
ANY = b"*"
"""Stands for every type that has no name."""


class Types:
    """The types of pointers to routines that one text makes, and where it needs no name."""

    def __init__(self, words: Words) -> None:
        code, held = words.source.code, words.index.of(words.source.path)
        is_typed = b"typedef" in held
        self.names = set(_POINTER_TYPE.findall(code)) if is_typed else set[bytes]()
        if is_typed:
            self.names.update(_FUNCTION_TYPE.findall(code))
        if not words.source.is_c and b"using" in held:
            self.names.update(_USING.findall(code))
        if not words.source.is_c and b"template" in held:
            self.names.update(_PARAMETER.findall(code))
        self.others = _OTHER_TYPE.findall(code) if is_typed else []
        """Types, and those that are made of them."""
        every = words.index.with_parts(words.source.path, _PARTS)
        self.names.update(one for one in every if ROUTINE_TYPE.fullmatch(one) is not None)
        self.unnamed = [one.span() for one in _UNNAMED.finditer(code)]
        if not held.isdisjoint(_ASKING):
            self.unnamed += [one.span() for one in _OF_NAME.finditer(code)]
        unions = _UNION.findall(code) if b"union" in held else []
        self.in_unions = frozenset(one for text in unions for one in WORD.findall(text))
        """Words in unions: their names may get what others of them do."""
        self.declared = frozenset(_DECLARED.findall(code))
        """Names declared as such pointers by no name of a type."""


_TYPES: WeakKeyDictionary[Source, Types] = WeakKeyDictionary()


def _types(words: Words) -> Types:
    found = _TYPES.get(words.source)
    if found is None:
        found = _TYPES[words.source] = Types(words)
    return found


def callable_names(
    every: Collection[Words], program: Program, known: frozenset[bytes]
) -> frozenset[bytes]:
    """The names of pointers to routines that may get memory; `known` are functions."""
    types, found = _every_type(every), set[bytes]()
    declared: dict[bytes, set[bytes]] = {ANY: set()}
    made = set[bytes]()
    for words in every:
        code, here = words.source.code, _types(words)
        declared[ANY] |= here.declared - known
        held = words.index.among(words.source.path, types)
        spans = [(at, at + len(one), one) for one in held for at in words.source.places(one)]
        for start, end, kind in (*spans, *((*span, ANY) for span in here.unnamed)):
            if (name := _NAME.match(code, end)) is not None:
                declared.setdefault(kind, set()).update({name[1]} - known)
                made.update((kind,) if b"&" in name[0] else ())
            given = _CAST_OR_GIVEN.match(code, end)
            if given is not None and _is_memory(given[2], program, known):
                to = given[1] or _target(code, start)
                found.update((to,) if to else ())
                made.update(() if to else (kind,))
    shared = frozenset().union(*(_types(words).in_unions for words in every))
    found.update(fields(program))
    for kind, names in declared.items():
        found.update(names & shared)
        found.update(names if kind in made else _made(names - found, program, known))
    return frozenset(found)


def _every_type(every: Collection[Words]) -> frozenset[bytes]:
    """The types of all texts, with those that others are made of."""
    found = set[bytes]().union(*(_types(words).names for words in every))
    others = [pair for words in every for pair in _types(words).others]
    while more := {made for base, made in others if base in found} - found:
        found |= more
    return frozenset(found)


def _made(names: Collection[bytes], program: Program, known: frozenset[bytes]) -> Iterator[bytes]:
    return (one for one in names if may_be_made((one,), program, known, 0))


def _is_memory(given: bytes, program: Program, known: frozenset[bytes]) -> bool:
    """Whether what stands behind a cast or `=` may be memory."""
    text = CASTS_BEFORE.sub(b"", given.lstrip(b"*)> \t\r\n"))
    end = END.search(text)
    return may_be_made(words_in(text[: end.start()] if end else text), program, known, 0)


def _target(code: bytes, start: int) -> bytes:
    """The name that gets what is cast to the type that begins at an offset; empty for none."""
    left = _TO.search(code, max(0, start - LONGEST * 2), start)
    return left[1] if left is not None else b""
