"""What tells the Windows version to a driver, and what it says on some kernels.

Knows routines of the kernel and numbers; no code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from hvci.binary.flow import atoms
from hvci.binary.flow.atoms import NOTHING, Atom, Atoms, Kind, Lookup
from hvci.catalog import ddis
from hvci.model import TARGETS, WindowsVersion

TELLING = frozenset(
    ("RtlGetVersion", "PsGetVersion", "RtlIsNtDdiVersionAvailable", "IoIsWdmVersionAvailable")
)
"""Routines; each other one that a look-up by name finds on every kernel tells something too."""
MAJOR, WDM_6 = 10, (6, 0)
NTDDI_OF_10, NEXT_NTDDI = 0x0A00_0000, 0x0A01_0000
_HALF, _ONES = 32, 0xFFFF_FFFF
_PLATFORM = 2
_FREE, _CHECKED = 0xF000_0000, 0xC000_0000
"""What stands above the build number in `NtBuildNumber`."""
_LABELS = {version.label: version for version in WindowsVersion}


def kernels(target: WindowsVersion) -> tuple[WindowsVersion, ...]:
    """The kernels that have memory integrity and that a driver for the target meets."""
    return tuple(kernel for kernel in TARGETS if kernel >= target)


class Telling:
    """What routines and variables say on some kernels."""

    def __init__(self, on: Iterable[WindowsVersion]) -> None:
        self.builds = sorted(map(int, on))
        self._fields: dict[str, dict[tuple[int, int], Callable[[], Atoms]]] = {
            "RtlGetVersion": {
                (0, 4): lambda: atoms.const(MAJOR),
                (0, 8): lambda: atoms.const(*(build << _HALF for build in self.builds)),
                (0, 12): lambda: atoms.const(
                    *(_PLATFORM << _HALF | build for build in self.builds)
                ),
            },
            "PsGetVersion": {
                (0, 0): lambda: _alone(MAJOR),
                (1, 0): lambda: _alone(0),
                (2, 0): lambda: _alone(*self.builds),
            },
        }

    def written(self, name: str, argument: int, behind: int) -> Atoms | None:
        """What a routine writes some bytes behind an argument, in eight bytes; None: not known.

        Bytes behind a variable that are not its own are any.
        """
        made = self._fields.get(name, {}).get((argument, behind))
        return None if made is None else made()

    def outputs(self, name: str) -> list[tuple[int, int]]:
        """The arguments through which a routine writes what is known, and how far behind them."""
        return [*self._fields.get(name, ())]

    def returned(self, name: str, arguments: Callable[[int], Atoms]) -> Atoms | None:
        """What a routine returns; None where that is not known."""
        if name in ("RtlGetVersion", "PsGetVersion"):
            return atoms.const(0)
        if name == "RtlIsNtDdiVersionAvailable":
            asked = [_number(atom) for atom in arguments(0)]
            if asked and all(each is not None and each <= NTDDI_OF_10 for each in asked):
                return atoms.const(1)
            if asked and all(each is not None and each >= NEXT_NTDDI for each in asked):
                return atoms.const(0)
        if name == "IoIsWdmVersionAvailable":
            version = atoms.single(arguments(0)), atoms.single(arguments(1))
            major, minor = (_number(each) if each is not None else None for each in version)
            if major is not None and minor is not None and (major, minor) <= WDM_6:
                return atoms.const(1)
        return None

    def build_number(self, size: int) -> Atoms:
        """What the kernel's variable holds."""
        if size < _HALF // 8:
            return atoms.truncate(atoms.const(*self.builds), size)
        return atoms.bounded(
            Atom(Kind.CONST, kind | build) for build in self.builds for kind in (_FREE, _CHECKED)
        )

    def is_always_found(self, name: str) -> bool:
        """Whether every kernel has a routine that is looked up by name."""
        ddi = ddis().get(name)
        since = _LABELS.get(ddi.since) if ddi is not None else None
        return since is not None and since <= self.builds[0]

    def is_something(self, atom: Atom) -> bool:
        """Whether a value is the address of a routine that is always found."""
        is_looked_up = atom.kind is Kind.ROUTINE and atom.value == Lookup.BY_NAME
        return is_looked_up and self.is_always_found(atom.why)


def _alone(*values: int) -> Atoms:
    """Four bytes, with any behind them."""
    return NOTHING.union(*(atoms.const(value, value | _ONES << _HALF) for value in values))


def _number(atom: Atom) -> int | None:
    return atom.value if atom.kind is Kind.CONST else None
