"""Where assembly inside C begins and ends.

Knows the words that begin it and its brackets; reads no instruction.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from hvci.source.text.text import Source, places

WORDS = frozenset((b"__asm", b"_asm", b"asm", b"__asm__"))
_BLOCK = re.compile(
    rb"\b(?:__asm__|__asm|_asm|asm)\b(?:\s*\b(?:__volatile__|volatile|goto|inline)\b)*"
)
LONGEST = 1 << 14
"""Bytes of one block."""


def blocks(
    source: Source, start: int = 0, end: int | None = None
) -> Iterator[tuple[int, int, int]]:
    """Where the word of each block stands between two places, what is in it begins, and it ends."""
    code = source.code
    for match in _BLOCK.finditer(code, start, len(code) if end is None else end):
        yield match.start(), match.end(), _end(code, match.end())


def naming(source: Source, start: int, end: int, name: bytes) -> Iterator[int]:
    """The blocks between two places of a text that name something."""
    for at, begin, behind in blocks(source, start, end):
        if any(True for _ in places(source.plain[begin:behind], name)):
            yield at


def _end(code: bytes, start: int) -> int:
    """Where a block ends: behind its braces or parentheses, else with its line."""
    opening = re.compile(rb"\s*([{(])").match(code, start)
    if opening is None:
        end = code.find(b"\n", start)
        return end if end >= 0 else len(code)
    depth = 0
    for match in re.finditer(rb"[{}()]", code[opening.start(1) : start + LONGEST]):
        depth += 1 if match[0] in b"{(" else -1
        if not depth:
            return opening.start(1) + match.end()
    return min(len(code), start + LONGEST)
