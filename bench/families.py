"""Files that are made to keep an analysis busy, of any size; see bench/scaling.py."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parents[1] / "tests"
sys.path[:0] = [str(TESTS)]

import build  # noqa: E402  (found by the line above)
from hvci.binary import PeImage  # noqa: E402

IMPORTS = {"ntoskrnl.exe": ("ExAllocatePoolWithTag", "MmGetSystemRoutineAddress", "MmMapIoSpace")}
TEXT = 0x1000


@cache
def _slot(machine: str, size: int) -> int:
    return _slot_of("ExAllocatePoolWithTag", size, machine)


def _slot_of(name: str, size: int, machine: str = "x64") -> int:
    image = PeImage(build.driver(machine, code=bytes(size), imports=IMPORTS))
    return next(rva for rva, one in image.imports.items() if one.name == name)


def _data(machine: str, size: int) -> int:
    image = PeImage(build.driver(machine, code=bytes(size), imports=IMPORTS))
    return next(section.rva for section in image.sections if section.name == ".data")


def _driver(code: bytes, rows: bytes = b"") -> bytes:
    """A driver of x64 code, with its exception data behind the code."""
    info = len(code) + -len(code) % 4
    code = code.ljust(info, b"\xcc") + build.UNWIND.ljust(16, b"\0")
    table = rows.replace(b"INFO", struct.pack("<I", TEXT + info))
    exception = (TEXT + len(code), len(table))
    return build.driver(
        code=code + table, imports=IMPORTS, directories={"exception": exception} if table else None
    )


def _room(size: int) -> int:
    return max(0x400, size + size // 2)


def giant_function(size: int) -> bytes:
    """One function of calls, branches and stores."""
    slot = _slot("x64", _room(size))
    head = b"\xb9\x00\x02\x00\x00\x74\x02\x33\xc9\x48\x89\x4c\x24\x20\x8b\x4c\x24\x20"
    parts, total = [], 0
    while total < size:
        at = TEXT + total + len(head) + 6
        parts.append(head + b"\xff\x15" + struct.pack("<i", slot - at))
        total += len(parts[-1])
    code = b"".join(parts) + b"\xc3"
    rows = struct.pack("<2I", TEXT, TEXT + len(code)) + b"INFO"
    return _driver(code.ljust(_room(size), b"\xcc"), rows)


def tiny_functions(size: int) -> bytes:
    """Functions of 24 bytes, each with exception data and a call."""
    count = max(1, size // 36)
    room = 24 * count
    slot = _slot("x64", room + 16 + 12 * count)
    parts, rows = [], []
    for n in range(count):
        start = TEXT + 24 * n
        head = b"\x48\x83\xec\x28\x33\xc9\xff\x15" + struct.pack("<i", slot - start - 12)
        parts.append((head + b"\x48\x83\xc4\x28\xc3").ljust(24, b"\xcc"))
        rows.append(struct.pack("<2I", start, start + 17) + b"INFO")
    return _driver(b"".join(parts), b"".join(rows))


def call_chain(size: int) -> bytes:
    """Each function hands its parameter to the next; the last asks for pool with it."""
    count = max(2, size // 28)
    slot = _slot("x64", 16 * count + 16 + 12 * count + 4)
    parts, rows = [], []
    for n in range(count):
        start = TEXT + 16 * n
        if n + 1 < count:
            body = b"\x48\x83\xec\x28\xe8" + struct.pack("<i", 16 - 9) + b"\x48\x83\xc4\x28\xc3"
        else:
            body = b"\x48\x83\xec\x28\xff\x15" + struct.pack("<i", slot - start - 10) + b"\xc3"
        parts.append(body.ljust(16, b"\xcc"))
        rows.append(struct.pack("<2I", start, start + len(body)) + b"INFO")
    return _driver(b"".join(parts), b"".join(rows))


def globals_in_circles(size: int) -> bytes:
    """Globals that get their values from each other, and one of them asks for pool."""
    count = max(2, size // 14)
    room = 14 * count + 64
    slot, data = _slot("x64", room), _data("x64", room)
    parts = []
    for n in range(count):
        at = TEXT + 14 * n
        source, sink = data + 8 * (n * 7 % 200), data + 8 * (n * 3 % 200)
        parts.append(b"\x48\x8b\x05" + struct.pack("<i", source - at - 7))
        parts.append(b"\x48\x89\x05" + struct.pack("<i", sink - at - 14))
    at = TEXT + 14 * count
    parts.append(b"\x8b\x0d" + struct.pack("<i", data - at - 6))
    parts.append(b"\xff\x15" + struct.pack("<i", slot - at - 12) + b"\xc3")
    return build.driver(code=b"".join(parts).ljust(room, b"\xcc"), imports=IMPORTS)


def jump_tables(size: int) -> bytes:
    """Jumps through tables that may be anywhere."""
    slot = _slot("x64", size)
    unit = b"\x48\x8d\x0d\x00\x00\x00\x00\x8b\x04\x81\x48\x03\xc1\xff\xe0"
    parts, total = [], 0
    while total + 32 < size:
        at = TEXT + total + len(unit) + 6
        part = unit + b"\xff\x15" + struct.pack("<i", slot - at)
        parts.append(part)
        total += len(part)
    return build.driver(code=b"".join(parts).ljust(size, b"\xcc"), imports=IMPORTS)


def relocations(size: int) -> bytes:
    """As many relocations as fit."""
    blocks = []
    for n in range(max(1, size // 2056)):
        page = 0x3000 + 0x1000 * (n % 2)
        blocks.append(struct.pack("<II", page, 2056) + b"\x08\xa0" * 1024)
    return build.driver(relocations=b"".join(blocks))


def imports(size: int) -> bytes:
    """As many imports as fit."""
    count = max(3, size // 34)
    names = ("ExAllocatePoolWithTag", *(f"F{n:07}" for n in range(count)))
    return build.driver(imports={"ntoskrnl.exe": (*names, "ExFreePoolWithTag", "DbgPrint")})


def exports(size: int) -> bytes:
    """As many exported names as fit, all of one function."""
    count = max(3, size // 20)
    place = TEXT + 0x10
    functions, names = place + 40, place + 40 + 4 * count
    ordinals, texts = names + 4 * count, names + 6 * count
    head = struct.pack("<IIHH7I", 0, 0, 0, 0, texts, 1, count, count, functions, names, ordinals)
    table = head + struct.pack("<I", TEXT) * count
    table += struct.pack(f"<{count}I", *(texts + 9 * n for n in range(count)))
    table += struct.pack(f"<{count}H", *(n & 0xFFFF for n in range(count)))
    table += b"".join(b"F%07d\0" % (n % 10_000_000) for n in range(count))
    code = b"\x33\xc0\xc3".ljust(0x10, b"\xcc") + table
    return build.driver(code=code, imports=IMPORTS, directories={"export": (place, len(table))})


def exception_rows(size: int) -> bytes:
    """Exception data whose rows overlap, and are chained to each other."""
    count = max(2, size // 16)
    code = b"\x90" * (size // 4) + b"\xc3"
    info = len(code) + -len(code) % 4
    chained = b"\x21\0\0\0" + struct.pack("<3I", TEXT, TEXT + 8, TEXT + info)
    rows = b"".join(
        struct.pack("<3I", TEXT + n % len(code), TEXT + len(code), TEXT + info)
        for n in range(count)
    )
    place = TEXT + info + len(chained)
    directories = {"exception": (place, len(rows))}
    held = code.ljust(info, b"\xcc") + chained + rows
    return build.driver(code=held, imports=IMPORTS, directories=directories)


def look_ups(size: int) -> bytes:
    """Calls that ask Windows for a routine by its name, each through what the one before gave."""
    slot = _slot_of("MmGetSystemRoutineAddress", size)
    parts, total = [], 0
    while total + 32 < size:
        at = TEXT + total + 13
        part = (
            b"\x48\x8d\x0d" + struct.pack("<i", 0x40) + b"\xff\x15" + struct.pack("<i", slot - at)
        )
        part += b"\xff\xd0"
        parts.append(part)
        total += len(part)
    return build.driver(code=b"".join(parts).ljust(size, b"\xcc"), imports=IMPORTS)


def sections(size: int) -> bytes:
    """As many section headers as fit, up to 65,535."""
    count = min(65_000, max(4, size // 40))
    data = build.driver()
    pe, old = 0x80, struct.unpack_from("<H", data, 0x86)[0]
    start = pe + 24 + struct.unpack_from("<H", data, pe + 20)[0]
    rows = data[start : start + 40 * old]
    more = b"".join(
        struct.pack("<8s4I12xI", b".x", 0x10, 0x20000 + 0x1000 * n, 0, 0, 0x4000_0040)
        for n in range(count - old)
    )
    head = bytearray(data[:start] + rows + more)
    head = head.ljust(-(-len(head) // 0x200) * 0x200, b"\0")
    moved = len(head) - struct.unpack_from("<I", rows, 20)[0]
    for n in range(old):
        at = start + 40 * n + 20
        struct.pack_into("<I", head, at, struct.unpack_from("<I", head, at)[0] + moved)
    struct.pack_into("<H", head, pe + 6, count)
    return bytes(head) + data[struct.unpack_from("<I", rows, 20)[0] :]


def nested_c(size: int) -> bytes:
    """Parentheses within parentheses."""
    depth = size // 2
    return b"void f(void) { ExAllocatePool(" + b"(" * depth + b"0" + b")" * depth + b", 8); }\n"


def macro_bomb(size: int) -> bytes:
    """Macros that name the one before twice."""
    lines = [b"#define M0 NonPagedPool\n"]
    n = 1
    while sum(map(len, lines[-1:])) * n < size:
        lines.append(b"#define M%d (M%d | M%d)\n" % (n, n - 1, n - 1))
        n += 1
    return b"".join(lines) + b"void f(void) { ExAllocatePool(M%d, 8); }\n" % (n - 1)


def many_calls(size: int) -> bytes:
    """One function of C with very many calls."""
    return b"void f(void) {\n" + b"ExAllocatePool(t, 8);\n" * (size // 22) + b"}\n"


def many_functions(size: int) -> bytes:
    """Functions of C that hand a parameter on to the next."""
    count = size // 56
    return b"".join(
        b"void f%d(int t) { f%d(t); ExAllocatePool(t, %d); }\n" % (n, n + 1, n)
        for n in range(count)
    )


def many_directives(size: int) -> bytes:
    """Branches within branches, each with a macro of its own."""
    one = b"#if A%d && !B%d\n#define A%d\nint a%d;\n#endif\n"
    return b"void f(void) { ExAllocatePool(0, 8); }\n" + b"".join(
        one % (n, n, n + 1, n) for n in range(size // 48)
    )


IMAGES: tuple[Callable[[int], bytes], ...] = (
    *(giant_function, tiny_functions, call_chain, globals_in_circles, jump_tables),
    *(look_ups, exception_rows, exports, relocations, imports, sections),
)
TEXTS: tuple[Callable[[int], bytes], ...] = (
    *(nested_c, macro_bomb, many_calls, many_functions, many_directives),
)
