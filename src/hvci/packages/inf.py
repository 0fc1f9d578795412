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
from typing import NamedTuple

from hvci.errors import InputError
from hvci.model import Machine
from hvci.packages.inf_text import InfText, Line

_KERNEL_TYPES = (1, 2, 8)
_DECORATIONS = {Machine.X64: "ntamd64", Machine.X86: "ntx86", Machine.ARM64: "ntarm64"}
_MACHINES = {text: machine for machine, text in _DECORATIONS.items()}
_OTHER_MACHINES = ("ntarm", "ntia64")
_DIRID = re.compile(r"^(%\d+%|%SystemRoot%|\\SystemRoot)\\?", re.IGNORECASE)
_VERSION = re.compile(r"^[a-z0-9]+(?:\.(\d*))?(?:\.(\d*))?(?:\.[^.]*)?(?:\.[^.]*)?(?:\.(\d*))?$")
"""A TargetOSVersion: architecture, major, minor, product type, suites, build."""
_OF_NO_MODEL = ("defaultinstall", "classinstall32")
"""Install sections that no model names: of drivers without devices, and of classes."""
_OF_WINDOWS = {
    *("bthusb.sys", "hidusb.sys", "kbdclass.sys", "kbdhid.sys", "ksthunk.sys", "monitor.sys"),
    *("mouclass.sys", "mouhid.sys", "mshidkmdf.sys", "mshidumdf.sys", "rndismp.sys", "serenum.sys"),
    *("umpass.sys", "usb8023.sys", "usbaudio.sys", "usbccgp.sys", "usbhub.sys", "usbprint.sys"),
    *("usbscan.sys", "usbser.sys", "usbstor.sys", "vhf.sys", "winusb.sys", "wudfrd.sys"),
}
"""Drivers of Windows that INFs of others have their devices use."""
_MOST_INSTALLS = 20_000
_MOST_NAMES = 16
_MOST_FOLLOWED = 4096
"""Install sections of one service that are asked what they copy."""
MOST_IDS = 32
_MOST_SERVICES = 256

START = {0: "boot", 1: "system", 2: "automatic", 3: "on demand", 4: "disabled"}


@dataclass(frozen=True)
class Service:
    """One kernel service of a package."""

    name: str
    file: str
    """Name of the binary once installed."""
    tiers: tuple[tuple[str, ...], ...]
    """Where it may lie, relative to the INF; slashes, lower or upper case, `!` within a cabinet.
    What the INF says comes first; of a later tier nothing is meant while there is a file of an
    earlier one."""
    start: int | None
    machines: frozenset[Machine]
    """Empty when the INF does not say."""
    windows: tuple[int, ...] = ()
    """The oldest Windows of the models that lead here (major, minor, build); empty for any."""
    own: tuple[tuple[Machine, tuple[str, ...]], ...] = ()
    """Where the INF has the file for each machine that a decoration names; several times where
    different models copy different files."""
    of_windows: bool = False
    """The file comes with Windows, and the INF does not bring it."""

    @property
    def sources(self) -> tuple[str, ...]:
        """All places of all tiers, the likeliest first."""
        return tuple(dict.fromkeys(each for tier in self.tiers for each in tier))


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
    """Other INFs that it includes, or that say where its files lie: what they say is not known
    here."""
    copies: tuple[tuple[str, ...], ...] = ()
    """Other INFs that are installed with it: where each may lie, the likeliest place first and the
    one beside this INF last."""
    files: tuple[Service, ...] = ()
    """Drivers that it copies for none of its services, as services without a name; of an INF
    without services, which answers for no driver, none."""
    problems: tuple[str, ...] = field(default=())
    unmodelled: tuple[tuple[Machine, str], ...] = ()
    """Machines that a manufacturer names, with a section of models for them, of which there is
    none: Windows installs nothing by it there."""

    @property
    def drivers(self) -> tuple[Service, ...]:
        """All that it brings, those of its services first."""
        return (*self.services, *self.files)


class Damaged(InputError):
    """What is called an INF and holds nothing of one, whoever's it would be; or one of a driver
    that Windows takes for none.
    """

    @property
    def kind(self) -> str:
        """Known as what any INF is that cannot be read."""
        return InputError.__name__


def read_inf(data: bytes) -> Inf:
    """Read an INF; raise `InputError` when it is none of a driver."""
    text = InfText(data)
    if not text.names:
        raise Damaged("no INF: it is empty or damaged, without a single section")
    if "version" not in text:
        wrong = "no INF of a driver: it has no [Version] section"
        if _speaks_of_drivers(text):
            raise Damaged(f"{wrong}, without which Windows installs nothing by it")
        raise InputError(wrong)
    return _Reader(text).inf()


