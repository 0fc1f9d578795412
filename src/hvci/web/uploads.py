"""Keeps what was uploaded, by its hash and for some days; names are text and never a path."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import time
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from hvci.web.errors import Full
from hvci.web.settings import Limits

_HEX = frozenset("0123456789abcdef")


class Kept(NamedTuple):
    """One uploaded file."""

    name: str
    """What its owner calls it; text."""
    sha256: str
    size: int


class Uploads:
    """The folder of uploads."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self._folder = folder
        self._limits = limits
        self._parts = folder / "part"
        shutil.rmtree(self._parts, ignore_errors=True)  # what a server that ended left behind
        self._parts.mkdir(parents=True)
        self._stored = sum(path.stat().st_size for path in self._files())

    def place(self, sha256: str) -> Path:
        """Where a content lies, or would."""
        if len(sha256) != 64 or not set(sha256) <= _HEX:
            raise ValueError(sha256)
        return self._folder / sha256[:2] / sha256

    def has(self, sha256: str) -> bool:
        """Whether a content is still there."""
        return self.place(sha256).is_file()

    def begin(self) -> Writing:
        """Take one file."""
        return Writing(self, self._parts / secrets.token_hex(16))

    def room_for(self, size: int) -> None:
        """Refuse what does not fit."""
        if self._stored + size > self._limits.stored:
            raise Full("the room for uploads is full; try again later, or delete older ones")

    def keep(self, part: Path, sha256: str, size: int) -> None:
        """Give a finished file its place; a content that is there is fresh again."""
        place = self.place(sha256)
        if place.exists():
            os.utime(place)
            part.unlink()
            return
        place.parent.mkdir(exist_ok=True)
        part.replace(place)
        self._stored += size

    def forget(self, sha256: str) -> None:
        """Delete a content."""
        place = self.place(sha256)
        with contextlib.suppress(OSError):
            size = place.stat().st_size
            place.unlink()
            self._stored -= size

    def forget_old(self, needed: frozenset[str] = frozenset()) -> int:
        """Delete what nobody uploaded for some days and no evaluation waits for."""
        before = time.time() - self._limits.age
        old = [path.name for path in self._files() if path.stat().st_mtime < before]
        gone = [name for name in old if name not in needed]
        for name in gone:
            self.forget(name)
        return len(gone)

    def _files(self) -> list[Path]:
        return [path for path in self._folder.glob("??/*") if len(path.name) == 64]


class Writing:
    """A file on its way in; whatever ends it early leaves nothing behind."""

    def __init__(self, uploads: Uploads, part: Path) -> None:
        self._uploads = uploads
        self._part = part
        self._digest = hashlib.sha256()
        self._stream = part.open("xb")
        self.size = 0

    def write(self, data: bytes) -> None:
        """Add a piece."""
        self.size += len(data)
        self._uploads.room_for(self.size)
        self._digest.update(data)
        self._stream.write(data)

    def kept(self, name: str) -> Kept:
        """The file is whole."""
        self._stream.close()
        digest = self._digest.hexdigest()
        self._uploads.keep(self._part, digest, self.size)
        return Kept(name, digest, self.size)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.drop()

    def drop(self) -> None:
        """Let go of what was not kept."""
        self._stream.close()
        with contextlib.suppress(OSError):
            self._part.unlink()
