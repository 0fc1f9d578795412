"""What lists of a computer say: driver packages, devices with problems, whether it is on.

Knows pnputil, setupapi.dev.log, driverquery, msinfo32 and Win32_DeviceGuard; judges no driver.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from hvci.catalog.gates import gates
from hvci.logs.event_facts import Seen
from hvci.model.gates import Kind

MAX_ROWS = 100_000
_PUBLISHED = re.compile(r":\s+(oem\d+\.inf)\s*$", re.IGNORECASE)
_ORIGINAL = re.compile(r":\s+([\w.+-]+)\.inf\s*$", re.IGNORECASE)
_DRIVER_FILE = re.compile(r"(?:^|[\s\\:])([\w.+-]+\.sys)\s*$", re.IGNORECASE)
_CODE = re.compile(r"problem:?\s*(?:code:?\s*)?(?:0x([0-9a-f]+)|(\d+))\s*[(:\[]", re.IGNORECASE)
_STATUS = re.compile(r"problem status:\s*(0x[0-9a-f]+)", re.IGNORECASE)
_OEM = re.compile(r"\b(oem\d+\.inf)\b", re.IGNORECASE)
_SECTION = re.compile(r"^>>>\s+\[")
_SYS_PATH = re.compile(r"[\\/]([\w.+-]+\.sys)\b", re.IGNORECASE)
_INSTANCE = re.compile(r"\[Device Install[^\]]*?-\s*([^\]]+)\]|Instance ID:\s*(\S+)", re.IGNORECASE)
_RUNNING = re.compile(r"SecurityServicesRunning\s*:\s*\{?([\d, ]*)\}?")
_CONFIGURED = re.compile(r"SecurityServicesConfigured\s*:\s*\{?([\d, ]*)\}?")
_VBS = re.compile(r"VirtualizationBasedSecurityStatus\s*:\s*(\d)")
_INFO_RUNNING = re.compile(r"Virtualization-based security Services Running\s*\t?\s*(.*)")
_ISSUES = re.compile(r"VbsGetIssues:\s*(0x[0-9a-f]{1,8})", re.IGNORECASE)
_PASSED = re.compile(r"hvci incompatible driver scan passed", re.IGNORECASE)
_ISSUE_BITS = {
    0x1: "the processor",
    0x2: "no hypervisor or no second level address translation",
    0x4: "Secure Boot is off",
    0x8: "no DMA protection",
    0x10: "no mode-based execution control",
    0x20: "no UEFI",
    0x40: "a debugger is on",
    0x80: "system management mode",
    0x100: "no memory overwrite request lock",
    0x200: "too little memory",
    0x400: "virtualization is off in the firmware",
    0x1000: "no APIC virtualization",
}
"""What hvciscan says of the computer; observed by researchers, not documented."""
_NAMED = re.compile(
    r"\s*(?:System Name|Host Name|PSComputerName)\s*[:\t]\s*(?!localhost\s*$)([\w-]{1,63})\s*$",
    re.IGNORECASE,
)
"""How msinfo32, systeminfo and a query of PowerShell call the computer that they are about."""
_ONE_OF = "one of "
MEMORY_INTEGRITY = 2
"""Its number among the security services."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What is known of the computer that a log comes from."""

    memory_integrity: bool | None = None
    facts: tuple[str, ...] = ()
    packages: Mapping[str, str] = field(default_factory=dict)
    """Driver file -> published INF, or all of them where several packages have such a file."""
    likely: Mapping[str, str] = field(default_factory=dict)
    """The same by the name of the original INF alone."""
    at_boot: frozenset[str] = frozenset()
    """Drivers that start with the computer."""
    known: bool = False
    """Whether the log holds any such list."""


def machine(lines: list[str], text: str) -> Machine:
    """Everything that the lists of a log say."""
    packages, likely = _packages(lines)
    packages |= dict(_installed(lines))  # in the order of time: the last is the one that counts
    is_on, facts = _device_guard(text)
    facts += _scanned(text)
    at_boot = frozenset(_boot_drivers(lines))
    known = bool(packages or likely or facts or at_boot)
    return Machine(is_on, tuple(facts), packages, likely, at_boot, known)


