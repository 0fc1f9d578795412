"""What an INF of a folder names and the folder does not hold, where that is news.

Knows names of files only; what an INF says is read by others.
"""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from hvci.packages.claims import machine_of_file
from hvci.targets.files import is_source

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from hvci.packages.beside import Wrong

_MOST_FOLDERS = 10_000
_MEANT = (".sys", ".cab", ".inf")


class Lacking:
    """Asked about the INFs of one run."""

    def __init__(self) -> None:
        self._below: dict[Path, dict[str, list[Path]]] = {}
        """The drivers, cabinets and INFs below a folder by their names in lower case; none where
        it holds sources."""
        self.in_cabinets: dict[str, list[Wrong]] = {}
        """By an INF, what may lie in a cabinet that is there."""

    def news(self, path: Path, wrong: tuple[Wrong, ...]) -> Iterator[str]:
        """What is wrong with an INF, as far as somebody should hear of it who named its folder.

        Among sources, or without any driver below it, an INF names what is built elsewhere; a
        driver below it that is called like one that it lacks may be that one, if it is for a
        machine that the INF means.
        """
        folder = path.parent
        if wrong and folder not in self._below:
            self._below[folder] = _drivers(folder)
        for one in wrong:
            below = self._below[folder]
            there = [name for name in one.files if _is_there(below.get(name, ()), one)]
            if not there and any(name.endswith(".sys") for name in below):
                yield one.text
            elif there and all(name.endswith(".cab") for name in there):
                self.in_cabinets.setdefault(str(path), []).append(one)

    def late_news(self, told: Iterable[str]) -> Iterator[tuple[str, str]]:
        """What no cabinet below an INF had either, by the paths of all that is told."""
        met = [Path(each.replace("!", "/")) for each in told if self.in_cabinets]
        for path, wrong in self.in_cabinets.items():
            folder = Path(path).parent
            names = {each.name.lower() for each in met if folder in each.parents}
            for one in wrong:
                if names.isdisjoint(one.files):
                    yield path, one.text


def _is_there(files: Iterable[Path], wanted: Wrong) -> bool:
    """Whether one of some files may be the one that an INF lacks."""
    machines = {None, *wanted.machines} if wanted.machines else ()
    return any(not machines or machine_of_file(file) in machines for file in files)


def _drivers(folder: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for number, (top, _, files) in enumerate(islice(os.walk(folder), _MOST_FOLDERS)):
        if not number and any(is_source(Path(top, name)) for name in files):
            return {}
        for name in files:
            if name.lower().endswith(_MEANT):
                found.setdefault(name.lower(), []).append(Path(top, name))
    return found
