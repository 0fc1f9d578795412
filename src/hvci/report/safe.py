"""Makes strings that come from a file harmless for people's screens.

Knows nothing of reports; every human-readable output sends file names, section names, import
names and PDB paths through here.
"""

from __future__ import annotations

LONGEST = 240
"""Characters that are shown of one name; a PDB path or an import name can be megabytes long."""


def safe(text: str, longest: int = LONGEST) -> str:
    """One line of printable text: control, format and bidirectional characters are spelled out."""
    clipped = text if len(text) <= longest else text[: longest - 3] + "..."
    if clipped.isascii() and clipped.isprintable():
        return clipped
    return "".join(char if char.isprintable() else _spelled(ord(char)) for char in clipped)


def _spelled(code: int) -> str:
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
