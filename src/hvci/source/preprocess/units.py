"""Translation units, and what all programs share of them: texts, headers found, units preprocessed.

Knows files and what a compiler is told; knows nothing of calls.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from hvci.model.judged import TEXT_RULES
from hvci.source.preprocess import unit as preprocess
from hvci.source.preprocess.runs import Given, Run
from hvci.source.preprocess.tree import Text
from hvci.source.text.directives import Directives, Included
from hvci.source.text.files import Shelf
from hvci.source.text.includes import QUOTED, Includes
from hvci.source.text.text import Source
from hvci.source.text.wordindex import WordIndex

_WORD = re.compile(rb"\w+")
MAX_CLOSURE = 3000
"""Files that one unit may include."""
SHOWN = 60
"""Characters of a macro in a sentence."""


@dataclass(frozen=True, eq=False)
class TranslationUnit:
    """One compiled file with what its compiler is told; the same object means the same unit."""

    path: str
    given: Given
    folders: tuple[str, ...] = ()
    """Where options say that headers are looked for."""

    @cached_property
    def places(self) -> tuple[str, ...]:
        """Where headers are looked for, next to the file that names one.

        Microsoft's compiler looks in the folders of the files that include that file before those
        of its options. Other compilers never do; it is the last place to look for what they lack.
        """
        own = (QUOTED + self.path.rpartition("/")[0],)
        return (*self.folders, *own) if self.given.compiler.is_gnu else (*own, *self.folders)


class Space:
    """The files of one target, each read once, whatever number of programs they are part of."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.includes = Includes(shelf)
        self._texts: dict[str, Text | None] = {}
        self.words = WordIndex(shelf.sources)
        self._runs: dict[TranslationUnit, Run] = {}
        self._closures: dict[tuple[str, tuple[str, ...], tuple[str, ...]], tuple[str, ...]] = {}
        self.memory = preprocess.Memory()
        self.assembled: frozenset[bytes] = frozenset()
        """The names in texts of assembly."""
        self.calling: Mapping[str, int] = {}
        """Routines of assembly that go on to where an argument points, and its position."""
        self._given_up: set[str] = set()
        self._indirect: dict[tuple[str, ...], bool] = {}

    def source(self, path: str) -> Source | None:
        """A file that was read."""
        return self.shelf.sources.get(path)

    def naming(self, paths: Iterable[str], name: bytes) -> Iterator[str]:
        """Those of some files whose text holds a name, as a whole word."""
        if _WORD.fullmatch(name) is not None:
            return self.words.holding(name, paths)
        every = ((path, self.source(path)) for path in paths)
        return (path for path, one in every if one is not None and name in one.text)

    def text(self, path: str) -> Text | None:
        """A file with its directives and trees."""
        if path not in self._texts:
            source = self.shelf.sources.get(path)
            self._texts[path] = Text(source) if source is not None else None
        return self._texts[path]

    def closure(self, unit: TranslationUnit) -> tuple[str, ...]:
        """A unit and every file that it may include, in whatever branch the line stands."""
        key = (unit.path, unit.places, unit.given.forced)
        if key not in self._closures:
            self._closures[key] = self._closed(unit)
        found = self._closures[key]
        if not self.is_indirect(found):
            return found
        return tuple(dict.fromkeys((*found, *self.run(unit).files)))

    def is_indirect(self, paths: tuple[str, ...]) -> bool:
        """Whether macros say what some of these files include, so that only a walk can tell."""
        if paths not in self._indirect:
            self._indirect[paths] = any(map(self.includes.is_indirect, paths))
        return self._indirect[paths]

    def _closed(self, unit: TranslationUnit) -> tuple[str, ...]:
        found: dict[str, None] = {}
        todo = [unit.path, *unit.given.forced]
        while todo and len(found) < MAX_CLOSURE:
            path = todo.pop()
            if path in found or path not in self.shelf.sources:
                continue
            found[path] = None
            todo += self.includes.direct(path, unit.places)
        if todo and unit.path not in self._given_up and not found.keys() >= set(todo):
            self._given_up.add(unit.path)
            told = f"it includes more than {MAX_CLOSURE} files: not all were read"
            self.shelf.limit(unit.path, told, TEXT_RULES)
        return tuple(found)

    def run(self, unit: TranslationUnit) -> Run:
        """A preprocessed unit."""
        if unit not in self._runs:
            self._runs[unit] = self._preprocessed(unit)
        return self._runs[unit]

    def forget(self, unit: TranslationUnit) -> None:
        """Let go of a preprocessed unit, and of what headers did in it."""
        self._runs.pop(unit, None)
        self.memory.frames.clear()

    def _preprocessed(self, unit: TranslationUnit) -> Run:
        def read(path: str) -> Directives | None:
            text = self.text(path)
            return text.directives if text is not None else None

        def find(here: str, what: Included) -> str | None:
            return self.includes.find(here, what, unit.places)

        run = preprocess.run(unit.path, unit.given, read, find, self.memory, unit.places)
        if run.gave_up and unit.path not in self._given_up:
            self._given_up.add(unit.path)
            self.shelf.limit(unit.path, f"preprocessing was given up: {run.gave_up}", TEXT_RULES)
        for path, text in run.unnamed:
            shown = text.decode("utf-8", "replace")[:SHOWN]
            if (key := f"{path}:{shown}") not in self._given_up:
                self._given_up.add(key)
                told = f"which file `#include {shown}` means is not known, so it was not read"
                self.shelf.limit(path, told, TEXT_RULES)
        return run
