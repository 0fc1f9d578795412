"""Archives as streams of members: each is read in order, in pieces, and nothing is extracted.

Names are text for a report and never a path. A library is imported when an archive needs it.
"""

from __future__ import annotations

import io
import lzma
import stat
import struct
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, cast

from hvci.errors import InputError, NeedsMore
from hvci.packages import library, marks
from hvci.packages.members import PIECE, Links, Member, pieces_of
from hvci.packages.unpacking import Unpacking

_MOST_OF_TABLE = 64 << 20
_BLOCK = 512
_BEHIND = "there is more behind the last file of it that can be read: is it damaged?"
_UNIX, _MOST_PATH = 3, 4096
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_ERRORS = (
    *(OSError, EOFError, ValueError, RuntimeError, NotImplementedError, LookupError),
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error),
    *(MemoryError, OverflowError, AssertionError, TypeError, AttributeError),
)
"""What libraries raise for damaged archives."""


def errors() -> tuple[type[Exception], ...]:
    """What the libraries that were imported raise for damaged archives."""
    loaded = sys.modules.get("libarchive.exception")
    return (*_ERRORS, loaded.ArchiveError) if loaded else _ERRORS


def members(path: Path, kind: str, name: str = "") -> Iterator[Member]:
    """The files in an archive that is called `name`; raise `InputError` where it cannot be read
    on.
    """
    if kind in marks.NOT_OPENED:
        raise InputError(marks.NOT_OPENED[kind])
    try:
        yield from _reader(kind)(path, name or path.name)
    except errors() as error:
        raise library.refusal(error, "the archive cannot be read") from error


def _zip(path: Path, _name: str) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        entries = [entry for entry in archive.infolist() if not entry.is_dir()]
        known = all(entry.compress_type in _METHODS for entry in entries)
        unlisted = _begins_unlisted(path, archive)
        if known or not library.has_library():
            yield from _zipped(archive, entries)
        else:
            yield from library.by_library(path)
    if unlisted:
        raise InputError(
            "it begins with a file that its list does not name, and what stands there was not read"
        )


def _begins_unlisted(path: Path, archive: zipfile.ZipFile) -> bool:
    """Whether a file stands at the start that is none of the archive's: of another zip before it,
    or one that was taken out of the list.
    """
    with path.open("rb") as stream:
        begins = stream.read(4) == b"PK\3\4"
    return begins and all(entry.header_offset for entry in archive.infolist())


def _zipped(archive: zipfile.ZipFile, entries: list[zipfile.ZipInfo]) -> Iterator[Member]:
    encrypted = [entry for entry in entries if entry.flag_bits & 1]
    links = Links()
    for number, entry in enumerate(entries):
        if entry.flag_bits & 1:
            continue
        if _is_link(entry):
            links.symbolic(entry.filename, archive.read(entry).decode("utf-8", "replace"))
        else:
            links.member(entry.filename, number)
            yield Member(entry.filename, _unzipped(archive, entry), entry.file_size)
    for number, (name, *also) in links.names().items():
        entry = entries[number]
        yield Member(name, _unzipped(archive, entry), entry.file_size, also=tuple(also))
    yield from links.lost()
    if encrypted:
        more = f" and {len(encrypted) - 1} more" * (len(encrypted) > 1)
        raise InputError(f"the archive is encrypted ({encrypted[0].filename}{more})")


def _is_link(entry: zipfile.ZipInfo) -> bool:
    """Whether an entry is a symbolic link of Unix, which holds the path that it leads to."""
    is_of_unix = entry.create_system == _UNIX
    return is_of_unix and stat.S_ISLNK(entry.external_attr >> 16) and entry.file_size <= _MOST_PATH


