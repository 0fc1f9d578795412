"""What is known of the Windows version in one image: what its questions write and set.

The data flow asks it while it is there (`Dataflow.versions`); it asks the data flow nothing.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import NamedTuple

from hvci.binary.flow.atoms import Atoms
from hvci.binary.flow.versions.telling import Telling
from hvci.binary.form.code import Function

Place = tuple[Function, int]


class Started(NamedTuple):
    """A variable that start-up code surely sets."""

    size: int
    """Bytes that are set."""
    initial: Atoms
    """What it may hold until then."""
    early: Mapping[int, Container[int]]
    """What may run until then: instructions by the start of their function."""
    replaced: frozenset[Place] = frozenset()
    """The stores of what it holds until then."""


class Versions:
    """What the kernels that are aimed at say where a driver asks for the version."""

    def __init__(self, telling: Telling) -> None:
        self.telling = telling
        self.slots: dict[int, dict[int, Atoms]] = {}
        """By the RVA of a call: what it leaves at offsets of the frame."""
        self.globals: dict[int, dict[int, Atoms]] = {}
        """By the RVA of a call: what it leaves in variables, by their RVA."""
        self.started: dict[int, Started] = {}
        """By the RVA of a variable."""
        self._of_frames: dict[int, set[int]] = {}

    def add(
        self, function: Function, i: int, slots: dict[int, Atoms], rest: dict[int, Atoms]
    ) -> None:
        """Note what a call writes, into the frame and into variables."""
        self.slots[function.rvas[i]], self.globals[function.rvas[i]] = slots, rest
        self._of_frames.setdefault(function.start, set()).update(slots)

    def in_frame(self, function: Function, i: int, offset: int) -> Atoms | None:
        """What instruction `i` leaves at an offset of the frame; None for nothing that is known."""
        return self.slots.get(function.rvas[i], _NOTHING).get(offset)

    def is_told(self, function: Function, offset: int) -> bool:
        """Whether a question for the version writes a place of the frame."""
        return offset in self._of_frames.get(function.start, ())

    def start_of(self, rva: int, size: int) -> Started | None:
        """What is known of a variable of some bytes that start-up code surely sets."""
        started = self.started.get(rva)
        return started if started is not None and size <= started.size else None

    def asks(self, function: Function, i: int) -> bool:
        """Whether an instruction is a question of which is known all that matters it writes."""
        return function.rvas[i] in self.slots

    def in_variable(self, function: Function, i: int, rva: int) -> Atoms | None:
        """What instruction `i` leaves in a variable; None for nothing that is known."""
        return self.globals.get(function.rvas[i], _NOTHING).get(rva)


_NOTHING: dict[int, Atoms] = {}
