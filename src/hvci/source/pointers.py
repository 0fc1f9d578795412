"""What the text of a file shows of pointers before it is parsed: names, calls and stores.

Knows the lexical surface of C only; what it finds is worth a question, not an answer.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from hvci.catalog import memory
from hvci.source.roots import LOOKUP

COPIES = frozenset((*memory.COPIES, "RtlCopyMemoryNonTemporal", "__movsb", "RtlCopyVolatileMemory"))
FILLS = memory.FILLS | {"RtlFillVolatileMemory", "__stosb"}
ROUTINES = {
    "PsCreateSystemThread": 5,
    "KeInitializeDpc": 1,
    "KeInitializeThreadedDpc": 1,
    "IoQueueWorkItem": 1,
    "IoQueueWorkItemEx": 1,
    "ExInitializeWorkItem": 1,
    "IoSetCompletionRoutine": 1,
    "IoInitializeTimer": 1,
    "KeInitializeApc": 3,
    "KeExpandKernelStackAndCallout": 0,
    "KeIpiGenericCall": 0,
    "PsSetCreateProcessNotifyRoutine": 0,
    "PsSetLoadImageNotifyRoutine": 0,
    "PsSetCreateThreadNotifyRoutine": 0,
}
"""Routines that call what one of their arguments points at."""

_THROUGH = re.compile(
    rb"\(\s*\*+\s*[A-Za-z_][^;{}()]{0,80}\)\s*\("
    rb"|\(\s*\(\s*[A-Za-z_][^;{}]{0,160}?\)\s*[&*(]*\s*[A-Za-z_][^;{}]{0,80}?\)\s*\("
    rb"|_cast<[^;{}]{1,160}?>\s*\([^;{}()]{1,80}\)\s*\("
)
"""`(*p)(`, `((T)p)(` and `reinterpret_cast<T>(p)(`."""
_NAMED = re.compile(rb"(?<![\w#])([A-Za-z_]\w*)(?:\s*\[[^\]\n]*\])?\s*\)?\s*\(")
_GIVEN = re.compile(rb"\b([A-Za-z_]\w*)\s*(?:\[[^\]\n]*\]\s*)*=(?!=)")
_ASKS = re.compile(
    rb"\bNonPagedPool(?:Execute|CacheAligned|Base\w*)?\b|\bPOOL_FLAG_NON_PAGED_EXECUTE\b"
    rb"|\bPAGE_EXECUTE|\bMmMapIoSpace\s*\(|\bMmAllocate(?:ContiguousM|NonCachedM)emory"
    rb"|\bMmMapLockedPages\w*\s*\(|\bExAllocatePool\w*\s*\(\s*(?:\(\s*\w+\s*\)\s*)?[0-9]"
)
LOOKED_UP = re.compile(rb"\b(\w+)\s*=(?!=)[^;{}]{0,120}\b" + LOOKUP.encode() + rb"\s*\(")
_MOVE = re.compile(rb"\b([A-Za-z_]\w*)\s*[+-]?=(?!=)([^;{}]{0,200})")
WORD = re.compile(rb"[A-Za-z_]\w*")
MAX_HOPS = 8
_DEFINED = re.compile(rb"\b([A-Za-z_]\w*)\s*\([^;{}()]*(?:\([^;{}()]*\)[^;{}()]*)*\)\s*\{")
_SAME = re.compile(rb"\b([A-Za-z_]\w*)\s*=\s*(?:\([^()=;]*\)\s*)*&?\s*([A-Za-z_]\w*)\s*[;,]")
_BARE = re.compile(rb"(?<![\w.>])([A-Za-z_]\w*)\s*=(?!=)")
_KEYWORDS = frozenset((b"if", b"while", b"for", b"switch", b"return", b"sizeof", b"defined"))
_PARAMETER = re.compile(rb"[\w*]\s+\**\s*([A-Za-z_]\w*)\s*[,)]")
_PUT = re.compile(rb"&\s*(?:[A-Za-z_]\w*\s*(?:->|\.)\s*)*([A-Za-z_]\w*)")
STORE = re.compile(
    rb"[;{}(]\s*\*[^;={}]{1,200}[^=!<>;{}]=(?!=)|\]\s*[|&^+-]?=(?!=)|\)\s*->\s*\w+\s*=(?!=)"
)
TAKING = re.compile(
    rb"\b("
    + b"|".join(sorted(name.encode() for name in (*COPIES, *FILLS, *ROUTINES)))
    + rb"|_?Interlocked\w*)\s*\("
)
"""Routines that write where an argument points, or call it."""


class Words(NamedTuple):
    """What the text of one file shows before it is parsed."""

    given: frozenset[bytes]
    """Names that get a value."""
    local: frozenset[bytes]
    """Names of parameters, and of variables that get a value."""
    parameters: frozenset[bytes]
    called: tuple[tuple[bytes, int], ...]
    """Names that are called, with the offset of the parenthesis."""
    through: tuple[int, ...]
    """Offsets of the parentheses of calls through expressions."""
    defined: frozenset[bytes]
    """Names before a body."""
    same: tuple[tuple[bytes, bytes], ...]
    """Variables and the one name that they get."""
    asks: bool
    """Something asks for memory that may execute."""


@lru_cache(maxsize=1 << 14)
def words_of(code: bytes) -> Words:
    """What is seen in a text without comments and literals."""
    given = frozenset((*_GIVEN.findall(code), *_PUT.findall(code)))
    parameters = frozenset(_PARAMETER.findall(code))
    called = [(match[1], match.end() - 1) for match in _NAMED.finditer(code)]
    return Words(
        given,
        parameters | frozenset(_BARE.findall(code)),
        parameters,
        tuple((name, at) for name, at in called if name not in _KEYWORDS),
        tuple(match.end() - 1 for match in _THROUGH.finditer(code)),
        frozenset(_DEFINED.findall(code)) - _KEYWORDS,
        tuple(_SAME.findall(code)),
        _ASKS.search(code) is not None,
    )


@lru_cache(maxsize=256)
def moves_of(code: bytes) -> tuple[tuple[bytes, frozenset[bytes]], ...]:
    """Every name that gets a value, with the names in what it gets."""
    return tuple((match[1], frozenset(WORD.findall(match[2]))) for match in _MOVE.finditer(code))
