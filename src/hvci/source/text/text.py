"""The text of one source file, with comments and literals found; offsets always mean file text.

Knows encodings and the lexical surface of C; knows nothing of calls, projects or drivers.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

LONG = 1 << 15
"""Bytes of a text that is worth an index of its words."""
MANY = 200
"""Names looked for in one text before it gets one: that many searches cost as much."""
MAX_BYTES = 8 << 20
"""A larger file is generated data; nobody writes so many calls by hand."""


class Codec(Enum):
    """How the bytes of a file become text."""

    BYTES = ""
    """ASCII, UTF-8 or a code page: analysed as it is, byte by byte."""
    UTF16_LE = "utf-16-le"
    UTF16_BE = "utf-16-be"


class Unreadable(Exception):
    """Why a file cannot be analysed; becomes a `Limit`."""


_LITERALS = re.compile(
    rb"//[^\n\\]*+(?:\\(?:\r?\n)?[^\n\\]*+)*+"
    rb"|/\*[^*]*+(?:\*(?!/)[^*]*+)*+(?:\*/)?"
    rb'|"[^"\\\n]*+(?:\\.[^"\\\n]*+)*+"?'
    rb"|'[^'\\\n]*+(?:\\.[^'\\\n]*+)*+'?",
    re.DOTALL,
)
_RAW_LITERALS = re.compile(
    rb'(?<!\w)(?:u8|[uUL])?R"([^()\\\s"]{0,16})\(.*?(?:\)\1"|\Z)|' + _LITERALS.pattern, re.DOTALL
)
"""With the strings of C++ in which nothing is escaped."""
_BLANK = bytes(byte if byte in b"\r\n" else 0x20 for byte in range(256))
_UNICODE_MARKS = {b"\xff\xfe": Codec.UTF16_LE, b"\xfe\xff": Codec.UTF16_BE}


def blank(text: bytes) -> bytes:
    """The same number of bytes with everything but line breaks made a space."""
    return text.translate(_BLANK)


def _guess(raw: bytes) -> Codec:
    """Tell UTF-16 from single bytes: by its mark, else by where the zero bytes stand."""
    if codec := _UNICODE_MARKS.get(raw[:2]):
        return codec
    head = raw[:512]
    odd, even = head[1::2].count(0), head[0::2].count(0)
    if odd > len(head) // 4 and not even:
        return Codec.UTF16_LE
    return Codec.UTF16_BE if even > len(head) // 4 and not odd else Codec.BYTES


def decode(raw: bytes) -> tuple[bytes, Codec]:
    """The text to analyse, as bytes that hold ASCII where the file does; raise `Unreadable`."""
    codec = _guess(raw)
    if codec is Codec.BYTES:
        if b"\0" in raw:
            raise Unreadable("the file holds zero bytes: it is not text")
        return raw, codec
    try:
        return raw.decode(codec.value).encode("utf-8"), codec
    except UnicodeDecodeError as error:
        raise Unreadable(f"the file is not valid {codec.value.upper()}: {error.reason}") from error


_IN_WORD, _IN_OPERATOR = rb"[A-Za-z_0-9]", rb"[-/*&|=<>+#:!%^.]"
_SPLICE = re.compile(rb"\\\r?\n")
_MORE = rb"(?:\\\r?\n)+"
_SPLIT = re.compile(
    rb"\\(?<=#\\)\r?\n(?:%(more)b)?[ \t]*%(word)b+(?:%(more)b%(word)b+)*"
    rb"|\\(?<=%(word)b\\)\r?\n(?:%(more)b)?%(word)b+(?:%(more)b%(word)b+)*"
    rb"|\\(?<=%(sign)b\\)\r?\n(?:%(more)b)?%(sign)b+(?:%(more)b%(sign)b+)*"
    % {b"more": _MORE, b"word": _IN_WORD, b"sign": _IN_OPERATOR}
)
"""What is continued on other lines inside a token, or behind the sign of a directive."""


def joined(text: bytes) -> tuple[bytes, tuple[tuple[int, int], ...]]:
    """The text with each token on one line, and the ranges in which bytes changed places.

    What continues a line inside a token is put behind it, so that no other byte moves.
    """
    if not any(_may_split(text, mark) for mark in (b"\\\n", b"\\\r\n")):
        return text, ()
    moved = tuple(match.span() for match in _SPLIT.finditer(text))
    return (_SPLIT.sub(_whole, text) if moved else text), moved


def _may_split(text: bytes, mark: bytes) -> bool:
    """Whether a line may be continued inside a token: a quick look before patterns are used."""
    size, at = len(mark), text.find(mark)
    while at >= 0:
        if at and text[at - 1] in _INSIDE and text[at + size : at + size + 1] not in _BLANKS:
            return True
        if at and text[at - 1] == 0x23:
            return True
        at = text.find(mark, at + size)
    return False


_INSIDE = frozenset(b"-/*&|=<>+#:!%^._" + bytes(one for one in range(128) if chr(one).isalnum()))
_BLANKS = frozenset((b" ", b"\t", b"\r", b"\n", b""))


def _whole(match: re.Match[bytes]) -> bytes:
    return _SPLICE.sub(b"", match[0]) + b"".join(_SPLICE.findall(match[0]))


def _continued_code(code: bytes) -> Iterator[int]:
    """Where a line is continued that is no directive: a compiler sees nothing there."""
    line, is_directive = -1, False
    at = code.find(b"\\")
    while at >= 0:
        end = at + 1 + (code[at + 1 : at + 2] == b"\r")
        if code[end : end + 1] == b"\n":
            start = code.rfind(b"\n", 0, at) + 1
            if start != line:
                is_directive = code[start:at].lstrip(b" \t").startswith(_SIGNS)
            line = end + 1
            if not is_directive:
                yield at
        at = code.find(b"\\", end)


@dataclass(frozen=True, eq=False)
class Source:
    """One text file."""

    path: str
    """As shown to people: with forward slashes, below the target as it was given."""
    written: bytes
    """UTF-8 for UTF-16 files and the raw bytes for all others."""
    codec: Codec = Codec.BYTES

    @cached_property
    def _joined(self) -> tuple[bytes, tuple[tuple[int, int], ...]]:
        return joined(self.written)

    @cached_property
    def text(self) -> bytes:
        """What is analysed: as it is written, with tokens that a line break splits made whole."""
        return self._joined[0]

    def is_as_written(self, start: int, end: int) -> bool:
        """Whether a range, or a place, of the text is the same in the file."""
        return all(end <= first or last <= start for first, last in self._joined[1])

    @cached_property
    def is_c(self) -> bool:
        """Whether a compiler takes it for C, not C++; headers are read as C++."""
        return self.path.lower().endswith(".c")

    @property
    def is_header(self) -> bool:
        """Whether it is included rather than compiled."""
        return self.path.lower().endswith((".h", ".hpp", ".hxx", ".hh", ".inl"))

    @cached_property
    def _blanked(self) -> tuple[bytes, bytes]:
        text, literals = self.text, list[tuple[int, int]]()
        without = bytearray(text)
        literals_of = _RAW_LITERALS if b'R"' in text and not self.is_c else _LITERALS
        for match in literals_of.finditer(text):
            start, end = match.span()
            if text[start] == 0x2F:
                without[start:end] = text[start:end].translate(_BLANK)
            else:
                literals.append((start, end))
        plain = bytes(without)
        for start, end in literals:
            without[start:end] = text[start:end].translate(_BLANK)
        code = bytes(without) if literals else plain
        if continued := [*_continued_code(code)]:
            kept = bytearray(plain)
            for at in continued:
                kept[at] = without[at] = 0x20
            return bytes(kept), bytes(without)
        return plain, code

    @property
    def plain(self) -> bytes:
        """The text with comments made blank."""
        return self._blanked[0]

    @property
    def code(self) -> bytes:
        """The text with comments, strings and character constants made blank."""
        return self._blanked[1]

    def places(self, name: bytes) -> Iterable[int]:
        """Where a name stands in the code as a whole word.

        A long text that is asked often is gone through once for all names: to search it for each
        would take the square of its length where it holds thousands of functions.
        """
        self._asked[0] += 1
        if self._asked[0] < MANY or len(self.code) < LONG or not _WORD.fullmatch(name):
            return places(self.code, name)
        return self._words.get(name, ())

    @cached_property
    def _asked(self) -> list[int]:
        """How often a name was looked for."""
        return [0]

    @cached_property
    def _words(self) -> dict[bytes, array[int]]:
        found: dict[bytes, array[int]] = {}
        for match in _WORD.finditer(self.code):
            found.setdefault(match[0], array("I")).append(match.start())
        return found

    @cached_property
    def before_braces(self) -> frozenset[bytes]:
        """The names, else signs, that a brace may follow, behind `=` or a directive or at once."""
        code, found = self.code, set[bytes]()
        at = code.find(b"{")
        while at >= 0:
            found.add(_last_before(code, at))
            at = code.find(b"{", at + 1)
        return frozenset(found)

    def forget(self) -> None:
        """Let go of what is easily made again."""
        for name in ("_blanked", "_breaks", "_last", "_words", "before_braces"):
            self.__dict__.pop(name, None)

    @cached_property
    def _last(self) -> list[int]:
        """The offset that was last asked about, and the line breaks before it."""
        return [0, 0]

    @cached_property
    def _breaks(self) -> list[int]:
        return [match.start() for match in re.finditer(rb"\n", self.written)]

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column of an offset, from 1; columns are UTF-16 units, as editors count."""
        known, line = self._last if self._last[0] <= offset else (0, 0)
        line += self.written.count(b"\n", known, offset)
        self._last[:] = offset, line  # who asks goes on from there, as a rule
        start = self.written.rfind(b"\n", 0, offset) + 1
        before = self.written[start:offset].decode("utf-8", "replace")
        return line + 1, len(before.encode("utf-16-le")) // 2 + 1

    def line_start(self, line: int) -> int:
        """Offset of the first byte of a line, which counts from 1."""
        return self._breaks[line - 2] + 1 if line > 1 else 0


