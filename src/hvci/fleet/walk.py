"""Finds the drivers that a scan is about, with what tells whether a file is still the same.

Opens nothing but files without a driver's name, to look whether they are one. What cannot be looked
at is named, never passed over.
"""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from hvci.targets import MAX_BYTES, is_native

_SUFFIX = ".sys"


class Place(NamedTuple):
    """A file as it was met."""

    path: str
    """Absolute, as the system spells it."""
    size: int
    changed: int
    """Time of the last change in nanoseconds."""
    inode: int


class Problem(NamedTuple):
    """A place that cannot be scanned, and why, in one word and in one sentence."""

    path: str
    kind: str
    sentence: str


def places(targets: Iterable[str], since: int = 0) -> Iterator[Place | Problem]:
    """Every driver that the targets lead to, in an order that never changes.

    What was changed before `since`, in nanoseconds, is left out.
    """
    for target in targets:
        for found in _target(target):
            if isinstance(found, Problem):
                yield found
            elif found.size > MAX_BYTES:
                yield Problem(found.path, "too-large", "more bytes than a driver image can have")
            elif found.changed >= since:
                yield found


def _target(target: str) -> Iterator[Place | Problem]:
    path = os.path.abspath(target)  # noqa: PTH100 (links stay: people know a file by that name)
    try:
        status = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError) as error:
        if glob.has_magic(target) and not os.path.lexists(path):
            yield from _pattern(target)
        else:
            yield problem(path, error)
        return
    if stat.S_ISDIR(status.st_mode):
        yield from _folder(path)
    elif stat.S_ISREG(status.st_mode):
        yield _place(path, status)
    else:
        yield Problem(path, "no-file", "not a regular file")


def _pattern(target: str) -> Iterator[Place | Problem]:
    matches = sorted(glob.iglob(target, recursive=True))  # noqa: PTH207 (may be absolute)
    if not matches:
        yield Problem(os.path.abspath(target), "vanished", "no file matches this pattern")  # noqa: PTH100
    for match in matches:
        yield from _target(match)


def _folder(folder: str) -> Iterator[Place | Problem]:
    """Every driver below a folder; a loop of links is entered once."""
    waiting, entered = [folder], set[tuple[int, int]]()
    while waiting:
        top = waiting.pop()
        try:
            status = os.stat(top)  # noqa: PTH116
            key = (status.st_dev, status.st_ino)
            if key in entered:
                continue
            entered.add(key)
            with os.scandir(top) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            yield problem(top, error)
            continue
        folders = []
        for entry in found:
            if _is_folder(entry):
                folders.append(entry.path)
            elif one := _entry(entry):
                yield one
        waiting += reversed(folders)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _entry(entry: os.DirEntry[str]) -> Place | Problem | None:
    named = entry.name[-4:].lower() == _SUFFIX
    try:
        status = entry.stat()
        if not stat.S_ISREG(status.st_mode):
            return None
        if named or (status.st_size and is_native(Path(entry.path))):
            return _place(entry.path, status)
    except OSError as error:
        return problem(entry.path, error) if named else None
    return None


def _place(path: str, status: os.stat_result) -> Place:
    return Place(path, status.st_size, status.st_mtime_ns, status.st_ino & (1 << 63) - 1)


def problem(path: str, error: Exception) -> Problem:
    """What the system says of a place."""
    if isinstance(error, FileNotFoundError):
        return Problem(path, "vanished", "no such file")
    reason = error.strerror if isinstance(error, OSError) else None
    return Problem(path, "unreadable", f"cannot be read: {reason or error}")
