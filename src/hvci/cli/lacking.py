"""What an INF of a folder names and the folder does not hold, where that is news.

Knows names of files only; what an INF says is read by others.
"""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hvci.targets.files import is_source

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from hvci.packages.beside import Wrong

_MOST_FOLDERS = 10_000
_MEANT = (".sys", ".cab", ".inf")


class News(NamedTuple):
    """Something that is wrong with an INF."""

    text: str
    is_error: bool
    """Whether its package is what was named; else it may be one that is put together later."""


class Lacking:
    """Asked about the INFs of one run."""

    def __init__(self) -> None:
        self._below: dict[Path, dict[str, list[Path]] | None] = {}
        """The drivers, cabinets and INFs below a folder by their names in lower case; None where
        it holds sources."""
        self.in_cabinets: dict[str, list[Wrong]] = {}
        """By an INF, what may lie in a cabinet that is there."""

    def news(self, path: Path, wrong: tuple[Wrong, ...]) -> Iterator[News]:
        """What is wrong with an INF, as far as somebody should hear of it who named its folder.

        Among sources an INF names what is built elsewhere. Without any driver below it it may, too;
        and a driver below it that is called like one that it lacks may be that one, if it is for a
        machine that the INF means: neither is an error.
        """
        folder = path.parent
        if wrong and folder not in self._below:
            self._below[folder] = _drivers(folder)
        for one in wrong:
            below = self._below[folder]
            if below is None:
                return
            there = list(islice(_meant(below, one), 1))
            if not there:
                yield News(one.text, any(name.endswith(".sys") for name in below))
            elif all(name.endswith(".cab") for name in one.files if name in below):
                self.in_cabinets.setdefault(str(path), []).append(one)
            else:
                place = there[0].relative_to(folder).as_posix()
                yield News(f"{one.text} where the INF says; there is {place}", False)

    def late_news(self, told: Iterable[str]) -> Iterator[tuple[str, str]]:
        """What no cabinet below an INF had either, by the paths of all that is told."""
        met = [Path(each.replace("!", "/")) for each in told if self.in_cabinets]
        for path, wrong in self.in_cabinets.items():
            folder = Path(path).parent
            names = {each.name.lower() for each in met if folder in each.parents}
            for one in wrong:
                if names.isdisjoint(one.files):
                    yield path, one.text


def _meant(below: dict[str, list[Path]], wanted: Wrong) -> Iterator[Path]:
    """Those of the files below an INF that may be what it lacks."""
    from hvci.packages.claims import machine_of_file

    machines = {None, *wanted.machines} if wanted.machines else ()
    for name in sorted(wanted.files):
        for file in below.get(name, ()):
            if not machines or machine_of_file(file) in machines:
                yield file


def _drivers(folder: Path) -> dict[str, list[Path]] | None:
    found: dict[str, list[Path]] = {}
    for number, (top, _, files) in enumerate(islice(os.walk(folder), _MOST_FOLDERS)):
        if not number and any(is_source(Path(top, name)) for name in files):
            return None
        for name in files:
            if name.lower().endswith(_MEANT):
                found.setdefault(name.lower(), []).append(Path(top, name))
    return found
