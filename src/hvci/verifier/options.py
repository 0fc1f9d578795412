"""The command line of verifier.exe: `/word value ...`, with `-` for `/`, in any case.

Knows every option of the real program by name, so that what is not implemented is refused by name
and never ignored. Runs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from hvci.errors import UsageError

CODE_INTEGRITY = 0x0200_0000
CODE_INTEGRITY_CLASS = 26
FLAGS = {
    0x0000_0001: "Special pool",
    0x0000_0002: "Force IRQL checking",
    0x0000_0004: "Randomized low resources simulation",
    0x0000_0008: "Pool tracking",
    0x0000_0010: "I/O verification",
    0x0000_0020: "Deadlock detection",
    0x0000_0080: "DMA checking",
    0x0000_0100: "Security checks",
    0x0000_0200: "Force pending I/O requests",
    0x0000_0400: "IRP logging",
    0x0000_0800: "Miscellaneous checks",
    0x0000_2000: "Invariant MDL checking for stack",
    0x0000_4000: "Invariant MDL checking for driver",
    0x0000_8000: "Power framework delay fuzzing",
    0x0001_0000: "Port/miniport interface checking",
    0x0002_0000: "DDI compliance checking",
    0x0004_0000: "Systematic low resources simulation",
    0x0008_0000: "DDI compliance checking (additional)",
    0x0020_0000: "NDIS/WIFI verification",
    0x0080_0000: "Kernel synchronization delay fuzzing",
    0x0100_0000: "VM switch verification",
    CODE_INTEGRITY: "Code integrity checks",
}
"""The options of the real program by flag; a rule class is the number of the bit, from 1."""
CLASSES = {
    33: "Driver isolation checks",
    34: "DDI compliance checking (additional IRQL)",
    36: "DIF verification",
}
"""Rule classes beyond the 32 flags."""
NOT_IMPLEMENTED = {
    "/standard": "the standard options",
    "/all": "verification of all installed drivers",
    "/adddriver": "changing the list of verified drivers",
    "/removedriver": "changing the list of verified drivers",
    "/driver.exclude": "verification of all drivers but some",
    "/volatile": "changes without a reboot",
    "/persistthreads": "changes without a reboot",
    "/bootmode": "boot modes",
    "/disk": "disk integrity checking",
    "/faults": "low resources simulation",
    "/faultssystematic": "systematic low resources simulation",
    "/log.code_coverage": "code coverage logging",
    "/dbgconfig": "debugger settings",
    "/now": "changes without a reboot",
    "/stop": "changes without a reboot",
    "/rules": "single rules",
    "/xdv": "extended verification",
    "/domain": "verification domains",
    "/logging": "logging of rules",
    "/livedump": "live dumps",
    "/onlylogs": "logging of rules",
    "/livedumplimit": "live dumps",
}


class Action(Enum):
    """What is asked."""

    VERIFY = "verify"
    QUERY = "query"
    QUERY_SETTINGS = "query settings"
    RESET = "reset"
    LOG = "log"
    HELP = "help"


@dataclass(frozen=True, slots=True)
class Request:
    """A command line that was understood."""

    action: Action
    flags: int = 0
    drivers: tuple[str, ...] = ()
    log: str = ""
    interval: int = 0


_SIMPLE = {
    "/query": Action.QUERY,
    "/querysettings": Action.QUERY_SETTINGS,
    "/reset": Action.RESET,
    "/?": Action.HELP,
    "/help": Action.HELP,
    "/h": Action.HELP,
}
_CLASS_WORDS = ("/ruleclasses", "/rc", "/dif")
_WORDS = frozenset(
    (*_SIMPLE, *_CLASS_WORDS, *NOT_IMPLEMENTED, "/flags", "/driver", "/log", "/interval")
)


def parse(words: Sequence[str]) -> Request:
    """Understand a command line; raise `UsageError` for what is unknown or not implemented."""
    groups = _groups(words)
    if not groups:
        return Request(Action.HELP)
    for name, _ in groups:
        if name in NOT_IMPLEMENTED:
            raise UsageError(f"{name} ({NOT_IMPLEMENTED[name]}) is not implemented by hvci")
    found = dict(groups)
    if len(found) != len(groups):
        raise UsageError("an option is given twice")
    for name, action in _SIMPLE.items():
        if name in found:
            return _alone(groups, name, action)
    if "/log" in found:
        return _log(found)
    return _verify(found)


def _groups(words: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Each option with the words that follow it."""
    groups: list[tuple[str, list[str]]] = []
    for word in words:
        name = "/" + word[1:].lower() if word[:1] in "/-" else ""
        if name in _WORDS:
            groups.append((name, []))
        elif name and (word[0] == "-" or not groups or "/" not in word[1:]):
            raise UsageError(f"unknown option {word}; see hvci verifier /?")
        elif not groups:
            raise UsageError(f"{word} is no option; see hvci verifier /?")
        else:
            groups[-1][1].append(word)
    return groups


def _alone(groups: list[tuple[str, list[str]]], name: str, action: Action) -> Request:
    if len(groups) > 1 or groups[0][1]:
        raise UsageError(f"{name} takes no further words")
    return Request(action)


def _log(found: dict[str, list[str]]) -> Request:
    interval = found.pop("/interval", ["0"])
    names = found.pop("/log")
    if found or len(names) != 1 or len(interval) != 1 or not interval[0].isdigit():
        raise UsageError("want /log FILE [/interval SECONDS]")
    return Request(Action.LOG, log=names[0], interval=int(interval[0]))


def _verify(found: dict[str, list[str]]) -> Request:
    drivers = found.pop("/driver", [])
    flags = 0
    for name, values in found.items():
        if name == "/interval" or not values:
            raise UsageError(f"{name} needs a value" if not values else f"{name} needs /log")
        flags |= _flags(values) if name == "/flags" else _classes(values)
    if not drivers:
        raise UsageError("name the drivers: /driver a.sys b.sys")
    if not flags:
        raise UsageError("name the option: /flags 0x02000000 or /ruleclasses 26")
    return Request(Action.VERIFY, flags, tuple(drivers))


def _number(text: str) -> int:
    try:
        return int(text, 16 if text.lower().startswith("0x") else 10)
    except ValueError as error:
        raise UsageError(f"{text} is no number") from error


def _flags(values: Sequence[str]) -> int:
    if len(values) != 1:
        raise UsageError("want one number after /flags")
    flags = _number(values[0])
    _refuse_others([1 << bit for bit in range(flags.bit_length()) if flags >> bit & 1])
    return flags


def _classes(values: Sequence[str]) -> int:
    classes = [_number(value) for value in values]
    for number in classes:
        if number in CLASSES:
            raise UsageError(f"rule class {number} ({CLASSES[number]}) is not implemented by hvci")
        if not 1 <= number <= 32:
            raise UsageError(f"{number} is no rule class")
    _refuse_others([1 << (number - 1) for number in classes])
    return CODE_INTEGRITY


def _refuse_others(bits: Sequence[int]) -> None:
    """Hvci does code integrity checks and nothing else."""
    for bit in bits:
        if bit != CODE_INTEGRITY:
            name = FLAGS.get(bit, "reserved")
            raise UsageError(f"flag {bit:#010x} ({name}) is not implemented by hvci")
    if not bits:
        raise UsageError("no option is set; code integrity checks are /flags 0x02000000")
