"""The steps back from a value: what expressions, places and names lead to.

Knows nothing of how a step is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from hvci.source.pointers.held import Place
from hvci.source.pointers.roots import Frame, Root, Roots, Where
from hvci.source.preprocess.tree import Function
from hvci.source.program.program import Program

if TYPE_CHECKING:
    from tree_sitter import Node

MAX_FRAMES = 3
"""Calls that are come back to."""


@dataclass(frozen=True, slots=True)
class At:
    """An expression, where it is evaluated."""

    node: Node
    where: Where


@dataclass(frozen=True, slots=True)
class Read:
    """A place that is read somewhere."""

    place: Place
    where: Where


@dataclass(frozen=True, slots=True)
class Left:
    """What a function that was called leaves in a place."""

    place: Place
    where: Where


@dataclass(frozen=True, slots=True)
class Standing:
    """What a variable holds while nothing of the driver runs."""

    place: Place
    is_first: bool = False
    """Nothing of it ran yet."""


@dataclass(frozen=True, slots=True)
class Every:
    """All that a pointer ever gets."""

    place: Place
    function: Function | None


@dataclass(frozen=True, slots=True)
class Alike:
    """All that is written through whatever may point to a place."""

    place: Place
    function: Function | None


@dataclass(frozen=True, slots=True)
class Named:
    """All that is given to fields or variables of a name."""

    name: bytes
    element: bool = False
    of_field: bool = False


Value = At | Read | Left | Standing | Every | Alike | Named


class Way(NamedTuple):
    """One step back from a value."""

    to: Value | Root
    exact: bool = True
    stored: str = ""
    shared: bool = False
    loose: Value | None = None
    """What is told by less than the order of events: this may hold other things instead."""


class Follows(Protocol):
    """Who follows expressions."""

    program: Program

    def reached(self, value: Value, all_known: bool = False) -> Roots:
        """What a value can be; with `all_known` nothing more is asked once something is unknown."""

    def functions_of(self, pointer: Node, where: Where) -> list[Function]:
        """The functions of the program that a pointer may lead to."""


def thing(place: Place) -> tuple[str, str, int]:
    """A variable as what a pointer leads to."""
    name = place.name.decode("utf-8", "replace")
    function = place.function
    if function is None:
        return name, "", -1
    return name, function.file.source.path, place.declared or function.node.start_byte


def inside(function: Function) -> Where:
    """The beginning of a function, from nowhere."""
    return Where(function.file, function, function.node.start_byte, function.file.source.path)


def within_calls(where: Where, calls: tuple[Frame, ...]) -> Where:
    """The same place, come to by other calls."""
    return Where(
        where.file, where.function, where.offset, where.path, where.words, where.macro, calls
    )


def into(function: Function, call: Node, where: Where) -> Where:
    """The beginning of a function that is called somewhere."""
    frame = Frame(call, within_calls(where, ()))
    calls = (frame, *where.calls)[:MAX_FRAMES]
    return within_calls(inside(function), calls)
