"""The preprocessor lines of one file, read once: conditions, definitions, inclusions.

Knows the lexical surface of directives; knows nothing of what a build defines.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from hvci.source.text.text import Source, directive_lines

_LINE = re.compile(
    rb"[ \t]*(?:#|%:|\?\?=)[ \t]*(if|ifdef|ifndef|elif|elifdef|elifndef|else|endif|define|undef"
    rb"|include|include_next|import|pragma)\b([^\n\\]*(?:\\(?:\r?\n)?[^\n\\]*)*)"
)
_DEFINED = re.compile(rb"(?:[ \t]|\\\r?\n)*([A-Za-z_]\w*)(\([^)]*\))?[ \t]*")
_NAME = re.compile(rb"[A-Za-z_]\w*")
_INCLUDED = re.compile(rb'\s*(["<])([^">\n]+)[">]')
_CONTINUED = re.compile(rb"\\\r?\n")

IF, ELIF, ELSE, ENDIF, DEFINE, UNDEF, INCLUDE, ONCE = range(8)


@dataclass(frozen=True)
class Macro:
    """One `#define`, or a definition that a build gives (then its source has no text)."""

    name: bytes
    parameters: tuple[bytes, ...] | None
    """None for a macro without parentheses."""
    body: bytes
    source: Source
    start: int
    """Offset of its line."""
    body_start: int
    end: int

    @cached_property
    def alone(self) -> tuple[tuple[Macro, bool], ...]:
        """It as the only definition of its name, and a sure one; made once."""
        return ((self, True),)


class Condition(NamedTuple):
    """What an `#if`, `#ifdef`, `#ifndef` or `#elif` asks."""

    kind: str
    """"if", "ifdef" or "ifndef"."""
    text: bytes


class Included(NamedTuple):
    """What an `#include` names."""

    quoted: bool
    name: str
    """Empty when a macro stands for it."""
    text: bytes


class Directive(NamedTuple):
    """One line that a preprocessor acts on."""

    kind: int
    what: Condition | Macro | Included | bytes | None
    next: int
    """For a branch: index of the line that ends it."""
    group: int
    branch: int
    offset: int


class Region(NamedTuple):
    """The innermost branch around a stretch of text."""

    group: int
    branch: int
    outer: Region | None


class Directives:
    """All lines of one file that a preprocessor acts on, with the groups that they form."""

    def __init__(self, source: Source) -> None:
        self.groups: list[int] = []
        """How many branches each group has; outer ones come before those that they hold."""
        self.outer: list[Region | None] = []
        """The branch around each group."""
        self.macros: dict[bytes, list[Macro]] = {}
        """Every `#define`, by name."""
        self.undefined: dict[bytes, list[int]] = {}
        """Where every `#undef` stands, by name."""
        self.lines: list[Directive] = []
        self.once = False
        self.starts = [0]
        """Where the regions of the text begin, in order."""
        self.regions: list[Region | None] = [None]
        self._stack: list[int] = []
        """The lines that began the last branch of each open group."""
        plain = source.plain
        for start, _ in sorted(directive_lines(plain)):
            if (match := _LINE.match(plain, start)) is not None:
                self._take(source, match)
        for line in self._stack:
            self.lines[line] = self.lines[line]._replace(next=len(self.lines))
        self.guard = self._guard()
        """The macro that keeps the whole file from being read twice; empty when there is none."""

    def _take(self, source: Source, match: re.Match[bytes]) -> None:
        word, text = match[1], match[2]
        if word in _CONDITIONS:
            self._branch(match, word, text)
        elif word == b"define":
            if (named := _DEFINED.match(text)) is not None:
                macro = _macro(source, match, named)
                self.macros.setdefault(macro.name, []).append(macro)
                self._add(DEFINE, macro, match)
        elif word == b"undef":
            if (name := _NAME.search(text)) is not None:
                self.undefined.setdefault(name[0], []).append(match.start())
                self._add(UNDEF, name[0], match)
        elif word == b"pragma":
            if _CONTINUED.sub(b" ", text).split()[:1] == [b"once"]:
                self.once = True
                self._add(ONCE, None, match)
        else:
            self._add(INCLUDE, included(_CONTINUED.sub(b" ", text)), match)

    def _add(
        self, kind: int, what: Condition | Macro | Included | bytes | None, match: re.Match[bytes]
    ) -> None:
        self.lines.append(Directive(kind, what, 0, -1, 0, match.start()))

    def _branch(self, match: re.Match[bytes], word: bytes, text: bytes) -> None:
        here = len(self.lines)
        kind, how = _CONDITIONS[word]
        outer = self.regions[-1]
        if kind == IF:
            self._stack.append(here)
            self.groups.append(0)
            self.outer.append(outer)
            number = len(self.groups) - 1
        elif not self._stack:
            return
        else:
            line = self._stack[-1]
            self.lines[line] = self.lines[line]._replace(next=here)
            number = self.lines[line].group
            assert outer is not None
            outer = outer.outer
            self._stack[-1] = here
        branch = self.groups[number]
        if kind == ENDIF:
            self._stack.pop()
            region = outer
        else:
            self.groups[number] += 1
            region = Region(number, branch, outer)
        self.starts.append(match.end())
        self.regions.append(region)
        condition = Condition(how, _CONTINUED.sub(b" ", text).strip()) if how else None
        self.lines.append(Directive(kind, condition, 0, number, branch, match.start()))

    def region_at(self, offset: int) -> Region | None:
        """The innermost branch that holds an offset."""
        return self.regions[bisect_right(self.starts, offset) - 1]

    def _guard(self) -> bytes:
        """`#ifndef X`, `#define X` at the start, and the `#endif` at the end."""
        lines = [line for line in self.lines if line.kind != ONCE]
        if len(lines) < 3 or lines[0].kind != IF or lines[-1].kind != ENDIF or lines[-1].group:
            return b""
        asked, set_ = lines[0].what, lines[1].what
        if not isinstance(asked, Condition) or not isinstance(set_, Macro):
            return b""
        if self.groups[0] > 1:
            return b""
        match = _NOT_DEFINED.fullmatch(asked.text) if asked.kind == "if" else None
        name = match[1] if match else asked.text if asked.kind == "ifndef" else b""
        return name if name == set_.name else b""


_NOT_DEFINED = re.compile(rb"!\s*defined\s*\(?\s*(\w+)\s*\)?")
_CONDITIONS: dict[bytes, tuple[int, str]] = {
    b"if": (IF, "if"),
    b"ifdef": (IF, "ifdef"),
    b"ifndef": (IF, "ifndef"),
    b"elif": (ELIF, "if"),
    b"elifdef": (ELIF, "ifdef"),
    b"elifndef": (ELIF, "ifndef"),
    b"else": (ELSE, ""),
    b"endif": (ENDIF, ""),
}


def _macro(source: Source, match: re.Match[bytes], named: re.Match[bytes]) -> Macro:
    listed = named[2]
    parameters = None
    if listed is not None:
        words = _CONTINUED.sub(b" ", listed[1:-1]).split(b",")
        parameters = tuple(word.strip() for word in words if word.strip())
    # offsets in the body must stay true, so breaks become as many spaces
    body = match[2][named.end() :]
    if b"\\" in body:
        body = _CONTINUED.sub(lambda found: b" " * len(found[0]), body)
    begin = match.start(2) + named.end()
    return Macro(named[1], parameters, body, source, match.start(), begin, match.end())


def included(text: bytes) -> Included:
    """What an `#include` line names."""
    if (match := _INCLUDED.match(text)) is None:
        return Included(quoted=False, name="", text=text.strip())
    name = match[2].decode("utf-8", "replace").replace("\\", "/").strip()
    return Included(match[1] == b'"', name, b"")


def given(name: str, value: str) -> Macro:
    """A definition that a build gives: `NAME`, `NAME=value` or `NAME(a)=value`."""
    match = _DEFINED.match(f"{name}".encode())
    listed = match[2] if match else None
    parameters = tuple(listed[1:-1].replace(b" ", b"").split(b",")) if listed else None
    body = value.encode()
    return Macro(match[1] if match else name.encode(), parameters, body, NOWHERE, 0, 0, len(body))


NOWHERE = Source("", b"")
"""Where the definitions of a build stand."""
