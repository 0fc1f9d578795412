"""Programs for user mode with drivers and archives in them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator

from answers import answer_or_sentence, written

import build
import cabinets
from hvci.packages.opened import open_archive

_program = build.user_program()


def one(data: bytes) -> None:
    """What follows a program is the input."""
    with answer_or_sentence():
        for opened in open_archive(written("x.exe", _program + data)):
            assert opened.path


def seeds() -> Iterator[bytes]:
    """One of each kind."""
    driver = build.driver()
    yield driver
    yield cabinets.cabinet({"a.sys": driver})
    shared = [("a.sys", 0, 0, len(driver)), ("b.sys", 0, 0, len(driver)), ("c", 0, 4, 9)]
    yield cabinets.cabinet_of([driver], shared)
    yield cabinets.installer({"k": ("a.sys", driver)})
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("a.sys", (2026, 1, 1, 0, 0, 0)), driver)
    yield out.getvalue()
    yield b"Rar!\x1a\x07\1\0" + bytes(60)
    yield b"MSWIM\0\0\0" + b"\xd0\0\0\0" + bytes(250)
    yield bytes(4) + b"\xef\xbe\xad\xdeNullsoftInst" + driver[:900]
