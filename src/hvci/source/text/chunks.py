"""Where the top-level declarations of a text begin, so that only those asked for are parsed.

Knows braces and parentheses; knows no grammar. Where braces do not match, the whole text is one
piece.
"""

from __future__ import annotations

import re

_OPENING, _CLOSING = re.compile(rb"\{"), re.compile(rb"\}")
"""Each is looked for alone, which is much faster than for both at once."""
_OUTER = re.compile(rb"(?:\bextern\s+(?:\"C(?:\+\+)?\"|)\s*|\bnamespace\b[\s\w:]*)\Z")
"""What stands before braces that hold declarations and nothing else."""
_BEHIND = re.compile(rb"(?:[\s\w*,]|\[[^\]{};=]*\])*(?:;|(=)(?!=))")
"""The rest of a declaration behind its braces: names of a type or variable, and the semicolon."""
_TYPE = re.compile(rb"\b(?:struct|union|class|enum)\b[^;{}()=]*\Z")
"""What stands before the braces of a type; behind them values may follow: `} Table[] = { ... };`"""
_REACH = 200


def starts(text: bytes, code: bytes) -> list[int]:
    """The first offset of each piece, in order; `code` is the text without literals."""
    found, outer, inner = [0], 0, 0
    is_type = goes_on = False
    braces = [match.start() for one in (_OPENING, _CLOSING) for match in one.finditer(code)]
    for at in sorted(braces):
        byte = text[at]
        if byte != code[at]:
            continue
        if inner:
            inner += 1 if byte == 0x7B else -1
            if not inner:
                end = _end(text, at + 1, is_type)
                goes_on = end is None
                found += () if end is None else (end,)
        elif byte != 0x7B:
            outer -= 1
            if outer < 0:
                return [0]
            found.append(at + 1)
        elif _OUTER.search(text, max(found[-1], at - _REACH), at) is not None:
            outer += 1
            found.append(at + 1)
        else:
            inner = 1
            is_type = goes_on or _TYPE.search(text, max(found[-1], at - _REACH), at) is not None
    return [0] if inner or outer else found


def _end(text: bytes, behind: int, is_type: bool) -> int | None:
    """Where a piece ends whose last brace closes before an offset; None: values follow."""
    rest = _BEHIND.match(text, behind)
    if rest is None:
        return behind
    if rest[1] is not None:
        goes_on = is_type or rest[0].lstrip()[:1] == b","  # `} first, *second = &first;`
        return None if goes_on else behind
    return rest.end()


_FLAT = rb"[^(){};#]*"
_ONCE = rb"(?:\(" + _FLAT + rb"\)" + _FLAT + rb")*"
_TWICE = rb"(?:\(" + _FLAT + _ONCE + rb"\)" + _FLAT + rb")*"
_USED = re.compile(rb"\s*\(" + _FLAT + _TWICE + rb"\)\s*(?:[;,)=+*/%<>&|^?\]!~.}]|-[^>])")
"""Parentheses, and behind them what never stands before the body of a function."""


def may_define(code: bytes, end: int) -> bool:
    """Whether the name that ends at an offset may be that of a function with its body.

    Most names before parentheses are called, which the text tells before anything is parsed.
    """
    return _USED.match(code, end) is None