def _unzipped(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Iterator[bytes]:
    with archive.open(entry) as stream:
        yield from pieces_of(stream)


class _Watched:
    """A stream that remembers what it ended with: tarfile takes a cut for an end, and what is
    damaged as well.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._last, self._at = stream, b"", 0
        self.filled = 0
        """Bytes up to the last that is not zero."""

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        found = self._stream.read(size)
        self._last = (self._last + found)[-_BLOCK:]
        if rest := len(found.rstrip(b"\0")):
            self.filled = self._at + rest
        self._at += len(found)
        return found

    def finish(self) -> None:
        """Raise `EOFError` unless all was there: a tar ends with blocks of zeros."""
        while self.read(PIECE):
            pass
        if any(self._last) or len(self._last) < _BLOCK:
            raise EOFError("it is cut off")


def _tar(path: Path, _name: str) -> Iterator[Member]:
    with path.open("rb") as stream:
        yield from _tarred(stream)


def _tarred(stream: IO[bytes]) -> Iterator[Member]:
    """The files of a tar; other names of a file come last, with its bytes."""
    links = Links()
    for number, (entry, file) in enumerate(_entries(stream)):
        if file is not None:
            links.member(entry.name, number)
            yield Member(entry.name, pieces_of(file), entry.size)
        elif entry.islnk():
            links.link(entry.name, entry.linkname)
        elif entry.issym():
            links.symbolic(entry.name, entry.linkname)
    names = links.names()
    for number, (entry, file) in enumerate(_entries(stream) if names else ()):
        if file is not None and number in names:
            name, *also = names[number]
            yield Member(name, pieces_of(file), entry.size, also=tuple(also))
    yield from links.lost()


def _entries(stream: IO[bytes]) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    """What stands in a tar, and in those that are joined to it, with the bytes of files."""
    start: int | None = 0
    while start is not None:
        stream.seek(start)
        watched = _Watched(stream)
        try:
            with tarfile.open(fileobj=cast(IO[bytes], watched), mode="r|") as archive:
                for entry in archive:
                    yield entry, archive.extractfile(entry) if entry.isfile() else None
                watched.finish()
        except tarfile.ReadError as error:
            if not start:
                raise
            raise InputError(_BEHIND) from error
        end = archive.offset
        start = _filled_block(stream, start + end) if watched.filled > end else None


def _filled_block(stream: IO[bytes], at: int) -> int:
    """Where the next block stands that is not all zeros."""
    stream.seek(at)
    while not any(stream.read(_BLOCK)):
        at += _BLOCK
    return at


def _packed(path: Path, name: str) -> Iterator[Member]:
    """What is compressed by gzip, bzip2 or xz: a tar, or one file of any other kind."""
    with path.open("rb") as raw:
        unpacking = Unpacking(raw)
        stream = io.BufferedReader(unpacking, PIECE)
        is_tar = _is_tar(name, stream.read(_BLOCK))
        stream.seek(0)
        if is_tar:
            yield from _tarred(stream)
        else:
            yield Member(_unpacked(name), pieces_of(stream))
        if unpacking.is_followed:
            raise InputError("something else stands behind what is compressed, and was not read")


def _packed_otherwise(path: Path, name: str) -> Iterator[Member]:
    """What is compressed in a way that only libarchive knows."""
    with library.loaded().file_reader(str(path), format_name="raw") as archive:
        head = next(iter(next(iter(archive)).get_blocks()), b"")
    if _is_tar(name, head):
        yield from library.by_library(path)
        return
    with library.loaded().file_reader(str(path), format_name="raw") as archive:
        for entry in archive:
            yield Member(_unpacked(name), entry.get_blocks())


def _is_tar(name: str, head: bytes) -> bool:
    return marks.kind_of(head) == marks.TAR or name.lower().endswith(marks.TARS)


def _unpacked(name: str) -> str:
    """What a compressed file is called once it is unpacked."""
    return name.rpartition(".")[0] or name


def _program(path: Path, _name: str) -> Iterator[Member]:
    """What a program for user mode brings along."""
    from hvci.packages import programs

    for part, pieces in programs.members(path):
        kind = "" if part.kind == marks.DRIVER else part.kind
        yield Member(part.name, pieces, kind=kind)


def _wim(path: Path, _name: str) -> Iterator[Member]:
    from hvci.packages import wim

    for one in wim.members(path):
        yield Member(one.name, one.pieces, one.size, also=one.also)


def _msi(path: Path, _name: str) -> Iterator[Member]:
    """What an installer database holds: cabinets, which are archives again, and other streams."""
    try:
        import olefile
    except ImportError as error:
        raise NeedsMore("an MSI needs one more package: install 'hvci[packages]'") from error
    from hvci.packages import msi

    found = 0
    with olefile.OleFileIO(str(path)) as storage:
        stored = storage.listdir(streams=True, storages=False)
        called = {"/".join(map(msi.plain_name, each)): each for each in stored}

        def stream(name: str) -> bytes:
            with storage.openstream(called[name]) as opened:
                data: bytes = opened.read(_MOST_OF_TABLE)
            return data

        names = msi.names_of(stream)
        outside = sorted(each for each in msi.cabinets_of(stream) if not each.startswith("#"))
        for name, place in called.items():
            with storage.openstream(place) as opened:
                is_cabinet = opened.read(4) == b"MSCF"
                opened.seek(0)
                found += is_cabinet
                label = f"cabinet {found}" if is_cabinet else name
                size = storage.get_size(place)
                yield Member(label, pieces_of(opened), size, names if is_cabinet else {})
    yield from _beside(path, outside, names)
    if not (found or outside):
        raise InputError("no cabinet in it: its files lie beside it, or it is damaged")


def _beside(path: Path, cabinets: list[str], names: Mapping[str, str]) -> Iterator[Member]:
    """The cabinets of an installer database that lie in its folder."""
    there = [each for each in cabinets if _is_beside(path, each)]
    for each in there:
        with (path.parent / each).open("rb") as stream:
            yield Member(each, pieces_of(stream), names=names)
    if lost := [each for each in cabinets if each not in there]:
        raise InputError(f"what it installs lies in {', '.join(lost)}: name that as well")


def _is_beside(path: Path, name: str) -> bool:
    if Path(name).name != name or "\\" in name or ":" in name:
        return False
    file = path.parent / name
    return file.is_file() and file.resolve().parent == path.parent.resolve()


def _called(path: Path, _name: str) -> Iterator[Member]:
    """What only its name says to be an archive."""
    found = None
    if path.stat().st_size:
        for found in library.by_library(path):
            yield found
    if found is None:
        raise InputError("it is called an archive and is empty: is it damaged?")


def _reader(kind: str) -> Callable[[Path, str], Iterator[Member]]:
    readers = {
        "zip": _zip,
        "cab": library.cab,
        "msi": _msi,
        "wim": _wim,
        "iso": library.iso,
        "7z": library.seven_zip,
        marks.TAR: _tar,
        marks.PACKED: _packed,
        marks.PROGRAM: _program,
        marks.CALLED: _called,
        "": _called,
    }
    otherwise = _packed_otherwise if kind.startswith(marks.PACKED) else library.by_library
    return readers.get(kind, otherwise)
