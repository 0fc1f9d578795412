"""Tells archives and installers by their marks, without any library.

Asked about every target, so it imports nothing.
"""

from __future__ import annotations

from pathlib import Path

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
TARS = (".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst")
"""Names of compressed files that are archives; any other file can be compressed as well."""
_OLE = (".msi", ".msm", ".msp")
"""Office and Windows keep much else in files of that mark."""
_INSTALLERS = (
    (b"\xef\xbe\xad\xdeNullsoftInst", "an NSIS installer"),
    (b"Inno Setup Setup Data", "an Inno Setup installer"),
)


def kind_of(head: bytes) -> str:
    """What kind of archive starts with these bytes; empty for none."""
    return next((kind for at, mark, kind in _MARKS if head.startswith(mark, at)), "")


def kind_of_file(path: Path) -> str:
    """What kind of archive a file is; empty for none and for what cannot be read."""
    try:
        with path.open("rb") as stream:
            return kind_of(stream.read(HEAD))
    except OSError:
        return ""


def is_package(name: str, head: bytes) -> bool:
    """Whether a file that nobody named is worth opening, by its name and its first 16 bytes.

    What those bytes do not tell from anything else is known by its name.
    """
    name = name.lower()
    kind = kind_of(head)
    if kind == "msi":
        return name.endswith(_OLE)
    if kind == "tar" or not kind:
        return name.endswith((*TARS, ".iso", ".inf"))
    return True


_DISKS = (b"vhdxfile", b"KDMV", b"# Disk Desc", b"conectix", b"QFI\xfb", b"EVF\x09\x0d\x0a\xff\0")
_RAW_DISKS = (".raw", ".img", ".dd", ".001", ".vhd", ".vmdk")


def is_disk(path: str) -> bool:
    """Whether a file is the image of a disk or of a volume."""
    try:
        with Path(path).open("rb") as stream:
            head = stream.read(1024)
    except OSError:
        return False
    if head.startswith(_DISKS) or head[3:11] == b"NTFS    " or head[512:].startswith(b"EFI PART"):
        return True
    return path.lower().endswith(_RAW_DISKS) and head[510:512] == b"\x55\xaa"


def installer(data: bytes) -> str:
    """What installer a program is, such as "an NSIS installer"; empty for none."""
    return next((name for mark, name in _INSTALLERS if mark in data), "")
