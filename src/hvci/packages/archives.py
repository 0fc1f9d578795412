"""Archives as streams of members: each is read in order, in pieces, and nothing is extracted.

Names are text for a report and never a path. A library is imported when an archive needs it.
"""

from __future__ import annotations

import bz2
import gzip
import logging
import lzma
import os
import struct
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from hvci.errors import InputError, NeedsMore
from hvci.packages import cabinet

PIECE = 1 << 18
LIBRARY = "LIBARCHIVE"
"""The variable of the environment by which libarchive-c is told where its library is."""
_MOST_OF_TABLE = 64 << 20
_BLOCK = 512
_CAB_FLAGS, _CAB_IN_A_SET = 30, 3
_UNPACKERS: tuple[tuple[bytes, Callable[..., Any]], ...] = (
    (b"\x1f\x8b", gzip.open),
    (b"BZh", bz2.open),
    (b"\xfd7zXZ", lzma.open),
)
_ERRORS = (
    *(OSError, EOFError, ValueError, RuntimeError, NotImplementedError, LookupError),
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error),
    *(MemoryError, OverflowError, AssertionError, TypeError, AttributeError),
)
"""What libraries raise for damaged archives."""


class Member(NamedTuple):
    """One file in an archive; its pieces can be read once, before the next member is asked for."""

    name: str
    pieces: Iterator[bytes]
    size: int | None = None
    """What the archive says; None where it does not."""
    names: Mapping[str, str] = {}
    """Of an archive within: what its members are called that it names by keys."""


def errors() -> tuple[type[Exception], ...]:
    """What the libraries that were imported raise for damaged archives."""
    loaded = sys.modules.get("libarchive.exception")
    return (*_ERRORS, loaded.ArchiveError) if loaded else _ERRORS


def members(path: Path, kind: str) -> Iterator[Member]:
    """The files in an archive; raise `InputError` where it cannot be read on."""
    readers = {"zip": _zip, "tar": _tar, "cab": _cab, "msi": _msi, "wim": _wim}
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


class _Watched:
    """A stream that remembers what it ended with: tarfile takes a cut for an end."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._last = stream, b""

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        found = self._stream.read(size)
        self._last = (self._last + found)[-_BLOCK:]
        return found

    def finish(self) -> None:
        """Raise `EOFError` unless all was there: a tar ends with blocks of zeros."""
        while self.read(PIECE):
            pass
        if any(self._last) or len(self._last) < _BLOCK:
            raise EOFError("it is cut off")


def _tar(path: Path) -> Iterator[Member]:
    """Any tar, compressed or not."""
    with path.open("rb") as raw:
        mark = raw.read(6)
    opener = next((open_ for start, open_ in _UNPACKERS if mark.startswith(start)), Path.open)
    with opener(path, "rb") as stream:
        watched = _Watched(cast(IO[bytes], stream))
        with tarfile.open(fileobj=cast(IO[bytes], watched), mode="r|") as archive:
            for entry in archive:
                file = archive.extractfile(entry) if entry.isfile() else None
                if file is not None:
                    yield Member(entry.name, _pieces(file), entry.size)
            watched.finish()


@cache
def found_library() -> str:
    """Where the library for most archives is, as `LIBRARY` takes it; empty where it is not needed
    or not there. Asks the system by starting programs.
    """
    if os.environ.get(LIBRARY) or find_spec("libarchive") is None:
        return ""
    from ctypes.util import find_library

    return find_library("archive") or find_library("libarchive") or ""


def _by_libarchive(path: Path) -> Iterator[Member]:
    """Formats that only libarchive knows, and those that it reads faster."""
    try:
        import libarchive
    except (ImportError, OSError, AttributeError, TypeError) as error:
        raise NeedsMore(
            "this kind of archive needs libarchive: install 'hvci[packages]', and the library "
            "of the system"
        ) from error
    logging.getLogger("libarchive").disabled = True  # warnings are about members that are told
    with libarchive.file_reader(str(path)) as archive:
        for number, entry in enumerate(archive):
            if entry.isfile:
                name = entry.pathname or f"member {number}"
                yield Member(name, entry.get_blocks(), entry.size)


def _cab(path: Path) -> Iterator[Member]:
    """A cabinet by libarchive, else by a reader in Python, which is slower."""
    with path.open("rb") as stream:
        head = stream.read(_CAB_FLAGS + 2)
    cabinet.check(path)
    try:
        import libarchive  # noqa: F401
    except (ImportError, OSError, AttributeError, TypeError):
        yield from _cab_in_python(path)
    else:
        yield from _by_libarchive(path)
    if int.from_bytes(head[_CAB_FLAGS:], "little") & _CAB_IN_A_SET:
        raise InputError("a part of a set of cabinets: what the other parts hold was not read")


def _cab_in_python(path: Path) -> Iterator[Member]:
    try:
        from pymsi.thirdparty.refinery.cab import Cabinet
    except ImportError as error:
        raise NeedsMore("a cabinet needs one more package: install 'hvci[packages]'") from error
    opened: Any = Cabinet(memoryview(path.read_bytes()))
    for file in opened.process().get_files():
        yield Member(file.name, iter((bytes(file.decompress()),)))


def _wim(path: Path) -> Iterator[Member]:
    from hvci.packages import wim

    for one in wim.members(path):
        yield Member(*one)


def _names_in(storage: Any) -> dict[str, str]:  # noqa: ANN401 (of a library without types)
    """What an installer database calls files that its cabinets name by keys."""
    from hvci.packages.msi import names_of, plain_name

    stored = {
        plain_name(names[-1]): names
        for names in storage.listdir(streams=True, storages=False)
        if len(names) == 1
    }

    def stream(name: str) -> bytes:
        with storage.openstream(stored[name]) as opened:
            found: bytes = opened.read(_MOST_OF_TABLE)
        return found

    return names_of(stream)


def _msi(path: Path) -> Iterator[Member]:
    """The cabinets in an installer database, as members that are archives again."""
    try:
        import olefile
    except ImportError as error:
        raise NeedsMore("an MSI needs one more package: install 'hvci[packages]'") from error
    found = 0
    with olefile.OleFileIO(str(path)) as storage:
        names = _names_in(storage)
        for stored in storage.listdir(streams=True, storages=False):
            with storage.openstream(stored) as stream:
                if stream.read(4) == b"MSCF":
                    found += 1
                    stream.seek(0)
                    size = storage.get_size(stored)
                    yield Member(f"cabinet {found}", _pieces(stream), size, names)
    if not found:
        raise InputError("no cabinet in it: its files lie beside it, or it is damaged")
