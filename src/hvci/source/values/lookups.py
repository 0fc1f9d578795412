"""Routines that a program asks the kernel for by their names, and what holds them then.

Theory of operation: the name stands in a string shortly before the look-up. A string with the name
of a judged routine that no look-up here takes, in a program that looks routines up, is a limit: a
function of its own may take it. So is a look-up whose name no string can say. Knows text only;
knows nothing of values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from hvci import catalog
from hvci.catalog import memory
from hvci.model import Limit, Origin, SourceSite, WindowsVersion
from hvci.model.judged import CALL_RULES
from hvci.source.preprocess.tree import text_of
from hvci.source.program.aliases import routines
from hvci.source.program.moves import moves
from hvci.source.program.program import Program, Unit, Use
from hvci.source.text.text import Source
from hvci.source.values.literals import Literal, literals

_OF_PORTS = (b"VideoPortGetProcAddress",)
"""Look-ups that a port driver hands over in a structure: members, not routines."""
_NARROW = frozenset(name.encode() for name, by in memory.LOOKUPS.items() if not by.counted)
_NARROW |= frozenset(_OF_PORTS)
"""Take their names in strings of bytes."""
LOOKUPS = tuple(name.encode() for name in memory.LOOKUPS)
REACH = 600
"""So many bytes before a look-up may hold the routine's name."""
_BEHIND = 120
"""And so many behind it."""
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
    limits: list[Limit] = []
    asked = [routine for routine in (*LOOKUPS, *_OF_PORTS) if program.names(routine)]
    for routine in asked:
        for unit in program.naming(routine):
            for at in unit.source.places(routine):
                match = _holder(unit.source.code, at)
                if match is None or unit.live(at) is False:
                    continue
                begin, end = max(0, match.start() - REACH), at + len(routine) + _BEHIND
                every = literals(program, unit, begin, end)
                known = [one for one in every if _is_known(_name(one))]
                if known:
                    found[match[1] or match[2]] = _name(known[-1])
                if not _is_through(unit.source.code, match):
                    taken.update((unit.source.path, one.start) for one in known)
        limits += (
            _unnamed(use, routine) for use in program.uses(routine) if not is_named(program, use)
        )
    left = _left(program, not _NARROW.isdisjoint(asked), taken) if asked else ()
    moved = moves(program, {name: one for name, one in found.items() if one.encode() in routines()})
    return Lookups(found | moved.names, list(dict.fromkeys((*left, *limits, *moved.limits))))


def _holder(code: bytes, at: int) -> re.Match[bytes] | None:
    """What gets the result of a look-up whose name stands at an offset."""
    begin = max(0, *(code.rfind(end, 0, at) for end in (b";", b"{", b"}")))
    if (object_ := _OBJECT.search(code, begin, at)) is not None:
        at = object_.start()
    return _HOLDS.search(code, begin, at)


def _is_through(code: bytes, holder: re.Match[bytes]) -> bool:
    """Whether a look-up goes to where its holder points: another name is called then."""
    at = holder.start(1)
    begin = max(0, *(code.rfind(end, 0, at) for end in (b";", b"{", b"}", b")")))
    return at > 0 and code[begin + 1 : at].lstrip(b" \t\r\n(").startswith(b"*")


_OBJECT = re.compile(rb"\w+(?:\s*(?:->|\.)\s*\w+)*\s*(?:->|\.)\s*\Z")
"""The structure in which a look-up stands."""


def _name(string: Literal) -> str:
    return string.text.decode("ascii", "replace")


def _is_known(name: str) -> bool:
    return name in _SINCE or name in catalog.ddis()


def _left(program: Program, is_narrow: bool, taken: set[tuple[str, int]]) -> Iterator[Limit]:
    """A limit for each name of a judged routine in a string that no look-up takes.

    So is the name of a routine that finds others: what that is asked for is not known.
    """
    for unit in program.units:
        for one in literals(program, unit):
            name, path = _name(one), unit.source.path
            if one.text not in routines() | set(LOOKUPS) or (path, one.start) in taken:
                continue
            if (one.is_wide or is_narrow) and unit.live(one.start) is not False:
                why = (
                    f"{name} is named in a string, this driver looks routines up by their names, "
                    "and calls of what is found are not followed: check the built .sys"
                )
                rules = catalog.ddis()[name].weakens if one.text in routines() else CALL_RULES
                yield _limit(unit.source, one.start, why, rules)


def _unnamed(use: Use, routine: bytes) -> Limit:
    why = (
        f"which routine {routine.decode()} looks up here is not known, as no string says it; "
        "check the built .sys"
    )
    return _limit(use.source, use.offset, why, CALL_RULES)


def _limit(source: Source, offset: int, why: str, rules: tuple[str, ...]) -> Limit:
    line, column = source.position(offset)
    reason, site = f"{source.path}:{line}: {why}", SourceSite(source.path, line, column)
    return Limit(Origin.SOURCE, rules, reason, site)


def is_named(program: Program, use: Use) -> bool:
    """Whether a string may say what a look-up asks for.

    It stands in the function, at what the look-up gets or that is made of, or callers give it.
    """
    function = use.function
    if function is None:
        return True
    start, end = function.node.byte_range
    plain = use.source.plain[start:end]
    if _WIDE_OR_NARROW.search(plain) is not None:
        return True
    names = set(_WORDS.findall(text_of(use.node.child_by_field_name("arguments"))))
    for call in _MAKING.finditer(plain):
        words = set(_WORDS.findall(call[0]))
        names |= words if words & names else set()
    return not names.isdisjoint(function.parameters) or any(
        _is_given_a_string(unit, name) for name in sorted(names) for unit in program.naming(name)
    )


def _is_given_a_string(unit: Unit, name: bytes) -> bool:
    plain = unit.source.plain
    return any(_STRING_BEHIND.match(plain, at + len(name)) for at in unit.source.places(name))


_WIDE_OR_NARROW = re.compile(rb'(?<!\w)(?:L"\w+"|"[A-Z]\w{3,}")')
_STRING_BEHIND = re.compile(rb"[^;{}()]{0,80}(?:[={(,][^;]{0,400}?)?\"")
_WORDS = re.compile(rb"[A-Za-z_]\w*")
_MAKING = re.compile(
    rb"\b\w*(?:Init\w*String|UnicodeString\w*|AnsiString\w*)\s*\([^;]*|\bBuffer\s*=[^;]*"
)
"""What makes a counted string of another."""
