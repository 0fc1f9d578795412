"""Archives by libarchive, so that it reads all that is valid and no member hides another.

The library is imported when an archive needs it; cabinets are read in Python where it is missing.
"""

from __future__ import annotations

import io
import logging
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from hvci.errors import InputError, NeedsMore
from hvci.packages import cabinet, marks
from hvci.packages.members import PIECE, Links, Member

LIBRARY = "LIBARCHIVE"
"""The variable of the environment by which libarchive-c is told where its library is."""
_NUMBERS = re.compile(r" \(errno=[^)]*\)")
"""What libarchive-c puts behind each message."""
_EXTRACT = "extract it with 7-Zip and check the folder"
_SAID = (
    (
        "codec ID: a",
        f"7-Zip packed it with a filter for ARM64 programs, which this libarchive does not know: "
        f"{_EXTRACT}",
    ),
    (
        "Unexpected codec ID",
        f"it is packed in a way that this libarchive does not know: {_EXTRACT}",
    ),
    ("BCJ2", f"it is packed in a way that this libarchive does not know: {_EXTRACT}"),
    ("Unsupported ZIP compression", f"it is packed in a way that is not known here: {_EXTRACT}"),
    ("encrypted", "it is encrypted: extract it with its password and check the folder"),
    (
        "Unrecognized archive format",
        "it is no archive of a kind that is known here: is it damaged, or only a pointer to one?",
    ),
    ("Passphrase required", "it is encrypted: extract it with its password and check the folder"),
)
_OF_VERSION = ("codec ID", "BCJ2", "Unsupported ZIP compression")
"""What another version of the library may read."""
_NOTHING = ("", "None")
_MOST_SPOILT = 100
"""Files that cannot be read, after which an archive is given up."""
_DESCRIPTORS, _SECTOR = 0x8000, 2048
_REMARKS = 2
"""Files of an ISO 9660 file system that only says that there is another."""


@cache
def found_library() -> str:
    """Where the library for most archives is, as `LIBRARY` takes it; empty where it is not needed
    or not there. Asks the system by starting programs.
    """
    if os.environ.get(LIBRARY) or find_spec("libarchive") is None:
        return ""
    from ctypes.util import find_library

    return find_library("archive") or find_library("libarchive") or ""


def has_library() -> bool:
    """Whether libarchive is there."""
    try:
        loaded()
    except NeedsMore:
        return False
    return True


def loaded() -> Any:  # noqa: ANN401 (of a library without types)
    """The library; raises `NeedsMore`."""
    try:
        import libarchive
    except (ImportError, OSError, AttributeError, TypeError) as error:
        raise NeedsMore(
            "this kind of archive needs libarchive: install 'hvci[packages]', and the library "
            "of the system"
        ) from error
    logging.getLogger("libarchive").disabled = True  # warnings are about members that are told
    return libarchive


def by_library(path: Path, _name: str = "") -> Iterator[Member]:
    """Formats that only libarchive knows, and those that it reads faster.

    Of several names of one file either the first or the last has its bytes.
    """
    links, empty = Links(), dict[str, list[str]]()
    with loaded().file_reader(str(path)) as archive:
        for number, entry in enumerate(archive):
            name, target = _name_of(entry, number), entry.linkpath if entry.islnk else ""
            if entry.isfile and entry.size != 0:
                also = empty.pop(target, ())
                for each in (name, *also):
                    links.member(each, number)
                yield Member(name, entry.get_blocks(), entry.size, also=tuple(also))
            elif target in empty:
                empty[target].append(name)
            elif target:
                links.link(name, target)
            elif entry.issym:
                links.symbolic(name, entry.linkpath or "")
            elif entry.isfile:
                empty[name] = [name]
    yield from _by_other_names(path, links)
    for name, *more in empty.values():
        yield Member(name, iter(()), 0, also=tuple(more))


def _by_other_names(path: Path, links: Links) -> Iterator[Member]:
    """The bytes that links stand for, under the names of the links."""
    if names := links.names():
        with loaded().file_reader(str(path)) as archive:
            for number, entry in enumerate(archive):
                if number in names:
                    name, *also = names[number]
                    yield Member(name, entry.get_blocks(), entry.size, also=tuple(also))
    yield from links.lost()


def seven_zip(path: Path, _name: str) -> Iterator[Member]:
    """A file that libarchive cannot unpack spoils those behind it: without it they are read."""
    done, links = 0, Links()
    for _ in range(_MOST_SPOILT):
        with loaded().file_reader(str(path)) as archive:
            for number, member in enumerate(_entries(archive, links)):
                if number >= done:
                    done, pieces = number + 1, _Noted(member.pieces)
                    yield member._replace(pieces=pieces)
                    if pieces.failed:
                        break
            else:
                yield from _by_other_names(path, links)
                return
    raise InputError(f"{_MOST_SPOILT} files of it cannot be read: the rest was not tried")


