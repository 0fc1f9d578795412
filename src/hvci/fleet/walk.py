"""Finds the drivers that a scan is about, with what tells whether a file is still the same.

Opens nothing but files without a driver's name, to look whether they are one. What cannot be looked
at is named, never passed over.
"""

from __future__ import annotations

import errno
import glob
import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from hvci.errors import InputError
from hvci.model import Package
from hvci.packages.beside import Beside
from hvci.packages.images import looked_at
from hvci.packages.kinds import is_package, kind_of_file
from hvci.packages.marks import is_double
from hvci.packages.opened import NoDriver, Refused, of_inf
from hvci.targets import MAX_BYTES

_SUFFIX, _INF = ".sys", ".inf"
_NO_FILE = "not a regular file"
MAX_ARCHIVE = 64 << 30
"""A larger archive is not opened."""
IMAGE, ARCHIVE, WINDOWS = "image", "archive", "windows"
"""Kinds of places; a Windows is the image of a disk, or of a Windows, whose drivers are wanted."""


class Place(NamedTuple):
    """A file as it was met."""

    path: str
    """Absolute, as the system spells it."""
    size: int
    changed: int
    """Time of the last change in nanoseconds."""
    inode: int
    kind: str = IMAGE
    package: Package | None = None
    catalogs: tuple[str, ...] = ()
    """Paths of the catalogs of its package."""
    touched: int = 0
    """When the system last noted a change of it, in nanoseconds; unpackers and copies set
    `changed` to what it was elsewhere. On Windows when it was made."""


class Problem(NamedTuple):
    """A place that cannot be scanned, and why, in one word and in one sentence."""

    path: str
    kind: str
    sentence: str


_STARTS = {"boot": 0, "system": 1, "automatic": 2}


def starts(package: Package | None) -> int:
    """When Windows starts the service of a driver, as a number that grows."""
    return _STARTS.get(package.start, len(_STARTS)) if package else len(_STARTS)


_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


def is_url(target: str) -> bool:
    """Whether a target names a place that only a URL reaches."""
    return _URL.match(target) is not None


def places(targets: Iterable[str], since: int = 0) -> Iterator[Place | Problem]:
    """Every driver that the targets lead to, in an order that never changes.

    What was changed before `since`, in nanoseconds, is left out.
    """
    for target in targets:
        beside = Beside()
        for found in _target(target, beside):
            if isinstance(found, Problem):
                yield found
            elif found.size > (MAX_BYTES if found.kind == IMAGE else MAX_ARCHIVE):
                what = (
                    "a driver image can have" if found.kind == IMAGE else "are read of an archive"
                )
                yield Problem(found.path, "too-large", f"more bytes than {what}")
            elif found.changed >= since:
                yield _told(found, beside)
        for path, error in beside.wrong():
            yield Problem(path, "package", str(error))


def _told(place: Place, beside: Beside) -> Place:
    """A driver with what the INFs that were met before it say."""
    said = beside.of(place.path) if beside.read and place.kind == IMAGE else None
    if said is None:
        return place
    return place._replace(package=said.package, catalogs=said.catalogs)


def _target(target: str, beside: Beside) -> Iterator[Place | Problem]:
    path = os.path.abspath(target)  # noqa: PTH100 (links stay: people know a file by that name)
    try:
        status = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError) as error:
        if glob.has_magic(target) and not os.path.lexists(path):
            yield from _pattern(target, beside)
        else:
            yield problem(path, error)
        return
    if stat.S_ISDIR(status.st_mode):
        one: Place | Problem | None = None
        for one in _folder(path, beside):
            yield one
        if one is None:
            yield Problem(path, "empty", "no driver in this folder")
    elif stat.S_ISREG(status.st_mode):
        yield from _named(path, status)
    else:
        yield Problem(path, "no-file", _NO_FILE)


