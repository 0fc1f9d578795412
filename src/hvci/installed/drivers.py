"""The drivers of a Windows installation, each with its service, its package and its devices.

A package is told by the INF that adds the service. Owners of a service are only asked where all of
them are packages of third parties, because filters write themselves there as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from hvci.errors import InputError
from hvci.installed.hive import MAX_BYTES, Hive
from hvci.installed.recovery import recovered
from hvci.installed.registry import DISABLED, Bound, Registry, Service, read_registry
from hvci.installed.tree import Tree
from hvci.model import Installed, Package
from hvci.packages.inf import START, Inf, read_inf
from hvci.packages.inf import Service as InfService
from hvci.packages.opened import MAX_MEMBER, Driver, Opened, Refused

_LOGS = (".LOG1", ".LOG2", ".LOG")
_MAX_INF = 16 << 20
_MAX_EVENTS = 256 << 20
_PUBLISHED = re.compile(r"oem\d+\.inf", re.IGNORECASE)
_DRIVE = re.compile(r"(?:\\\?\?\\)?([a-z]):\\", re.IGNORECASE)
_CATALOGS = "System32/CatRoot/{F750E6C3-38EE-11D1-85E5-00C04FC295EE}"
_STORE = "System32/DriverStore/FileRepository"
EVENTS = "System32/winevt/Logs/Microsoft-Windows-CodeIntegrity%4Operational.evtx"
OTHER_DRIVES = "the driver lies on drive {}, which is not here"


class _Published(NamedTuple):
    """A package of a third party."""

    name: str
    inf: Inf
    folder: str


class Windows:
    """A Windows installation in a tree of files."""

    def __init__(self, tree: Tree, folder: str) -> None:
        """Read the registry; `folder` is the name of the Windows folder in the tree."""
        self.tree, self._folder = tree, folder
        self.notes: list[str] = []
        """What a person should know of this Windows besides its drivers."""
        self.registry = self._registry()
        self._published = dict(self._packages())
        self._adding = {
            service.name.lower(): (one, service)
            for one in self._published.values()
            for service in one.inf.services
        }
        state = self.registry.state
        self.notes.insert(0, f"memory integrity of {tree.name}: {state}")
        self.notes += self.registry.problems

    def _registry(self) -> Registry:
        system = self._hive("SYSTEM")
        if system is None:
            raise InputError(f"{self.tree.name}: no SYSTEM hive, so no Windows installation")
        found = read_registry(system, self._other("SOFTWARE"))
        drivers = self._other("DRIVERS")
        if drivers is not None:
            found.add_packages(drivers)
        return found

    def _other(self, name: str) -> Hive | None:
        """A hive that need not be there."""
        try:
            return self._hive(name)
        except InputError as error:
            self.notes.append(f"hive {name} was not read: {error}")
            return None

    def _hive(self, name: str) -> Hive | None:
        path = f"{self._folder}/System32/config/{name}"
        data = self.tree.read(path, MAX_BYTES)
        if data is None:
            return None
        logs = (self.tree.read(f"{path}{end}", MAX_BYTES) for end in _LOGS)
        data, whole = recovered(data, (log for log in logs if log))
        if not whole:
            self.notes.append(
                f"hive {name} was copied while it was written and its transaction logs are missing "
                "or do not fit: the newest services may be missing"
            )
        return Hive(data)

    def _packages(self) -> Iterator[tuple[str, _Published]]:
        """The INFs of third parties that were published."""
        there = {name.lower() for name in self.tree.names(f"{self._folder}/INF")}
        known = {*there, *self.registry.folders, *self.registry.bound}
        for name in sorted(each for each in known if _PUBLISHED.fullmatch(each)):
            folder = self.registry.folders.get(name, "")
            original = folder.partition(".inf_")[0] + ".inf"
            places = [f"{self._folder}/INF/{name}", f"{self._folder}/{_STORE}/{folder}/{original}"]
            for place in places if folder else places[:1]:
                try:
                    data = self.tree.read(place, _MAX_INF)
                    if data is not None:
                        yield name, _Published(name, read_inf(data), folder)
                        break
                except InputError as error:
                    self.notes.append(f"{name}: {error}")

    def events(self) -> bytes | None:
        """The log of code integrity, when it is there."""
        return self.tree.read(f"{self._folder}/{EVENTS}", _MAX_EVENTS)

    # ---- drivers

    def drivers(self) -> Iterator[Opened]:
        """Every driver that a service may start, then those that are only kept in the store."""
        met: set[str] = set()
        missing: list[str] = []
        disabled = 0
        for service in sorted(self.registry.services, key=lambda one: one.name.lower()):
            if service.start == DISABLED:
                disabled += 1
                continue
            path, problem = self._path(service)
            if problem:
                yield Refused(f"{self.tree.name}: service {service.name}", InputError(problem))
                continue
            if path.lower() in met:
                continue
            met.add(path.lower())
            try:
                data = self.tree.read(path, MAX_MEMBER)
            except InputError as error:
                yield Refused(self.tree.label(path), error)
                continue
            if data is None:
                missing.append(service.name)
                continue
            yield self._driver(service, path, data)
        yield from self._staged()
        if disabled:
            self.notes.append(f"{disabled} disabled services were left out")
        if missing:
            named = ", ".join(missing[:20]) + (" ..." if len(missing) > 20 else "")
            self.notes.append(f"{len(missing)} services whose file is not there: {named}")

    def _path(self, service: Service) -> tuple[str, str]:
        """Where the binary of a service lies, or why that cannot be told."""
        image = service.image.strip().strip('"').replace("/", "\\")
        if not image:
            return f"{self._folder}/System32/drivers/{service.name}.sys", ""
        lower = image.lower()
        for mark in ("\\systemroot\\", "%systemroot%\\", "\\windows\\"):
            if lower.startswith(mark):
                return self._slashed(f"{self._folder}\\{image[len(mark) :]}"), ""
        if drive := _DRIVE.match(image):
            if drive[1].lower() != "c":
                return "", OTHER_DRIVES.format(drive[1].upper() + ":")
            return self._slashed(image[drive.end() :]), ""
        if image.startswith("\\"):
            return "", f"its path {image!r} leads to no file of this installation"
        return self._slashed(f"{self._folder}\\{image}"), ""

    def _slashed(self, path: str) -> str:
        parts = [each for each in path.split("\\") if each not in ("", ".")]
        if parts and parts[0].lower() == "windows":
            parts[0] = self._folder
        return "/".join(each for each in parts if each != "..")

    def _driver(self, service: Service, path: str, data: bytes) -> Driver:
        published, told = self._package_of(service)
        bound = self._bound(service.name, "")
        devices: int | None = bound.devices
        if published is None and not bound.devices:
            devices = None  # a service without a package needs no device
        storage = bound.storage or service.name.lower() in self.registry.filters
        facts = Installed(told, devices, storage)
        start = START.get(service.start, str(service.start)) if service.start is not None else ""
        return self._made(published, service.name, start, path, data, facts)

    def _package_of(self, service: Service) -> tuple[_Published | None, str]:
        """The package of a service, and the name under which it was published."""
        adding = self._adding.get(service.name.lower())
        if adding is not None:
            return adding[0], adding[0].name
        owners = [each for each in service.owners if not each.startswith("!")]
        if owners and all(map(_PUBLISHED.fullmatch, owners)):
            return self._published.get(owners[0]), owners[0]
        return None, ""

    def _bound(self, service: str, published: str) -> Bound:
        bound = self.registry.bound
        return bound.get(service.lower(), Bound()) if service else bound.get(published, Bound())

    def _staged(self) -> Iterator[Opened]:
        """Drivers of packages whose service does not exist."""
        there = {service.name.lower() for service in self.registry.services}
        for one in self._published.values():
            for service in one.inf.services:
                if service.name.lower() in there or not one.folder:
                    continue
                found = self._in_store(one, service)
                if found is not None:
                    path, data = found
                    facts = Installed(one.name, self._bound("", one.name).devices, staged=True)
                    yield self._made(one, service.name, "", path, data, facts)

    def _in_store(self, one: _Published, service: InfService) -> tuple[str, bytes] | None:
        for source in service.sources:
            path = f"{self._folder}/{_STORE}/{one.folder}/{source}"
            data = self.tree.read(path, MAX_MEMBER)
            if data is not None:
                return path, data
        return None

    def _made(
        self,
        published: _Published | None,
        service: str,
        start: str,
        path: str,
        data: bytes,
        facts: Installed,
    ) -> Driver:
        inf = ""
        catalogs: tuple[tuple[str, bytes], ...] = ()
        provider = version = class_name = ""
        count = 0
        ids: tuple[str, ...] = ()
        if published is not None:
            name = published.name
            inf = self.registry.originals.get(name, "") or name
            told = published.inf
            provider, version, class_name = told.provider, told.version, told.class_name
            count, ids = told.hardware_ids, told.ids
            catalogs = tuple(self._catalog(name))
        names = tuple(label for label, _ in catalogs)
        package = Package(
            inf, service, start, provider, version, class_name, count, names, ids, facts
        )
        return Driver(self.tree.label(path), data, package, catalogs)

    def _catalog(self, name: str) -> Iterator[tuple[str, bytes]]:
        path = f"{self._folder}/{_CATALOGS}/{name.removesuffix('.inf')}.cat"
        data = self.tree.read(path, _MAX_INF)
        if data is not None:
            yield self.tree.label(path), data
