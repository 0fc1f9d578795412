"""The files of a Windows installation, wherever they are: a folder, or a volume of a disk image.

Names are found whatever their case, also on systems that tell cases apart. Links are not followed
out of the folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from hvci.errors import InputError

_LEADS_OUT = "a link that leads out of this Windows, which is not followed"


class Tree(Protocol):
    """Files by paths with slashes, below the folder that holds the Windows folder."""

    name: str
    """What reports call it."""

    def read(self, path: str, most: int) -> bytes | None:
        """The bytes of a file; None where there is none. Raises `InputError`."""

    def names(self, path: str) -> list[str]:
        """The names in a folder; none where it is missing. An empty path is the top. Raises
        `InputError`.
        """

    def label(self, path: str) -> str:
        """What a report calls a file."""


class Folder:
    """A folder on a disk of this computer: a mounted volume, or a copy."""

    def __init__(self, top: Path) -> None:
        self.name = str(top)
        self._top = top.resolve()
        self._names = lru_cache(maxsize=4096)(self._listed)

    def _listed(self, folder: Path) -> dict[str, list[str]]:
        """Names by their lower case; a system that tells cases apart may have several of one."""
        found: dict[str, list[str]] = {}
        try:
            for name in sorted(os.listdir(folder)):  # noqa: PTH208
                found.setdefault(name.lower(), []).append(name)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            raise InputError(f"{folder}: {error.strerror or error}") from error
        return found

    def _spelled(self, path: str) -> Path | None:
        """A path as it is spelled here; None where there is none. Raises `InputError` where it
        could be any of several.
        """
        found = self._top
        for part in path.split("/") if path else ():
            names = self._names(found).get(part.lower())
            if names is None:
                return None
            if len(names) > 1:
                raise InputError(f"{found}: {' and '.join(names)} are one name to Windows")
            found = found / names[0]
        return found

    def _find(self, path: str) -> Path | None:
        """A file or folder; raises `InputError` where it is there and cannot be looked at."""
        found = self._spelled(path)
        if found is None:
            return None
        try:
            leads_out = found.exists() and not found.resolve().is_relative_to(self._top)
        except OSError as error:
            raise InputError(f"{found}: {error.strerror or error}") from error
        if leads_out:
            raise InputError(f"{found}: {_LEADS_OUT}")
        return found

    def read(self, path: str, most: int) -> bytes | None:
        """The bytes of a file; None where there is none."""
        found = self._find(path)
        if found is None or not found.is_file():
            return None
        try:
            if found.stat().st_size > most:
                raise InputError(f"{found}: more than {most} bytes")
            return found.read_bytes()
        except OSError as error:
            raise InputError(f"{found}: {error.strerror or error}") from error

    def names(self, path: str) -> list[str]:
        """The names in a folder."""
        found = self._find(path)
        return [name for each in self._names(found).values() for name in each] if found else []

    def label(self, path: str) -> str:
        """The path as it is on this computer."""
        with suppress(InputError):
            return str(self._spelled(path) or self._top / path)
        return str(self._top / path)


def of_windows(folder: Path) -> tuple[Folder, str] | None:
    """The tree and the name of its Windows folder, when a folder is one or holds one."""
    for top, windows in (
        (folder.parent, folder.name),
        *((folder, each) for each in _likely(folder)),
    ):
        tree = Folder(top)
        if tree.read(f"{windows}/System32/config/SYSTEM", 1 << 30) is not None:
            return tree, windows
    return None


def _likely(folder: Path) -> Iterator[str]:
    try:
        yield from (
            each.name for each in sorted(folder.iterdir()) if each.name.lower() == "windows"
        )
    except OSError:
        return
