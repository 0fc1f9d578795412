"""Archives that a native library opens: cabinets, MSI, 7z."""

from __future__ import annotations

from collections.abc import Iterator

from answers import answer_or_sentence, written

import build
import cabinets
from hvci.packages.opened import open_archive


def one(data: bytes) -> None:
    """The file is the input."""
    with answer_or_sentence():
        for opened in open_archive(written("x.cab", data)):
            assert opened.path


def seeds() -> Iterator[bytes]:
    """One of each kind."""
    driver = build.driver()
    yield cabinets.cabinet({"a.sys": driver, "a.inf": b"[Version]\n"})
    yield cabinets.cabinet({"a.sys": driver}, zipped=False)
    shared = [("a.sys", 1, 0, len(driver)), ("b.sys", 0, 9, 99), ("c.sys", 1, 0, len(driver))]
    yield cabinets.cabinet_of([driver, driver], shared, of_block=3)
    yield cabinets.cabinet_of([driver, driver], shared)
    yield cabinets.compound({"a": b"x" * 5000, "b": cabinets.cabinet({"a.sys": driver})})
    yield b"7z\xbc\xaf\x27\x1c\0\4" + bytes(60)
