"""What the INFs met in a folder say of the drivers in it.

An INF speaks of files by name; where several speak of one, the claim that counts is chosen.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from hvci.errors import InputError
from hvci.model import Machine
from hvci.model.package import Package
from hvci.packages.claims import Claim, amiss, best, claimed, lost_infs, machine_of_file
from hvci.packages.inf import Damaged, Inf, read_inf
from hvci.packages.opened import bounded, missing, package_of

MAX_INF = 16 << 20


class Said(NamedTuple):
    """What an INF says of one driver."""

    package: Package
    catalogs: tuple[str, ...]
    """Paths of the catalogs of the package that are there."""


class Wrong(NamedTuple):
    """Something that is wrong with an INF."""

    text: str
    files: frozenset[str] = frozenset()
    """Names of a file that is missing, and of cabinets that may hold it, in lower case."""
    machines: frozenset[Machine] = frozenset()
    """Those that the file is for; empty for any."""


class Beside:
    """Collects what INFs say, by the path of each driver that they mean."""

    def __init__(self) -> None:
        self._claims: dict[str, list[Claim]] = {}
        self._catalogs: dict[str, tuple[str, ...]] = {}
        self._names: dict[Path, dict[str, list[str]]] = {}
        self._wrong: dict[str, tuple[Wrong, ...]] = {}
        self.read = 0
        """INFs of drivers so far."""

    def add(self, path: Path) -> None:
        """Read an INF; raises `InputError` where it is none of a driver."""
        if path.stat().st_size > MAX_INF:
            raise InputError("too large for an INF")
        try:
            inf = read_inf(bounded(path))
        except Damaged as error:
            self._wrong[str(path)] = (Wrong(str(error)),)
            return
        self.read += 1
        self._catalogs[str(path)] = tuple(self._catalogs_of(path.parent, inf))
        wrong = list(map(Wrong, inf.problems))
        present = {
            each.lower(): self._below(path.parent, each)
            for service in inf.drivers
            for each in service.sources
        }
        for service in inf.drivers:
            tier, there = claimed(service, present, machine_of_file)
            for place in there:
                claim = Claim(str(path), inf, service, tier)
                self._claims.setdefault(_key(place), []).append(claim)
            if not there and not service.of_windows:
                names = frozenset(map(_last, service.sources))
                text = str(missing(str(path), service).error)
                wrong.append(Wrong(text, names, service.machines))
        lost = lost_infs(inf, lambda each: self._below(path.parent, each))
        wrong += [Wrong(text, frozenset({name})) for name, text in lost]
        wrong += map(Wrong, amiss(inf, present, Path))
        if wrong:
            self._wrong[str(path)] = tuple(wrong)

    def _below(self, folder: Path, source: str) -> list[Path]:
        """The files below a folder with a name, whatever its case."""
        found = [folder]
        for part in source.split("/"):
            found = [one / name for one in found for name in self._named(one, part.lower())]
        return found

    def _named(self, folder: Path, part: str) -> list[str]:
        if folder not in self._names:
            self._names[folder] = _names(folder)
        return self._names[folder].get(part, [])

    def _catalogs_of(self, folder: Path, inf: Inf) -> Iterator[str]:
        base = folder.resolve()
        wanted = {name.lower() for name in inf.catalogs}
        if wanted:
            for each in sorted(folder.iterdir()):
                inside = each.name.lower() in wanted and each.resolve().is_relative_to(base)
                if inside and each.is_file():
                    yield str(each)

    def of(self, path: str) -> Said | None:
        """What an INF that was met says of a driver."""
        claims = self._claims.get(_key(Path(path)))
        if claims is None:
            return None
        one = best(claims, partial(machine_of_file, Path(path)))
        catalogs = self._catalogs[one.inf_path]
        return Said(package_of(one.inf_path, one.inf, one.service, catalogs), catalogs)

    def wrong(self) -> Iterator[tuple[str, InputError]]:
        """What is wrong with each INF: what it lacks, and services whose driver is not there."""
        for path, found in self._wrong.items():
            yield path, InputError("; ".join(one.text for one in found))

    def wrong_with(self, path: str) -> tuple[Wrong, ...]:
        """The same of one INF, piece by piece."""
        return self._wrong.get(path, ())


def _names(folder: Path) -> dict[str, list[str]]:
    """What a folder holds, by names in lower case."""
    found: dict[str, list[str]] = {}
    try:
        for name in sorted(os.listdir(folder)):  # noqa: PTH208
            found.setdefault(name.lower(), []).append(name)
    except OSError:
        return {}
    return found


def _last(source: str) -> str:
    """The name of a file, or of the cabinet that it is in, in lower case."""
    return source.lower().partition("!")[0].rpartition("/")[2]


def _key(path: Path) -> str:
    return path.as_posix()
