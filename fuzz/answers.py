"""What every target holds its reader to: an answer, or one clear sentence why there is none."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from hvci.errors import InputError, UsageError

ROOT = Path(__file__).parents[1]
BUILT = ROOT / "tests" / "fixtures" / "built"

LONGEST = 2000
"""Characters of a sentence."""


@contextmanager
def answer_or_sentence() -> Iterator[None]:
    """Let pass what a reader may say of damaged input; everything else is a defect."""
    try:
        yield
    except (InputError, UsageError) as error:
        text = str(error)
        assert text.strip(), "an empty sentence"
        assert "\n" not in text, text
        assert len(text) <= LONGEST, text[:200]


@cache
def folder() -> Path:
    """A folder of this process, in memory where the system has one."""
    shared = Path("/dev/shm")
    base = str(shared) if shared.is_dir() and os.access(shared, os.W_OK) else None
    held = tempfile.TemporaryDirectory(prefix="hvci-fuzz-", dir=base)
    _HELD.append(held)
    return Path(held.name)


_HELD: list[tempfile.TemporaryDirectory[str]] = []


def written(name: str, data: bytes) -> Path:
    """A file with these bytes, alone in the folder."""
    place = folder()
    for other in place.iterdir():
        if other.name != name:
            other.unlink()
    path = place / name
    path.write_bytes(data)
    return path


def built(*names: str) -> Iterator[bytes]:
    """Drivers of the tests."""
    for name in names:
        yield (BUILT / name).read_bytes()