def one_each(found: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The package of each file; which of several packages a driver is of, their list does not
    tell.
    """
    infs: dict[str, dict[str, None]] = {}
    for file, inf in found:
        infs.setdefault(file, {}).update(dict.fromkeys(infs_of(inf)))
    return {
        file: next(iter(each)) if len(each) == 1 else f"{_ONE_OF}{', '.join(each)}"
        for file, each in infs.items()
    }


def infs_of(text: str) -> list[str]:
    """The INFs in a text that may name several."""
    return text.removeprefix(_ONE_OF).split(", ")


def _packages(lines: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    """`pnputil /enum-drivers`, in any language: the published name, then the original one."""
    files: list[tuple[str, str]] = []
    likely: list[tuple[str, str]] = []
    oem = ""
    for line in lines:
        if match := _PUBLISHED.search(line):
            oem = match[1].lower()
        elif oem and (match := _ORIGINAL.search(line)):
            likely.append((f"{match[1].lower()}.sys", oem))
        elif oem and (match := _DRIVER_FILE.search(line)):
            files.append((match[1].lower(), oem))
        elif not line.strip():
            continue
        elif not line.startswith((" ", "\t")) and ":" not in line:
            oem = ""
    return one_each(files), one_each(likely)


def _sections(lines: list[str]) -> Iterator[list[str]]:
    """The sections of setupapi.dev.log, and the devices of `pnputil /enum-devices`."""
    part: list[str] = []
    for line in lines:
        if _SECTION.match(line) or line.lower().startswith("instance id:"):
            yield part
            part = []
        part.append(line)
    yield part


def _installed(lines: list[str]) -> Iterator[tuple[str, str]]:
    if not any(_SECTION.match(line) for line in lines):
        return
    for part in _sections(lines):
        infs = [match[1].lower() for line in part if (match := _OEM.search(line))]
        if infs:
            for line in part:
                yield from ((name.lower(), infs[-1]) for name in _SYS_PATH.findall(line))


def problems(lines: list[str]) -> Iterator[Seen]:
    """Devices with a problem code that a gate can cause."""
    for part in _sections(lines):
        text = "\n".join(part)
        match = _CODE.search(text)
        code = int(match[1], 16) if match and match[1] else int(match[2]) if match else 0
        sign = gates().find(Kind.CODE, code)
        if sign is None or match is None:
            continue
        state = _STATUS.search(text)
        status = int(state[1], 16) if state else None
        known = gates().find(Kind.STATUS, status) if status is not None else None
        drivers = [name.lower() for name in _SYS_PATH.findall(text)]
        infs = [name.lower() for name in _OEM.findall(text)]
        device = next((m[1] or m[2] for line in part if (m := _INSTANCE.search(line))), "")
        facts = [f"{sign.title} (Code {code})"]
        facts += [f"status 0x{status:08X}"] if status is not None else []
        facts += [f"device {device}"] if device else []
        yield Seen(
            drivers[-1] if drivers else "",
            sign,
            known.gate if known else sign.gate,
            sign.effect,
            tuple(facts),
            status=status,
            device=device,
            package=infs[-1] if infs else "",
        )


def _boot_drivers(lines: list[str]) -> Iterator[str]:
    """`driverquery /v /fo csv`: files of drivers with start mode Boot."""
    start = next((i for i, line in enumerate(lines) if line.startswith('"Module Name"')), None)
    if start is None:
        return
    rows = csv.DictReader(lines[start : start + MAX_ROWS])
    try:
        for row in rows:
            if str(row.get("Start Mode") or "").strip().lower() == "boot":
                yield str(row.get("Path") or row.get("Module Name")).rpartition("\\")[2].lower()
    except csv.Error:
        return


def _device_guard(text: str) -> tuple[bool | None, list[str]]:
    """Whether memory integrity runs, as WMI or msinfo32 says it."""
    facts: list[str] = []
    is_on: bool | None = None
    if match := _RUNNING.search(text):
        is_on = MEMORY_INTEGRITY in _numbers(match[1])
    elif match := _INFO_RUNNING.search(text):
        said = match[1].lower()
        is_on = "hypervisor enforced code integrity" in said or "memory integrity" in said
    if is_on is not None:
        facts.append(f"memory integrity {'runs' if is_on else 'does not run'} on this computer")
    configured = _CONFIGURED.search(text)
    if is_on is False and configured and MEMORY_INTEGRITY in _numbers(configured[1]):
        facts.append("memory integrity is configured but does not run")
    if (match := _VBS.search(text)) and match[1] != "2":
        facts.append("virtualization-based security does not run")
    return is_on, facts


def names_of(lines: list[str]) -> set[str]:
    """What lists call their computer, in capitals."""
    found = (_NAMED.match(line) for line in lines)
    return {match[1].upper() for match in found if match}


def _scanned(text: str) -> Iterator[str]:
    """What hvciscan says of the computer, and that it found no driver."""
    if match := _ISSUES.search(text):
        bits = int(match[1], 16)
        named = [name for bit, name in _ISSUE_BITS.items() if bits & bit]
        rest = bits & ~sum(_ISSUE_BITS)
        named += [f"{rest:#x}, which is not known"] if rest else []
        said = f": {', '.join(named)} (observed meanings)" if named else ", which is none"
        yield f"hvciscan names issues {bits:#x} of the computer{said}"
    if _PASSED.search(text):
        yield "hvciscan found no incompatible driver"


def _numbers(text: str) -> set[int]:
    return {int(word) for word in re.findall(r"\d+", text)}
