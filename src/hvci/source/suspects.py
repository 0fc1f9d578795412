"""Places of a program where a pointer to code may be called, copied to or stored through.

Theory of operation: words decide, before anything is parsed. Calls through names matter where
something asks for memory that may execute, stores where their text names something that a look-up
may have reached, copies where they name a function. Knows texts; follows no pointer but names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

from hvci.catalog.prototypes import x86_bytes
from hvci.source.calls import split
from hvci.source.pointers import (
    COPIES,
    LOOKED_UP,
    MAPPED,
    MAX_HOPS,
    ROUTINES,
    STORE,
    TAKING,
    WORD,
    Words,
    moves_of,
    words_of,
)
from hvci.source.program import Program
from hvci.source.roots import LOOKUP, PUTTING, RETURNING, Made, Origins

MAX_WORDS = 8
"""Words in the first argument of a copy that may be a cast function."""


class Plan(NamedTuple):
    """What to look at in one file, by offset."""

    calls: tuple[int, ...] = ()
    """Parentheses of calls through pointers."""
    takings: tuple[tuple[int, str], ...] = ()
    """Names of routines that write where an argument points, or call it."""
    stores: tuple[int, ...] = ()
    """Operators of assignments through pointers."""


class Suspects:
    """Decides for one program."""

    def __init__(self, program: Program, origins: Origins) -> None:
        self.program = program
        self.origins = origins

    def plans(self) -> Iterator[tuple[str, Plan]]:
        """The files with something to look at."""
        wanted = (*RETURNING, *PUTTING, LOOKUP, *MAPPED)
        named = {name for name in wanted if self.program.names(name.encode())}
        for path, code in self._codes.items():
            if not named and not words_of(code).as_bytes:
                continue
            calls = tuple(self._calls(code)) if named - {LOOKUP, *MAPPED} else ()
            if LOOKUP in named and self._walks_code:
                calls += tuple(self._computed(code))
            reached = self._reached(code) if LOOKUP in named else frozenset()
            reached |= self._pointing(code)
            takings = tuple(self._takings(code, reached))
            stores = tuple(_stores(code, reached)) if reached else ()
            if calls or takings or stores:
                yield path, Plan(calls, takings, stores)

    @cached_property
    def _codes(self) -> dict[str, bytes]:
        found = {path: self.program.space.source(path) for path in self.program.paths}
        return {path: source.code for path, source in found.items() if source is not None}

    @cached_property
    def _given(self) -> frozenset[bytes]:
        """Names that get a value somewhere: only those can hold a pointer."""
        return frozenset().union(*(words_of(code).given for code in self._codes.values()))

    @cached_property
    def _defined(self) -> frozenset[bytes]:
        """Names that stand before a body, of functions and of some statements."""
        return frozenset().union(*(words_of(code).defined for code in self._codes.values()))

    @cached_property
    def _asks(self) -> bool:
        """Whether the program asks for memory that may execute."""
        return any(words_of(code).asks for code in self._codes.values())

    @cached_property
    def _looked_up(self) -> frozenset[bytes]:
        """Variables and fields that get what a look-up returns."""
        texts = (code for code in self._codes.values() if LOOKUP.encode() in code)
        return frozenset(name for code in texts for name in LOOKED_UP.findall(code))

    def _pointing(self, code: bytes) -> frozenset[bytes]:
        """Names of a file that point at a function as at bytes."""
        pairs = words_of(code).as_bytes
        return frozenset(left for left, right in pairs if self._has_address(right))

    def _has_address(self, name: bytes) -> bool:
        """Whether a name is a function of the program or the kernel; asked of few names."""
        return x86_bytes(name.decode("latin-1")) is not None or bool(self.program.functions(name))

    def _is_function(self, name: bytes) -> bool:
        return name in self._defined or x86_bytes(name.decode("latin-1")) is not None

    def _reached(self, code: bytes) -> frozenset[bytes]:
        """Names of a file that may hold what a look-up returned."""
        found = set(self._looked_up)
        if LOOKUP.encode() in code:
            found |= words_of(code).parameters
        return self._moved(code, found)

    def _moved(self, code: bytes, found: set[bytes]) -> frozenset[bytes]:
        """Names, and those that they are assigned to."""
        for _ in range(MAX_HOPS):
            more = {left for left, right in moves_of(code) if right & found} - found
            if not more:
                break
            found |= more
        return frozenset(found)

    @cached_property
    def _walks_code(self) -> bool:
        """Whether something goes on from a routine that was looked up, as a search in code does."""
        return any(
            re.search(rb"\b(?:" + b"|".join(map(re.escape, names)) + rb")\s*(?:\[|\+)", code)
            for code in self._codes.values()
            if (names := sorted(self._moved(code, set(self._looked_up))))
        )

    def _computed(self, code: bytes) -> Iterator[int]:
        """Calls through what may have been computed from a routine that was looked up."""
        words = words_of(code)
        yield from words.through
        for name, at in words.called:
            if name in self._defined or name not in self._given:
                continue
            held = self.origins.stored(name)
            if name in words.local or any(root.made is Made.ROUTINE for root in held):
                yield at

    def _calls(self, code: bytes) -> Iterator[int]:
        words = words_of(code)
        yield from words.through
        if self._asks:
            yield from (at for name, at in words.called if self._may_hold(name, words))

    def _may_hold(self, name: bytes, words: Words) -> bool:
        """Whether a name that is called may be a variable or field with memory in it."""
        if name in self._defined:
            return False
        if name in words.local:
            return True
        if name not in self._given:
            return False
        return any(root.made is Made.MEMORY for root in self.origins.stored(name))

    def _takings(self, code: bytes, reached: frozenset[bytes]) -> Iterator[tuple[int, str]]:
        for match in TAKING.finditer(code):
            name = match[1].decode()
            given = [set(WORD.findall(one.text)) for one in split(code, match.end() - 1)]
            if given and self._is_worth(name, given, code, reached):
                yield match.start(1), name

    def _is_worth(
        self, name: str, given: list[set[bytes]], code: bytes, reached: frozenset[bytes]
    ) -> bool:
        """Whether the arguments of a call may be code, as far as their words tell."""
        if name in ROUTINES:
            index = ROUTINES[name]
            return self._asks and index < len(given) and not given[index] & self._defined
        if given[0] & reached:
            return True
        if name in MAPPED:
            own = words_of(code).parameters & given[0]
            return bool(own) or any(map(self._is_function, given[0]))
        if len(given[0]) < MAX_WORDS and any(map(self._is_function, given[0])):
            return True
        if name not in COPIES or len(given) < 2 or not given[1]:
            return False
        aliases = {left for left, right in words_of(code).same if right in self._defined}
        return bool(given[1] & (self._defined | aliases))


def _stores(code: bytes, reached: frozenset[bytes]) -> Iterator[int]:
    """Assignments whose left side names something that a look-up may have reached."""
    for match in STORE.finditer(code):
        ends = (code.rfind(end, 0, match.start() + 1) for end in (b";", b"}", b"{"))
        if not reached.isdisjoint(WORD.findall(code, max(0, *ends), match.end())):
            yield match.end() - 1
