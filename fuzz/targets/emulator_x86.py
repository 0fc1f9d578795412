"""The emulated Driver Verifier with changed and made-up x86 code."""

from __future__ import annotations

from collections.abc import Iterator

import emulated

_driver = emulated.Subject("x86")


def one(data: bytes) -> None:
    """What is to be a driver, see `emulated.py`."""
    _driver.run(data)


def seeds() -> Iterator[bytes]:
    """A driver of the tests, and small ones."""
    yield b""
    for kind in range(1, 64):
        yield bytes([kind, *(i * kind * 53 % 256 for i in range(64))])