def _speaks_of_drivers(text: InfText) -> bool:
    """Whether a text has sections of no other INF than one of a driver."""
    own = (*_OF_NO_MODEL, "manufacturer", "sourcedisksfiles")
    return any(name.partition(".")[0] in own or name.endswith(".services") for name in text.names)


class _Install(NamedTuple):
    """An install section as models name it."""

    name: str
    decoration: str
    only: frozenset[Machine] | None = None
    """The machines that are left for models without a decoration; None where nothing says that."""

    @property
    def machine(self) -> Machine | None:
        """The machine that the decoration names."""
        return _MACHINES.get(self.decoration.split(".")[0])

    @property
    def windows(self) -> tuple[int, ...]:
        """The oldest Windows that the decoration is for; empty for any."""
        found = _VERSION.match(self.decoration)
        numbers = tuple(int(each or 0) for each in found.groups()) if found else ()
        return numbers if any(numbers) else ()


@dataclass
class _Found:
    """A service on its way: the line that adds it, and what leads there."""

    line: Line
    windows: tuple[int, ...]
    machines: set[Machine] = field(default_factory=set)
    decorated: set[Machine] = field(default_factory=set)
    """Those of the machines that a decoration names."""
    installs: dict[tuple[str, Machine], None] = field(default_factory=dict)


