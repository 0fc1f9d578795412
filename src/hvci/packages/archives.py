"""Archives as streams of members: each is read in order, in pieces, and nothing is extracted.

Names are text for a report and never a path. A library is imported when an archive needs it.
"""

from __future__ import annotations

import lzma
import struct
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from hvci.errors import InputError

PIECE = 1 << 18
_MARKS = (
    (0, b"PK\x03\x04", "zip"),
    (0, b"PK\x05\x06", "zip"),
    (0, b"MSCF", "cab"),
    (0, b"7z\xbc\xaf\x27\x1c", "7z"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "msi"),
    (0, b"\x1f\x8b", "tar"),
    (0, b"BZh", "tar"),
    (0, b"\xfd7zXZ\0", "tar"),
    (0, b"\x28\xb5\x2f\xfd", "tar.zst"),
    (0, b"Rar!\x1a\x07", "rar"),
    (0, b"MSWIM\0\0\0", "wim"),
    (0x101, b"ustar", "tar"),
    (0x8001, b"CD001", "iso"),
)
HEAD = 0x8006
"""Bytes that tell every kind of archive."""
_CLOSED = {"wim": "a Windows image (WIM)"}
_ERRORS = (
    *(OSError, EOFError, ValueError, RuntimeError, NotImplementedError, LookupError),
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error),
    *(MemoryError, OverflowError, AssertionError, TypeError, AttributeError),
)
"""What libraries raise for damaged archives."""
_INSTALLERS = (
    (b"\xef\xbe\xad\xdeNullsoftInst", "an NSIS installer"),
    (b"Inno Setup Setup Data", "an Inno Setup installer"),
)


class Member(NamedTuple):
    """One file in an archive; its pieces can be read once, before the next member is asked for."""

    name: str
    pieces: Iterator[bytes]
    size: int | None = None
    """What the archive says; None where it does not."""


def kind_of(head: bytes) -> str:
    """What kind of archive starts with these bytes; empty for none."""
    return next((kind for at, mark, kind in _MARKS if head.startswith(mark, at)), "")


def errors() -> tuple[type[Exception], ...]:
    """What the libraries that were imported raise for damaged archives."""
    loaded = sys.modules.get("libarchive.exception")
    return (*_ERRORS, loaded.ArchiveError) if loaded else _ERRORS


def kind_of_file(path: Path) -> str:
    """What kind of archive a file is; empty for none and for what cannot be read."""
    try:
        with path.open("rb") as stream:
            return kind_of(stream.read(HEAD))
    except OSError:
        return ""


def installer(data: bytes) -> str:
    """What installer a program is, such as "an NSIS installer"; empty for none."""
    return next((name for mark, name in _INSTALLERS if mark in data), "")


def members(path: Path, kind: str) -> Iterator[Member]:
    """The files in an archive; raise `InputError` where it cannot be read on."""
    if kind in _CLOSED:
        raise InputError(f"{_CLOSED[kind]}, which hvci does not open: extract it first")
    readers = {"zip": _zip, "tar": _tar, "cab": _cab, "msi": _msi}
    try:
        yield from readers.get(kind, _by_libarchive)(path)
    except errors() as error:
        text = str(error) or type(error).__name__
        raise InputError(f"the archive cannot be read: {text[:300]}") from error


def _pieces(stream: IO[bytes]) -> Iterator[bytes]:
    while piece := stream.read(PIECE):
        yield piece


def _zip(path: Path) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.is_dir():
                continue
            if entry.flag_bits & 1:
                raise InputError(f"the archive is encrypted ({entry.filename})")
            with archive.open(entry) as stream:
                yield Member(entry.filename, _pieces(stream), entry.file_size)


def _tar(path: Path) -> Iterator[Member]:
    """Any tar, compressed or not; a single compressed file is one too for its reader."""
    with path.open("rb") as raw, tarfile.open(fileobj=raw, mode="r|*") as archive:
        for entry in archive:
            stream = archive.extractfile(entry) if entry.isfile() else None
            if stream is not None:
                yield Member(entry.name, _pieces(stream), entry.size)


def _by_libarchive(path: Path) -> Iterator[Member]:
    """Formats that only libarchive knows, and those that it reads faster."""
    try:
        import libarchive
    except (ImportError, OSError, AttributeError, TypeError) as error:
        raise InputError(
            "this kind of archive needs libarchive: install 'hvci[packages]', and the library "
            "of the system"
        ) from error
    with libarchive.file_reader(str(path)) as archive:
        for number, entry in enumerate(archive):
            if entry.isfile:
                name = entry.pathname or f"member {number}"
                yield Member(name, entry.get_blocks(), entry.size)


def _cab(path: Path) -> Iterator[Member]:
    """A cabinet by libarchive, else by a reader in Python, which is slower."""
    try:
        import libarchive  # noqa: F401
    except (ImportError, OSError, AttributeError, TypeError):
        yield from _cab_in_python(path)
    else:
        yield from _by_libarchive(path)


def _cab_in_python(path: Path) -> Iterator[Member]:
    try:
        from pymsi.thirdparty.refinery.cab import Cabinet
    except ImportError as error:
        raise InputError("a cabinet needs one more package: install 'hvci[packages]'") from error
    cabinet: Any = Cabinet(memoryview(path.read_bytes()))
    for file in cabinet.process().get_files():
        yield Member(file.name, iter((bytes(file.decompress()),)))


def _msi(path: Path) -> Iterator[Member]:
    """The cabinets in an installer database, as members that are archives again."""
    try:
        import olefile
    except ImportError as error:
        raise InputError("an MSI needs one more package: install 'hvci[packages]'") from error
    found = 0
    with olefile.OleFileIO(str(path)) as storage:
        for names in storage.listdir(streams=True, storages=False):
            with storage.openstream(names) as stream:
                if stream.read(4) == b"MSCF":
                    found += 1
                    stream.seek(0)
                    yield Member(f"cabinet {found}", _pieces(stream), storage.get_size(names))
    if not found:
        raise InputError("no cabinet in it: its files lie beside it, or it is damaged")
