"""The bug check in the header of a kernel dump: its code and parameters, and nothing else of it.

Knows the two header layouts (`DUMP_HEADER64`, `DUMP_HEADER32`); a debugger tells the rest.
"""

from __future__ import annotations

import struct

HEADER = 4096
"""Bytes of a dump that are read."""
_LAYOUTS = {b"PAGEDU64": (0x38, 0x40, "<4Q"), b"PAGEDUMP": (0x28, 0x2C, "<4I")}
"""Mark -> where the code and the parameters lie, and their form."""
MARK = 8


def is_dump(data: bytes) -> bool:
    """Whether the bytes begin a kernel dump."""
    return data[:MARK] in _LAYOUTS


def bug_check(data: bytes) -> str:
    """The bug check as the kernel debugger prints it; empty where the header is cut."""
    code_at, parameters_at, form = _LAYOUTS[data[:MARK]]
    if len(data) < parameters_at + struct.calcsize(form):
        return ""
    code = int.from_bytes(data[code_at : code_at + 4], "little")
    values = struct.unpack_from(form, data, parameters_at)
    return (
        f"*** Fatal System Error: {code:#010x} ({','.join(f'{value:#018x}' for value in values)})"
    )
