"""Whether the bytes of executable sections can be code: what is packed or encrypted is not.

Looks at how often each byte occurs. Code repeats a few dozen; packed bytes are all as frequent.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hvci.binary.pe.image import Bytes, PeImage

WINDOW = 4096
"""Bytes that are judged together."""
SHORTEST = 512
"""Bytes that tell too little where there are fewer."""
PACKED = 7.2
"""Bits a byte from which bytes are no code: that of 557 drivers has 6.9 at most."""
ZEROS = 50
"""Of code one byte in so many or more is zero, of packed bytes one in 256."""
MANY = 8
"""Windows: tables of ciphers and hashes, which x86 linkers put beside code, take up to 16 KB."""


def packed_sections(image: PeImage) -> Iterator[tuple[str, int]]:
    """(name, bytes that look packed) of executable sections that are no code for a good part."""
    for start, end in image.code_ranges:
        windows, found = _windows(image.bytes[start:end])
        if 2 * found > windows or found >= MANY:
            yield image.section_name(start), min(found * WINDOW, end - start)


def _windows(content: Bytes) -> tuple[int, int]:
    """How many windows some bytes have, and how many of them look packed."""
    if len(content) < SHORTEST:
        return 0, 0
    if len(content) < WINDOW:
        return 1, int(_is_packed(content))
    rows = content[: len(content) // WINDOW * WINDOW].reshape(-1, WINDOW)
    few = np.count_nonzero(rows, axis=1) > WINDOW - WINDOW // ZEROS
    return len(rows), sum(map(_is_packed, rows[few]))


def _is_packed(content: Bytes) -> bool:
    """Whether some bytes are all about as frequent."""
    counts = np.bincount(content, minlength=256)
    shares = counts[counts > 0] / len(content)
    return bool(-(shares * np.log2(shares)).sum() > PACKED)
