"""Whether the disk has what a text names: a name that it could never have is one that is not there.

Texts name anything: more characters than a name may have, a NUL, a loop of links.
"""

from __future__ import annotations

import errno
import os
import stat
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
