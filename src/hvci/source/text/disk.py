"""Whether the disk has what a text names: a name that it could never have is one that is not there.

Texts name anything: more characters than a name may have, a NUL, a loop of links.
"""

from __future__ import annotations

import errno
import os
import stat
from functools import lru_cache
from pathlib import Path


def is_file(path: str | Path) -> bool:
    """Whether there is a file of this name."""
    return stat.S_ISREG(_mode(path))


def is_folder(path: str | Path) -> bool:
    """Whether there is a folder of this name."""
    return stat.S_ISDIR(_mode(path))


def is_there(path: str | Path) -> bool:
    """Whether there is anything of this name."""
    return _mode(path) != 0


def spelled(folder: str | Path, name: str) -> str:
    """A name in a folder as the disk spells it: texts are written where case does not matter."""
    here, found = str(folder), list[str]()
    for part in name.split("/"):
        if not is_there(f"{here}/{part}"):
            part = _names(here, _changed(here)).get(part.lower(), part)
        found.append(part)
        here = f"{here}/{part}"
    return "/".join(found)


@lru_cache(maxsize=1 << 10)
def _names(folder: str, _: int) -> dict[str, str]:
    """The names in a folder by their lower case, as long as nothing is added or taken away."""
    try:
        return {name.lower(): name for name in os.listdir(folder)}  # noqa: PTH208 (names only)
    except OSError:
        return {}


def _changed(folder: str) -> int:
    try:
        return os.stat(folder or "/").st_mtime_ns  # noqa: PTH116
    except OSError:
        return 0


def contents(path: str | Path, most: int = -1) -> bytes:
    """The bytes of a regular file, or its first `most`; `OSError` for anything else.

    A pipe would never end, a device never stop.
    """
    if is_there(path) and not is_file(path):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    try:
        with Path(path).open("rb") as stream:
            return stream.read(most)
    except ValueError:
        raise OSError(errno.EINVAL, "no file can have this name", str(path)) from None


def _mode(path: str | Path) -> int:
    """What the disk has there, as `stat` tells it; 0 where there is nothing."""
    name = str(path)
    try:
        # thousands of names are asked about, and a `Path` costs more than the answer
        return os.stat(name.rstrip("/") or name or ".").st_mode  # noqa: PTH116
    except (OSError, ValueError):
        return 0
