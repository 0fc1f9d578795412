"""What an INF of a folder names and the folder does not hold, where that is news.

Knows names of files only; what an INF says is read by others.
"""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from hvci.targets.files import is_source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hvci.packages.beside import Wrong

_MOST_FOLDERS = 10_000
_MEANT = (".sys", ".cab", ".inf")


class Lacking:
    """Asked about the INFs of one run."""

    def __init__(self) -> None:
        self._below: dict[Path, frozenset[str]] = {}
        """Names of the drivers, cabinets and INFs below a folder, in lower case; none where it
        holds sources, or no driver."""

    def news(self, path: Path, wrong: tuple[Wrong, ...]) -> Iterator[str]:
        """What is wrong with an INF, as far as somebody should hear of it who named its folder.

        Among sources, or without any driver below it, an INF names what is built elsewhere; a
        driver below it that is called like one that it lacks may be that one.
        """
        folder = path.parent
        if wrong and folder not in self._below:
            self._below[folder] = frozenset(_drivers(folder))
        for one in wrong:
            if self._below[folder] and self._below[folder].isdisjoint(one.files):
                yield one.text


def _drivers(folder: Path) -> set[str]:
    found: set[str] = set()
    for number, (top, _, files) in enumerate(islice(os.walk(folder), _MOST_FOLDERS)):
        if not number and any(is_source(Path(top, name)) for name in files):
            return set()
        found.update(name.lower() for name in files if name.lower().endswith(_MEANT))
    return found if any(name.endswith(".sys") for name in found) else set()
