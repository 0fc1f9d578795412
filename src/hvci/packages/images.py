"""Tells drivers from other PE images by a few reads: by the subsystem, or by what they import.

Nothing says that Windows looks at the subsystem of a driver, so what imports a module of the kernel
is one, whatever its linker wrote there. Knows headers and names of modules; maps nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

Read = Callable[[int, int], bytes]
"""Bytes of an image by offset and size; fewer where it ends."""
_PE_POINTER, _MOST_SECTIONS, _MOST_MODULES, _LONGEST = 0x3C, 2048, 1024, 256
_COFF, _SECTION_SIZE, _DESCRIPTOR_SIZE = 24, 40, 20
_SUBSYSTEM = 0x5C
"""Its offset from the PE signature, the same in PE32 and PE32+."""
_NATIVE, _NONE = 1, -1
_IMPORT, _MANAGED = 1, 14
_ELSEWHERE = frozenset((_NONE, 9, 10, 11, 12, 13, 16))
"""No headers, and what runs where there is no such kernel: Windows CE, UEFI, the boot manager."""
_KERNEL = frozenset(("ntoskrnl.exe", "hal.dll"))
_SECTION = struct.Struct("<8x4I")
Span = tuple[int, int, int]
"""Where bytes are mapped, how many, and where they lie in the file."""


def is_driver(path: Path) -> bool:
    """Whether a file is the image of a driver; raises `OSError`."""
    with path.open("rb") as stream:
        return is_driver_at(stream)


def is_driver_at(stream: BinaryIO, base: int = 0) -> bool:
    """Whether the image of a driver begins at an offset; leaves the stream anywhere."""

    def read(at: int, size: int) -> bytes:
        stream.seek(base + at)
        return stream.read(size)

    return read(0, 2) == b"MZ" and (_subsystem(read) == _NATIVE or imports_kernel(read))


def imports_kernel(read: Read) -> bool:
    """Whether an image that is not of the native subsystem imports a module of the kernel."""
    if _subsystem(read) in _ELSEWHERE:
        return False
    start = _start(read) + _COFF
    count, size = struct.unpack_from("<H12xH", read(start - _COFF, _COFF), 6)
    optional = read(start, size)
    imports = _directory(optional, _IMPORT)
    if not imports or _directory(optional, _MANAGED):
        return False
    sections = read(start + size, _SECTION_SIZE * min(count, _MOST_SECTIONS))
    return any(map(_is_of_kernel, _modules(read, imports, _spans(sections))))


def _start(read: Read) -> int:
    return int.from_bytes(read(_PE_POINTER, 4), "little")


def _subsystem(read: Read) -> int:
    """What the headers say; -1 where there are none."""
    head = read(_start(read), _SUBSYSTEM + 2)
    is_whole = head[:4] == b"PE\0\0" and len(head) == _SUBSYSTEM + 2
    return int.from_bytes(head[_SUBSYSTEM:], "little") if is_whole else _NONE


def _is_of_kernel(module: str) -> bool:
    return module in _KERNEL or module.endswith(".sys")


def _directory(optional: bytes, number: int) -> int:
    """The RVA of a data directory; 0 where there is none."""
    table = 112 if optional[:2] == b"\x0b\x02" else 96
    there = int.from_bytes(optional[table - 4 : table], "little")
    at = table + 8 * number
    return int.from_bytes(optional[at : at + 4], "little") if number < there else 0


def _spans(sections: bytes) -> list[Span]:
    """Those of sections, the last first, which hides what others have there; then the headers."""
    whole = sections[: len(sections) // _SECTION_SIZE * _SECTION_SIZE]
    fields = [_SECTION.unpack_from(whole, at) for at in range(0, len(whole), _SECTION_SIZE)]
    spans = [(rva, min(raw, virtual or raw), place) for virtual, rva, raw, place in fields]
    return [*reversed(spans), (0, min((rva for rva, _, _ in spans), default=0), 0)]


def _modules(read: Read, rva: int, spans: list[Span]) -> Iterator[str]:
    """The names of imported modules, in lower case."""
    for at in range(rva, rva + _MOST_MODULES * _DESCRIPTOR_SIZE, _DESCRIPTOR_SIZE):
        descriptor = _mapped(read, at, _DESCRIPTOR_SIZE, spans)
        name, table = struct.unpack_from("<12xII", descriptor.ljust(_DESCRIPTOR_SIZE, b"\0"))
        if not name or not table:
            return
        yield _mapped(read, name, _LONGEST, spans).partition(b"\0")[0].decode("latin-1").lower()


def _mapped(read: Read, rva: int, size: int, spans: list[Span]) -> bytes:
    """Bytes by RVA, as far as the section goes that they are in."""
    for first, length, place in spans:
        if first <= rva < first + length:
            return read(place + rva - first, min(size, first + length - rva))
    return b""
