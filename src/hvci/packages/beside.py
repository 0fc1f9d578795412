"""What the INFs met in a folder say of the drivers in it.

An INF speaks of files by name only; whether they are there is for whoever walks the folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from hvci.errors import InputError
from hvci.model.package import Package
from hvci.packages.inf import Inf, Service, read_inf
from hvci.packages.opened import bounded, missing, package_of

MAX_INF = 16 << 20


class Said(NamedTuple):
    """What an INF says of one driver."""

    package: Package
    catalogs: tuple[str, ...]
    """Paths of the catalogs of the package that are there."""


class Beside:
    """Collects what INFs say, by the path of each driver that they may mean."""

    def __init__(self) -> None:
        self._said: dict[str, Said] = {}
        self._services: list[tuple[str, Service, tuple[str, ...]]] = []
        self._asked: set[str] = set()
        self.read = 0
        """INFs of drivers so far."""

    def add(self, path: Path) -> None:
        """Read an INF; raises `InputError` where it is none of a driver."""
        if path.stat().st_size > MAX_INF:
            raise InputError("too large for an INF")
        inf = read_inf(bounded(path))
        self.read += 1
        catalogs = tuple(self._catalogs(path.parent, inf))
        for service in inf.services:
            places = tuple(_key(path.parent / source) for source in service.sources)
            self._services.append((str(path), service, places))
            for place in places:
                said = Said(package_of(str(path), inf, service, catalogs), catalogs)
                self._said.setdefault(place, said)
        for text in inf.problems:
            raise InputError(text)

    def _catalogs(self, folder: Path, inf: Inf) -> Iterator[str]:
        base = folder.resolve()
        wanted = {name.lower() for name in inf.catalogs}
        if wanted:
            for each in sorted(folder.iterdir()):
                inside = each.name.lower() in wanted and each.resolve().is_relative_to(base)
                if inside and each.is_file():
                    yield str(each)

    def of(self, path: str) -> Said | None:
        """What an INF that was met says of a driver."""
        key = _key(Path(path))
        self._asked.add(key)
        return self._said.get(key)

    def unmet(self) -> Iterator[tuple[str, InputError]]:
        """Services whose driver nobody asked about: it is not in the folder."""
        for path, service, places in self._services:
            if self._asked.isdisjoint(places):
                yield path, missing(path, service).error


def _key(path: Path) -> str:
    return path.as_posix().lower()
