"""What the text of a file shows of pointers before it is parsed: names, calls and stores.

Knows the lexical surface of C only; what it finds is worth a question, not an answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cached_property

from hvci.catalog import memory
from hvci.source.preprocess.tree import Text
from hvci.source.text.text import Source, places
from hvci.source.text.wordindex import WordIndex

LOOKUP = "MmGetSystemRoutineAddress"
COPIES = memory.COPIES | {"__movsb"}
FILLS = memory.FILLS | {"__stosb"}
SOURCES = {name: memory.BLOCK_ROUTINES[name].source for name in memory.COPIES} | {"__movsb": 1}
"""Routine that copies -> which of its arguments, from 0, it copies from."""
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
    "PsSetCreateProcessNotifyRoutineEx": 0,
    "PsSetCreateProcessNotifyRoutineEx2": 1,
    "PsSetLoadImageNotifyRoutineEx": 0,
    "PsSetCreateThreadNotifyRoutineEx": 1,
    "CmRegisterCallback": 0,
    "CmRegisterCallbackEx": 0,
    "ExAllocateTimer": 0,
    "ExRegisterCallback": 1,
    "KeRegisterNmiCallback": 0,
    "KeRegisterBugCheckCallback": 1,
    "KeRegisterBugCheckReasonCallback": 1,
    "IoConnectInterrupt": 1,
    "IoRegisterPlugPlayNotification": 4,
    "IoSetCompletionRoutineEx": 2,
}
"""Routines that call what one of their arguments points at."""

MAPPED = frozenset(("IoAllocateMdl", "MmGetPhysicalAddress"))
"""Routines whose result describes the memory that their first argument points at."""

_THROUGH = (
    re.compile(
        rb"\(\s*(?:\*[\s*(]*[A-Za-z_][^;{}()]{0,80}\)[\s)]*\("
        rb"|\(\s*[A-Za-z_][^;{}]{0,160}?\)\s*[&*(]*\s*[A-Za-z_][^;{}]{0,80}?\)\s*\()"
    ),
    re.compile(rb"_cast<[^;{}]{1,160}?>\s*\([^;{}()]{1,80}\)\s*\("),
    re.compile(
        rb"(?<!\w)(?!(?:if|while|for|switch|sizeof)\b)[A-Za-z_]\w*\s*\((?:[^;{}()]|\([^;{}()]*+\))*+\)\s*\("
    ),
    re.compile(rb"\(\s*\w+\s*=(?!=)[^;{}]{1,160}?\)\s*\("),
    re.compile(rb"\(\s*\*+\s*\(\s*[A-Za-z_][^;{}]{0,160}?\)\s*&[^;{}]{1,80}?\)\s*\("),
    re.compile(rb"(?<![\w)\]])\([^;{}()]{0,80}[?,](?:[^;{}()]|\([^;{}()]*+\)){1,160}+\)\s*\("),
)
"""`(*p)(`, `((T)p)(`, `reinterpret_cast<T>(p)(`, `f(x)(`, `(p = x)(`, `(*(T *)&p)(` and
`(a ? p : q)(`."""
_INDEXED = re.compile(rb"\)\s*&[^;{}()]{1,80}\)\s*\[[^\]\n;{}]*\]\(")
"""`((T *)&p)[0](`."""
_NAMED = re.compile(rb"\b([A-Za-z_](?<!#[A-Za-z_])\w*+)(?:\s*+\[[^\]\n]*+\])?\s*+\)?\s*+\(")
_GIVEN = re.compile(rb"\b([A-Za-z_]\w*+)\s*+(?:\[[^\]\n]*+\]\s*+)*+=(?!=)")
_ASKS = re.compile(
    rb"\bNonPagedPool(?:Execute|CacheAligned|Base\w*)?\b|\bPOOL_FLAG_NON_PAGED_EXECUTE\b"
    rb"|\bPAGE_EXECUTE|\bMmMapIoSpace\s*\(|\bMmAllocate(?:ContiguousM|NonCachedM)emory"
    rb"|\bMmMapLockedPages\w*\s*\(|\bExAllocatePool\w*\s*\(\s*(?:\(\s*\w+\s*\)\s*)?[0-9]"
)
_ASKING = (
    *(b"NonPagedPool", b"POOL_FLAG_NON_PAGED_EXECUTE", b"PAGE_EXECUTE", b"MmMapIoSpace"),
    *(b"MmAllocateContiguousM", b"MmAllocateNonCachedM", b"MmMapLockedPages", b"ExAllocatePool"),
)
"""Parts of the words without which nothing asks."""
_LOOKING = frozenset((LOOKUP.encode(),))
LOOKED_UP = re.compile(rb"\b(\w+)\s*=(?!=)[^;{}]{0,120}\b" + LOOKUP.encode() + rb"\s*\(")
_MOVE = re.compile(rb"\b([A-Za-z_]\w*+)\s*+[+-]?=(?!=)([^;{}]{0,200})")
WORD = re.compile(rb"[A-Za-z_]\w*")
MAX_HOPS = 8
_DEFINED = re.compile(rb"\b([A-Za-z_]\w*)\s*\([^;{}()]*(?:\([^;{}()]*\)[^;{}()]*)*\)\s*\{")
_INITIALIZES = re.compile(rb"(?:\)(?:\s*noexcept)?\s*:|\)\s*,|\A\s*,)\s*\Z")
"""What stands before the last field that a constructor gives a value, and not before its name."""
_CONSTRUCTOR = re.compile(rb"\b([A-Za-z_]\w*)\s*\([^;{}]*?\)(?:\s*noexcept)?\s*:(?!:)")
_BODY = re.compile(rb"\)\s*\{")
_SAME = re.compile(rb"\s*=\s*(?:\([^()=;]*\)\s*)*&?\s*([A-Za-z_]\w*)\s*[;,]")
"""What stands behind a name that gets what another holds."""
_BYTES = (
    rb"\(\s*(?:volatile\s+|unsigned\s+|const\s+)*(?:P?UCHAR|P?BYTE|PCHAR"
    rb"|char|PVOID|LPVOID|void|P?ULONG(?:_PTR|64|LONG)?|P?U?INT_PTR|P?DWORD(?:_PTR|64)?|u?int\d*_t)"
    rb"(?:\s+volatile)?[\s*]*\)\s*"
)
_AS_BYTES = _BYTES + rb"(?:" + _BYTES + rb")*&?\s*([A-Za-z_]\w*)\s*"
"""It begins with one sign, which is looked for fast."""
_CODE_AS_BYTES = re.compile(rb"=\s*" + _AS_BYTES + rb"[;,]")
"""What a name gets that points at another as at bytes."""
_ANY_AS_BYTES = re.compile(_AS_BYTES + rb"[;,:)}]")
"""What stands anywhere that points at a name as at bytes."""
_GIVEN_AS_BYTES = re.compile(rb"\(\s*" + _AS_BYTES + rb"[,)]")
"""What a call gets first that points at a name as at bytes."""
_LEFT = re.compile(rb"\b([A-Za-z_]\w*)\s*\Z")
_MAX_LEFT = 200
"""Bytes before an assignment in which the name stands that it is to."""
_BARE = re.compile(rb"\b([A-Za-z_](?<![.>][A-Za-z_])\w*+)\s*+=(?!=)")
_DECLARED = re.compile(rb"\*\s*(\w+)\s*(?:\[[^\]\n]*\]\s*)?\)\s*\([^;{}=]*\)\s*=(?!=)")
"""A pointer to a function that gets a value where it is declared."""
_KEYWORDS = frozenset((b"if", b"while", b"for", b"switch", b"return", b"sizeof", b"defined"))
_PARAMETER = re.compile(rb"(?<=[\w*])\s++\**+\s*+([A-Za-z_]\w*+)\s*+[,)]")
_PUT = re.compile(rb"&(?!&)(?<!&&)[\s(]*+(?:[A-Za-z_]\w*\s*(?:->|\.)\s*)*([A-Za-z_]\w*)")
STORE = re.compile(
    rb"(?:[;{}()]|\belse\b)\s*\*[^;={}]{0,200}[^=!<>;{}]=(?!=)|\]\s*[|&^+-]?=(?!=)|\)\s*->\s*\w+\s*=(?!=)"
)
ARROW = re.compile(rb"->\s*[\w.\[\]>-]+\s*(?:[|&^+*/-]|<<|>>)?=(?!=)")
"""A store to a field: worth a look only where the name may lead to code."""
STEP = re.compile(rb"[)\]][\s)]*(?:\+\+|--)|(?:\+\+|--)[\s(]*(?:\*[^;{}=]{1,80}|[A-Za-z_]\w*\s*\[)")
"""A step through a pointer: `(*p)++`, `p[1]--`, `++*p`."""
TAKING = frozenset(name.encode() for name in (*COPIES, *FILLS, *ROUTINES, *MAPPED))
_WRITING = re.compile(rb"\b(?:_?Interlocked\w*|WRITE_REGISTER_\w+|(?:str|wcs)n?cpy(?:_s)?)")
_WRITING_PARTS = (b"Interlocked", b"WRITE_REGISTER_", b"cpy")
"""Routines that write where an argument points; those of TAKING do, or call it."""


class Words:
    """What is seen in a text without comments and literals, worked out when it is asked for."""

    def __init__(self, source: Source, index: WordIndex, more: Iterable[str] = ()) -> None:
        self.source = source
        self.more = tuple(name.encode() for name in more)
        """Routines of the program that call what an argument points at."""
        self.index = index
        self.code = source.code

    @property
    def looks_up(self) -> bool:
        """Whether a routine may be looked up by its name."""
        return bool(self.index.among(self.source.path, _LOOKING))

    def holds_any(self, names: frozenset[bytes]) -> bool:
        """Whether one of some names stands in the text."""
        return not self.index.of(self.source.path).isdisjoint(names)

    @cached_property
    def asks(self) -> bool:
        """Whether something asks for memory that may execute."""
        may = any(self.index.with_part(self.source.path, part) for part in _ASKING)
        return may and _ASKS.search(self.code) is not None

    @cached_property
    def taking(self) -> tuple[tuple[int, int, bytes], ...]:
        """Calls of routines that write where an argument points, or call it: their names' places.

        The offsets are of the name and of the parenthesis.
        """
        held = self.index.among(self.source.path, TAKING.union(self.more))
        names = {*held}
        if any(self.index.with_part(self.source.path, part) for part in _WRITING_PARTS):
            names.update(_WRITING.findall(self.code))
        found = (
            (at, match.end() - 1, name)
            for name in names
            for at in places(self.code, name)
            if (match := _OPENS.match(self.code, at + len(name))) is not None
        )
        return tuple(sorted(found))

    @cached_property
    def given(self) -> frozenset[bytes]:
        """Names that get a value."""
        made = _DECLARED.findall(self.code)
        return frozenset((*_GIVEN.findall(self.code), *_PUT.findall(self.code), *made))

    @cached_property
    def parameters(self) -> frozenset[bytes]:
        """Names that stand where parameters do."""
        return frozenset(_PARAMETER.findall(self.code))

    @cached_property
    def local(self) -> frozenset[bytes]:
        """Names of parameters, and of variables that get a value."""
        return self.parameters | frozenset(_BARE.findall(self.code) + _DECLARED.findall(self.code))

    @cached_property
    def called(self) -> tuple[tuple[bytes, int], ...]:
        """Names that are called, with the offset of the parenthesis."""
        found = ((match[1], match.end() - 1) for match in _NAMED.finditer(self.code))
        return tuple((name, at) for name, at in found if name not in _KEYWORDS)

    @cached_property
    def through(self) -> tuple[int, ...]:
        """Offsets of the parentheses of calls through expressions."""
        found: list[int] = []
        for begin, end in _statements(self.code, _CALLED):
            ends = [
                match.end() for one in _THROUGH for match in one.finditer(self.code, begin, end)
            ]
            found += (at - 1 for at in ends)
            if not ends and self.code.find(b"_cast<", begin, end) >= 0:
                ends = [begin]
            if ends:  # a cast may stand before parentheses of its own: `((T)(p + 16))(`
                further = _CALLED.finditer(self.code, min(ends), end)
                found += (match.end() - 1 for match in further)
        if self.code.find(b"](") >= 0:
            found += (match.end() - 1 for match in _INDEXED.finditer(self.code))
        return tuple(sorted(set(found)))

    @cached_property
    def defined(self) -> frozenset[bytes]:
        """Names before a body."""
        code, found = self.code, set[bytes]()
        for match in _BODY.finditer(code):
            at, end = match.span()
            # nothing before these three can be part of it
            begin = max(code.rfind(b";", 0, at), code.rfind(b"{", 0, at), code.rfind(b"}", 0, at))
            every = list(_DEFINED.finditer(code, begin + 1, end))
            if every and _INITIALIZES.search(code[begin + 1 : every[0].start()]) is not None:
                every = list(_CONSTRUCTOR.finditer(code, begin + 1, end))
            found.update(match[1] for match in every)
        return frozenset(found) - _KEYWORDS

    @cached_property
    def _same(self) -> dict[bytes, tuple[bytes, ...]]:
        return {}

    def same(self, name: bytes) -> tuple[bytes, ...]:
        """The names that a variable gets alone; asked of few."""
        if name not in self._same:
            ends = (at + len(name) for at in places(self.code, name))
            found = (_SAME.match(self.code, end) for end in ends)
            self._same[name] = tuple(one[1] for one in found if one is not None)
        return self._same[name]

    @cached_property
    def as_bytes(self) -> tuple[tuple[bytes, bytes], ...]:
        """Variables, and the one name that they point at as bytes."""
        code = self.code
        every = (
            (_LEFT.search(code, max(0, match.start() - _MAX_LEFT), match.start()), match[1])
            for match in _CODE_AS_BYTES.finditer(code)
        )
        return tuple((left[1], right) for left, right in every if left is not None)

    @cached_property
    def all_as_bytes(self) -> tuple[bytes, ...]:
        """The names that something points at as at bytes, be it given to a variable or not."""
        return tuple(match[1] for match in _ANY_AS_BYTES.finditer(self.code))

    @cached_property
    def looks_up_for(self) -> int:
        """How many look-ups no variable gets: they are handed on, or stand in lists."""
        every = sum(1 for name, _ in self.called if name in _LOOKING)
        return every - len(LOOKED_UP.findall(self.code))

    @cached_property
    def given_as_bytes(self) -> tuple[tuple[bytes, bytes], ...]:
        """Functions that are called, and the one name that they get first, as bytes."""
        code = self.code
        every = (
            (_LEFT.search(code, max(0, match.start() - _MAX_LEFT), match.start()), match[1])
            for match in _GIVEN_AS_BYTES.finditer(code)
        )
        return tuple((callee[1], name) for callee, name in every if callee is not None)

    @cached_property
    def moves(self) -> tuple[tuple[bytes, frozenset[bytes]], ...]:
        """Every name that gets a value, with the names in what it gets."""
        every = _MOVE.finditer(self.code)
        return tuple((match[1], frozenset(WORD.findall(match[2]))) for match in every)

    @cached_property
    def moved_from(self) -> dict[bytes, set[bytes]]:
        """The names that get something made of a name, by that name."""
        found: dict[bytes, set[bytes]] = {}
        for left, right in self.moves:
            for one in right:
                found.setdefault(one, set()).add(left)
        return found


_OPENS = re.compile(rb"\s*\(")
_CALLED = re.compile(rb"\)\s*\(")
_END = re.compile(rb"[;{}]")


def _statements(code: bytes, holding: re.Pattern[bytes]) -> Iterator[tuple[int, int]]:
    """The stretches without a semicolon or brace in which something stands."""
    end = 0
    for match in holding.finditer(code):
        at = match.start()
        if at >= end:
            begin = 1 + max(code.rfind(one, end, at) for one in (b";", b"{", b"}"))
            behind = _END.search(code, at)
            begin, end = max(begin, end), behind.start() if behind is not None else len(code)
            yield begin, end


def words_of(text: Text, index: WordIndex, more: Iterable[str] = ()) -> Words:
    """The words of a file, made once."""
    found = text.notes.get(Words)
    if not isinstance(found, Words):
        found = text.notes[Words] = Words(text.source, index, more)
    return found
