"""The statements of a MASM or ARM assembler text, their words and the numbers that names stand for.

Knows the surface of the language; knows nothing of routines.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

_SKIPPED = re.compile(
    rb"(?im)^[ \t]*COMMENT[ \t]+([^\s\w])(?:.|\n)*?(?:\1[^\n]*|\Z)"
    rb"|(\"[^\"\n]*\"|'[^'\n]*')"
    rb"|(?:;|//)[^\n]*"
    rb"|\\[ \t]*\r?(?=\n)\n"
)
NAME = re.compile(rb"[A-Za-z_$?@][\w$?@]*")
_HEAD = re.compile(rb"[ \t]*(?:\|?([A-Za-z_$?@][\w$?@]*)\|?[ \t]*::?(?!:))?[ \t]*([^\n\r]*)")
_DIRECTIVES = frozenset(
    b"proc proto equ = macro segment ends endp textequ label struct struc union record typedef "
    b"catstr db dw dd dq df dt byte sbyte word sword dword sdword qword sqword fword tbyte real4 "
    b"real8 dcb dcw dcd dcq space area function leaf_entry nested_entry area".split()
)
"""What stands behind the name that it defines."""
_OPENING = frozenset(b"if ife if1 if2 ifb ifnb ifdef ifndef ifdif ifdifi ifidn ifidni".split())
_SIZED = re.compile(rb"(?i)\w+[ \t]+ptr\b")
_SPLIT = re.compile(rb"(?i)\bor\b|[|+]")


@dataclass(frozen=True, slots=True)
class Statement:
    """One line that says something."""

    offset: int
    """Of its first word, in the text."""
    label: bytes
    """The name before its word; empty when there is none."""
    word: bytes
    """Its instruction or directive, in lower case."""
    rest: bytes
    """What follows; without comments."""
    is_optional: bool
    """It stands in a block of conditional assembly."""

    @property
    def shown(self) -> str:
        """The statement as people read it, at most 60 characters."""
        text = b" ".join((self.word, *self.rest.split()))
        return text.decode("utf-8", "replace")[:60]

    @property
    def operands(self) -> list[bytes]:
        """What stands between commas; brackets keep theirs together."""
        found, depth, start = list[bytes](), 0, 0
        for at, byte in enumerate(self.rest):
            depth += (byte in b"([{<") - (byte in b")]}>")
            if byte == 0x2C and depth <= 0:
                found.append(self.rest[start:at].strip())
                start = at + 1
        return [*found, self.rest[start:].strip()]


def statements(text: bytes) -> list[Statement]:
    """Every statement of a text, in order."""
    plain, found, depth = _SKIPPED.sub(_blanked, text), list[Statement](), 0
    at = 0
    while at < len(plain):
        end = plain.find(b"\n", at)
        end = end if end >= 0 else len(plain)
        match = _HEAD.match(plain, at, end)
        at = end + 1
        if match is None or not (match[1] or match[2].strip()):
            continue
        label, word, rest, offset = _parted(match)
        if word in _OPENING:
            depth += 1
        found.append(Statement(offset, label, word, rest, depth > 0))
        if word == b"endif":
            depth = max(0, depth - 1)
    return found


def _blanked(match: re.Match[bytes]) -> bytes:
    if match[2] is not None:
        return match[2]
    if match[0].startswith(b"\\"):
        return b" " * len(match[0])
    return bytes(byte if byte == 0x0A else 0x20 for byte in match[0])


def _parted(match: re.Match[bytes]) -> tuple[bytes, bytes, bytes, int]:
    """The label, word, rest and place of a line."""
    label, body = match[1] or b"", match[2]
    offset = match.start(2) if body.strip() else match.start(1)
    first, _, rest = body.partition(b" ") if b"\t" not in body else _at_blank(body)
    rest = rest.strip()
    if b"=" in first[1:] and not label:
        name, _, value = body.partition(b"=")
        return name.strip(), b"=", value.strip(), offset
    second = None if _SIZED.match(rest) else NAME.match(rest) or re.match(rb"=", rest)
    is_named = second is not None and NAME.fullmatch(first.strip(b"|")) is not None
    if second is not None and is_named and second[0].lower() in _DIRECTIVES:
        return first.strip(b"|"), second[0].lower(), rest[second.end() :].strip(), offset
    return label, first.lower().lstrip(b"%#"), rest, offset


def _at_blank(body: bytes) -> tuple[bytes, bytes, bytes]:
    first = body.split(None, 1)[0] if body.strip() else b""
    return first, b" ", body[len(first) :]


def numbers(lines: Iterable[Statement]) -> dict[bytes, frozenset[int] | None]:
    """What `EQU` and `=` give names, in lower case; None: it is no number."""
    found: dict[bytes, frozenset[int] | None] = {}
    for line in lines:
        if line.word in (b"equ", b"=") and line.label:
            name, value = line.label.lower(), value_of(line.rest, found)
            known = found.get(name, frozenset())
            every = None if value is None or known is None else known | value
            found[name] = every if every is None or len(every) <= MOST_VALUES else None
    return found


_NUMBER = re.compile(rb"(?i)0x([0-9a-f]+)|([0-9][0-9a-f]*)h|([0-9]+)[dt]?|([01]+)[by]|([0-7]+)[oq]")
_BASES = (16, 16, 10, 2, 8)
MOST_VALUES = 16
"""Values of one expression that are told apart."""


def value_of(text: bytes, names: Mapping[bytes, frozenset[int] | None]) -> frozenset[int] | None:
    """The numbers that an expression can be: names, numbers, and these ORed or added."""
    total = frozenset({0})
    is_sum = b"+" in text
    for part in _SPLIT.split(text.strip().strip(b"<>")):
        word = part.strip().lstrip(b"#").strip()
        match = _NUMBER.fullmatch(word)
        one = frozenset({_number(match)}) if match else names.get(word.lower())
        if one is None or len(one) * len(total) > MOST_VALUES:
            return None
        total = frozenset(a + b if is_sum else a | b for a in total for b in one)
    return total


def _number(match: re.Match[bytes]) -> int:
    digits, base = next(
        (digits, base) for digits, base in zip(match.groups(), _BASES, strict=True) if digits
    )
    return int(digits, base)


def names_in(text: bytes) -> Iterator[bytes]:
    """Every name of a text."""
    return (match[0] for match in NAME.finditer(text))
