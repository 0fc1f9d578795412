"""Routines of the catalogue that assembly inside C names, in blocks and in strings.

Knows where such assembly begins and ends; reads no instruction of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from hvci.model import Limit, Origin, SourceSite
from hvci.source.assembly.calls import BUILT, DYNAMIC, known_routines
from hvci.source.assembly.lines import NAME
from hvci.source.program.program import Program, Unit

WORDS = frozenset((b"__asm", b"_asm", b"asm", b"__asm__"))
_BLOCK = re.compile(
    rb"\b(?:__asm__|__asm|_asm|asm)\b(?:\s*\b(?:__volatile__|volatile|goto|inline)\b)*"
)
LONGEST = 1 << 14
"""Bytes of one block."""


def inline_limits(program: Program, path: str) -> Iterator[Limit]:
    """One limit for each routine that a block of a file names."""
    words, told = program.space.words, set[tuple[int, str]]()
    if not words.among(path, WORDS):
        return
    for unit in program.units_of(path):
        for match in _BLOCK.finditer(unit.source.code):
            if unit.live(match.start()) is False:
                continue
            for limit in _of_block(unit, match.end()):
                line = limit.site.line if isinstance(limit.site, SourceSite) else 0
                if (line, limit.reason) not in told:
                    told.add((line, limit.reason))
                    yield limit


def _of_block(unit: Unit, start: int) -> Iterator[Limit]:
    text = unit.source.plain
    for match in NAME.finditer(text, start, _end(unit.source.code, start)):
        word = match[0].lower().removeprefix(b"__imp_")
        forms = (word, re.sub(rb"@[0-9]+$", b"", word).removeprefix(b"_"))
        ddi = next((known_routines()[one] for one in forms if one in known_routines()), None)
        if ddi is None:
            continue
        line, column = unit.source.position(match.start())
        path = unit.source.path
        reason = f"{path}:{line}: inline assembly names {ddi.name}, and it is not followed there"
        rules = (*ddi.weakens, DYNAMIC) if ddi.gives is not None else ddi.weakens
        site = SourceSite(path, line, column)
        yield Limit(Origin.SOURCE, rules, f"{reason}; {BUILT}", site)


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
