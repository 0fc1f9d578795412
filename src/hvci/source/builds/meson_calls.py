"""The calls and assignments of Meson files, and which of them are about one target.

Theory of operation: a target is about what its call names, and about what those variables hold in
turn; calls for other targets and variables that only those name are left out. Knows text; runs
nothing, so that what a loop or a condition makes of names is for others to miss.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

_TARGET = re.compile(
    r"\b(executable|shared_library|shared_module|static_library|both_libraries|library|build_target"
    r"|jar|test|benchmark)\s*\("
)
_IMAGES = ("executable", "shared_library", "shared_module", "library", "both_libraries")
_ARGUMENTS = re.compile(r"\badd_(?:project|global)_(?:link_)?arguments\s*\(")
_GIVEN = re.compile(r"(?m)^[ \t]*([A-Za-z_]\w*)[ \t]*\+?=(?!=)")
_LANGUAGE = re.compile(r"\blanguage\s*:\s*(\[[^\]]*\]|'[^']*')")
_OWN = re.compile(r"\b(c|cpp)_args\s*:\s*(?=[^\s])")
_WORD = re.compile(r"[A-Za-z_]\w*")
_NAME = re.compile(r"\s*'([^'\n]+)'")


MAX_CALL = 4000
"""Characters of a call in whose lines no assignment is looked for."""


@dataclass(frozen=True)
class Call:
    """A call that makes a target."""

    file: str
    start: int
    end: int
    kind: str
    text: str
    name: str
    """Empty where it is no plain text."""
    variable: str = ""
    """What it is assigned to."""

    @property
    def is_library(self) -> bool:
        """Whether it is part of what links it."""
        return self.kind == "static_library"


@dataclass(frozen=True)
class _Given:
    """An assignment."""

    start: int
    end: int
    name: str
    text: str


class Script:
    """The files of one tree."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self.texts = texts
        self.given = {file: list(_given(text)) for file, text in texts.items()}
        self.calls = [one for file in texts for one in self._calls(file)]
        self.libraries = {one.variable: one for one in self.calls if one.variable}

    @property
    def images(self) -> list[Call]:
        """The calls that may make a driver."""
        return [one for one in self.calls if one.kind in _IMAGES]

    def about(self, call: Call) -> str:
        """The text of a call with that of the variables that it names."""
        names = self._reached(call)
        held = (one.text for every in self.given.values() for one in every if one.name in names)
        return "\n".join((call.text, *held))

    def linked(self, call: Call) -> list[Call]:
        """The libraries that a target links, in turn."""
        found: dict[int, Call] = {}
        todo = [call]
        while todo:
            for name in sorted(self._reached(todo.pop())):
                one = self.libraries.get(name)
                if one is not None and one.is_library and one.start not in found:
                    found[one.start] = one
                    todo.append(one)
        return list(found.values())

    def kept(self, call: Call) -> Iterator[tuple[str, str]]:
        """The text of each file without what is about other targets only."""
        names = self._reached(call) | {call.variable}
        for file, text in self.texts.items():
            gone = [(one.start, one.end) for one in self.given[file] if one.name not in names]
            gone += [(one.start, one.end) for one in self._others(call) if one.file == file]
            if file != call.file:
                gone += [match.span() for match in _SUBDIR.finditer(text)]
            yield file, _without(text, gone)

    def _others(self, call: Call) -> Iterator[Call]:
        return (one for one in self.calls if one is not call)

    def _reached(self, call: Call) -> set[str]:
        """The variables that a call, or what all targets get, names in turn."""
        todo = _WORD.findall(call.text)
        for text in self.texts.values():
            for match in _ARGUMENTS.finditer(text):
                todo += _WORD.findall(text[match.end() : closing(text, match.end())])
        held: dict[str, list[str]] = {}
        for every in self.given.values():
            for one in every:
                if one.name not in self.libraries:
                    held.setdefault(one.name, []).extend(_WORD.findall(one.text))
        known = held.keys() | self.libraries.keys()
        found = set[str]()
        while todo:
            name = todo.pop()
            if name in known and name not in found:
                found.add(name)
                todo += held.get(name, ())
        return found

    def _calls(self, file: str) -> Iterator[Call]:
        text, at = self.texts[file], 0
        given = self.given[file]
        starts = [one.start for one in given]
        for match in _TARGET.finditer(text):
            if match.start() < at:
                continue  # inside of another one
            at = closing(text, match.end())
            place = bisect_right(starts, match.start()) - 1
            one = given[place] if place >= 0 and at <= given[place].end else None
            name = _NAME.match(text, match.end())
            yield Call(
                file,
                one.start if one is not None else match.start(),
                one.end if one is not None else at,
                match[1],
                text[match.start() : at],
                name[1] if name is not None else "",
                one.name if one is not None else "",
            )

    @staticmethod
    def in_languages(text: str, languages: Collection[str]) -> tuple[str, list[str]]:
        """A text without arguments for other languages; what only some files have is told."""
        gone, told = list[tuple[int, int]](), list[str]()
        for match in _ARGUMENTS.finditer(text):
            end = closing(text, match.end())
            said = _LANGUAGE.search(text, match.end(), end)
            named = set(re.findall(r"'(\w+)'", said[1])) if said is not None else set(languages)
            if not named & set(languages):
                gone.append((match.start(), end))
            elif not named >= set(languages):
                told.append(f"arguments for files of {' and '.join(sorted(named))} alone")
        for match in _OWN.finditer(text):
            if match[1] not in languages:
                gone.append((match.start(), _end_of(text, match.end())))
            elif len(languages) > 1:
                told.append(f"{match[1]}_args")
        return _without(text, gone), told if len(languages) > 1 else []


_SUBDIR = re.compile(r"\bsubdir\s*\([^)\n]*\)")


def _given(text: str) -> Iterator[_Given]:
    at = 0
    for match in _GIVEN.finditer(text):
        if match.start() >= at and not _depth(text, match.start()):
            at = _end_of(text, match.end(), "\n")
            yield _Given(match.start(), at, match[1], text[match.end() : at])


def _depth(text: str, end: int) -> int:
    """Parentheses that are open at the beginning of a line: what stands there names an argument."""
    begin = max(text.rfind("\n\n", max(end - MAX_CALL, 0), end), end - MAX_CALL, 0)
    return text.count("(", begin, end) - text.count(")", begin, end)


def _end_of(text: str, start: int, stop: str = ",)") -> int:
    """Where a value ends, outside of all brackets and quotes."""
    depth, quote = 0, False
    for at in range(start, len(text)):
        char = text[at]
        if char == "'" and text[at - 1] != "\\":
            quote = not quote
        elif quote:
            continue
        elif not depth and char in stop:
            return at
        elif char in "([{":
            depth += 1
        elif char in ")]}":
            depth -= 1
    return len(text)


def closing(text: str, start: int) -> int:
    """The place behind the parenthesis that closes a call."""
    return min(_end_of(text, start, ")") + 1, len(text))


def _without(text: str, gone: list[tuple[int, int]]) -> str:
    parts, at = list[str](), 0
    for start, end in sorted(gone):
        if start >= at:
            parts.append(text[at:start])
        at = max(at, end)
    return "".join((*parts, text[at:]))
