"""Finds files by the patterns of CMake's `file(GLOB …)`.

Knows folders and patterns; knows nothing of lists or targets.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterator
from pathlib import Path

MAX_FILES = 20_000
"""Files that one pattern may mean."""
MAX_SEEN = 80_000
"""Files that are looked at for one."""


def glob(folder: str, pattern: str, recurse: bool) -> tuple[list[str], bool]:
    """The files that a pattern means below a folder, sorted; whether these are all."""
    whole = pattern if pattern.startswith("/") else f"{folder}/{pattern}"
    base, _, name = whole.rpartition("/")
    if "*" in base or "?" in base:
        inner = [one for one in _folders(base) if one.is_dir()]
    else:
        inner = [Path(base or "/")]
    found: list[str] = []
    for start in inner:
        for seen, path in enumerate(_below(start) if recurse else _direct(start)):
            if fnmatch.fnmatchcase(path.rpartition("/")[2].lower(), name.lower()):
                found.append(path)
            if len(found) >= MAX_FILES or seen >= MAX_SEEN:
                return sorted(found), False
    return sorted(found), True


def _folders(pattern: str) -> Iterator[Path]:
    head = pattern.split("*", 1)[0].rpartition("/")[0]
    yield from Path(head or "/").glob(pattern[len(head) :].lstrip("/"))


def _direct(folder: Path) -> Iterator[str]:
    try:
        yield from (str(one) for one in sorted(folder.iterdir()) if one.is_file())
    except OSError:
        return


def _below(folder: Path) -> Iterator[str]:
    for top, folders, files in os.walk(folder):
        folders.sort()
        yield from (f"{top}/{name}" for name in sorted(files))
