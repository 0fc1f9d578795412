"""C text of a driver."""

from __future__ import annotations

from collections.abc import Iterator

import texts

SEEDS = (
    "#include <ntddk.h>\n#define TAG 'tseT'\n#if defined(_WIN64) && (POOL_NX > 1)\nNTSTATUS DriverEntry("
    "PDRIVER_OBJECT o, PUNICODE_STRING p) { POOL_TYPE t = NonPagedPool; void *q; if (o) t |= 0x200;\n"
    "q = ExAllocatePoolWithTag(t, 16, TAG); switch (t) { case 0: break; default: goto out; }\nout: return 0; }\n#endif\n",
    "static int (*f)(int) = g; struct a { int b; union { void *c; } d; }; enum e { X = 1 << 2, Y };\n"
    "#define M(a, b) a##b #a\n#pragma alloc_text(PAGE, f)\nint v = MmProtectMdlSystemAddress(m, PAGE_EXECUTE_READWRITE);",
)


def one(data: bytes) -> None:
    """Words, in the order that the input says, or the text itself."""
    texts.examined("driver.c", data, SEEDS)


def seeds() -> Iterator[bytes]:
    """Texts that the input may take pieces from, as they are."""
    for number, _ in enumerate(SEEDS):
        yield bytes([1, number])
        yield b"\0" + SEEDS[number].encode()
