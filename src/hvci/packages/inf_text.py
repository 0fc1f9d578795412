"""The text of an INF: sections of lines, keys and fields, with the strings filled in.

Knows the syntax only: encodings, comments, quotes, continued lines, sections in several parts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from hvci.errors import InputError

MAX_BYTES = 16 << 20
_MOST_LINES = 500_000
_STRING = re.compile(r"%([^%]*)%")


class Line(NamedTuple):
    """One line of a section: `key = field, field`, or fields alone."""

    key: str
    fields: tuple[str, ...]

    def field(self, n: int) -> str:
        """A field; empty where the line has fewer."""
        return self.fields[n] if n < len(self.fields) else ""


class InfText:
    """An INF as sections by name in lower case, each with its lines in order."""

    def __init__(self, data: bytes) -> None:
        if len(data) > MAX_BYTES:
            raise InputError("an INF of this size is none")
        self._sections: dict[str, list[str]] = {}
        current: list[str] = []
        for number, line in enumerate(_joined(decoded(data))):
            if number == _MOST_LINES:
                raise InputError("an INF with so many lines is none")
            if line.startswith("[") and "]" in line:
                name = line[1 : line.index("]")].strip().lower()
                current = self._sections.setdefault(name, [])
            else:
                current.append(line)
        self._strings = dict(self._read_strings())
        self._lines: dict[str, list[Line]] = {}

    def __contains__(self, name: str) -> bool:
        return name.lower() in self._sections

    @property
    def names(self) -> list[str]:
        """Names of all sections, in order."""
        return list(self._sections)

    def lines(self, name: str) -> list[Line]:
        """The lines of a section with its strings filled in; none where it is missing."""
        name = name.lower()
        if name not in self._lines:
            self._lines[name] = [self._line(text) for text in self._sections.get(name, ())]
        return self._lines[name]

    def value(self, section: str, key: str) -> str:
        """The first field of the first line with a key; empty where there is none."""
        for line in self.lines(section):
            if line.key.lower() == key.lower():
                return line.field(0)
        return ""

    def _line(self, text: str) -> Line:
        key, equals, rest = _at_equals(text)
        fields = _fields(rest if equals else text)
        return Line(self.filled(_bare(key)) if equals else "", tuple(map(self.filled, fields)))

    def filled(self, text: str) -> str:
        """Text with %name% replaced; a name that is no string stays, such as %SystemRoot%."""
        if "%" not in text:
            return text
        return _STRING.sub(lambda match: self._value_of(match[1], match[0]), text)

    def _value_of(self, name: str, whole: str) -> str:
        return self._strings.get(name.lower(), whole) if name else "%"

    def _read_strings(self) -> Iterator[tuple[str, str]]:
        """What strings are called: those of any language, then English ones, then [Strings]."""
        others = sorted(name for name in self._sections if name.startswith("strings."))
        for section in (*others, "strings.0409", "strings"):
            for text in self._sections.get(section, ()):
                key, equals, rest = _at_equals(text)
                if equals:
                    fields = _fields(rest)
                    yield _bare(key).lower(), fields[0] if fields else ""


def decoded(data: bytes) -> str:
    """The text of an INF in any encoding that Windows takes."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace")
    if data[:3] == b"\xef\xbb\xbf":
        return data.decode("utf-8-sig", "replace")
    for at, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        if len(data) > 3 and data[at] == data[at + 2] == 0 != data[1 - at]:
            return data.decode(encoding, "replace")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def _joined(text: str) -> Iterator[str]:
    """Lines without comments and blanks; one that ends with a backslash goes on in the next."""
    kept = ""
    for raw in text.splitlines():
        line = _without_comment(raw).strip()
        if line.endswith("\\") and not line.endswith("\\\\"):
            kept += line[:-1]
            continue
        if kept or line:
            yield kept + line
        kept = ""
    if kept:
        yield kept


def _without_comment(line: str) -> str:
    if ";" not in line:
        return line
    quoted = False
    for at, letter in enumerate(line):
        if letter == '"':
            quoted = not quoted
        elif letter == ";" and not quoted:
            return line[:at]
    return line


def _at_equals(text: str) -> tuple[str, bool, str]:
    """Key and rest at the first equals sign outside quotes."""
    quoted = False
    for at, letter in enumerate(text):
        if letter == '"':
            quoted = not quoted
        elif letter == "=" and not quoted:
            return text[:at].strip(), True, text[at + 1 :]
    return text, False, ""


def _fields(text: str) -> list[str]:
    """Fields between commas outside quotes."""
    fields: list[str] = []
    current: list[str] = []
    quoted = False
    for letter in text:
        if letter == '"':
            quoted = not quoted
        if letter == "," and not quoted:
            fields.append(_bare("".join(current)))
            current = []
        else:
            current.append(letter)
    last = _bare("".join(current))
    return [*fields, last] if fields or last else []


def _bare(text: str) -> str:
    """Text without blanks and the quotes around it; a doubled quote within is one."""
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1]
    return text.replace('""', '"')