class _Reader:
    """One INF on its way to services."""

    def __init__(self, text: InfText) -> None:
        self.text = text
        self.problems: list[str] = []
        self._unmodelled: list[tuple[Machine, str]] = []
        self.hardware: dict[str, None] = {}
        self._binaries: set[str] = set()
        """Files of services, those of programs as well."""

    def inf(self) -> Inf:
        text, services = self.text, tuple(self._services())
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
            services,
            len(self.hardware),
            tuple(islice(self.hardware, MOST_IDS)),
            tuple(dict.fromkeys((*self._infs("Include"), *self._infs("LayoutFile")))),
            tuple(dict.fromkeys(map(self._places, self._infs("CopyINF")))),
            tuple(self._files()) if services else (),
            tuple(dict.fromkeys(self.problems)),
            tuple(dict.fromkeys(self._unmodelled)),
        )

    def _places(self, name: str) -> tuple[str, ...]:
        """Where another file of the package may lie."""
        said = (each for one in _MACHINES for each in self._said(name, f".{one[2:]}"))
        return tuple(dict.fromkeys((*said, _path(name))))

    def _infs(self, directive: str) -> Iterator[str]:
        for name in self.text.names:
            for line in self.text.lines(name):
                if _is(line, directive):
                    yield from (each for each in line.fields if each)

    def _installs(self) -> Iterator[_Install]:
        """Install sections with the decoration under which a model, or their name, has them."""
        for line in self.text.lines("manufacturer"):
            fields = line.fields
            decorations = [each.lower() for each in fields[1:] if each] or [""]
            models = fields[0] if fields else line.key
            self._note_unmodelled(models, [each for each in fields[1:] if each] or [""])
            for decoration in decorations:
                yield from self._models(f"{models}.{decoration}".rstrip("."), decoration)
            if "" not in decorations:
                named = {each.split(".")[0] for each in decorations}
                rest = [m for text, m in _MACHINES.items() if text not in named]
                if "nt" not in named and rest:
                    yield from self._models(models, "", frozenset(rest))
        for name in self.text.names:
            base, _, decoration = name.partition(".")
            if base in _OF_NO_MODEL:
                yield _Install(base, decoration.removesuffix("services").rstrip("."))

    def _note_unmodelled(self, models: str, decorations: list[str]) -> None:
        """Take note of machines that a line of manufacturers names and that no section is for.

        A section for some of the Windows versions that are named will do: others are left out on
        purpose. So is x86, where there is no memory integrity.
        """
        sections = {f"{models}.{each}".rstrip(".") for each in decorations}
        if not any(one in self.text for one in (*sections, models)):
            self.problems.append(f"there is no section of models [{max(sections)}]")
            return
        for machine in (Machine.X64, Machine.ARM64):
            mine = [
                each for each in decorations if each.lower().split(".")[0] == _DECORATIONS[machine]
            ]
            if mine and not any(f"{models}.{each}" in self.text for each in mine):
                self._unmodelled.append((machine, f"{models}.{mine[0]}"))

    def _models(
        self, section: str, decoration: str, only: frozenset[Machine] | None = None
    ) -> Iterator[_Install]:
        for model in self.text.lines(section):
            ids = (each.upper() for each in model.fields[1:] if each)
            self.hardware.update(dict.fromkeys(ids))
            yield _Install(model.field(0), decoration, only)

    def _services(self) -> Iterator[Service]:
        """Each service once, with all machines that it is for; those for newer Windows first."""
        found: dict[tuple[str, str], _Found] = {}
        for install in self._followed:
            for section, named, machines in self._service_sections(install):
                for line in self.text.lines(section):
                    if _is(line, "AddService") and line.field(0):
                        key = (line.field(0).lower(), line.field(2).lower())
                        one = found.setdefault(key, _Found(line, install.windows))
                        one.machines.update(machines)
                        if install.machine is not None:
                            one.decorated.update(machines)
                        one.installs.setdefault(named)
        if len(found) > _MOST_SERVICES:
            self.problems.append(f"the INF has more services than the {_MOST_SERVICES} followed")
        for one in islice(found.values(), _MOST_SERVICES):
            if (service := self._service(one)) is not None:
                yield service

    @cached_property
    def _followed(self) -> list[_Install]:
        """The install sections, those for newer Windows first."""
        installs = list(islice(dict.fromkeys(self._installs()), _MOST_INSTALLS + 1))
        if len(installs) > _MOST_INSTALLS:
            self.problems.append("the INF has more install sections than were followed")
        return sorted(installs[:_MOST_INSTALLS], key=lambda one: one.windows, reverse=True)

    def _files(self) -> Iterator[Service]:
        """Drivers that are copied and that no service has: libraries of others, for instance."""
        found: dict[str, _Found] = {}
        for install in self._followed:
            for name, machine, wider in self._taken(install):
                for file in self._copies(name.lower()):
                    if file.endswith(".sys") and file not in self._binaries:
                        one = found.setdefault(file, _Found(Line("", ()), install.windows))
                        one.machines.update(wider)
                        one.installs.setdefault((name.lower(), machine))
        for file, one in islice(found.items(), _MOST_SERVICES):
            tiers = self._tiers(file, list(one.installs)[:_MOST_FOLLOWED], {})
            machines, foreign = frozenset(one.machines), not self._lists(file, one)
            yield Service("", file, tiers, None, machines, one.windows, of_windows=foreign)

    def _lists(self, file: str, found: _Found) -> bool:
        """Whether the INF says that a file which it copies is on one of its disks."""
        names = {name for install, _ in found.installs for name in self._copied(install, file)}
        suffixes = ("", *(f".{each[2:]}" for each in _MACHINES))
        return any(name.lower() in self._disk_files(each) for each in suffixes for name in names)

    def _service_sections(
        self, install: _Install
    ) -> Iterator[tuple[str, tuple[str, Machine], set[Machine]]]:
        """The .Services sections that Windows takes, with the install section and the machine that
        each is taken for, and the machines that the INF names.
        """
        for name, machine, wider in self._taken(install):
            for each in (name, *self._needed(name)):
                services = f"{each}.services"
                if services in self.text:
                    for one in (services, *self._needed(services)):
                        yield one, (name.lower(), machine), wider

    def _taken(self, install: _Install) -> Iterator[tuple[str, Machine, set[Machine]]]:
        """The install section that Windows takes for each machine, and those that the INF names."""
        first = install.decoration.split(".")[0]
        if first in _OTHER_MACHINES:
            return
        wanted = [_MACHINES[first]] if first in _MACHINES else list(_MACHINES.values())
        said = first in _MACHINES or install.only is not None
        for machine in wanted:
            if install.only is not None and machine not in install.only:
                continue
            own = [f".{install.decoration}"] if install.name in _OF_NO_MODEL else []
            for end in (*own, f".{_DECORATIONS[machine]}", ".nt", ""):
                name = f"{install.name}{end}"
                if name in self.text or f"{name}.services" in self.text:
                    yield name, machine, {machine} if said else set()
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

    def _service(self, found: _Found) -> Service | None:
        line, section = found.line, found.line.field(2)
        if section not in self.text:
            self.problems.append(f"service {line.field(0)}: there is no section {section!r}")
            return None
        binary = _DIRID.sub("", self.text.value(section, "ServiceBinary").replace('"', ""))
        file = binary.replace("/", "\\").rpartition("\\")[2]
        self._binaries.add(file.lower())
        kind = _number(self.text.value(section, "ServiceType"))
        if kind is not None and kind not in _KERNEL_TYPES:
            return None
        if not file:
            self.problems.append(f"service {line.field(0)}: its section names no binary")
            return None
        start = _number(self.text.value(section, "StartType"))
        machines = frozenset(found.machines)
        own: dict[tuple[Machine, str], list[str]] = {}
        tiers = self._tiers(file, list(found.installs)[:_MOST_FOLLOWED], own)
        named = tuple((each, tuple(own[each, name])) for each, name in sorted(own))
        named = tuple(one for one in named if one[0] in found.decorated)
        foreign = file.lower() in _OF_WINDOWS and not self._brings(file, found)
        return Service(line.field(0), file, tiers, start, machines, found.windows, named, foreign)

    def _brings(self, file: str, found: _Found) -> bool:
        """Whether the INF copies a file, or says where it lies."""
        suffixes = ("", *(f".{each[2:]}" for each in _MACHINES))
        return any(file.lower() in self._disk_files(each) for each in suffixes) or any(
            self._copied(install, file) for install, _ in found.installs
        )

    # ---- where a binary comes from

    def _tiers(
        self,
        file: str,
        installs: list[tuple[str, Machine]],
        own: dict[tuple[Machine, str], list[str]],
    ) -> tuple[tuple[str, ...], ...]:
        """Paths where a package may keep a file: where the INF says, beside the INF under the name
        that CopyFiles says, and beside it under the name of the installed file. `own` gets those
        that the INF says most surely, by machine and by name in the package.
        """
        listed: dict[str, None] = {}
        names: dict[str, None] = {}
        renames = self._renames.get(file.lower(), [])[:_MOST_NAMES]
        wanted = {
            (machine, name): name if name in copied else ""  # or any of those that INFs rename
            for install, machine in installs
            for copied in [self._copied(install, file)]
            for name in copied or renames or (file,)
        }
        # A hundred models of one machine must not crowd out the other machines.
        for machine in sorted({machine for machine, _ in wanted}):
            mine = (name for each, name in wanted if each is machine)
            for name in islice(mine, _MOST_NAMES):
                names.setdefault(name)
                said = self._said(name, f".{_DECORATIONS[machine][2:]}")
                listed.update(dict.fromkeys(said))
                own.setdefault((machine, wanted[machine, name]), []).extend(said or [name])
        return tuple(tuple(tier) for tier in (listed, names, (file,)) if tier)

    def _said(self, file: str, suffix: str) -> list[str]:
        """Where the INF says that a file lies for a machine."""
        for each in (suffix, ""):
            # The section of an architecture is all that counts where it has the file.
            if paths := list(self._listed(file, each, suffix)):
                return paths
        return []

    @cache  # noqa: B019 - one reader lives as long as one INF
    def _copies(self, install: str) -> dict[str, list[str]]:
        """What an install section copies: installed name in lower case -> names in the package."""
        found: dict[str, list[str]] = {}
        besides = f"{install}.coinstallers"
        sections = (install, *self._needed(install), besides, *self._needed(besides))
        for section in sections:
            for line in self.text.lines(section):
                for each in line.fields if _is(line, "CopyFiles") else ():
                    lines = [Line("", (each[1:],))] if each[:1] == "@" else self.text.lines(each)
                    for one in lines:
                        if not one.key and one.field(0):
                            name = one.field(1) or one.field(0)
                            found.setdefault(one.field(0).lower(), []).append(name)
        return found

    def _copied(self, install: str, file: str) -> list[str]:
        names = self._copies(install).get(file.lower(), [])
        return list(dict.fromkeys(names))[:_MOST_NAMES]

    @cached_property
    def _renames(self) -> dict[str, list[str]]:
        """The names under which files that any CopyFiles renames lie in the package."""
        found: dict[str, list[str]] = {}
        for name in self.text.names:
            for line in self.text.lines(name):
                source = line.field(1)
                if not line.key and source and not source.isdigit():
                    found.setdefault(line.field(0).lower(), []).append(source)
        return found

    def _listed(self, file: str, suffix: str, of_disks: str) -> Iterator[str]:
        for line in self._disk_files(suffix).get(file.lower(), ()):
            disk = self._disk(line.field(0), of_disks)
            yield _path(disk.field(3), line.field(1), file)
            if disk.field(1).lower().endswith(".cab"):
                yield f"{_path(disk.field(3), disk.field(1))}!{file}"

    @cache  # noqa: B019 - one reader lives as long as one INF
    def _disk_files(self, suffix: str) -> dict[str, list[Line]]:
        found: dict[str, list[Line]] = {}
        for line in self.text.lines(f"sourcedisksfiles{suffix}"):
            found.setdefault(line.key.lower(), []).append(line)
        return found

    def _disk(self, number: str, suffix: str) -> Line:
        """What a disk is called, the file that tells it or the cabinet on it, and its folder."""
        for section in (f"sourcedisksnames{suffix}", "sourcedisksnames"):
            for line in self.text.lines(section):
                if line.key == number or _number(line.key) == _number(number) is not None:
                    return line
        return Line("", ())


def _path(*parts: str) -> str:
    """Parts of a path within the package; what would leave it is left out."""
    whole = "/".join(part.replace("\\", "/") for part in parts)
    kept = (part for part in whole.split("/") if part not in ("", ".", "..") and ":" not in part)
    return "/".join(kept)


def _is(line: Line, key: str) -> bool:
    return line.key.lower() == key.lower()


def _number(text: str) -> int | None:
    try:
        return int(text, 0) if text[:2].lower() == "0x" else int(text)
    except ValueError:
        return None
