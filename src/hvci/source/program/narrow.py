"""Types that do not hold every number that a pool type or a flag can be.

Knows names of types only.
"""

from __future__ import annotations

_BITS = dict.fromkeys(
    (b"UCHAR", b"BYTE", b"UINT8", b"uint8_t", b"unsigned char", b"BOOLEAN", b"CHAR", b"char"), 8
)
_BITS |= dict.fromkeys((b"USHORT", b"WORD", b"UINT16", b"uint16_t", b"unsigned short"), 16)


def narrow(type_: bytes) -> int | None:
    """The bits of a type of fewer than 32; None for any other, and for one that is not known."""
    return _BITS.get(b" ".join(type_.split()))
