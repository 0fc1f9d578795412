"""Which INF speaks of which driver: several may name one file, and one may name several.

Knows services, tiers of places and machines; reads nothing but the head of an image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from hvci.model import Machine
from hvci.packages.images import is_driver_at
from hvci.packages.inf import Inf, Service

_PE = {0x8664: Machine.X64, 0x14C: Machine.X86, 0xAA64: Machine.ARM64}
_LAST = 9
_HEAD = 4096
_OPTIONAL = 0x60
"""Behind the signature of a PE, so much holds its subsystem."""
T = TypeVar("T")


class Claim(NamedTuple):
    """What one INF says of one file by one of its services."""

    inf_path: str
    inf: Inf
    service: Service
    tier: int
    """Of the places where the INF has it; the first is the surest."""


def machine_of_head(head: bytes) -> Machine | None:
    """The machine of a driver image by its first bytes; None for any other file."""
    start = int.from_bytes(head[0x3C:0x40], "little")
    if head[:2] != b"MZ" or head[start : start + 4] != b"PE\0\0":
        return None
    return _PE.get(int.from_bytes(head[start + 4 : start + 6], "little"))


def machine_of_file(path: Path) -> Machine | None:
    """The machine of a driver image; None for any other file, and for one that cannot be read."""
    try:
        with path.open("rb") as stream:
            return machine_of_head(stream.read(_HEAD))
    except OSError:
        return None


def is_no_driver(path: Path, name: str) -> bool:
    """Whether a file that a service starts in the kernel is certainly none that can be; what is
    called a driver and is no image at all is told by its own report.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD)
            is_driver = is_driver_at(stream)
    except OSError:
        return False
    if head[:2] != b"MZ":
        return not name.lower().endswith(".sys")
    start = int.from_bytes(head[0x3C:0x40], "little")
    is_seen = head[start : start + 4] == b"PE\0\0" and len(head) > start + _OPTIONAL
    return is_seen and not is_driver


def claimed(
    service: Service,
    present: Mapping[str, Sequence[T]],
    machine_of: Callable[[T], Machine | None],
    base: str = "",
) -> tuple[int, list[T]]:
    """The files of a service and the tier that they are of; `present` is by path in lower case,
    of which an archive, or a folder that tells cases apart, can have several. `base` is how the
    paths begin that the service can have.

    A file for another machine than the INF names is only meant where there is no other.
    """
    unfit: tuple[int, list[T]] = (0, [])
    for number, tier in enumerate(service.tiers):
        there = list(
            dict.fromkeys(one for each in tier for one in present.get(base + each.lower(), ()))
        )
        right = [one for one in there if _fits(service, machine_of(one))]
        if right:
            return number, right
        if there and not unfit[1]:
            unfit = (number, there)
    return unfit


def amiss(
    inf: Inf,
    present: Mapping[str, Sequence[T]],
    path_of: Callable[[T], Path],
    base: str = "",
) -> Iterator[str]:
    """What is wrong with the files of services of which one is there at least.

    A package for one machine may have an INF for several, where all of them keep the file in one
    place: what lies there is of any of them. What has a place of its own has to be there, but for
    the file for x86, where there is no memory integrity: packages leave it out.
    """

    def machine_of(one: T) -> Machine | None:
        return machine_of_file(path_of(one))

    meant = {
        (path, machine) for one in inf.services for machine, paths in one.own for path in paths
    }
    for service in inf.services:
        for file in claimed(service, present, machine_of, base)[1]:
            if is_no_driver(path_of(file), service.file):
                yield f"service {service.name}: {service.file} is no image of a kernel driver"
        there = {
            path: {machine_of(one) for one in present.get(base + path.lower(), ())}
            for path in service.sources
        }
        every = set().union(*there.values())
        for machine, paths in service.own if every else ():
            found = {(path, one) for path in paths for one in there.get(path, ())}
            if not {machine, None}.isdisjoint(one for _, one in found):
                continue  # what is no image of a machine is told by its own report
            what = f"service {service.name}: {paths[0]}, the file for {machine},"
            if found - meant:
                others = sorted({str(one) for _, one in found - meant})
                yield f"{what} is one for {' and '.join(others)}"
            elif not found and machine is not Machine.X86:
                called = {_name(path) for path in paths}
                same = (one for path, one in there.items() if _name(path) in called)
                if not any(machine in one for one in same):
                    yield f"{what} is not in the package"
    yield from _uninstalled(inf, present, machine_of, base)


