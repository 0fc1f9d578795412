"""Reads the bytes of a file that others may be writing, and tells when they did.

Names a content by its hash; knows nothing of what the bytes say.
"""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import BinaryIO, NamedTuple

from hvci.fleet.walk import Place, Problem, problem

_SETTLED = 2_000_000_000
"""Nanoseconds after which another change surely shows in the time of the last one."""


class Content(NamedTuple):
    """What a file holds, by name."""

    place: Place
    sha256: str
    settled: bool
    """Whether an unchanged time of change will mean unchanged bytes."""
    about: str = ""
    """What of its surroundings changes its result; see `Rules.beside`."""
    catalogs: tuple[tuple[str, str], ...] = ()
    """Name and path of each catalog of its package."""
    source: str = ""
    """Where its bytes lie, when that is not the place."""
    box: int = 0
    """The archive that it is in, by a number; 0 for none."""

    @property
    def key(self) -> tuple[str, str]:
        """Equal keys have equal results."""
        return self.sha256, self.about


def hashed(place: Place) -> Content | Problem:
    """Name the content of a file."""
    try:
        with Path(place.path).open("rb", buffering=0) as stream:
            before = _status(stream)
            digest = _digest(stream, before.st_size)
            after = _status(stream)
    except (OSError, ValueError) as error:
        return problem(place.path, error)
    if digest is None or _key(before) != _key(after):
        return changed(place.path)
    size, mtime, ctime = after.st_size, after.st_mtime_ns, after.st_ctime_ns
    found = place._replace(size=size, changed=mtime, touched=ctime)
    return Content(found, digest, time.time_ns() - after.st_mtime_ns > _SETTLED)


def _status(stream: BinaryIO) -> os.stat_result:
    return os.fstat(stream.fileno())


def _key(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


def _digest(stream: BinaryIO, size: int) -> str | None:
    """The hash of exactly so many bytes; None where there are more or fewer."""
    whole, left = hashlib.sha256(), size
    while piece := stream.read(min(left, 1 << 20) + 1):
        whole.update(piece)
        left -= len(piece)
        if left < 0:
            return None
    return whole.hexdigest() if left == 0 else None


def read(path: str, sha256: str) -> bytes | Problem:
    """The bytes that were named so before."""
    try:
        data = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        return problem(path, error)
    return data if hashlib.sha256(data).hexdigest() == sha256 else changed(path)


def changed(path: str) -> Problem:
    """The file is another one by now."""
    return Problem(path, "changed", "changed while it was read; scan it again")
