"""Places of a program where a pointer to code may be called, copied to or stored through.

Theory of operation: words decide, before anything is parsed. Calls through names matter where
something asks for memory that may execute, stores where their text names something that a look-up
may have reached, copies where they name a function. Knows texts; follows no pointer but names.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Set
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from hvci.catalog.prototypes import x86_bytes
from hvci.source.pointers.callables import callable_names
from hvci.source.pointers.code_as_data import CodeAsData, code_as_data
from hvci.source.pointers.makers import PUTTING, RETURNING
from hvci.source.pointers.origins import Origins
from hvci.source.pointers.places import (
    ARROW,
    LOOKED_UP,
    LOOKUP,
    MAPPED,
    ROUTINES,
    SOURCES,
    STEP,
    STORE,
    WORD,
    Words,
    words_of,
)
from hvci.source.pointers.rewritten import Rewritten
from hvci.source.pointers.roots import Made
from hvci.source.preprocess.tree import Function, text_of
from hvci.source.program.calls import split
from hvci.source.program.chains import bare
from hvci.source.program.program import Program
from hvci.source.program.scope import variable
from hvci.source.text.text import places

if TYPE_CHECKING:
    from tree_sitter import Node

_WANTED = (*RETURNING, *PUTTING, LOOKUP, *MAPPED)
_WORDS = frozenset(name.encode() for name in _WANTED if name.isidentifier())
_MEMORY = frozenset(name.encode() for name in (*RETURNING, *PUTTING) if name.isidentifier())
_OTHERS = tuple(name for name in _WANTED if not name.isidentifier())
"""What a program without pointers to code names none of; the latter are more than a word."""
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
        self.routines = {**ROUTINES, **program.space.calling}
        """Routines that call what one of their arguments points at."""

    def plans(self) -> Iterator[tuple[str, Plan]]:
        """The files with something to look at."""
        named = {name.decode() for name in self.program.names_of(_WORDS)}
        named |= {name for name in _OTHERS if self.program.names(name.encode())}
        for path, words in self.words.items():
            is_patching = bool(self._patching) and not self._patching.isdisjoint(words.defined)
            as_data: Set[bytes] = self.as_data.reached.get(path, set())
            if not named and not words.as_bytes and not is_patching and not as_data:
                continue
            calls = tuple(self._calls(words)) if named - {LOOKUP, *MAPPED} else ()
            if LOOKUP in named and self._walks_code:
                calls += tuple(self._computed(words))
            reached = self._reached(words) if LOOKUP in named else frozenset()
            reached = _moved(words, set(reached | self._pointing(words)))
            if is_patching:
                reached = _moved(words, set(reached | words.parameters))
            reached |= as_data
            takings = tuple(self._takings(words, reached))
            stores = tuple(_stores(words.code, reached)) if words.holds_any(reached) else ()
            if self._goes_anywhere:
                every = (*STORE.finditer(words.code), *STEP.finditer(words.code))
                stores += tuple(match.end() - 1 for match in every)
            if calls or takings or stores:
                yield path, Plan(calls, takings, stores)

    @cached_property
    def names_memory(self) -> bool:
        """Whether the program names a routine that gives memory."""
        named = self.program.names_of(_MEMORY)
        return bool(named) or any(self.program.names(name.encode()) for name in _OTHERS)

    @cached_property
    def words(self) -> dict[str, Words]:
        """The words of every file."""
        found = ((path, self.program.space.text(path)) for path in self.program.paths)
        return {
            path: words_of(text, self.program.space.words, self.program.space.calling)
            for path, text in found
            if text is not None
        }

    @cached_property
    def _given(self) -> frozenset[bytes]:
        """Names that get a value somewhere: only those can hold a pointer."""
        return frozenset().union(*(words.given for words in self.words.values()))

    def is_fixed(self, pointer: Node | None, function: Function | None) -> bool:
        """Whether what is called is a name that nothing in C gives a value: a function, or a type.

        Most calls through expressions look so, because a cast of something in parentheses does.
        """
        name = text_of(bare(pointer)) if pointer is not None and self.program.is_c else b""
        if WORD.fullmatch(name) is None or name in self._given or name in self.program.defined:
            return False
        if function is not None and (
            name in function.parameters or variable(function, name) is not None
        ):
            return False
        return name not in self.origins.data.arrays

    @cached_property
    def defined(self) -> frozenset[bytes]:
        """Names that stand before a body, of functions and of some statements."""
        return frozenset().union(*(words.defined for words in self.words.values()))

    @cached_property
    def _asks(self) -> bool:
        """Whether the program asks for memory that may execute."""
        return any(words.asks for words in self.words.values())

    @cached_property
    def _callable(self) -> frozenset[bytes]:
        """Names that get what may be memory as a pointer to a routine."""
        if not self.names_memory:
            return frozenset()
        return callable_names(self.words.values(), self.program, self.defined)

    @cached_property
    def _looked_up(self) -> frozenset[bytes]:
        """Variables and fields that get what a look-up returns."""
        every = (words for words in self.words.values() if words.looks_up)
        return frozenset(name for words in every for name in LOOKED_UP.findall(words.code))

    def _pointing(self, words: Words) -> frozenset[bytes]:
        """Names of a file that point at a function as at bytes."""
        return frozenset(left for left, right in words.as_bytes if self._has_address(right))

    @cached_property
    def _goes_anywhere(self) -> bool:
        """Whether addresses of code, as bytes, go where names do not tell: lists and results."""
        if any(words.looks_up and words.looks_up_for > 0 for words in self.words.values()):
            return True
        return any(
            self._has_address(name)
            for words in self.words.values()
            for name in Counter(words.all_as_bytes) - Counter(one for _, one in words.as_bytes)
            if name in self.defined or x86_bytes(name.decode("latin-1")) is not None
        )

    @cached_property
    def as_data(self) -> CodeAsData:
        """Which functions are taken for data, and where their addresses go."""
        return code_as_data(self.program, self.words, self.defined)

    @cached_property
    def _patching(self) -> frozenset[bytes]:
        """Functions of the program that get a function first, as bytes to write perhaps."""
        return frozenset(
            callee
            for words in self.words.values()
            for callee, name in words.given_as_bytes
            if callee in self.defined and self._has_address(name)
        )

    def _has_address(self, name: bytes) -> bool:
        """Whether a name is a function of the program or the kernel; asked of few names."""
        return x86_bytes(name.decode("latin-1")) is not None or bool(self.program.functions(name))

    def _is_function(self, name: bytes) -> bool:
        return name in self.defined or x86_bytes(name.decode("latin-1")) is not None

    def _reached(self, words: Words) -> frozenset[bytes]:
        """Names of a file that may hold what a look-up returned."""
        found = set(self._looked_up)
        if words.looks_up:
            found |= words.parameters
        return _moved(words, found)

    @cached_property
    def _walks_code(self) -> bool:
        """Whether something goes on from a routine that was looked up, as a search in code does."""
        return any(
            _goes_on(words.code, name)
            for words in self.words.values()
            for name in _moved(words, set(self._looked_up))
        )

    def _computed(self, words: Words) -> Iterator[int]:
        """Calls through what may have been computed from a routine that was looked up."""
        yield from words.through
        for name, at in words.called:
            if name in self.defined or name not in self._given:
                continue
            held = self.origins.stored(name)
            if name in words.local or any(root.made is Made.ROUTINE for root in held):
                yield at

    def _calls(self, words: Words) -> Iterator[int]:
        yield from words.through
        if isinstance(words.source, Rewritten):
            yield from (at for _, at in words.called if words.source.is_written_out(at))
        asks, named = self._asks, self._callable
        if asks or (named and words.holds_any(named)):
            yield from (
                at
                for name, at in words.called
                if name in named or (asks and self._may_hold(name, words))
            )

    def _may_hold(self, name: bytes, words: Words) -> bool:
        """Whether a name that is called may be a variable or field with memory in it."""
        if name in self.defined:
            return False
        if name in words.local:
            return True
        if name not in self._given:
            return False
        return any(root.made is Made.MEMORY for root in self.origins.stored(name))

    def _takings(self, words: Words, reached: frozenset[bytes]) -> Iterator[tuple[int, str]]:
        for start, opening, name in words.taking:
            given = [set(WORD.findall(one.text)) for one in split(words.code, opening)]
            if given and self._is_worth(name.decode(), given, words, reached):
                yield start, name.decode()

    def _is_worth(
        self, name: str, given: list[set[bytes]], words: Words, reached: frozenset[bytes]
    ) -> bool:
        """Whether the arguments of a call may be code, as far as their words tell."""
        if name in self.routines:
            index = self.routines[name]
            return index < len(given) and not given[index] & self.defined
        if given[0] & reached:
            return True
        if name in MAPPED:
            own = words.parameters & given[0]
            return bool(own) or any(map(self._is_function, given[0]))
        if len(given[0]) < MAX_WORDS and any(map(self._is_function, given[0])):
            return True
        source = SOURCES.get(name, -1)
        if not 0 <= source < len(given) or not given[source]:
            return False
        if not self.defined.isdisjoint(given[source]):
            return True
        return any(not self.defined.isdisjoint(words.same(one)) for one in given[source])


def _goes_on(code: bytes, name: bytes) -> bool:
    """Whether something is added to a name, or it is indexed."""
    return any(_BEHIND.match(code, at + len(name)) is not None for at in places(code, name))


_BEHIND = re.compile(rb"\s*(?:\[|\+)")


def _moved(words: Words, found: set[bytes]) -> frozenset[bytes]:
    """Names, and those that they are assigned to in a file."""
    todo = sorted(found)
    while todo:
        new = words.moved_from.get(todo.pop(), set()) - found
        found |= new
        todo += new
    return frozenset(found)


def _stores(code: bytes, reached: frozenset[bytes]) -> Iterator[int]:
    """Assignments whose left side names something that a look-up may have reached."""
    for match in (*STORE.finditer(code), *ARROW.finditer(code), *STEP.finditer(code)):
        ends = (code.rfind(end, 0, match.start() + 1) for end in (b";", b"}", b"{"))
        if not reached.isdisjoint(WORD.findall(code, max(0, *ends), match.end())):
            yield match.end() - 1
