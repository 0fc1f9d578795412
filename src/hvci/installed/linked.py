"""Drivers without a service that the drivers of services import: Windows loads those with them.

Knows paths and the names in import tables; judges nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from heapq import heappop, heappush

from hvci.errors import InputError
from hvci.installed.tree import Tree
from hvci.packages.images import imports_of
from hvci.packages.opened import MAX_MEMBER

_LAST = 9


class Linked:
    """What is loaded of one Windows, and what comes along with it."""

    def __init__(self, tree: Tree, folder: str) -> None:
        """Where Windows looks for what does not lie beside its importer: in `folder`."""
        self._tree, self._folder = tree, folder
        self._met: set[str] = set()
        self._names: dict[str, set[str]] = {}
        self._wanted: list[tuple[int, str]] = []
        """Where modules may lie that are imported, a heap by the start of their importers."""

    def add(self, path: str, data: bytes, start: int | None) -> None:
        """Take note of a driver that is loaded."""
        self._met.add(path.lower())
        rank = _LAST if start is None else start
        for module in imports_of(data):
            if "/" in module or "\\" in module:
                continue
            for folder in dict.fromkeys((path.rpartition("/")[0], self._folder)):
                heappush(self._wanted, (rank, f"{folder}/{module}"))

    def drivers(self) -> Iterator[tuple[str, bytes | InputError, int | None]]:
        """What is imported and has no service that was added: path, content, earliest start."""
        while self._wanted:
            rank, place = heappop(self._wanted)
            start = None if rank == _LAST else rank
            if place.lower() in self._met or not self._is_there(place):
                continue
            self._met.add(place.lower())
            try:
                data = self._tree.read(place, MAX_MEMBER)
            except InputError as error:
                yield place, error, start
                continue
            if data is not None:
                yield place, data, start
                self.add(place, data, start)

    def _is_there(self, place: str) -> bool:
        """Whether a folder lists a file; most of what is imported lies elsewhere."""
        folder, _, name = place.lower().rpartition("/")
        if folder not in self._names:
            self._names[folder] = set()
            with suppress(InputError):
                self._names[folder] = {each.lower() for each in self._tree.names(folder)}
        return name in self._names[folder]
