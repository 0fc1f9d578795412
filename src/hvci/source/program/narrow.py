"""Types that do not hold every number that a pool type or a flag can be.

Knows names of types only.
"""

from __future__ import annotations

_UNSIGNED = {
    8: (b"UCHAR", b"BYTE", b"UINT8", b"uint8_t", b"unsigned char", b"BOOLEAN"),
    16: (b"USHORT", b"WORD", b"UINT16", b"uint16_t", b"unsigned short", b"WCHAR", b"wchar_t"),
}
_SIGNED = {
    8: (b"CHAR", b"CCHAR", b"char", b"signed char", b"INT8", b"int8_t"),
    16: (b"SHORT", b"CSHORT", b"short", b"signed short", b"short int", b"INT16", b"int16_t"),
}
_BITS = {name: bits for bits, names in _UNSIGNED.items() for name in names}
_BITS |= {name: -bits for bits, names in _SIGNED.items() for name in names}
_QUALIFIERS = frozenset((b"const", b"volatile", b"static", b"CONST", b"register"))


def narrow(type_: bytes) -> int | None:
    """The bits of a type of fewer than 32, below zero for one with a sign; None for any other."""
    known = _BITS.get(type_)
    if known is not None or b" " not in type_:
        return known
    return _BITS.get(b" ".join(one for one in type_.split() if one not in _QUALIFIERS))