def _uninstalled(
    inf: Inf,
    present: Mapping[str, Sequence[T]],
    machine_of: Callable[[T], Machine | None],
    base: str,
) -> Iterator[str]:
    """Drivers of services for a machine for which a manufacturer of the INF has no models."""
    sources = {path for one in inf.services for path in one.sources} if inf.unmodelled else ()
    there = {machine_of(one) for path in sources for one in present.get(base + path.lower(), ())}
    for machine, section in inf.unmodelled:
        if machine in there:
            yield (
                f"there is no section of models [{section}], which [Manufacturer] names: Windows "
                f"installs nothing of that manufacturer on {machine}"
            )


def lost_infs(inf: Inf, is_there: Callable[[str], object]) -> Iterator[tuple[str, str]]:
    """INFs that are installed with one and lie in none of their places: name, and what is wrong."""
    for places in inf.copies:
        if not any(map(is_there, places)):
            name = places[-1]
            yield _name(name), f"{name}, which is installed with it, is not in the package"


def _name(path: str) -> str:
    return path.lower().replace("!", "/").rpartition("/")[2]


def best(claims: list[Claim], machine_of: Callable[[], Machine | None]) -> Claim:
    """The claim that counts: of the right machine, for a service, as surely as the INF says it,
    from the nearest INF, for the newest Windows, and the one that starts its service first.
    """
    if len(claims) == 1:
        return claims[0]
    machine = machine_of()

    def rank(claim: Claim) -> tuple[bool, bool, int, int, tuple[int, ...], int]:
        one, path = claim.service, claim.inf_path
        newest = tuple(-number for number in one.windows) or (1,)
        start = one.start if one.start is not None else _LAST
        near = -sum(map(path.count, "/\\!"))  # an INF beside a file before one above it
        return not _fits(one, machine), not one.name, claim.tier, near, newest, start

    return min(claims, key=rank)


def _fits(service: Service, machine: Machine | None) -> bool:
    return machine is None or not service.machines or machine in service.machines


class Claims(Generic[T]):
    """What INFs say of files, each INF with its path and the folder, in lower case, that its places
    are relative to.
    """

    def __init__(
        self,
        present: Mapping[str, Sequence[T]],
        path_of: Callable[[T], Path],
    ) -> None:
        self._present, self._path_of = present, path_of
        self._claims: dict[T, list[Claim]] = {}
        self.lost: list[tuple[str, Service]] = []
        """Services whose file is not there, with the INF."""
        self.amiss: list[tuple[str, str]] = []
        """What is wrong with files of which one is there at least, with the INF."""

    def add(self, path: str, base: str, inf: Inf) -> None:
        """Look for the files of an INF."""
        for service in inf.drivers:
            tier, there = claimed(service, self._present, self._machine_of, base)
            for one in there:
                self._claims.setdefault(one, []).append(Claim(path, inf, service, tier))
            if not there and not service.of_windows:
                self.lost.append((path, service))
        wrong = amiss(inf, self._present, self._path_of, base)
        self.amiss += [(path, text) for text in wrong]

    def _machine_of(self, one: T) -> Machine | None:
        return machine_of_file(self._path_of(one))

    def of(self, one: T) -> Claim | None:
        """The claim on a file that counts."""
        found = self._claims.get(one)
        return best(found, partial(self._machine_of, one)) if found else None
