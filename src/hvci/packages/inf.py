"""A driver package by its INF: its kernel services, their files, and the machines they are for.

Follows what Windows follows: manufacturers, models by architecture and Windows, install sections
with their decorations, .Services sections, service sections, and where each binary comes from.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import islice

from hvci.errors import InputError
from hvci.model import Machine
from hvci.packages.inf_text import InfText, Line

_KERNEL_TYPES = (1, 2, 8)
_DECORATIONS = {Machine.X64: "ntamd64", Machine.X86: "ntx86", Machine.ARM64: "ntarm64"}
_MACHINES = {text: machine for machine, text in _DECORATIONS.items()}
_OTHER_MACHINES = ("ntarm", "ntia64")
_DIRID = re.compile(r"^(%\d+%|%SystemRoot%|\\SystemRoot)\\?", re.IGNORECASE)
_MOST_INSTALLS = 20_000
_MOST_NAMES = 16
MOST_IDS = 32
_MOST_SERVICES = 256

START = {0: "boot", 1: "system", 2: "automatic", 3: "on demand", 4: "disabled"}


@dataclass(frozen=True)
class Service:
    """One kernel service of a package."""

    name: str
    file: str
    """Name of the binary once installed."""
    sources: tuple[str, ...]
    """Where it may lie, relative to the INF, the likeliest first; slashes, lower or upper case."""
    start: int | None
    machines: frozenset[Machine]
    """Empty when the INF does not say."""


@dataclass(frozen=True)
class Inf:
    """What an INF says about drivers."""

    provider: str
    version: str
    class_name: str
    catalogs: tuple[str, ...]
    services: tuple[Service, ...]
    hardware_ids: int
    ids: tuple[str, ...] = ()
    """The first of them, in order."""
    needs: tuple[str, ...] = ()
    """Other INFs that it includes: what they install is not known here."""
    problems: tuple[str, ...] = field(default=())


def read_inf(data: bytes) -> Inf:
    """Read an INF; raise `InputError` when it is none of a driver."""
    text = InfText(data)
    if "version" not in text:
        raise InputError("no INF of a driver: it has no [Version] section")
    return _Reader(text).inf()


class _Reader:
    """One INF on its way to services."""

    def __init__(self, text: InfText) -> None:
        self.text = text
        self.problems: list[str] = []
        self.hardware: dict[str, None] = {}

    def inf(self) -> Inf:
        text = self.text
        catalogs = dict.fromkeys(
            line.field(0)
            for line in text.lines("version")
            if line.key.lower().startswith("catalogfile") and line.field(0)
        )
        return Inf(
            text.value("version", "Provider"),
            ", ".join(next((x.fields for x in text.lines("version") if _is(x, "DriverVer")), ())),
            text.value("version", "Class"),
            tuple(catalogs),
            tuple(self._services()),
            len(self.hardware),
            tuple(islice(self.hardware, MOST_IDS)),
            tuple(dict.fromkeys(self._includes())),
            tuple(dict.fromkeys(self.problems)),
        )

    def _includes(self) -> Iterator[str]:
        for name in self.text.names:
            for line in self.text.lines(name):
                if _is(line, "Include"):
                    yield from (each for each in line.fields if each)

    def _installs(self) -> Iterator[tuple[str, str]]:
        """Install sections with the decoration under which a model or DefaultInstall names them."""
        for line in self.text.lines("manufacturer"):
            fields = line.fields
            decorations = [""] if len(fields) < 2 else [each for each in fields[1:] if each]
            for decoration in decorations:
                models = f"{fields[0] if fields else line.key}.{decoration}".rstrip(".")
                for model in self.text.lines(models):
                    ids = (each.upper() for each in model.fields[1:] if each)
                    self.hardware.update(dict.fromkeys(ids))
                    yield model.field(0), decoration.lower()
        for name in self.text.names:
            base, _, decoration = name.partition(".")
            if base == "defaultinstall" and not name.endswith(".services"):
                yield base, decoration

    def _services(self) -> Iterator[Service]:
        """Each service once, with all machines that it is for."""
        found: dict[tuple[str, str], tuple[Line, set[Machine]]] = {}
        for number, (install, decoration) in enumerate(dict.fromkeys(self._installs())):
            if number == _MOST_INSTALLS:
                self.problems.append("the INF has more install sections than were followed")
                break
            for section, machines in self._service_sections(install, decoration):
                for line in self.text.lines(section):
                    if _is(line, "AddService") and line.field(0):
                        key = (line.field(0).lower(), line.field(2).lower())
                        found.setdefault(key, (line, set()))[1].update(machines)
        for line, machines in list(found.values())[:_MOST_SERVICES]:
            if (service := self._service(line, frozenset(machines))) is not None:
                yield service

    def _service_sections(
        self, install: str, decoration: str
    ) -> Iterator[tuple[str, set[Machine]]]:
        """The .Services sections that Windows takes, with the machines that they are for."""
        first = decoration.split(".")[0]
        if first in _OTHER_MACHINES:
            return
        wanted = [_MACHINES[first]] if first in _MACHINES else list(_MACHINES.values())
        for machine in wanted:
            for name in (f"{install}.{_DECORATIONS[machine]}", f"{install}.nt", install):
                if name in self.text or f"{name}.services" in self.text:
                    for each in (name, *self._needed(name)):
                        services = f"{each}.services"
                        if services in self.text:
                            wider = {machine} if first in _MACHINES else set()
                            yield from ((one, wider) for one in (services, *self._needed(services)))
                    break

    def _needed(self, section: str) -> Iterator[str]:
        """Sections of this INF that a section takes in by Needs, and those that they take in."""
        waiting, met = [section], {section.lower()}
        while waiting:
            for line in self.text.lines(waiting.pop()):
                for each in line.fields if _is(line, "Needs") else ():
                    if each.lower() not in met and each in self.text:
                        met.add(each.lower())
                        waiting.append(each)
                        yield each

    def _service(self, line: Line, machines: frozenset[Machine]) -> Service | None:
        section = line.field(2)
        if section not in self.text:
            self.problems.append(f"service {line.field(0)}: there is no section {section!r}")
            return None
        kind = _number(self.text.value(section, "ServiceType"))
        if kind is not None and kind not in _KERNEL_TYPES:
            return None
        binary = _DIRID.sub("", self.text.value(section, "ServiceBinary").replace('"', ""))
        file = binary.replace("/", "\\").rpartition("\\")[2]
        if not file:
            self.problems.append(f"service {line.field(0)}: its section names no binary")
            return None
        start = _number(self.text.value(section, "StartType"))
        return Service(line.field(0), file, tuple(self._sources(file, machines)), start, machines)

    # ---- where a binary comes from

    def _sources(self, file: str, machines: frozenset[Machine]) -> Iterator[str]:
        """Paths where a package may keep a file; beside the INF at last."""
        names = dict.fromkeys((*self._renames.get(file.lower(), ())[:_MOST_NAMES], file))
        found: dict[str, None] = {}
        suffixes = [f".{_DECORATIONS[machine][2:]}" for machine in sorted(machines)] + [""]
        for name in names:
            for suffix in suffixes:
                for path in self._listed(name, suffix):
                    found.setdefault(path)
        for name in names:
            found.setdefault(name)
        yield from found

    @cached_property
    def _renames(self) -> dict[str, list[str]]:
        """The names under which files that CopyFiles renames lie in the package."""
        found: dict[str, list[str]] = {}
        for name in self.text.names:
            for line in self.text.lines(name):
                source = line.field(1)
                if not line.key and source and not source.isdigit():
                    found.setdefault(line.field(0).lower(), []).append(source)
        return found

    def _listed(self, file: str, suffix: str) -> Iterator[str]:
        for line in self._disk_files(suffix).get(file.lower(), ()):
            yield _path(self._disk(line.field(0), suffix), line.field(1), file)

    @cache  # noqa: B019 - one reader lives as long as one INF
    def _disk_files(self, suffix: str) -> dict[str, list[Line]]:
        found: dict[str, list[Line]] = {}
        for line in self.text.lines(f"sourcedisksfiles{suffix}"):
            found.setdefault(line.key.lower(), []).append(line)
        return found

    def _disk(self, number: str, suffix: str) -> str:
        for section in (f"sourcedisksnames{suffix}", "sourcedisksnames"):
            for line in self.text.lines(section):
                if line.key == number:
                    return line.field(3)
        return ""


def _path(*parts: str) -> str:
    """Parts of a path within the package; what would leave it is left out."""
    whole = "/".join(part.replace("\\", "/") for part in parts)
    kept = (part for part in whole.split("/") if part not in ("", ".", "..") and ":" not in part)
    return "/".join(kept)


def _is(line: Line, key: str) -> bool:
    return line.key.lower() == key.lower()


def _number(text: str) -> int | None:
    try:
        return int(text, 0)
    except ValueError:
        return None
