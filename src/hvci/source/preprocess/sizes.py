"""How many bytes the types of C and of the kit take, for `sizeof`.

Knows the types that every kernel driver has; a structure of the sources has no size here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from hvci.source.preprocess.runs import Given

_BY_POINTER = frozenset(
    (
        *("PVOID", "LPVOID", "PCVOID", "HANDLE", "SIZE_T", "SSIZE_T", "size_t", "ULONG_PTR"),
        *("LONG_PTR", "UINT_PTR", "INT_PTR", "DWORD_PTR", "uintptr_t", "intptr_t", "ptrdiff_t"),
        *("KAFFINITY", "PUCHAR", "PCHAR", "PUSHORT", "PULONG", "PLONG", "PWSTR", "PCWSTR"),
    )
)
_BYTES = {
    **dict.fromkeys(("char", "UCHAR", "CHAR", "BYTE", "BOOLEAN", "UINT8", "INT8", "bool"), 1),
    **dict.fromkeys(("uint8_t", "int8_t", "__int8", "KIRQL"), 1),
    **dict.fromkeys(("short", "USHORT", "SHORT", "WORD", "WCHAR", "wchar_t", "UINT16"), 2),
    **dict.fromkeys(("INT16", "uint16_t", "int16_t", "__int16"), 2),
    **dict.fromkeys(("int", "long", "ULONG", "LONG", "DWORD", "UINT", "INT", "UINT32"), 4),
    **dict.fromkeys(("INT32", "ULONG32", "LONG32", "uint32_t", "int32_t", "__int32"), 4),
    **dict.fromkeys(("float", "BOOL", "NTSTATUS", "POOL_TYPE", "unsigned", "signed"), 4),
    **dict.fromkeys(("ULONGLONG", "LONGLONG", "ULONG64", "LONG64", "UINT64", "INT64"), 8),
    **dict.fromkeys(("DWORD64", "uint64_t", "int64_t", "__int64", "double", "long long"), 8),
    **dict.fromkeys(("LARGE_INTEGER", "ULARGE_INTEGER", "PHYSICAL_ADDRESS", "DWORDLONG"), 8),
}
_QUALIFIERS = re.compile(r"\b(?:const|volatile|unsigned|signed|struct)\b(?=\s*\w)")
_SIZEOF = r"\bsizeof\s*\([^()]*\)"
COMPARED = re.compile(rf"{_SIZEOF}\s*(?:[=!]=|[<>])|(?:[=!]=|[<>]=?)\s*{_SIZEOF}".encode())
"""A size on which something depends."""


def size_of(kind: bytes, pointer: int | None) -> int | None:
    """The size of a type, where pointers have one that is known or none; None: not known."""
    text = kind.decode("ascii", "replace").strip()
    if text.endswith("*"):
        return pointer
    word = " ".join(_QUALIFIERS.sub("", text).split())
    return pointer if word in _BY_POINTER else _BYTES.get(word)


def pointer_size(units: Iterable[Given]) -> int | None:
    """The size of pointers where some units are compiled; None: no build says, or there are two."""
    found = {_size(given) for given in units}
    return found.pop() if len(found) == 1 else None


def _size(given: Given) -> int | None:
    if b"_WIN64" in given.known:
        return 8
    return (
        4
        if given.closed and b"_WIN32" in given.known and _ON_32.intersection(given.known)
        else None
    )


_ON_32 = frozenset((b"_M_IX86", b"_M_ARM"))
