"""Routines of assembly that go on to where one of their arguments points.

Theory of operation: a register is an argument until something writes it; a plain move hands it on.
What such a routine is given is code that the caller runs. Knows statements; follows no memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from hvci.source.assembly.arguments import family_of
from hvci.source.assembly.lines import Statement, statements
from hvci.source.text.text import Source

_ARGUMENTS = {b"c": 0, b"d": 1, b"r8": 2, b"r9": 3} | {b"x%d" % at: at for at in range(8)}
"""The families of registers that hold the first arguments."""
_BEGINS = frozenset(b"proc function leaf_entry nested_entry".split())
_ENDS = frozenset(b"endp endfunc leaf_end nested_end".split())
_THROUGH = frozenset(b"call jmp blr br callq jmpq".split())
_MOVES = frozenset(b"mov movq".split())
_STACK = re.compile(rb"(?i)(?:dword\s+ptr\s*)?\[\s*e(sp|bp)\s*\+\s*([0-9a-f]+h|[0-9]+)\s*\]")
_BEFORE = {b"sp": 4, b"bp": 8}
"""Bytes below the first argument on x86."""
_DECORATED = re.compile(r"_?(\w+?)(?:@\d+)?")


def entries(source: Source) -> Iterator[tuple[str, int]]:
    """Each such routine of a text, by its name in C, with the position of the argument."""
    name, inside = b"", False
    held: dict[bytes, int] = {}
    for line in statements(source.text):
        if line.word in _BEGINS or (line.label and not inside):
            name, inside = line.label or line.operands[0], line.word in _BEGINS
            held = dict(_ARGUMENTS)
        if line.word in _ENDS:
            name, inside = b"", False
        if name and line.word in _THROUGH:
            at = _position(line.rest, held)
            if at is not None and (match := _DECORATED.fullmatch(name.decode("latin-1"))):
                yield match[1], at
        _move(line, held)


def _position(operand: bytes, held: dict[bytes, int]) -> int | None:
    """The argument that an operand is; None for anything else."""
    bare = operand.strip().lstrip(b"*%").strip()
    if (match := _STACK.fullmatch(bare)) is not None:
        base = 16 if match[2][-1:] in b"hH" else 10
        at = int(match[2].rstrip(b"hH"), base) - _BEFORE[match[1].lower()]
        return at // 4 if at >= 0 else None
    return held.get(family_of(bare))


def _move(line: Statement, held: dict[bytes, int]) -> None:
    """What a statement does to the registers that are arguments."""
    operands = [one.lstrip(b"%") for one in line.operands]
    if line.operands[0].startswith(b"%"):
        operands.reverse()  # AT&T
    if line.word.startswith((b"call", b"bl")):
        held.clear()
    elif len(operands) == 2:
        at = _position(operands[1], held) if line.word in _MOVES else None
        written = family_of(operands[0])
        if line.word not in (b"push", b"test", b"cmp", b"str"):
            held.pop(written, None)
        if at is not None and written:
            held[written] = at
