"""Which of the drivers of a target an image was built from, when several bear its name.

Knows names and paths only. Drivers of one name that compile the same files are one driver: a tree
may build it by a project, by a `sources` file and by CMake.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath


@dataclass(frozen=True)
class Built:
    """A driver that a target builds."""

    project: str
    """Its project, as an absolute path with slashes."""
    names: frozenset[str]
    """What its images are called, without folder and extension, in lower case."""
    files: frozenset[str]
    """What it compiles."""

    @property
    def folders(self) -> list[str]:
        """The folders down to its project, in lower case."""
        return self.project.partition("#")[0].lower().split("/")[:-1]


def origins(image: str, debug: str, built: Sequence[Built]) -> tuple[list[int], bool]:
    """The positions of the driver that an image was built from, and whether that is certain.

    `image` is the path of the image, `debug` the path of its PDB as the linker wrote it, or "".
    The linker's name counts before that of the file, which anybody may change. Of several drivers
    of one name the one is taken whose project lies nearest to the image, else the one whose folders
    the linker's path names; nothing else tells them apart, and all are given as uncertain then.
    """
    found: list[int] = []
    for name in (debug, image):
        stem = PureWindowsPath(name).stem.lower()
        found = found or [at for at, one in enumerate(built) if stem and stem in one.names]
    drivers = _same(found, built)
    if len(drivers) > 1:
        steps = Path(image).absolute().as_posix().lower().split("/")[:-1]
        drivers = _best(drivers, lambda at: _shared(steps, built[at].folders))
    if len(drivers) > 1:
        linked = {part.lower() for part in PureWindowsPath(debug).parent.parts}
        common = _common([folder for each in drivers for folder in _folders(each, built)])
        drivers = _best(drivers, lambda at: len((linked & set(built[at].folders)) - common))
    return [at for each in drivers for at in each], len(drivers) <= 1


def _same(found: Iterable[int], built: Sequence[Built]) -> list[list[int]]:
    """The same positions in groups: each is one driver, however many projects build it."""
    groups: list[list[int]] = []
    for at in found:
        for group in groups:
            if any(_is_same(built[at].files, built[other].files) for other in group):
                group.append(at)
                break
        else:
            groups.append([at])
    return groups


def _is_same(one: frozenset[str], other: frozenset[str]) -> bool:
    return bool(one and other) and (one <= other or other <= one)


def _best(groups: list[list[int]], worth: Callable[[int], int]) -> list[list[int]]:
    """The groups of the greatest worth."""
    best = max(worth(at) for group in groups for at in group)
    return [group for group in groups if any(worth(at) == best for at in group)]


def _shared(one: Sequence[str], other: Sequence[str]) -> int:
    """How many leading folders two paths share."""
    count = 0
    while one[count : count + 1] == other[count : count + 1] != []:
        count += 1
    return count


def _folders(group: Iterable[int], built: Sequence[Built]) -> list[set[str]]:
    return [set(built[at].folders) for at in group]


def _common(folders: list[set[str]]) -> set[str]:
    """The names of folders that every project lies below."""
    return set.intersection(*folders)
