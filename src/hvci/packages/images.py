"""Tells drivers from other PE images by a few reads: by the subsystem, by what they import, or by
what only the linkers of drivers write where nothing is imported that programs have.

Nothing says that Windows looks at the subsystem of a driver, so what imports a module of the kernel
is one, whatever its linker wrote there. Knows headers and names of modules; maps nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

Read = Callable[[int, int], bytes]
"""Bytes of an image by offset and size; fewer where it ends."""
_BLOCK = 4096
"""So much is read at once: the headers of nearly all images, or descriptors with names nearby."""
_PE_POINTER, _MOST_SECTIONS, _MOST_MODULES, _LONGEST = 0x3C, 2048, 1024, 256
_COFF, _SECTION_SIZE, _DESCRIPTOR_SIZE = 24, 40, 20
_SHORTEST, _ASKED = 0x46, 0x48
"""Bytes of an optional header up to its subsystem, and up to all that is asked of it."""
_NATIVE = 1
_IMPORT, _MANAGED = 1, 14
_ELSEWHERE = frozenset((9, 10, 11, 12, 13, 16))
"""What runs where there is no such kernel: Windows CE, UEFI, the boot manager."""
_KERNEL = (".sys", "ntoskrnl.exe", "hal.dll", "ntkrnlmp.exe", "ntkrnlpa.exe", "ntkrpamp.exe")
_PROGRAMS = frozenset(
    (
        *("kernel32.dll", "kernelbase.dll", "ntdll.dll", "user32.dll", "gdi32.dll", "win32u.dll"),
        *("advapi32.dll", "mscoree.dll", "ole32.dll", "oleaut32.dll", "shell32.dll", "rpcrt4.dll"),
        *("msvcrt.dll", "ucrtbase.dll", "combase.dll", "vertdll.dll"),
    )
)
"""Modules of programs: what imports one and none of the kernel is no driver, whatever it looks
like."""
_OF_PROGRAMS = ("api-ms-win-", "msvcp", "msvcr", "vcruntime")
_DLL, _WDM_DRIVER = 0x2000, 0x2000
_EXECUTABLE, _NOT_PAGED = 0x2000_0000, 0x0800_0000
_OF_DRIVERS = (b"INIT", b"PAGE")
"""How sections begin that linkers of drivers make and that texts of drivers name."""
_SECTION = struct.Struct("<8s4I12xI")
Span = tuple[int, int, int]
"""Where bytes are mapped, how many, and where they lie in the file."""


def is_driver(path: Path) -> bool:
    """Whether a file is the image of a driver; raises `OSError`."""
    return looked_at(str(path), 2)[1]


def looked_at(path: str, size: int) -> tuple[bytes, bool]:
    """The first bytes of a file, and whether it is the image of a driver; raises `OSError`.

    Asked of each file of a folder: one read has all but the names of modules.
    """
    with open(path, "rb", buffering=0) as stream:  # noqa: PTH123 (a million times)
        head = stream.read(_BLOCK)
        return head[:size], head[:2] == b"MZ" and is_of_kernel(_reader(stream, 0, head))


def is_driver_at(stream: IO[bytes], base: int = 0) -> bool:
    """Whether the image of a driver begins at an offset; leaves the stream anywhere."""
    stream.seek(base)
    head = stream.read(_BLOCK)
    return head[:2] == b"MZ" and is_of_kernel(_reader(stream, base, head))


def _reader(stream: IO[bytes], base: int, head: bytes) -> Read:
    """Reads an image of which the first block is known, and another block at a time."""
    block, first = head, 0

    def read(at: int, size: int) -> bytes:
        nonlocal block, first
        if at + size <= len(head):
            return head[at : at + size]
        if not first <= at <= first + len(block) - size:
            stream.seek(base + at)
            block, first = stream.read(max(size, _BLOCK)), at
        return block[at - first : at - first + size]

    return read


class _Headers(NamedTuple):
    """What is asked of the headers."""

    subsystem: int
    entry: int
    flags: int
    """Of the file."""
    more_flags: int
    """Those that are called flags of libraries, whatever the image is."""
    imports: int
    """The RVA of the table of imports; 0 where there is none."""
    is_managed: bool
    sections: list[tuple[bytes, int, int, int, int, int]]
    """Name, size, RVA, size and place in the file, flags."""


def is_of_kernel(read: Read) -> bool:
    """Whether what begins with MZ is an image that is made for the kernel."""
    found = _headers(read)
    if found is None or found.is_managed:
        return found is not None and found.subsystem == _NATIVE
    spans = _spans(found)
    is_alone, is_program = True, False
    for module in _modules(read, found.imports, spans) if found.imports else ():
        if is_kernel(module):
            return True
        is_alone = False
        is_program = is_program or module in _PROGRAMS or module.startswith(_OF_PROGRAMS)
    if is_program or found.subsystem in _ELSEWHERE:
        return False
    if found.subsystem == _NATIVE or _is_linked_as_driver(found):
        return True
    is_known = not found.imports or len(_mapped(read, found.imports, 1, spans)) == 1
    return is_alone and is_known and _starts_alone(found)


def imports_of(data: bytes) -> Iterator[str]:
    """The names of the modules that an image imports, in lower case."""

    def read(at: int, size: int) -> bytes:
        return data[at : at + size]

    found = _headers(read)
    if found is not None and found.imports:
        yield from _modules(read, found.imports, _spans(found))


def is_kernel(module: str) -> bool:
    """Whether a module that is imported, in lower case, is one of the kernel."""
    return module.endswith(_KERNEL)


def _is_linked_as_driver(found: _Headers) -> bool:
    """Whether an image has what only linkers write that are told to make a driver."""
    return bool(found.more_flags & _WDM_DRIVER) or any(
        section[-1] & _NOT_PAGED or section[0].startswith(_OF_DRIVERS) for section in found.sections
    )


def _starts_alone(found: _Headers) -> bool:
    """Whether an image that imports nothing is more than a library of resources or of data: no
    program does anything without a module of Windows.
    """
    return not found.flags & _DLL and any(
        flags & _EXECUTABLE and rva <= found.entry < rva + max(size, raw)
        for _, size, rva, raw, _, flags in found.sections
    )


def _headers(read: Read) -> _Headers | None:
    start = int.from_bytes(read(_PE_POINTER, 4), "little")
    coff = read(start, _COFF + _ASKED)
    if coff[:4] != b"PE\0\0" or len(coff) < _COFF + _SHORTEST:
        return None
    coff = coff.ljust(_COFF + _ASKED, b"\0")
    count, size, flags = struct.unpack_from("<H12xHH", coff, 6)
    entry, subsystem, more_flags = struct.unpack_from("<I48xHH", coff, _COFF + 16)
    start += _COFF
    optional = read(start, size)
    table = read(start + size, _SECTION_SIZE * min(count, _MOST_SECTIONS))
    table = table[: len(table) // _SECTION_SIZE * _SECTION_SIZE]
    imports, managed = _directory(optional, _IMPORT), _directory(optional, _MANAGED)
    sections = list(_SECTION.iter_unpack(table))
    return _Headers(subsystem, entry, flags, more_flags, imports, managed > 0, sections)


def _directory(optional: bytes, number: int) -> int:
    """The RVA of a data directory; 0 where there is none."""
    table = 112 if optional[:2] == b"\x0b\x02" else 96
    there = int.from_bytes(optional[table - 4 : table], "little")
    at = table + 8 * number
    return int.from_bytes(optional[at : at + 4], "little") if number < there else 0


def _spans(found: _Headers) -> list[Span]:
    """Those of sections, the last first, which hides what others have there; then the headers."""
    spans = [(rva, min(raw, size or raw), place) for _, size, rva, raw, place, _ in found.sections]
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
