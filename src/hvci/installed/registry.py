"""What the SYSTEM hive of a Windows says of drivers: services, driver packages, devices, state.

Words of the registry only; whether the files are there is for others.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from hvci.installed.hive import DamagedHive, Hive, Key
from hvci.model import Machine

KERNEL = (1, 2, 8)
"""Service types: kernel driver, file system driver, recognizer."""
BOOT, DISABLED = 0, 4
_STORAGE = (
    "{4d36e967-e325-11ce-bfc1-08002be10318}",
    "{4d36e96a-e325-11ce-bfc1-08002be10318}",
    "{4d36e97b-e325-11ce-bfc1-08002be10318}",
    "{71a27cdd-812a-11d0-bec7-08002be2092f}",
)
"""Classes of disks, their controllers, and volumes."""
_SCENARIO = "Control\\DeviceGuard\\Scenarios\\HypervisorEnforcedCodeIntegrity"
_NAME = "Control\\ComputerName\\ComputerName"
_ENVIRONMENT = "Control\\Session Manager\\Environment"
_MACHINES = {"amd64": Machine.X64, "x86": Machine.X86, "arm64": Machine.ARM64}
_POLICY = "Policies\\Microsoft\\Windows\\DeviceGuard"
_BY_USER = 2
_DEEPEST = 3


@dataclass(frozen=True, slots=True)
class Service:
    """A kernel service."""

    name: str
    start: int | None
    """As it will be used: a StartOverride counts."""
    written: int | None
    """As Start says."""
    image: str
    """ImagePath as it is written; empty where there is none."""
    owners: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Bound:
    """What devices say of a service or a driver package."""

    devices: int = 0
    storage: bool = False
    """One of them is a disk, its controller or a volume."""


@dataclass(slots=True)
class Registry:
    """Everything that was understood."""

    services: list[Service] = field(default_factory=list)
    folders: dict[str, str] = field(default_factory=dict)
    """Published INF in lower case -> folder of the driver store."""
    originals: dict[str, str] = field(default_factory=dict)
    """Published INF -> the name that its maker gave it."""
    bound: dict[str, Bound] = field(default_factory=dict)
    """By service, and by published INF; filters are bound to the devices that they filter."""
    pairs: dict[tuple[str, str], int] = field(default_factory=dict)
    """Devices by service and published INF."""
    knows_devices: bool = False
    """Whether there was any device to ask."""
    drive: str = "c"
    """Where this Windows was installed."""
    computer: str = ""
    """What this Windows calls its computer, in capitals."""
    machine: Machine | None = None
    """What this Windows runs on."""
    filters: frozenset[str] = frozenset()
    """Services without which disks do not work: filters of their classes and devices."""
    state: str = ""
    is_on: bool | None = None
    unread: dict[str, str] = field(default_factory=dict)
    """Services that are damaged, and why; an empty name stands for those that were not met."""
    problems: list[str] = field(default_factory=list)
    """What else was not understood."""

    def add_packages(self, hive: Hive) -> None:
        """Take in a DRIVERS hive, where newer Windows keeps its packages."""
        try:
            _packages(hive, hive.root, self)
        except DamagedHive as error:
            self.problems.append(f"hive DRIVERS: {error}")


def read_registry(hive: Hive, software: Hive | None = None) -> Registry:
    """Read a SYSTEM hive, and the policies of a SOFTWARE hive when there is one."""
    found = Registry()
    select = hive.find("Select")
    number = (select.integer("Current") or select.integer("Default")) if select else None
    control = hive.find(f"ControlSet{number:03}") if number else None
    if control is None:
        raise DamagedHive("the SYSTEM hive has no current control set")
    following = select.integer("Default") if select else None
    if following and following != number:
        found.problems.append(
            f"it ran with ControlSet{number:03}, which was followed, and starts with "
            f"ControlSet{following:03} the next time, which was not read"
        )
    try:
        _services(control, found)
    except DamagedHive as error:
        found.unread[""] = str(error)
    for part in (_packages, _devices):
        try:
            part(hive, control, found)
        except DamagedHive as error:
            found.problems.append(f"{part.__name__.strip('_')}: {error}")
    with suppress(DamagedHive):
        name = _within(control, _NAME)
        found.computer = name.text("ComputerName").upper() if name else ""
    with suppress(DamagedHive):
        names = _within(control, _ENVIRONMENT)
        called = names.text("PROCESSOR_ARCHITECTURE") if names else ""
        found.machine = _MACHINES.get(called.lower())
    found.state = "cannot be told"
    for policies in (software, None):
        try:
            found.state, found.is_on = _memory_integrity(control, policies)
            found.drive = _drive(policies)
            break
        except DamagedHive as error:
            found.problems.append(f"{'policies' if policies else 'memory integrity'}: {error}")
    return found


def _within(key: Key | None, path: str) -> Key | None:
    for name in path.split("\\"):
        key = key.get(name) if key is not None else None
    return key


def _services(control: Key, found: Registry) -> None:
    top = control.get("Services")
    for key in top.subkeys() if top else ():
        try:
            if key.integer("Type") not in KERNEL:
                continue
            written = key.integer("Start")
            overriding = key.get("StartOverride")
            start = overriding.integer("0") if overriding else None
            owners = tuple(each.lower() for each in key.texts("Owners"))
            service = Service(
                key.name,
                written if start is None else start,
                written,
                key.text("ImagePath"),
                owners,
            )
        except DamagedHive as error:
            found.unread[key.name] = str(error)
        else:
            found.services.append(service)


def _packages(hive: Hive, _: Key, found: Registry) -> None:
    """Published names, of Windows 8 and later."""
    infs = hive.find("DriverDatabase\\DriverInfFiles")
    packages = hive.find("DriverDatabase\\DriverPackages")
    for key in infs.subkeys() if infs else ():
        folder = key.text("Active") or key.text("")
        name = key.name.lower()
        if folder:
            found.folders[name] = folder
        package = packages.get(folder) if packages and folder else None
        if package is not None and package.text("InfName"):
            found.originals[name] = package.text("InfName")


def _devices(hive: Hive, control: Key, found: Registry) -> None:
    """Which services and INFs have devices, and which of those are of disks."""
    filters: set[str] = set()
    classes = _within(control, "Control\\Class")
    infs: dict[str, str] = {}
    of_class: dict[str, list[str]] = {}
    for one in classes.subkeys() if classes else ():
        name = one.name.lower()
        of_class[name] = list(_filters(one))
        if name in _STORAGE:
            filters.update(of_class[name])
        for driver in one.subkeys():
            if inf := driver.text("InfPath"):
                infs[f"{name}\\{driver.name.lower()}"] = inf.lower()
    enum = control.get("Enum")
    for device in _instances(enum, _DEEPEST) if enum else ():
        guid, mine = device.text("ClassGUID").lower(), list(_filters(device))
        storage = guid in _STORAGE
        service = device.text("Service").lower()
        inf = infs.get(device.text("Driver").lower(), "")
        found.knows_devices = True
        found.pairs[service, inf] = found.pairs.get((service, inf), 0) + 1
        for name in dict.fromkeys((service, inf, *mine, *of_class.get(guid, ()))):
            if name:
                before = found.bound.get(name, Bound())
                found.bound[name] = Bound(before.devices + 1, before.storage or storage)
        if storage:
            filters.update(mine)
    found.filters = frozenset(filters)


def _instances(key: Key, depth: int) -> Iterator[Key]:
    for each in key.subkeys():
        if depth == 1:
            yield each
        else:
            yield from _instances(each, depth - 1)


def _filters(key: Key) -> Iterator[str]:
    for name in ("UpperFilters", "LowerFilters"):
        yield from (each.lower() for each in key.texts(name))


def _memory_integrity(control: Key, software: Hive | None) -> tuple[str, bool | None]:
    """Whether memory integrity is asked for, and by whom."""
    policy = software.find(_POLICY) if software else None
    wanted = policy.integer("HypervisorEnforcedCodeIntegrity") if policy else None
    if policy is not None and wanted is not None:
        asked = policy.integer("EnableVirtualizationBasedSecurity") == 1
        if wanted == 1 and asked:
            return "on, set by policy, with UEFI lock", True
        if wanted == 2 and asked:
            return "on, set by policy", True
        if wanted == 0:
            return "off, set by policy", False
    scenario = _within(control, _SCENARIO)
    enabled = scenario.integer("Enabled") if scenario else None
    if scenario is None or enabled is None:
        return "not configured", None
    by = scenario.integer("WasEnabledBy")
    who = {None: "", _BY_USER: ", set in Windows Security"}.get(by, f" (WasEnabledBy {by})")
    lock = ", locked" if scenario.integer("Locked") else ""
    return f"{'on' if enabled else 'off'}{who}{lock}", bool(enabled)


def _drive(software: Hive | None) -> str:
    """The letter of the drive with this Windows, as it calls it itself."""
    version = software.find("Microsoft\\Windows NT\\CurrentVersion") if software else None
    root = version.text("SystemRoot").lower() if version else ""
    return root[0] if root[1:3] == ":\\" and "a" <= root[0] <= "z" else "c"
