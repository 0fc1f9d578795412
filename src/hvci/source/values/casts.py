"""Casts that the grammar takes for calls: `(ULONG)(x)`, `static_cast<ULONG>(x)`, `UINT32_C(1)`.

Knows the text before the parenthesis only.
"""

from __future__ import annotations

import re

from hvci.source.program.narrow import narrow

_CASTS = (b"static_cast", b"reinterpret_cast", b"const_cast")
_TYPES = frozenset((b"POOL_TYPE", b"POOL_FLAGS", b"ULONG", b"DWORD", b"UINT", b"MM_PAGE_PRIORITY"))
_TYPES |= frozenset((b"MEMORY_CACHING_TYPE", b"ULONG64", b"int", b"unsigned"))
_SUFFIXING = frozenset(
    b"%sINT%s_C" % (u, n) for u in (b"", b"U") for n in (b"8", b"16", b"32", b"64")
)
"""Macros of stdint.h that make a constant of their argument."""
_CAST = re.compile(rb"\(\s*([\w\s]+?)\s*\)")
_CHAIN = re.compile(rb"(?:\(\s*[\w\s]+?\s*\)\s*)+")
_WHOLE = 64


def widths(called: bytes) -> tuple[int, ...] | None:
    """The bits that casts leave of what is in the parentheses, in turn; None where it is none."""
    if called.startswith(_CASTS):
        to = called.partition(b"<")[2].rpartition(b">")[0]
        return (narrow(to) or _WHOLE,)
    if called in _SUFFIXING or called in _TYPES:
        return (_WHOLE,)
    if (alone := narrow(called)) is not None:
        return (alone,)
    if _CHAIN.fullmatch(called) is None:
        return None
    types = [b" ".join(one.split()) for one in _CAST.findall(called)]
    every = [_WHOLE if one in _TYPES else narrow(one) for one in reversed(types)]
    known = tuple(each for each in every if each is not None)
    return known if len(known) == len(types) else None