class _Noted(Iterator[bytes]):
    """Pieces, and whether reading them failed."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self.failed = pieces, False

    def __next__(self) -> bytes:
        self.failed = True
        found = next(self._pieces, None)
        self.failed = False
        if found is None:
            raise StopIteration
        return found


def iso(path: Path, _name: str) -> Iterator[Member]:
    """An ISO 9660 file system, which can stand before another with more files in it."""
    count = 0
    for member in by_library(path):
        count += 1
        yield member
    with path.open("rb") as stream:
        stream.seek(_DESCRIPTORS)
        has_udf = b"\0NSR0" in stream.read(16 * _SECTOR)
    if has_udf and count <= _REMARKS:
        raise InputError(marks.NOT_OPENED["udf"])


def _entries(archive: Iterable[Any], links: Links | None = None) -> Iterator[Member]:
    for number, entry in enumerate(archive):
        name = _name_of(entry, number)
        if entry.isfile:
            if links:
                links.member(name, number)
            yield Member(name, entry.get_blocks(), entry.size)
        elif entry.issym and links:
            links.symbolic(name, entry.linkpath or "")


def _name_of(entry: Any, number: int) -> str:  # noqa: ANN401
    return entry.pathname or f"member {number}"


def cab(path: Path, _name: str) -> Iterator[Member]:
    """A cabinet; what others keep behind it, such as its signature, is none of it."""
    told = cabinet.read(path)
    yield from _cab(path, told)
    with path.open("rb") as stream:
        stream.seek(told.size)
        if stream.read(4) == b"MSCF":
            raise InputError("another cabinet stands behind it, which was not read: cut the file")


def _cab(path: Path, told: cabinet.Cabinet) -> Iterator[Member]:
    """A cabinet by libarchive, else by a reader in Python, which is slower."""
    if told.in_a_set:  # of which libarchive refuses every part
        with suppress(Exception):
            yield from _cab_in_python(path)
        raise InputError("a part of a set of cabinets: what the other parts hold was not read")
    plainly = None if told.is_plain else told.plainly()
    if told.of_block or not (told.is_plain or plainly) or not has_library():
        yield from _cab_in_python(path)
    elif plainly is None:
        yield from by_library(path)
    else:
        yield from _cab_made_plain(path, told.first, *plainly)


def _cab_made_plain(
    path: Path, first: int, head: bytes, names: list[tuple[bytes, ...]]
) -> Iterator[Member]:
    """A cabinet that stores the same bytes for several files, or has its files in another order:
    libarchive takes only those in which each file begins where the one before it ends.
    """
    with (
        path.open("rb") as rest,
        loaded().stream_reader(_Behind(head, rest, first), block_size=PIECE) as archive,
    ):
        for member, same in zip(_entries(archive), names, strict=False):
            if same:
                also = tuple(
                    each.decode("utf-8", "replace").replace("\\", "/") for each in same[1:]
                )
                yield member._replace(also=also)


class _Behind(io.RawIOBase):
    """Some bytes and behind them the rest of a file, as one stream."""

    def __init__(self, head: bytes, rest: IO[bytes], first: int) -> None:
        self._head, self._rest = io.BytesIO(head), rest
        rest.seek(first)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 (of ctypes)
        found = self._head.read(len(buffer)) or self._rest.read(len(buffer))
        memoryview(buffer).cast("B")[: len(found)] = found
        return len(found)


def _cab_in_python(path: Path) -> Iterator[Member]:
    try:
        from pymsi.thirdparty.refinery.cab import Cabinet
    except ImportError as error:
        raise NeedsMore("a cabinet needs one more package: install 'hvci[packages]'") from error
    opened: Any = Cabinet(memoryview(path.read_bytes()))
    for file in opened.process().get_files():
        yield Member(file.name, iter((bytes(file.decompress()),)))


def refusal(error: Exception, what: str) -> InputError:
    """What is wrong, as an error that does not last where the library is only too old."""
    is_ours = any(mark in str(error) for mark in _OF_VERSION)
    return (NeedsMore if is_ours else InputError)(f"{what}: {reason(error)}")


def reason(error: Exception) -> str:
    """What a library says is wrong, in one sentence that is the same in every run."""
    text = _NUMBERS.sub("", str(error))[:300]
    if text in _NOTHING:
        damaged = "it is damaged, or a part of several files that have to be joined first"
        return damaged if type(error).__name__ == "ArchiveError" else type(error).__name__
    return next((said for mark, said in _SAID if mark in text), text)
