"""Tells archives, programs and installers by their marks, without any library.

Asked about every target, so it imports nothing that takes time.
"""

from __future__ import annotations

from pathlib import Path

TAR, PACKED, PROGRAM, DRIVER = "tar", "packed", "program", "driver"
_MARKS = (
    (0, b"PK\x03\x04", "zip"),
    (0, b"PK\x05\x06", "zip"),
    (0, b"PK\x07\x08PK\x03\x04", "zip"),
    (0, b"PK00PK\x03\x04", "zip"),
    (0, b"MSCF", "cab"),
    (0, b"7z\xbc\xaf\x27\x1c", "7z"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "msi"),
    (0, b"\x1f\x8b", PACKED),
    (0, b"BZh", PACKED),
    (0, b"\xfd7zXZ\0", PACKED),
    (0, b"\x28\xb5\x2f\xfd", "packed by zstd"),
    (0, b"\x04\x22\x4d\x18", "packed by lz4"),
    (0, b"\x1f\x9d", "packed by compress"),
    (0, b"LZIP", "packed by lzip"),
    (0, b"Rar!\x1a\x07", "rar"),
    (0, b"MSWIM\0\0\0", "wim"),
    (0, b"\xed\xab\xee\xdb", "rpm"),
    (0, b"070701", "cpio"),
    (0, b"070702", "cpio"),
    (0, b"070707", "cpio"),
    (0, b"!<arch>\ndebian-binary", "deb"),
    (0, b"xar!", "xar"),
    *((2, b"-lh%d-" % number, "lha") for number in (0, 4, 5, 6, 7)),
    (0, b"SZDD\x88\xf0\x27\x33", "szdd"),
    (0, b"KWAJ\x88\xf0\x27\xd1", "kwaj"),
    (0, b"ISc(", "installshield"),
    (0, b"EXPH", "encrypted"),
    (0, b"EXBH", "encrypted"),
    (0, b"PSTREAM", "delta"),
    (0, b"PA30", "delta"),
    (0, b"PA19", "delta"),
    (0x101, b"ustar", TAR),
    (0x8001, b"CD001", "iso"),
    (0x8001, b"BEA01", "udf"),
)
NOT_OPENED = {
    "szdd": "packed by an old compress.exe, which hvci does not open: run expand on it",
    "kwaj": "packed by an old compress.exe, which hvci does not open: run expand on it",
    "installshield": "a cabinet of InstallShield, which hvci does not open: extract it and check "
    "the folder",
    "encrypted": "an encrypted package: it holds what only the Store can open",
    "delta": "differences to files of Windows, which only Windows can put together: "
    "install the update and check the files that it makes",
    "disk": "the image of a disk, which is opened where it is named and holds a Windows: check it "
    "alone, or mount it and check its folder",
    "udf": "a UDF file system, which hvci does not open: mount it and check its folder",
}
"""What is told of kinds that are known and not opened."""
HEAD = 0x8006
"""Bytes that tell every kind of archive."""
TARS = (
    *(".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst"),
    *(".tar.lz4", ".tar.lz", ".tar.lzma", ".tlz", ".tar.z", ".taz"),
)
"""Names of compressed files that are archives; any other file can be compressed as well."""
CALLED = "called"
"""The kind of what is an archive by its name alone."""
ARCHIVES = (
    *(*TARS, ".zip", ".cab", ".7z", ".rar", ".msi", ".msm", ".msu", ".wim", ".esd", ".iso"),
    *(".nupkg", ".whl", ".appx", ".msix", ".deb", ".rpm", ".cpio", ".vhd", ".vhdx", ".vmdk"),
    *(".swm", ".vdi", ".dmg", ".arj", ".ace"),
)
"""Names that promise something to open: what is called so and is not is damaged."""


def kind_of(head: bytes) -> str:
    """What kind of archive starts with these bytes; empty for none."""
    return next((kind for at, mark, kind in _MARKS if head.startswith(mark, at)), "")


_DOUBLE, _DOUBLED = "._", b"\0\5\x16\7"


def is_double(name: str, head: bytes) -> bool:
    """Whether a file is what macOS puts beside each that it archives or copies: nothing that the
    file of that name holds.
    """
    return head.startswith(_DOUBLED) and name.replace("\\", "/").split("/")[-1].startswith(_DOUBLE)


_DISKS = (b"vhdxfile", b"KDMV", b"# Disk Desc", b"conectix", b"QFI\xfb", b"EVF\x09\x0d\x0a\xff\0")
RAW_DISKS = (".raw", ".img", ".dd", ".001", ".vhd", ".vmdk", ".vfd", ".ima", ".flp")
_FAT = ((54, b"FAT1"), (82, b"FAT32"), (3, b"EXFAT"))


def is_disk(path: str) -> bool:
    """Whether a file is the image of a disk or of a volume."""
    try:
        with Path(path).open("rb") as stream:
            head = stream.read(1024)
    except OSError:
        return False
    return is_disk_head(head, path)


def is_disk_head(head: bytes, name: str = "") -> bool:
    """Whether these are the first bytes of the image of a disk or of a volume; only the name of
    the file tells a disk by the end of its first sector, which much else has as well.
    """
    if head.startswith(_DISKS) or head[3:11] == b"NTFS    " or head[512:].startswith(b"EFI PART"):
        return True
    is_sector = head[510:512] == b"\x55\xaa"
    has_files = any(head.startswith(mark, at) for at, mark in _FAT)
    return is_sector and (has_files or name.lower().endswith(RAW_DISKS))