_REST = re.compile(rb"[^\n\\]*(?:\\(?:\r?\n)?[^\n\\]*)*")
_SIGNS = (b"#", b"%:", b"??=")


def directive_lines(text: bytes, signs: tuple[bytes, ...] = _SIGNS) -> Iterator[tuple[int, int]]:
    """Where the lines of a preprocessor begin and end, with those that they are continued on.

    Looks for the sign, which is rare: a pattern would try every line.
    """
    behind = 0
    for sign in signs:
        at = text.find(sign)
        while at >= 0:
            start = text.rfind(b"\n", 0, at) + 1
            end = at + len(sign)
            if start >= behind and not text[start:at].strip(b" \t"):
                match = _REST.match(text, end)
                assert match is not None
                end = behind = match.end()
                yield start, end
            at = text.find(sign, end)
        behind = 0


_NO_WORDS = bytes(
    byte if (chr(byte).isalnum() and byte < 0x80) or byte == 0x5F else 0x20 for byte in range(256)
)


def words(text: bytes) -> frozenset[bytes]:
    """The longest runs of letters, digits and underscores in a text."""
    return frozenset(text.translate(_NO_WORDS).split())


WORD_BYTES = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")


def places(text: bytes, name: bytes) -> Iterator[int]:
    """Where a name stands as a whole word: much faster than a pattern that begins with `\\b`.

    A name without a letter, as a damaged text has, stands nowhere.
    """
    size = len(name)
    at = text.find(name) if name else -1
    while at >= 0:
        end = at + size
        if (not at or text[at - 1] not in WORD_BYTES) and text[end : end + 1] not in _WORDS:
            yield at
        at = text.find(name, end)


_WORD = re.compile(rb"\w+")
_WORDS = frozenset(bytes((one,)) for one in WORD_BYTES)


def _last_before(code: bytes, end: int) -> bytes:
    """The name or sign that a value stands behind, but for directives before the value."""
    size = 200
    while True:
        begin = max(0, end - size)
        before = code[begin:end].rstrip()
        while (line := before[before.rfind(b"\n") + 1 :]).lstrip()[:1] == b"#":
            before = before[: len(before) - len(line)].rstrip()
        before = before[:-1].rstrip() if before.endswith(b"=") else before
        if not begin or b"\n" in before:
            return before.translate(_NO_WORDS).rpartition(b" ")[2] or before[-1:]
        size *= 16
