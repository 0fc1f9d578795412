"""Driver sources and projects, with no kit installed: text in, evidence out. Judges nothing."""

from __future__ import annotations

from pathlib import Path

from hvci.model import Evidence, WindowsVersion

__all__ = ["is_source", "read"]


def is_source(path: str | Path) -> bool:
    """Whether a path is a folder or file that this wing reads."""
    from hvci.source.reader import is_source as answer

    return answer(Path(path))


def read(path: str | Path, target_os: WindowsVersion) -> Evidence:
    """Gather all facts about sources: a folder, a source file, a project or a solution.

    Raises `InputError` when there is neither source nor project. Anything less becomes a `Limit`.
    """
    from hvci.source.reader import read as reading

    return reading(Path(path), target_os)