def _named(path: str, status: os.stat_result) -> Iterator[Place | Problem]:
    """A file that somebody named; an INF stands for the drivers that it installs."""
    if not path.lower().endswith(_INF):
        kind = ARCHIVE if kind_of_file(Path(path)) else IMAGE
        yield place_of(path, status, kind)
        return
    wrong: dict[str, None] = {}
    found: dict[str, Place] = {}
    try:
        for one in of_inf(Path(path)):
            if isinstance(one, Refused):
                wrong.setdefault(str(one.error))
                continue
            place = place_of(str(one.file), one.file.stat())
            catalogs = tuple(map(str, one.catalogs))
            before = found.get(place.path)
            if before is None or starts(one.package) < starts(before.package):
                found[place.path] = place._replace(package=one.package, catalogs=catalogs)
        yield from found.values()
        if wrong:
            yield Problem(path, "package", "; ".join(wrong))
    except InputError as error:
        yield _of_package(path, error)
    except OSError as error:
        yield problem(path, error)


def _of_package(path: str, error: InputError) -> Problem:
    return Problem(path, "package", str(error).removeprefix(f"{path}: "))


def _pattern(target: str, beside: Beside) -> Iterator[Place | Problem]:
    matches = sorted(glob.iglob(target, recursive=True))  # noqa: PTH207 (may be absolute)
    if not matches:
        yield Problem(os.path.abspath(target), "vanished", "no file matches this pattern")  # noqa: PTH100
    for match in matches:
        yield from _target(match, beside)


def _folder(folder: str, beside: Beside) -> Iterator[Place | Problem]:
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
        yield from _infs(found, beside)
        folders = []
        for entry in found:
            if _is_folder(entry):
                folders.append(entry.path)
            elif one := _entry(entry):
                yield one
        waiting += reversed(folders)


def _infs(entries: list[os.DirEntry[str]], beside: Beside) -> Iterator[Problem]:
    """Read the INFs of a folder before its drivers are handed out."""
    for entry in entries:
        if entry.name[-1:] not in "fF" or entry.name[-4:].lower() != _INF:
            continue
        try:
            if entry.is_file() and not is_double(entry.name, _head(entry)):
                beside.add(Path(entry.path))
        except NoDriver:
            continue
        except InputError as error:
            yield _of_package(entry.path, error)
        except OSError as error:
            yield problem(entry.path, error)


def _head(entry: os.DirEntry[str]) -> bytes:
    """The first bytes of what may be a double of macOS; nothing is read of any other file."""
    if entry.name[:2] != "._" or not entry.is_file():
        return b""
    with open(entry.path, "rb") as stream:  # noqa: PTH123 (as elsewhere here)
        return stream.read(16)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _entry(entry: os.DirEntry[str]) -> Place | Problem | None:
    named = entry.name[-4:].lower() == _SUFFIX
    try:
        if entry.name[:2] == "._" and is_double(entry.name, _head(entry)):
            return None
        status = entry.stat()
        if not stat.S_ISREG(status.st_mode):
            return Problem(entry.path, "no-file", _NO_FILE) if named else None
        if named:
            return place_of(entry.path, status)
        kind = _kind(entry.path)
        return place_of(entry.path, status, kind) if kind else None
    except OSError as error:
        # What is called so may be a driver or package whatever it holds; else a link that leads
        # nowhere, or a file that went meanwhile, is nothing to look at.
        leads_nowhere = isinstance(error, FileNotFoundError) or error.errno == errno.ELOOP
        named = named or (entry.is_symlink() and is_package(entry.path, b""))
        return None if leads_nowhere and not named else problem(entry.path, error)


def _kind(path: str) -> str:
    """What a file without a driver's name is to us; empty for nothing. Raises `OSError`."""
    if path[-4:].lower() == _INF:
        return ""
    head, is_driver = looked_at(path, 16)
    if head[:2] == b"MZ":
        # Whether a program brings drivers along takes all of it: a worker looks, and once only.
        return IMAGE if is_driver else ARCHIVE
    return ARCHIVE if is_package(path, head) else ""


def place_of(path: str, status: os.stat_result, kind: str = IMAGE) -> Place:
    """A file by what the system says of it."""
    inode = status.st_ino & (1 << 63) - 1
    size, changed, touched = status.st_size, status.st_mtime_ns, status.st_ctime_ns
    return Place(path, size, changed, inode, kind, touched=touched)


def problem(path: str, error: Exception) -> Problem:
    """What the system says of a place."""
    if isinstance(error, FileNotFoundError):
        return Problem(path, "vanished", "no such file")
    reason = error.strerror if isinstance(error, OSError) else None
    return Problem(path, "unreadable", f"cannot be read: {reason or error}")
