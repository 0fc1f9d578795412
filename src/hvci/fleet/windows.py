"""A Windows as a target of a scan: its drivers with service, package, devices and start.

A folder is read where it lies; the image of a disk is opened by a worker, like an archive.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from hvci.errors import InputError
from hvci.fleet.walk import WINDOWS, Place, Problem, place_of, problem, starts
from hvci.installed import disks, tree
from hvci.installed.drivers import NO_DRIVER, Windows
from hvci.model import Package
from hvci.packages.opened import Driver, Kept, Placed, Refused

NO_WINDOWS = "no Windows folder: it has no System32/config/SYSTEM"


def windows_places(word: str, since: int = 0) -> Iterator[Place | Problem]:
    """The drivers of a Windows folder; an image with a Windows is one place."""
    path = os.path.abspath(word)  # noqa: PTH100 (links stay: people know a file by that name)
    try:
        if not Path(path).is_dir():
            one = place_of(path, os.stat(path), WINDOWS)  # noqa: PTH116
            if one.changed >= since:
                yield one
            return
        found = tree.of_windows(Path(path))
        if found is None:
            yield Problem(path, "package", NO_WINDOWS)
            return
        windows = Windows(*found)
        empty = True
        for each in _first_of_file(windows.drivers()):
            empty = False
            if isinstance(each, Problem) or each.changed >= since:
                yield each
        if empty:
            yield Problem(path, "empty", "; ".join((NO_DRIVER, *windows.doubts)))
        elif windows.doubts:
            yield Problem(windows.tree.label(found[1]), "package", "; ".join(windows.doubts))
    except InputError as error:
        yield Problem(path, "package", str(error).removeprefix(f"{path}: "))
    except OSError as error:
        yield problem(path, error)


def _first_of_file(opened: Iterable[Driver | Refused]) -> Iterator[Place | Problem]:
    """Each file once, for the service that starts it first."""
    found: dict[str, tuple[Package | None, tuple[str, ...]]] = {}
    for one in opened:
        if isinstance(one, Refused):
            yield Problem(one.path, "package", str(one.error).removeprefix(f"{one.path}: "))
            continue
        before = found.get(one.path)
        if before is None or starts(one.package) < starts(before[0]):
            found[one.path] = (one.package, tuple(path for path, _ in one.catalogs))
    for path, (package, catalogs) in found.items():
        try:
            place = place_of(path, os.stat(path))  # noqa: PTH116
        except OSError as error:
            yield problem(path, error)
        else:
            yield place._replace(package=package, catalogs=catalogs)


def unpack_windows(path: Path, scratch: Path) -> tuple[list[Placed], list[Refused], str]:
    """Put the drivers of every Windows in an image into a scratch folder under numbers.

    Names begin with an exclamation mark. Told besides is the state of memory integrity.
    """
    placed: dict[str, Placed] = {}
    number = 0
    refused: list[Refused] = []
    states: list[str] = []
    try:
        for volume, folder in disks.windows_of(path):
            windows = Windows(volume, folder)
            states.append(windows.registry.state)
            for one in windows.drivers():
                name = _within(path, one.path)
                if isinstance(one, Refused):
                    refused.append(Refused(name, one.error))
                    continue
                number += 1
                before = placed.get(name)
                if before is None or starts(one.package) < starts(before.package):
                    placed[name] = _kept(one, path, scratch, number)
            refused += [Refused("", InputError(text)) for text in windows.doubts]
    except InputError as error:
        refused.append(Refused("", InputError(str(error).removeprefix(f"{path}: "))))
    return (
        list(placed.values()),
        refused,
        f"memory integrity: {', '.join(states)}" if states else "",
    )


def _kept(one: Driver, path: Path, scratch: Path, number: int) -> Placed:
    file = scratch / f"{number}.bin"
    file.write_bytes(one.data)
    catalogs = []
    for place, (name, data) in enumerate(one.catalogs):
        kept = scratch / f"{number}-{place}.bin"
        kept.write_bytes(data)
        catalogs.append(Kept(_within(path, name), kept))
    return Placed(_within(path, one.path), file, one.package, tuple(catalogs))


def _within(path: Path, label: str) -> str:
    """What follows the name of the image in what a report calls a file of it."""
    rest = label.removeprefix(str(path))
    return rest if rest.startswith("!") else f"!{rest}"
