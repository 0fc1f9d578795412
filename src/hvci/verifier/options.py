"""The command line of verifier.exe: `/word value ...`, with `-` for `/`, in any case.

Knows every option of the real program by name. Checks beside those of code integrity are accepted,
as on Windows, and named as not emulated; what would change something else is refused by name. Runs
nothing.
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
INTERNAL = 0x0010_0000
"""Extended verifier flags: part of the standard choice, shown apart, no option of its own."""
FLAG_BITS = 32
CLASSES = {
    33: "Driver isolation checks",
    34: "DDI compliance checking (additional IRQL)",
    36: "DIF verification",
}
"""Rule classes beyond the 32 flags."""
NOT_IMPLEMENTED = {
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
    log_only: bool = False
    """Count violations and do not stop at them: /log.code_integrity."""
    classes: tuple[int, ...] = ()
    """Rule classes beyond the flags; none of them is emulated."""

    @property
    def ignored(self) -> tuple[str, ...]:
        """The options that are set and not emulated, by name."""
        others = [bit for bit in FLAGS if self.flags & bit and bit != CODE_INTEGRITY]
        unknown = self.flags & ~sum(FLAGS) & ~INTERNAL
        names = [f"{FLAGS[bit]} ({bit:#010x})" for bit in others]
        names += [f"unused or reserved flags ({unknown:#010x})"] if unknown else []
        return (*names, *(f"{CLASSES[one]} (rule class {one})" for one in self.classes))


_SIMPLE = {
    "/query": Action.QUERY,
    "/querysettings": Action.QUERY_SETTINGS,
    "/reset": Action.RESET,
    "/?": Action.HELP,
    "/help": Action.HELP,
    "/h": Action.HELP,
    "/-help": Action.HELP,
}
STANDARD = 0x0012_09BB
"""What /standard sets: the automatic choice of the real program, as its own list shows it."""
_LOG_ONLY = "/log.code_integrity"
_CLASS_WORDS = ("/ruleclasses", "/rc", "/dif")
_WORDS = frozenset(
    (
        *_SIMPLE,
        *_CLASS_WORDS,
        *NOT_IMPLEMENTED,
        *("/flags", "/standard", "/driver", "/log", "/interval", _LOG_ONLY),
    )
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
    log_only = found.pop(_LOG_ONLY, None)
    flags, classes = 0, list[int]()
    for name, values in found.items():
        if name in _CLASS_WORDS:
            classes += [number for number in map(_number, values) if number in CLASSES]
            others = [value for value in values if _number(value) not in CLASSES]
            if values and not others:
                continue
            values = others
        flags |= _options(name, values)
    if log_only:
        raise UsageError(f"{_LOG_ONLY} takes no value")
    if not drivers:
        raise UsageError("name the drivers: /driver a.sys b.sys")
    if not flags and not classes:
        raise UsageError("name the option: /flags 0x02000000 or /ruleclasses 26")
    request = Request(
        Action.VERIFY, flags, tuple(drivers), log_only=log_only is not None, classes=tuple(classes)
    )
    if not flags & CODE_INTEGRITY:
        names = ", ".join(request.ignored)
        raise UsageError(
            f"{names}: not implemented by hvci, and code integrity checks are not among the "
            "options; add 0x02000000 to the flags, or rule class 26"
        )
    return request


def _options(name: str, values: Sequence[str]) -> int:
    """The flags that one word of the command line sets."""
    if name == "/standard":
        if values:
            raise UsageError("/standard takes no value")
        return STANDARD
    if name == "/interval":
        raise UsageError("/interval needs /log")
    if not values:
        raise UsageError(f"{name} needs a value")
    return _flags(values) if name == "/flags" else _classes(values)


def _number(text: str) -> int:
    try:
        return int(text, 16 if text.lower().startswith("0x") else 10)
    except ValueError as error:
        raise UsageError(f"{text} is no number") from error


def _flags(values: Sequence[str]) -> int:
    """Several values are joined, as the real program does."""
    flags = 0
    for value in values:
        flags |= _number(value)
    if flags <= 0 or flags.bit_length() > FLAG_BITS:
        raise UsageError(
            "no option is set; code integrity checks are /flags 0x02000000"
            if not flags
            else f"{flags:#x} is no set of {FLAG_BITS} flags"
        )
    return flags


def _classes(values: Sequence[str]) -> int:
    flags = 0
    for number in map(_number, values):
        if not 1 <= number <= FLAG_BITS:
            raise UsageError(f"{number} is no rule class")
        flags |= 1 << (number - 1)
    return flags
