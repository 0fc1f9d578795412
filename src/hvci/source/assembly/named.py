"""Routines that assembly for other assemblers (`.s`) names: what they are passed is not known.

Knows the words of assembly and the catalogue; reads no instruction.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from hvci import catalog
from hvci.catalog.memory import LOOKUPS
from hvci.model import Limit, Origin, SourceSite
from hvci.model.judged import TEXT_RULES
from hvci.source.text.text import Source

_REMARK = re.compile(rb";[^\n]*|//[^\n]*|/\*.*?\*/|(?m:^[ \t]*[#@][^\n]*)", re.DOTALL)
_WORD = re.compile(rb"[A-Za-z_]\w*")
SHOWN = 4
"""Routines in one sentence."""


@cache
def _routines() -> frozenset[bytes]:
    names = (name.encode() for name in catalog.ddis() if name.isidentifier())
    return frozenset((*names, *(name.encode() for name in LOOKUPS)))


def named_limits(source: Source) -> Iterator[Limit]:
    """One limit where a file of assembly names routines that are judged."""
    found: dict[str, int] = {}
    text = _REMARK.sub(lambda match: re.sub(rb"[^\n]", b" ", match[0]), source.text)
    for match in _WORD.finditer(text):
        for name in _undecorated(match[0]):
            if name in _routines():
                found.setdefault(name.decode(), match.start())
    if found:
        names = sorted(found)
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        told = f"{', '.join(names[:SHOWN])}{more}"
        line, column = source.position(min(found.values()))
        reason = f"{source.path}: assembly uses {told}, and what it passes is not followed"
        site = SourceSite(source.path, line, column)
        yield Limit(Origin.SOURCE, TEXT_RULES, f"{reason}: check the built .sys", site)


def _undecorated(word: bytes) -> Iterator[bytes]:
    """A word as a name of C: behind `__imp_`, or an underscore on x86."""
    yield word
    for front in (b"__imp_", b"__imp__", b"_"):
        if word.startswith(front):
            yield word.removeprefix(front)
