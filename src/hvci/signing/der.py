"""Reads DER and BER by its tags: one element, its members, object identifiers, times, text.

Knows nothing of what the elements mean. Lazy and bounded: only what is asked for is walked.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

BOOLEAN, INTEGER, BIT_STRING, OCTETS, OID = 0x01, 0x02, 0x03, 0x04, 0x06
SEQUENCE, SET = 0x30, 0x31
UTC_TIME, GENERALIZED_TIME = 0x17, 0x18
UTF8, PRINTABLE, TELETEX, IA5, UNIVERSAL, BMP = 0x0C, 0x13, 0x14, 0x16, 0x1C, 0x1E
MOST_MEMBERS = 20_000
"""Of one element; the largest catalog of a driver package that was seen has some hundreds."""
_DEEPEST = 16
"""Of elements without a length, which end where their members do."""
_new = tuple.__new__
"""Makes a named tuple in a third of the time: a signature has hundreds of elements."""
_CODECS = {UTF8: "utf-8", BMP: "utf-16-be", UNIVERSAL: "utf-32-be"}


class DerError(ValueError):
    """The bytes are no DER, or another element stands where one is needed."""


DAMAGE = (ValueError, IndexError, OverflowError)
"""What reading damaged elements raises: `DerError`, and what fields that are missing lead to."""


class Der(NamedTuple):
    """One element of some bytes: its tag octet, and where it starts, holds its content, ends."""

    data: bytes
    tag: int
    start: int
    body: int
    end: int
    after: int
    """Where the next element starts: behind `end`, or behind the end-of-contents octets."""

    @property
    def raw(self) -> bytes:
        """The whole element."""
        return self.data[self.start : self.after]

    @property
    def content(self) -> bytes:
        """What is in it."""
        return self.data[self.body : self.end]

    @property
    def members(self) -> list[Der]:
        """The elements in it."""
        found: list[Der] = []
        data, at, end = self.data, self.body, self.end
        while at < end:
            if len(found) == MOST_MEMBERS:
                raise DerError(f"more than {MOST_MEMBERS} members")
            behind = at + 2 + data[at + 1] if at + 2 <= end else end + 1
            if behind <= end and data[at + 1] < 0x80 and data[at] & 0x1F != 0x1F:
                found.append(_new(Der, (data, data[at], at, at + 2, behind, behind)))
                at = behind
            else:
                member = element(data, at, end)
                found.append(member)
                at = member[5]
        return found

    def of(self, tag: int) -> Der:
        """The element itself, when it has that tag."""
        if self.tag != tag:
            raise DerError(f"tag {self.tag:#x} where {tag:#x} is needed")
        return self

    @property
    def inner(self) -> Der:
        """The first element in it."""
        return element(self.data, self.body, self.end)

    @property
    def number(self) -> int:
        """An INTEGER."""
        return int.from_bytes(self.of(INTEGER).content, "big", signed=True)

    @property
    def oid(self) -> str:
        """An OBJECT IDENTIFIER in dotted form."""
        return dotted(self.of(OID).content)

    @property
    def octets(self) -> bytes:
        """An OCTET STRING; one in pieces is joined."""
        if self.tag == OCTETS | 0x20:
            return b"".join(piece.of(OCTETS).content for piece in self.members)
        return self.of(OCTETS).content

    @property
    def text(self) -> str:
        """Any of the string types."""
        return self.content.decode(_CODECS.get(self.tag, "latin-1"), "replace")

    @property
    def time(self) -> str:
        """A time in ISO form, in UTC; X.509 has it that two digits mean 1950 to 2049."""
        digits = self.content.decode("ascii", "replace").rstrip("Z").partition(".")[0]
        if self.tag == UTC_TIME:
            digits = ("19" if digits[:2] >= "50" else "20") + digits
        parts = [digits[:4], *(digits[at : at + 2] for at in range(4, len(digits), 2))]
        if len(parts) not in (5, 6) or not all(part.isdecimal() for part in parts):
            raise DerError(f"no time: {digits[:20]!r}")
        try:
            year, month, day, hour, minute, second = (*map(int, parts), 0)[:6]
            return f"{datetime(year, month, day, hour, minute, second).isoformat()}Z"
        except ValueError as error:
            raise DerError(f"no time: {digits[:20]!r}") from error


def element(data: bytes, at: int = 0, limit: int | None = None, depth: int = 0) -> Der:
    """The element at an offset; raise `DerError` when it is none or ends behind the limit."""
    end = len(data) if limit is None else limit
    if at + 2 > end or data[at] & 0x1F == 0x1F:
        raise DerError(f"no element at offset {at:#x}")
    tag, length, body = data[at], data[at + 1], at + 2
    if length == 0x80:
        return _open(data, at, end, depth)
    if length > 0x80:
        body += length & 0x7F
        if body > end or length > 0x84:
            raise DerError(f"the length at offset {at:#x} is cut off")
        length = int.from_bytes(data[at + 2 : body], "big")
    if body + length > end:
        raise DerError(f"the element at offset {at:#x} is cut off")
    return _new(Der, (data, tag, at, body, body + length, body + length))


def _open(data: bytes, at: int, end: int, depth: int) -> Der:
    """An element of indefinite length (BER), which two zero bytes end."""
    if depth == _DEEPEST or not data[at] & 0x20:
        raise DerError(f"the element at offset {at:#x} never ends")
    inside = at + 2
    for _ in range(MOST_MEMBERS):
        if data[inside : inside + 2] == b"\0\0" and inside + 2 <= end:
            return Der(data, data[at], at, at + 2, inside, inside + 2)
        inside = element(data, inside, end, depth + 1).after
    raise DerError(f"more than {MOST_MEMBERS} members")


@lru_cache(1024)
def dotted(content: bytes) -> str:
    """An object identifier's content in dotted form."""
    if not content or content[-1] & 0x80:
        raise DerError("an object identifier is cut off")
    numbers, number = [], 0
    for octet in content:
        number = number << 7 | octet & 0x7F
        if not octet & 0x80:
            numbers.append(number)
            number = 0
    first = min(numbers[0] // 40, 2)
    return ".".join(map(str, (first, numbers[0] - 40 * first, *numbers[1:])))


def encoded(oid: str) -> bytes:
    """The content of an object identifier: cheaper to compare than its dotted form."""
    first, second, *rest = (int(part) for part in oid.split("."))
    octets = bytearray()
    for number in (40 * first + second, *rest):
        groups = [number & 0x7F]
        while number := number >> 7:
            groups.append(number & 0x7F | 0x80)
        octets += bytes(reversed(groups))
    return bytes(octets)
