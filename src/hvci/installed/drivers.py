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
from hvci.installed.published import MAX_INF, Packages, Published
from hvci.installed.recovery import recovered
from hvci.installed.registry import DISABLED, Bound, Registry, Service, read_registry
from hvci.installed.tree import Tree
from hvci.model import Installed, Package
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
        missing: list[str] = []
        running: set[tuple[str, bytes]] = set()
        disabled: set[str] = set()
        for name, why in self.registry.unread.items():
            which = f"service {name}" if name else "more services"
            yield Refused(f"{self.tree.name}: {which}", InputError(f"its key is damaged: {why}"))
        for service in sorted(self.registry.services, key=lambda one: one.name.lower()):
            if service.start == DISABLED:
                disabled.add(service.name.lower())
                continue
            path, problem = self._path(service)
            if problem:
                yield Refused(f"{self.tree.name}: service {service.name}", InputError(problem))
                continue
            try:
                data = self.tree.read(path, MAX_MEMBER)
            except InputError as error:
                yield Refused(self.tree.label(path), error)
                continue
            if data is None and self._is_elsewhere(path):
                yield Refused(self.tree.label(path), InputError(ELSEWHERE.format(path)))
                continue
            if data is None:
                missing.append(service.name)
                continue
            running.add((service.name.lower(), _digest(data)))
            yield self._driver(service, path, data)
        yield from self._staged(running, disabled)
        if disabled:
            self.notes.append(f"{len(disabled)} disabled services were left out")
        if missing:
            self._doubt(f"{len(missing)} services whose file is not there: {_some(missing)}")

    def _path(self, service: Service) -> tuple[str, str]:
        """Where the binary of a service lies, or why that cannot be told."""
        image = service.image.strip().strip('"').replace("/", "\\")
        image = _OBJECT.sub("", image, count=1) if _OBJECT.match(image) else image
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
        if image.startswith("\\"):
            return "", f"its path {image!r} leads to no file of this installation"
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

    def _is_elsewhere(self, path: str) -> bool:
        """Whether a path leads into a folder of the drive that was not copied with the Windows."""
        top = path.partition("/")[0].lower()
        return top not in {self._folder.lower(), *(name.lower() for name in self.tree.names(""))}

    def _driver(self, service: Service, path: str, data: bytes) -> Driver:
        published, told = self._packages.of(service, path, data)
        mine, bound = service.name.lower(), self.registry.bound
        of_service, of_package = bound.get(mine, Bound()), bound.get(told, Bound())
        devices: int | None = of_service.devices or of_package.devices
        if not self.registry.knows_devices or not (told or devices):
            devices = None  # a service without a package needs no device
        storage = of_service.storage or mine in self.registry.filters
        facts = Installed(told, devices, storage)
        start = START.get(service.start, str(service.start)) if service.start is not None else ""
        return self._made(published, service.name, start, path, data, facts)

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


def _some(names: Iterable[str]) -> str:
    """The first names of many."""
    first = list(islice(names, _MOST_NAMED + 1))
    return ", ".join(first[:_MOST_NAMED]) + (" ..." if len(first) > _MOST_NAMED else "")


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
