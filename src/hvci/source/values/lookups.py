"""Routines that a program asks the kernel for by their names, and what holds them then.

Theory of operation: the name stands in a string shortly before the look-up. A string with the name
of a judged routine that no look-up here takes, in a program that looks routines up, is a limit: a
function of its own may take it. Knows text only; knows nothing of values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from hvci import catalog
from hvci.model import Limit, Origin, SourceSite, WindowsVersion
from hvci.source.program.aliases import routines
from hvci.source.program.program import Program, Unit

_NARROW = b"FltGetRoutineAddress"
"""Takes its name in a string of bytes."""
LOOKUPS = (b"MmGetSystemRoutineAddress", b"NdisGetRoutineAddress", _NARROW)
REACH = 600
"""So many bytes before a look-up may hold the routine's name."""
_BEHIND = 120
"""And so many behind it."""
_WIDE = re.compile(rb'\bL"(\w+)"')
_STRING = re.compile(rb'(?:\bL)?"(\w+)"')
_ELEMENT = rb"\s*(?:\[[^\]\n]*\]\s*)?"
_HOLDS = re.compile(
    rb"(?:\b(\w+)" + _ELEMENT + rb"|\*\s*(\w+)" + _ELEMENT + rb"\)\s*\([^;{}=]*\)\s*)="
    rb"\s*(?:\([^;=]*\)\s*|\w+_cast\s*<[^;=]*>\s*)?\(*\s*\Z"
)
"""What gets a look-up: a name, or one in the declarator of a pointer to a function."""


@dataclass(frozen=True)
class Lookups:
    """Variables that hold routines found by name."""

    names: dict[bytes, str]
    """Variable to routine."""
    limits: list[Limit] = field(default_factory=list)
    """Names that somebody takes, and what is done with them is not followed."""

    def always_found(self, name: bytes, target: WindowsVersion) -> str:
        """The routine in a variable, when every Windows version aimed at has it; else empty."""
        routine = self.names.get(name, "")
        since = _SINCE.get(routine)
        return routine if since is not None and since <= target else ""


_SINCE = {
    "MmMapIoSpaceEx": WindowsVersion.WINDOWS_10_1507,
    "MmAllocateContiguousNodeMemory": WindowsVersion.WINDOWS_8,
    "ExAllocatePool2": WindowsVersion.WINDOWS_10_2004,
    "ExAllocatePool3": WindowsVersion.WINDOWS_10_2004,
    "MmProtectMdlSystemAddress": WindowsVersion.WINDOWS_XP,
    "MmMapMdl": WindowsVersion.WINDOWS_10_1709,
    "MmCopyMemory": WindowsVersion.WINDOWS_8_1,
}


def lookups(program: Program) -> Lookups:
    """Find `variable = (...)MmGetSystemRoutineAddress(&name)` and what the name says."""
    found: dict[bytes, str] = {}
    taken: set[tuple[str, int]] = set()
    asked = [routine for routine in LOOKUPS if program.names(routine)]
    for routine in asked:
        for unit in program.naming(routine):
            for at in unit.source.places(routine):
                match = _holder(unit.source.code, at)
                if match is None or unit.live(at) is False:
                    continue
                begin, end = max(0, match.start() - REACH), at + len(routine) + _BEHIND
                every = _STRING.finditer(unit.source.plain, begin, end)
                known = [one for one in every if _is_known(_name(one))]
                if known:
                    found[match[1] or match[2]] = _name(known[-1])
                taken.update((unit.source.path, one.start()) for one in known)
    strings = _STRING if _NARROW in asked else _WIDE
    limits = list(dict.fromkeys(_left(program, strings, taken))) if asked else []
    return Lookups(found, limits)


def _holder(code: bytes, at: int) -> re.Match[bytes] | None:
    """What gets the result of a look-up whose name stands at an offset."""
    begin = max(code.rfind(end, 0, at) for end in (b";", b"{", b"}"))
    return _HOLDS.search(code, max(0, begin), at)


def _name(string: re.Match[bytes]) -> str:
    return string[1].decode("ascii", "replace")


def _is_known(name: str) -> bool:
    return name in _SINCE or name in catalog.ddis()


def _left(
    program: Program, strings: re.Pattern[bytes], taken: set[tuple[str, int]]
) -> Iterator[Limit]:
    """A limit for each name of a judged routine in a string that no look-up takes."""
    for path in program.paths:
        if program.space.words.among(path, routines()):
            for unit in program.units_of(path):
                yield from _left_in(unit, strings, taken)


def _left_in(
    unit: Unit, strings: re.Pattern[bytes], taken: set[tuple[str, int]]
) -> Iterator[Limit]:
    for match in strings.finditer(unit.source.plain):
        name, path = _name(match), unit.source.path
        if name.encode() not in routines() or (path, match.start()) in taken:
            continue
        if unit.live(match.start()) is not False:
            line, column = unit.source.position(match.start())
            reason = (
                f"{path}:{line}: {name} is named in a string, this driver looks routines up by "
                "their names, and calls of what is found are not followed: check the built .sys"
            )
            site = SourceSite(path, line, column)
            yield Limit(Origin.SOURCE, catalog.ddis()[name].weakens, reason, site)
