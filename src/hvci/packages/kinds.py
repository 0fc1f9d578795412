"""Tells which files are worth opening: archives, programs that bring something along, packages.

Looks further than marks where these are not enough; opens nothing.
"""

from __future__ import annotations

import lzma
import zlib
from pathlib import Path

from hvci.packages import programs
from hvci.packages.marks import (
    ARCHIVES,
    HEAD,
    PACKED,
    PROGRAM,
    RAW_DISKS,
    TARS,
    is_disk,
    is_disk_head,
    is_double,
    kind_of,
)

_NAMES = {
    "msi": (".msi", ".msm", ".msp"),
    "encrypted": (".eappx", ".eappxbundle", ".emsix", ".emsixbundle"),
}
"""Names that kinds need whose marks begin much else as well, such as documents of Office."""
_BY_NAME = (*ARCHIVES, ".inf")
_MOST_MEMORY = 32 << 20
"""What a look at a compressed file may take."""


def kind_of_file(path: Path) -> str:
    """What kind of archive a file is; empty for none and for what cannot be read."""
    try:
        with path.open("rb") as stream:
            head = stream.read(HEAD)
    except OSError:
        return ""
    if head[:2] == b"MZ":
        return PROGRAM if path.suffix.lower() != ".sys" and brings_along(path) else ""
    return kind_of(head)


def brings_along(path: Path) -> bool:
    """Whether a program for user mode holds drivers, archives or an installer."""
    try:
        return bool(programs.parts(path))
    except OSError:
        return False


def is_one(path: Path, name: str, kind: str) -> bool:
    """Whether a file that is called so is an archive of the kind that its first bytes tell."""
    if kind == PROGRAM:
        return brings_along(path)
    if kind not in _NAMES or name.lower().endswith(_NAMES[kind]):
        return True
    return kind == "msi" and programs.is_database(path)


def kind_inside(path: Path) -> str:
    """What kind of archive a file is that is opened whatever it holds: any program is one, and so
    is the image of a disk.
    """
    if starts_as_program(path):
        return PROGRAM
    return kind_of_file(path) or ("disk" if is_disk(str(path)) else "")


def starts_as_program(path: Path) -> bool:
    """Whether a file is a program, for user mode or not."""
    try:
        with path.open("rb") as stream:
            return stream.read(2) == b"MZ"
    except OSError:
        return False


def is_package(path: str, head: bytes) -> bool:
    """Whether a file that nobody named is worth opening, by its path and its first 16 bytes.

    What those bytes do not tell from anything else is known by its name, or by more of its bytes.
    """
    name = path.lower()
    if is_double(path, head):
        return False
    if head[:2] == b"MZ":
        return brings_along(Path(path))
    kind = kind_of(head)
    if not kind and not any(head):
        kind = kind_of_file(Path(path))
    if kind.startswith(PACKED):
        return is_worth_unpacking(name, _first_bytes(Path(path)))
    if kind:
        return is_one(Path(path), name, kind)
    return (
        name.endswith(_BY_NAME)
        or is_disk_head(head)
        or (name.endswith(RAW_DISKS) and is_disk(path))
    )


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(HEAD)
    except OSError:
        return b""


def is_worth_unpacking(name: str, head: bytes) -> bool:
    """Whether a compressed file may hold more than some text or data, by its first bytes."""
    if name.lower().endswith(TARS):
        return True
    found = unpacked_head(head)
    return found is None or found[:2] == b"MZ" or bool(kind_of(found)) or _is_named(name)


def _is_named(name: str) -> bool:
    return name.lower().rpartition(".")[0].endswith((".sys", ".inf", ".cat"))


def unpacked_head(head: bytes) -> bytes | None:
    """The first bytes of what is compressed; None where they cannot be told from so few."""
    try:
        if head.startswith(b"\x1f\x8b"):
            return zlib.decompressobj(31).decompress(head, HEAD)
        if head.startswith(b"\xfd7zXZ"):
            return lzma.LZMADecompressor(memlimit=_MOST_MEMORY).decompress(head, HEAD) or None
    except (zlib.error, lzma.LZMAError, EOFError):
        return None
    return None
