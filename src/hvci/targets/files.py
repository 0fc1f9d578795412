"""Turns the words of a command line into files, folders searched, in an order that never changes.

Looks at the first bytes of a file to tell what it is; what the file says is for the readers.
"""

from __future__ import annotations

import glob
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from pathlib import Path

from hvci.errors import InputError
from hvci.model.record import record
from hvci.packages.images import looked_at
from hvci.packages.marks import is_double

MAX_BYTES = 256 << 20
"""A larger file is no driver."""
STDIN = "-"


class Kind(StrEnum):
    """What a target looks like from outside."""

    IMAGE = "image"
    REPORT = "report"
    """A saved JSON report."""
    SOURCE = "source"
    """Driver sources: a file, a project, or a folder that holds some."""
    PACKAGE = "package"
    """An INF or an archive that was met in a folder."""


@record
class Found:
    """One target, in the words of the person who named it."""

    path: str
    kind: Kind


@record
class Missing:
    """A word that led to no target."""

    path: str
    error: InputError


IsPackage = Callable[[str, bytes], bool]
"""Tells by the path and the first bytes of a file in a folder whether it is a package."""


def _never(_name: str, _head: bytes) -> bool:
    return False


def find(words: Iterable[str], is_package: IsPackage = _never) -> Iterator[Found | Missing]:
    """Yield the targets of each word in the order given, each path once; folders are sorted."""
    seen: set[str] = set()
    for word in words:
        for target in _targets(word, is_package):
            if target.path not in seen:
                seen.add(target.path)
                yield target


def _targets(word: str, is_package: IsPackage) -> Iterator[Found | Missing]:
    if word == STDIN:
        yield Found(STDIN, Kind.IMAGE)
        return
    path = Path(word)
    try:
        if path.is_dir():
            yield from _folder(path, is_package)
        elif not os.path.lexists(path) and glob.has_magic(word):
            yield from _pattern(word, is_package)
        else:
            yield _file(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        yield Missing(word, InputError(f"{word}: {reason or error}"))


def _pattern(word: str, is_package: IsPackage) -> Iterator[Found | Missing]:
    matches = sorted(glob.iglob(word, recursive=True))  # noqa: PTH207 (a pattern may be absolute)
    if not matches:
        yield Missing(word, InputError(f"{word}: no file matches this pattern"))
    for match in matches:
        yield from _targets(match, is_package)


def _folder(folder: Path, is_package: IsPackage) -> Iterator[Found | Missing]:
    empty, sources = True, False
    for path in _walk(folder, is_package):
        if isinstance(path, Missing):
            empty = False
            yield path
            continue
        sources = sources or is_source(path)
        found = _met_or_shut(path, is_package)
        if found is not None:
            empty = empty and isinstance(found, Found) and found.kind is Kind.PACKAGE
            yield found
    if sources:
        yield Found(str(folder), Kind.SOURCE)
    elif empty:
        yield Missing(str(folder), InputError(f"{folder}: no driver in this folder"))


def _met_or_shut(path: Path, is_package: IsPackage) -> Found | Missing | None:
    try:
        return _met(path, is_package)
    except FileNotFoundError:
        return None  # it went meanwhile
    except OSError as error:
        return _shut(path, error)


def _met(path: Path, is_package: IsPackage) -> Found | None:
    """What a file of a folder is; None where it is nothing to us."""
    if _is_driver(path.name) and not is_double(path.name, _head_of(path)):
        return Found(str(path), Kind.IMAGE)
    head, is_driver = looked_at(str(path), 16)
    if is_driver:
        return Found(str(path), Kind.IMAGE)
    return Found(str(path), Kind.PACKAGE) if is_package(str(path), head) else None


def _head_of(path: Path) -> bytes:
    """The first bytes of what may be a double of macOS; nothing is read of any other file."""
    if not path.name.startswith("._"):
        return b""
    with path.open("rb") as stream:
        return stream.read(16)


def _is_driver(name: str) -> bool:
    return name.lower().endswith(".sys")


def _walk(folder: Path, is_package: IsPackage) -> Iterator[Path | Missing]:
    """Every regular file below a folder, sorted, and what is called a driver and is no file, or a
    package and a link that leads nowhere; a symlink loop is entered once. A folder that cannot be
    listed is told.
    """
    entered: set[tuple[int, int]] = set()
    shut: list[OSError] = []
    for top, folders, files in os.walk(folder, followlinks=True, onerror=shut.append):
        yield from (_shut(Path(one.filename), one) for one in shut)
        shut.clear()
        status = Path(top).stat()
        if (status.st_dev, status.st_ino) in entered:
            folders.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        folders.sort()
        for name in sorted(files):
            path = Path(top, name)
            if path.is_file():
                yield path
            elif _is_driver(name) or (path.is_symlink() and is_package(str(path), b"")):
                yield from _no_file(path)
    yield from (_shut(Path(one.filename), one) for one in shut)


def _shut(path: Path, error: OSError) -> Missing:
    return Missing(str(path), InputError(f"{path}: {error.strerror or error}"))


def _no_file(path: Path) -> Iterator[Missing]:
    """A link that leads nowhere, a pipe, a device."""
    try:
        found = _file(path)
    except OSError as error:
        found = _shut(path, error)
    if isinstance(found, Missing):
        yield found


def _file(path: Path) -> Found | Missing:
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        return Missing(str(path), InputError(f"{path}: not a regular file"))
    if _is_named_source(path):
        return Found(str(path), Kind.SOURCE)
    with path.open("rb") as stream:
        head = stream.read(64).lstrip()
    return Found(str(path), Kind.REPORT if head.startswith(b"{") else Kind.IMAGE)


_CODE = (".c", ".cpp", ".cc", ".cxx", ".h", ".hpp", ".hxx", ".hh", ".inl", ".asm")
_SOURCES = (*_CODE, ".vcxproj", ".sln", ".slnx", ".slnf")
_NAMES = ("sources", "cmakelists.txt")
_LISTS = ("meson.build", "makefile", "gnumakefile", "makefile.mingw")
"""Lists that mean anything else as often: in a folder the C files beside them tell."""
_CRATE = "cargo.toml"
_OF_DRIVERS = (b"wdk", b"cdylib", b"windows-kernel")
"""What the manifest of a crate says when it may build a driver."""


def is_source(path: Path) -> bool:
    """Whether a file of a folder says source or project of a driver."""
    name = path.name.lower()
    if name == _CRATE:
        return _speaks_of_drivers(path)
    return path.suffix.lower() in _SOURCES or name in _NAMES


def _is_named_source(path: Path) -> bool:
    """Whether a file that somebody names is source or project."""
    name = path.name.lower()
    return is_source(path) or name.endswith(".rs") or name in (*_LISTS, _CRATE)


def _speaks_of_drivers(manifest: Path) -> bool:
    try:
        with manifest.open("rb") as stream:
            text = stream.read(1 << 16)
    except OSError:
        return False
    return any(word in text for word in _OF_DRIVERS)


def read_bytes(path: str) -> bytes:
    """The bytes of a target, bounded; raise `InputError` when they cannot be had."""
    try:
        if path == STDIN:
            data = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with Path(path).open("rb") as stream:
                data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    if len(data) > MAX_BYTES:
        raise InputError(f"{path}: more than {MAX_BYTES} bytes, which no driver image has")
    return data
