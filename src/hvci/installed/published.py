"""The packages of third parties in a Windows, and which of them a service is of.

Two published packages can add a service of one name, and what runs can differ from what either of
them keeps. Knows INFs and the driver store; judges no driver.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from datetime import date
from functools import cached_property
from typing import NamedTuple

from hvci.errors import InputError
from hvci.installed.registry import Registry, Service
from hvci.installed.tree import Tree
from hvci.model import Machine
from hvci.packages.claims import machine_of_head
from hvci.packages.inf import Inf, read_inf
from hvci.packages.inf import Service as InfService
from hvci.packages.opened import MAX_MEMBER

MAX_INF = 16 << 20
_PUBLISHED = re.compile(r"oem\d+\.inf", re.IGNORECASE)
_STORE = "System32/DriverStore/FileRepository"
_ARCHITECTURES = {"_amd64_": Machine.X64, "_x86_": Machine.X86, "_arm64_": Machine.ARM64}
_MOST_NAMED = 20
_NUMBERS = re.compile(r"\d+")


class Published(NamedTuple):
    """A package of a third party."""

    name: str
    inf: Inf
    folder: str
    """Of the driver store; empty where that is not known."""


class Copy(NamedTuple):
    """A file that a package keeps in the driver store."""

    path: str
    data: bytes


class Packages:
    """The published packages of one Windows."""

    def __init__(self, tree: Tree, windows: str, registry: Registry) -> None:
        self._tree, self._windows, self._registry = tree, windows, registry
        self.problems: list[str] = []
        self.shut: dict[str, InputError] = {}
        """What of the driver store could not be read, by path."""
        self.all: dict[str, Published] = dict(self._read())
        self._adding: dict[str, list[tuple[Published, InfService]]] = {}
        for one in self.all.values():
            for service in one.inf.services:
                self._adding.setdefault(service.name.lower(), []).append((one, service))

    def _read(self) -> Iterator[tuple[str, Published]]:
        there = {name.lower() for name in self._listed(f"{self._windows}/INF")}
        lost: list[str] = []
        known = {*there, *self._registry.folders, *self._registry.bound}
        for name in sorted(each for each in known if _PUBLISHED.fullmatch(each)):
            folder = self._registry.folders.get(name, "")
            original = folder.partition(".inf_")[0] + ".inf"
            places = [f"{self._windows}/INF/{name}", f"{self._store}/{folder}/{original}"]
            texts = list(self._texts(name, places if folder else places[:1]))
            if folder and not texts:
                lost.append(name)
            if len({data for data, _ in texts}) > 1:
                text = f"{name} is another INF than {places[1]}, which was followed"
                self.problems.append(text)
            if texts:
                data, inf = texts[-1]
                yield name, Published(name, inf, folder or self._found(data))
        if lost:
            some = ", ".join(lost[:_MOST_NAMED]) + " ..." * (len(lost) > _MOST_NAMED)
            self.problems.append(f"{len(lost)} packages whose INF is not there: {some}")

    def _texts(self, name: str, places: list[str]) -> Iterator[tuple[bytes, Inf]]:
        """The INF of a package in those of its places that have it."""
        for place in places:
            try:
                data = self._tree.read(place, MAX_INF)
                if data is not None:
                    yield data, read_inf(data)
            except InputError as error:
                self.problems.append(f"{name}: {error}")

    def _listed(self, folder: str) -> list[str]:
        try:
            return self._tree.names(folder)
        except InputError as error:
            self.problems.append(str(error))
            return []

    @property
    def _store(self) -> str:
        return f"{self._windows}/{_STORE}"

    def _found(self, inf: bytes) -> str:
        """The folder of the store with this INF: a hive without its logs may not say."""
        return self._folders.get(hashlib.sha256(inf).digest(), "")

    @cached_property
    def _folders(self) -> dict[bytes, str]:
        found: dict[bytes, str] = {}
        for folder in self._listed(self._store):
            name, mark, _ = folder.partition(".inf_")
            try:
                data = self._tree.read(f"{self._store}/{folder}/{name}.inf", MAX_INF)
            except InputError:
                continue
            if mark and data is not None:
                found.setdefault(hashlib.sha256(data).digest(), folder)
        return found

    # ---- what belongs to what

    def of(self, service: Service, path: str, data: bytes) -> tuple[Published | None, str]:
        """The package of a service and the name under which it was published.

        Told by the folder of the driver store, by what the package keeps, by devices, by owners,
        and at last by the newest version.
        """
        if self._of_store(path):
            name = next((each for each in self._registry.folders if self._is_in(each, path)), "")
            found = [one for one in self.all.values() if self._is_of(one, path)]
            return (found[0], found[0].name) if found else (None, name)
        if adding := self._adding.get(service.name.lower(), []):
            one = max(adding, key=lambda each: self._likely(each[0], each[1], service, data))[0]
            return one, one.name
        owners = [each for each in service.owners if not each.startswith("!")]
        if owners and all(map(_PUBLISHED.fullmatch, owners)):
            return self.all.get(owners[0]), owners[0]
        return None, ""

    def _of_store(self, path: str) -> bool:
        return path.lower().startswith(f"{self._store.lower()}/")

    def _is_of(self, one: Published, path: str) -> bool:
        return bool(one.folder) and self._below(one.folder, path)

    def _is_in(self, name: str, path: str) -> bool:
        is_published = _PUBLISHED.fullmatch(name) is not None
        return is_published and self._below(self._registry.folders[name], path)

    def _below(self, folder: str, path: str) -> bool:
        return path.lower().startswith(f"{self._store}/{folder}/".lower())

    def _likely(
        self, one: Published, named: InfService, service: Service, data: bytes
    ) -> tuple[bool, int, bool, tuple[int, ...], str]:
        return (
            any(copy.data == data for copy in self.copies(one, named)),
            self._registry.pairs.get((service.name.lower(), one.name), 0),
            one.name in service.owners,
            _age(one.inf.version),
            one.name,
        )

    def copies(self, one: Published, service: InfService) -> list[Copy]:
        """What a package keeps of a service in the driver store, of the machine that it is for."""
        if not one.folder:
            return []
        folder = one.folder.lower()
        machine = next((each for mark, each in _ARCHITECTURES.items() if mark in folder), None)
        unfit: list[Copy] = []
        for tier in service.tiers:
            found = [copy for source in tier if (copy := self._copy(one, source)) is not None]
            right = [copy for copy in found if machine_of_head(copy.data) in (machine, None)]
            if right:
                return right
            unfit = unfit or found
        return unfit[:1]

    def _copy(self, one: Published, source: str) -> Copy | None:
        path = f"{self._store}/{one.folder}/{source}"
        try:
            data = self._tree.read(path, MAX_MEMBER)
        except InputError as error:
            self.shut[path] = error
            return None
        return None if data is None else Copy(path, data)


def _age(version: str) -> tuple[int, ...]:
    """A DriverVer as numbers that grow: version, then date."""
    when, _, number = version.partition(",")
    numbers = [int(each) for each in _NUMBERS.findall(number)[:4]]
    try:
        month, day, year = (int(each) for each in _NUMBERS.findall(when)[:3])
        since = date(year, month, day).toordinal()
    except (ValueError, OverflowError):
        since = 0
    return (since, *numbers)
