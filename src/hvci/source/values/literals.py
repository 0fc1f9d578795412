"""String literals as a compiler sees them: those that stand beside each other are one.

Knows texts and the macros that stand for strings; knows nothing of what strings are for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from hvci.source.program.program import Program, Unit

_STRING = re.compile(rb'(?<!\w)((?:u8|[LuU])?)"((?:[^"\\\n]|\\.)*)"')
_BETWEEN = re.compile(rb"(?:[\s\\]*\b[A-Za-z_]\w*\b)*[\s\\]*")
_WORD = re.compile(rb"[A-Za-z_]\w*")
_BEFORE = re.compile(rb"(?<![\w.>])([A-Za-z_]\w*)[\s\\]*\Z")
_BEHIND = re.compile(rb"[\s\\]*([A-Za-z_]\w*)\b")
_NEAR = 80
"""Bytes around a literal in which a macro may stand that is part of it."""


class Literal(NamedTuple):
    """One string."""

    start: int
    text: bytes
    is_wide: bool


def literals(program: Program, unit: Unit, begin: int = 0, end: int | None = None) -> list[Literal]:
    """The strings of a file, or of a part of it, in order."""
    plain = unit.source.plain
    found: list[list[re.Match[bytes]]] = []
    for match in _strings(plain, begin, len(plain) if end is None else end):
        if found and _is_one(program, unit, found[-1][-1].end(), match.start()):
            found[-1].append(match)
        else:
            found.append([match])
    return [_joined(program, unit, one) for one in found]


def _strings(plain: bytes, begin: int, end: int) -> Iterator[re.Match[bytes]]:
    """Every literal: what a pattern finds, which would look for its prefix at each letter."""
    at = plain.find(b'"', begin, end)
    while at >= 0:
        starts = range(max(begin, at - 2), at + 1)
        match = next(filter(None, (_STRING.match(plain, one, end) for one in starts)), None)
        begin = match.end() if match is not None else at + 1
        if match is not None:
            yield match
        at = plain.find(b'"', begin, end)


def _is_one(program: Program, unit: Unit, start: int, end: int) -> bool:
    """Whether only space and macros that stand for strings lie between two literals."""
    between = unit.source.plain[start:end]
    if _BETWEEN.fullmatch(between) is None:
        return False
    return all(_of_macro(program, unit, word) is not None for word in _WORD.findall(between))


def _of_macro(program: Program, unit: Unit, word: bytes) -> bytes | None:
    """The string that a macro stands for; None where it stands for none."""
    for macro, _ in program.macros(word, unit.source.path):
        if macro.parameters is None and macro.body.lstrip(b"( \t").startswith(_OPENING):
            first = _STRING.search(macro.source.plain, macro.body_start)
            return first[2] if first is not None else None
    return None


_OPENING = (b'"', b'L"', b'u"', b'U"', b'u8"')


def _joined(program: Program, unit: Unit, pieces: list[re.Match[bytes]]) -> Literal:
    plain, first, last = unit.source.plain, pieces[0], pieces[-1]
    is_wide = any(one[1] in (b"L", b"u", b"U") for one in pieces)
    text = b""
    before = _BEFORE.search(plain, max(0, first.start() - _NEAR), first.start())
    if before is not None:
        text += _of_macro(program, unit, before[1]) or b""
    for one, following in zip(pieces, [*pieces[1:], None], strict=True):
        text += one[2]
        behind = plain[one.end() : following.start()] if following is not None else b""
        for word in _WORD.findall(behind):
            text += _of_macro(program, unit, word) or b""
    after = _BEHIND.match(plain, last.end(), last.end() + _NEAR)
    if after is not None:
        text += _of_macro(program, unit, after[1]) or b""
    return Literal(first.start(), text, is_wide)
