"""Driver sources and projects, with no kit installed: text in, evidence out. Judges nothing.

The parsers are heavy, so this door imports them when the first source is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from hvci.model import Evidence, WindowsVersion
from hvci.source.text.disk import is_folder

if TYPE_CHECKING:
    from hvci.source.parts import Parts
    from hvci.source.reader import Reading

__all__ = ["drivers", "examine", "is_source", "read"]


_IMAGES = (".sys", ".dll", ".exe")
"""Ends of names that this wing never reads."""


def is_source(path: str | Path) -> bool:
    """Whether a path is a folder, or a file that this wing reads."""
    path = Path(path)
    name = path.name
    if name.lower().endswith(_IMAGES):
        return is_folder(path)  # without the readers' imports
    from hvci.source.rust.cargo import is_rust
    from hvci.source.text.files import is_code, is_project

    return is_folder(path) or is_code(name) or is_project(name) or is_rust(name)


def examine(
    path: str | Path,
    target_os: WindowsVersion,
    texts: Mapping[str, bytes] | None = None,
    machine: str | None = None,
) -> Reading:
    """Read sources and keep their texts; `texts` stand for files that are not written yet.

    With a machine ("x64") only its configurations count.

    Raises `InputError` when there is neither source nor project. Anything less becomes a `Limit`.
    """
    from hvci.source import reader

    return reader.examine(Path(path), target_os, texts, machine)


def read(path: str | Path, target_os: WindowsVersion) -> Evidence:
    """Gather all facts about sources: a folder, a source file, a project or a solution."""
    return examine(path, target_os).evidence(target_os)


def drivers(
    path: str | Path,
    target_os: WindowsVersion,
    texts: Mapping[str, bytes] | None = None,
    machine: str | None = None,
) -> Parts:
    """Read sources as `examine` does, and tell the drivers in them apart."""
    from hvci.source.parts import Parts

    return Parts(examine(path, target_os, texts, machine))
