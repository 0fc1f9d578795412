"""Whether the disk has what a text names: a name that it could never have is one that is not there.

Texts name anything: more characters than a name may have, a NUL, a loop of links.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def is_file(path: str | Path) -> bool:
    """Whether there is a file of this name."""
    return _answered(Path(path).is_file)


def is_folder(path: str | Path) -> bool:
    """Whether there is a folder of this name."""
    return _answered(Path(path).is_dir)


def is_there(path: str | Path) -> bool:
    """Whether there is anything of this name."""
    return _answered(Path(path).exists)


def _answered(ask: Callable[[], bool]) -> bool:
    try:
        return ask()
    except (OSError, ValueError):
        return False
