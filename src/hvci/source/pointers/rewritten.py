"""Texts in which uses of macros are written out, and a program that is read with them.

Theory of operation: what is written out stands where the use stood, so that all that reads texts
reads it as a compiler does; offsets are those of the new text, and places that people are told are
those of the file. Directives stay what they are. Knows texts and programs; chooses no macro.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from hvci.source.preprocess.runs import Run
from hvci.source.preprocess.tree import Text
from hvci.source.preprocess.units import Space, TranslationUnit
from hvci.source.program.program import Program
from hvci.source.text.directives import Directives, Macro
from hvci.source.text.text import Source


class Change(NamedTuple):
    """One use of a macro, and what is written for it."""

    start: int
    end: int
    """In the text of the file."""
    text: bytes
    macros: tuple[Macro, ...]


@dataclass(frozen=True, eq=False)
class Rewritten(Source):
    """A text with uses of macros written out."""

    origin: Source | None = None
    changes: tuple[Change, ...] = ()

    @cached_property
    def _starts(self) -> tuple[list[int], list[int]]:
        """Where each change begins, in the new text and in the file's."""
        moved, new = 0, list[int]()
        for one in self.changes:
            new.append(one.start + moved)
            moved += len(one.text) - (one.end - one.start)
        return new, [one.start for one in self.changes]

    def _before(self, offset: int) -> tuple[Change | None, int]:
        """The last change that begins before an offset or there, and how far behind that it is."""
        new, _ = self._starts
        at = bisect_right(new, offset) - 1
        return (self.changes[at], offset - new[at]) if at >= 0 else (None, offset)

    def written_as(self, offset: int) -> int:
        """The offset in the file; that of the use where a macro is written out."""
        change, behind = self._before(offset)
        if change is None:
            return offset
        rest = behind - len(change.text)
        return change.start if rest < 0 else change.end + rest

    def is_written_out(self, offset: int) -> bool:
        """Whether what stands at an offset is of a macro."""
        change, behind = self._before(offset)
        return change is not None and behind < len(change.text)

    def placed(self, offset: int) -> int:
        """The offset in the new text of one in the file."""
        new, old = self._starts
        at = bisect_right(old, offset) - 1
        if at < 0:
            return offset
        change = self.changes[at]
        rest = offset - change.end
        return new[at] if rest < 0 else new[at] + len(change.text) + rest

    def stands(self, offset: int, name: str) -> tuple[str, int]:
        """The file and the offset where a name that is read at an offset is written."""
        assert self.origin is not None
        change, _ = self._before(offset)
        word = name.encode()
        if change is not None and self.is_written_out(offset):
            at = self.origin.plain.find(word, change.start, change.end)
            if at >= 0:
                return self.path, at
            for macro in change.macros:
                if (at := macro.body.find(word)) >= 0:
                    return macro.source.path, macro.body_start + at
        return self.path, self.written_as(offset)

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column in the file."""
        assert self.origin is not None
        return self.origin.position(self.written_as(offset))


def rewritten(origin: Source, changes: Sequence[Change]) -> Rewritten:
    """A text with some changes, which are in order and apart."""
    parts, at = list[bytes](), 0
    for one in changes:
        parts += (origin.text[at : one.start], one.text)
        at = one.end
    text = b"".join((*parts, origin.text[at:]))
    return Rewritten(origin.path, text, origin.codec, origin, tuple(changes))


class _Text(Text):
    """Such a text with its directives; macros are those of the file, which all programs know."""

    def __init__(self, source: Source, known: Text) -> None:
        super().__init__(source)
        self._known = known

    @cached_property
    def directives(self) -> Directives:
        """The lines that a preprocessor acts on."""
        found = Directives(self.source)
        self.__dict__["_own"] = found.macros
        found.macros = self._known.directives.macros
        return found

    @cached_property
    def _defines(self) -> tuple[list[int], list[Macro]]:
        self.directives  # noqa: B018 (it tells where the lines stand here)
        every = [macro for many in self.__dict__["_own"].values() for macro in many]
        every.sort(key=lambda macro: macro.start)
        return [macro.start for macro in every], every


class _Space(Space):
    """The files of a target, some of them written out; everything else is shared."""

    def __init__(self, space: Space, paths: Sequence[str], texts: Mapping[str, Text]) -> None:
        self.__dict__.update(space.__dict__)
        self._shared = space
        self._new = texts
        sources = {path: one for path in paths if (one := self.source(path)) is not None}
        self.words = space.words.like(sources)

    def source(self, path: str) -> Source | None:
        """A file that was read."""
        new = self._new.get(path)
        return new.source if new is not None else self._shared.source(path)

    def text(self, path: str) -> Text | None:
        """A file with its directives and trees."""
        return self._new.get(path) or self._shared.text(path)

    def run(self, unit: TranslationUnit) -> Run:
        """A preprocessed unit."""
        return self._shared.run(unit)


class WrittenOut(Program):
    """A program that is read with some texts in place of its own."""

    texts: Mapping[str, Text]

    def forget_texts(self) -> None:
        """Let go of those texts; all others are the program's that it was made of."""
        for text in self.texts.values():
            text.forget()


def with_texts(program: Program, sources: Mapping[str, Rewritten]) -> Program:
    """A program that is read with some texts in place of its own."""
    known = ((path, one, program.space.text(path)) for path, one in sources.items())
    texts = {path: _Text(one, text) for path, one, text in known if text is not None}
    new = WrittenOut.__new__(WrittenOut)
    new.__dict__.update(program.__dict__)
    new.texts = texts
    new.read_as(_Space(program.space, program.paths, texts))
    return new
