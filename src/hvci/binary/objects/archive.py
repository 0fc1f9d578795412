"""The members of a library, and whether they hold code: imports have none.

Knows archives and the headers of objects.
"""

from __future__ import annotations

from collections.abc import Iterator

MAX_MEMBERS = 5000
MAGIC, THIN = b"!<arch>\n", b"!<thin>\n"
_HEADER = 60
CODE = 0x2000_0020
"""IMAGE_SCN_CNT_CODE and IMAGE_SCN_MEM_EXECUTE: one of them is enough."""
BOTH = 0xA000_0000
"""IMAGE_SCN_MEM_EXECUTE and IMAGE_SCN_MEM_WRITE."""
DIRECTIVES = b".drectve"
"""The section with options for the linker."""
ANONYMOUS = b"\0\0\xff\xff"
"""How imports and objects of other kinds begin."""


def members(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The members of an archive with their names, without those that list names."""
    at, left, long_names = len(MAGIC), MAX_MEMBERS, b""
    while at + _HEADER <= len(data) and left:
        left -= 1
        header = data[at : at + _HEADER]
        size = header[48:58].strip()
        if not size.isdigit() or header[58:60] != b"`\n":
            yield "?", b"?"  # damaged: whatever it is, nobody looked at it
            return
        begin, at = at + _HEADER, at + _HEADER + int(size) + int(size) % 2
        name, body = header[:16].strip(), data[begin : begin + int(size)]
        if name == b"//":
            long_names = body
        elif name not in (b"/", b"/<ECSYMBOLS>/"):
            yield _name(name, long_names), body
    if at > len(data) + 1 or data[at:].strip(b"\n\0"):
        yield "?", b"?"  # cut off, or more than is looked at


def _name(name: bytes, long_names: bytes) -> str:
    if name.startswith(b"/") and name[1:].isdigit():
        name = long_names[int(name[1:]) :].partition(b"\0")[0].partition(b"\n")[0]
    text = name.decode("utf-8", "replace").rstrip("/").replace("\\", "/")
    return text.rpartition("/")[2] or text


def has_code(member: bytes) -> bool:
    """Whether an object holds code: imports have none, objects for later compilation may."""
    if len(member) < 20:
        return bool(member)
    if member[:4] == ANONYMOUS:
        return int.from_bytes(member[4:6], "little") != 0
    for header in _headers(member):
        if len(header) < 40:
            return True
        flags = int.from_bytes(header[36:40], "little")
        if flags & CODE and int.from_bytes(header[16:20], "little"):
            return True
        if header[:5] == b".cil$":
            return True
    return False


def has_options(member: bytes) -> bool:
    """Whether an object without code has options for the linker, or odd rights."""
    return any(
        header[:8] == DIRECTIVES or int.from_bytes(header[36:40], "little") & BOTH == BOTH
        for header in (_headers(member) if member[:4] != ANONYMOUS else ())
    )


def _headers(member: bytes) -> Iterator[bytes]:
    """The headers of the sections of an object; what is cut off is short."""
    sections = int.from_bytes(member[2:4], "little")
    start = 20 + int.from_bytes(member[16:18], "little")
    for index in range(min(sections, 10_000)):
        yield member[start + 40 * index : start + 40 * (index + 1)]
