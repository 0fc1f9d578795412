"""Where the top-level declarations of a text begin, so that only those asked for are parsed.

Knows braces; knows no grammar. Where braces do not match, the whole text is one piece.
"""

from __future__ import annotations

import re

_BRACE = re.compile(rb"[{}]")
_OUTER = re.compile(rb"(?:\bextern\s+(?:\"C(?:\+\+)?\"|)\s*|\bnamespace\b[\s\w:]*)\Z")
"""What stands before braces that hold declarations and nothing else."""
_BEHIND = re.compile(rb"[\s\w*,]*;")
"""The rest of a declaration behind its braces: names of a type, and the semicolon."""
_REACH = 200


def starts(text: bytes, code: bytes) -> list[int]:
    """The first offset of each piece, in order; `code` is the text without literals."""
    found, open_ = [0], list[bool]()
    inner = 0
    for match in _BRACE.finditer(code):
        at = match.start()
        if text[at] != code[at]:
            continue
        if text[at] == 0x7B:
            outer = not inner and _OUTER.search(text, max(found[-1], at - _REACH), at) is not None
            open_.append(outer)
            inner += not outer
            if outer:
                found.append(at + 1)
            continue
        if not open_:
            return [0]
        outer = open_.pop()
        inner -= not outer
        if not inner:
            rest = None if outer else _BEHIND.match(text, at + 1)
            found.append(rest.end() if rest is not None else at + 1)
    return [0] if open_ else found
