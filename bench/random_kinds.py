"""The kinds of random programs, what is observed in runs, and who judges what is said of them."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Set
from pathlib import Path
from typing import NamedTuple, Protocol

from random_pointers import PointerProgram
from random_program import Program
from random_shapes import WiderProgram

TESTS = Path(__file__).resolve().parent.parent / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "fixtures")]

import led  # noqa: E402
import received  # noqa: E402

Observed = Mapping[int, Set[int]] | Mapping[str, Set[int]]
"""By tag, the values that a call received; or by use, the numbers of the places."""


class RandomProgram(Protocol):
    """A driver in C with the same program in Python."""

    @property
    def source(self) -> str: ...
    @property
    def sources(self) -> list[str]: ...
    def values(self, seed: int) -> Observed: ...


class Kind(NamedTuple):
    """One kind of programs; their names begin with `letter`."""

    letter: str
    make: Callable[[int], RandomProgram]
    judge: Callable[..., received.Answer]
    """Of a driver or a folder of sources, and what was observed."""


KINDS = {
    "usual": Kind("r", Program, received.answer),
    "wider": Kind("w", WiderProgram, received.answer),
    "pointers": Kind("p", PointerProgram, led.judge),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Let a person choose a kind."""
    either = parser.add_mutually_exclusive_group()
    for name, text in (
        ("wider", "programs of more shapes"),
        ("pointers", "programs whose pointers lead to code and to data"),
    ):
        either.add_argument(f"--{name}", action="store_const", const=name, dest="kind", help=text)
    parser.set_defaults(kind="usual")


def as_json(observed: Observed) -> str:
    """What was observed, as fixtures keep it."""
    told = {
        key if isinstance(key, str) else f"{key:#x}": sorted(observed[key])
        for key in sorted(observed)
    }
    return json.dumps(told, indent=1) + "\n"
