"""The emulated Driver Verifier with changed code of a real arm64 driver."""

from __future__ import annotations

from collections.abc import Iterator

import emulated

_driver = emulated.Subject("arm64")


def one(data: bytes) -> None:
    """Places of the code and what to write there."""
    _driver.run(data)


def seeds() -> Iterator[bytes]:
    """Nothing changed, and something."""
    yield b""
    yield bytes(i * 53 % 256 for i in range(64))
