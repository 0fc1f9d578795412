"""The drivers of a Windows installation, each with its service, its package and its devices.

What a package keeps in the driver store is a driver of its own, unless it is the one that runs.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice

from hvci.errors import InputError
from hvci.installed.hive import MAX_BYTES, Hive
from hvci.installed.linked import Linked
from hvci.installed.published import MAX_INF, Packages, Published
from hvci.installed.recovery import recovered
from hvci.installed.registry import DISABLED, Bound, Registry, Service, read_registry
from hvci.installed.tree import Tree
from hvci.model import Installed, Package
from hvci.packages.claims import machine_of_head
from hvci.packages.inf import START
from hvci.packages.opened import MAX_MEMBER, Driver, Opened, Refused

_LOGS = (".LOG1", ".LOG2", ".LOG")
_MOST_NAMED = 20
_MAX_EVENTS = 256 << 20
_OBJECT = re.compile(r"\\(?:\?\?|DosDevices|\\\?)\\", re.IGNORECASE)
"""What a path of the kernel begins with before a drive."""
_ROOT = re.compile(r"(?:\\?SystemRoot|%SystemRoot%|%windir%)\\", re.IGNORECASE)
_OWN_DRIVE = re.compile(r"%SystemDrive%\\", re.IGNORECASE)
_VOLUME = re.compile(r"\\Device\\HarddiskVolume\d+\\(?=Windows\\)|\\(?=Windows\\)", re.IGNORECASE)
_DRIVE = re.compile(r"([a-z]):\\", re.IGNORECASE)
_CATALOGS = "System32/CatRoot/{F750E6C3-38EE-11D1-85E5-00C04FC295EE}"
EVENTS = "System32/winevt/Logs/Microsoft-Windows-CodeIntegrity%4Operational.evtx"
OTHER_DRIVES = "the driver lies on drive {}, which is not here"
NO_DRIVER = "no driver of this Windows was found, so nothing was evaluated"
ELSEWHERE = "the driver lies in {}, in a folder beside this Windows that is not here"
SHORT = (
    "the driver lies in {}, which is a short name (8.3) or lies below one: only that disk can tell "
    "what is meant (dir /x)"
)
NOT_COPIED = "the driver lies in {}, and nothing of that folder is here"
_SHORT = re.compile(r"[^/]~\d+(?:\.[^/]{0,3})?(?:/|$)")
_DRIVERS = "System32/drivers"
_FULL = (_DRIVERS, "System32/DriverStore/FileRepository")
"""Folders that no Windows is without."""


class Windows:
    """A Windows installation in a tree of files."""

    def __init__(self, tree: Tree, folder: str) -> None:
        """Read the registry; `folder` is the name of the Windows folder in the tree."""
        self.tree, self._folder = tree, folder
        self.notes: list[str] = []
        """What a person should know of this Windows besides its drivers."""
        self.doubts: list[str] = []
        """Those of them that say what was not seen."""
        self.unread: list[str] = []
        """Those of the doubts behind which there may be drivers that nobody looked at."""
        self.registry = self._registry()
        self._packages = Packages(tree, folder, self.registry)
        state = self.registry.state
        self.notes.insert(0, f"memory integrity of {tree.name}: {state}")
        for text in (*self.registry.problems, *self._packages.problems):
            self._miss(text)

    def _doubt(self, text: str) -> None:
        self.notes.append(text)
        self.doubts.append(text)

    def _miss(self, text: str) -> None:
        self._doubt(text)
        self.unread.append(text)

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
            self._miss(f"hive {name} was not read: {error}")
            return None

    def _hive(self, name: str) -> Hive | None:
        path = f"{self._folder}/System32/config/{name}"
        data = self.tree.read(path, MAX_BYTES)
        if data is None:
            return None
        logs = (self.tree.read(f"{path}{end}", MAX_BYTES) for end in _LOGS)
        data, whole = recovered(data, (log for log in logs if log))
        if not whole:
            self._miss(
                f"hive {name} was copied while it was written and its transaction logs are missing "
                "or do not fit: the newest services may be missing"
            )
        return Hive(data)

    def events(self) -> bytes | None:
        """The log of code integrity, when it is there."""
        return self.tree.read(f"{self._folder}/{EVENTS}", _MAX_EVENTS)

    # ---- drivers

    def drivers(self) -> Iterator[Opened]:
        """Every driver that a service may start, then those that are only kept in the store."""
        running: set[tuple[str, bytes]] = set()
        disabled: set[str] = set()
        for name, why in self.registry.unread.items():
            which = f"service {name}" if name else "more services"
            yield Refused(f"{self.tree.name}: {which}", InputError(f"its key is damaged: {why}"))
        yield from self._started(running, disabled)
        yield from self._staged(running, disabled)

    def _started(self, running: set[tuple[str, bytes]], disabled: set[str]) -> Iterator[Opened]:
        """The drivers of services: names and contents of those that run, names of the others."""
        missing: list[str] = []
        named: set[str] = set()
        loaded = Linked(self.tree, f"{self._folder}/{_DRIVERS}")
        foreign: list[str] = []
        for service in sorted(self.registry.services, key=lambda one: one.name.lower()):
            path, problem = self._path(service)
            named.add(path.lower())  # that of a disabled one as well
            if service.start == DISABLED:
                disabled.add(service.name.lower())
                continue
            if problem:
                yield Refused(f"{self.tree.name}: service {service.name}", InputError(problem))
                continue
            try:
                data = self.tree.read(path, MAX_MEMBER)
            except InputError as error:
                yield Refused(self.tree.label(path), error)
                continue
            if data is None and (why := self._not_here(path)):
                yield Refused(self.tree.label(path), InputError(why.format(path)))
                continue
            if data is None:
                missing.append(service.name)
                continue
            running.add((service.name.lower(), _digest(data)))
            loaded.add(path, data, service.start)
            if (machine := machine_of_head(data)) not in (None, self.registry.machine):
                foreign.append(f"{service.name} ({machine})")
            yield self._driver(service, path, data)
        for path, linked, start in loaded.drivers():
            named.add(path.lower())
            if isinstance(linked, InputError):
                yield Refused(self.tree.label(path), linked)
            else:
                yield self._made(None, "", _called(start), path, linked, Installed("", None))
        if foreign and self.registry.machine:
            self._doubt(
                f"{len(foreign)} services whose driver is for another machine than this Windows "
                f"({self.registry.machine}), which does not load it: {_some(foreign)}"
            )
        if rest := self._nameless(named):
            self.notes.append(
                f"{len(rest)} drivers in {_DRIVERS} that no service names were left out: "
                f"{_some(rest)}"
            )
        if disabled:
            self.notes.append(f"{len(disabled)} disabled services were left out")
        if missing:
            self._doubt(f"{len(missing)} services whose file is not there: {_some(missing)}")

    def _nameless(self, named: set[str]) -> list[str]:
        """What lies beside the drivers of services, such as libraries of drivers."""
        folder = f"{self._folder}/{_DRIVERS}"
        names = (name for name in self._names(folder) if name.lower().endswith(".sys"))
        return sorted(name for name in names if f"{folder}/{name}".lower() not in named)

    def _path(self, service: Service) -> tuple[str, str]:
        """Where the binary of a service lies, or why that cannot be told."""
        image = service.image.strip().strip('"').replace("/", "\\")
        written = image
        if prefix := _OBJECT.match(image):
            image = image[prefix.end() :]
        if not image:
            return f"{self._folder}/System32/drivers/{service.name}.sys", ""
        if drive := _OWN_DRIVE.match(image):
            return self._slashed(image[drive.end() :]), ""
        if root := _ROOT.match(image):
            return self._slashed(f"{self._folder}\\{image[root.end() :]}"), ""
        if volume := _VOLUME.match(image):
            return self._slashed(image[volume.end() :]), ""
        if drive := _DRIVE.match(image):
            if drive[1].lower() != self.registry.drive:
                return "", OTHER_DRIVES.format(drive[1].upper() + ":")
            return self._slashed(image[drive.end() :]), ""
        if image.startswith("\\") or image != written:
            return "", f"its path {written!r} leads to no file of this installation"
        return self._slashed(f"{self._folder}\\{image}"), ""

    def _slashed(self, path: str) -> str:
        parts: list[str] = []
        for each in path.split("\\"):
            if each == "..":
                del parts[-1:]
            elif each not in ("", "."):
                parts.append(each)
        if parts and parts[0].lower() == "windows":
            parts[0] = self._folder
        return "/".join(parts)

    def _not_here(self, path: str) -> str:
        """Why a path leads to nothing that could be looked at, where that does not mean that the
        driver is not there: into a folder that was not copied, or by a short name.
        """
        if _SHORT.search(path):
            return SHORT
        top = path.partition("/")[0].lower()
        if top not in {self._folder.lower(), *(name.lower() for name in self.tree.names(""))}:
            return ELSEWHERE
        for each in (f"{self._folder}/{name}" for name in _FULL):
            if path.lower().startswith(f"{each}/".lower()) and not self._names(each):
                return NOT_COPIED
        return ""

    def _names(self, folder: str) -> list[str]:
        with suppress(InputError):
            return self.tree.names(folder)
        return []

    def _driver(self, service: Service, path: str, data: bytes) -> Driver:
        published, told = self._packages.of(service, path, data)
        mine, bound = service.name.lower(), self.registry.bound
        of_service, of_package = bound.get(mine, Bound()), bound.get(told, Bound())
        devices: int | None = of_service.devices or of_package.devices
        if not self.registry.knows_devices or not (told or devices):
            devices = None  # a service without a package needs no device
        storage = of_service.storage or mine in self.registry.filters
        facts = Installed(told, devices, storage)
        return self._made(published, service.name, _called(service.start), path, data, facts)

    def _staged(self, running: set[tuple[str, bytes]], disabled: set[str]) -> Iterator[Opened]:
        """Drivers that a package keeps in the driver store and that are not those which run."""
        run = {name for name, _ in running} | disabled
        lost: dict[str, None] = {}
        for one in self._packages.all.values():
            met: set[str] = set()
            for service in one.inf.services:
                name = service.name.lower()
                if name in disabled:
                    continue
                copies = self._packages.copies(one, service)
                if not copies and name not in run and not service.of_windows:
                    lost.setdefault(one.name)
                for path, data in copies:
                    if (name, _digest(data)) in running or path in met:
                        continue
                    met.add(path)
                    bound = self.registry.bound.get(one.name, Bound())
                    devices = bound.devices if self.registry.knows_devices else None
                    facts = Installed(one.name, devices, staged=True)
                    yield self._made(one, service.name, "", path, data, facts)
        for path, error in self._packages.shut.items():
            yield Refused(self.tree.label(path), error)
        if lost:
            self._doubt(
                f"{len(lost)} packages whose driver is not in the driver store: {_some(lost)}"
            )

    def _made(
        self,
        published: Published | None,
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
            original, mark, _ = published.folder.partition(".inf_")
            inf = self.registry.originals.get(name, "") or (f"{original}.inf" if mark else name)
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
        with suppress(InputError):  # a catalog that cannot be read says nothing
            data = self.tree.read(path, MAX_INF)
            if data is not None:
                yield self.tree.label(path), data


def _called(start: int | None) -> str:
    return "" if start is None else START.get(start, str(start))


def _some(names: Iterable[str]) -> str:
    """The first names of many."""
    first = list(islice(names, _MOST_NAMED + 1))
    return ", ".join(first[:_MOST_NAMED]) + (" ..." if len(first) > _MOST_NAMED else "")


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
