"""The variables that a makefile gets from those that run make in its folder.

Knows `$(MAKE)` in commands, exports and words of a command line; runs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from hvci.source.builds.variables import expanded, values_of
from hvci.source.text.files import beside

MAX_LEVELS = 3
"""Folders upwards from which make may be run in one."""
_NAMES = ("GNUmakefile", "makefile", "Makefile")
_RUN = re.compile(r"(?m)^\t([^\n]*\$[({]MAKE[)}][^\n]*)$")
_PLACE = re.compile(r"(?:\$[({]MAKE[)}][^\n]*?\s(?:-C|--directory)[ =]*|\bcd\s+)(\S+)")
_GIVEN = re.compile(r"""(?<!\S)([A-Za-z_]\w*)=("[^"\n]*"|'[^'\n]*'|[^\s"';&|]*)""")
_EXPORT = re.compile(r"(?m)^[ ]*export\b[ \t]*([^\n]*)$")
_ASSIGNED = re.compile(r"([\w.-]+)[ \t]*[+?:]*=")


def handed_down(path: str, text: str, read: Callable[[str], str | None]) -> str:
    """A text with what it gets: exported variables before it, those of command lines behind."""
    before, behind = dict[str, str](), dict[str, str]()
    for other, whole in _above(path, read):
        runs = [one for one in _RUN.findall(whole) if _leads_to(one, other, path)]
        if not runs:
            continue
        values = values_of(whole)
        exported = {name: values[name] for name in _exported(whole, values) if name in values}
        before |= {name: expanded(value, values, other) for name, value in exported.items()}
        for name, value in (pair for run in runs for pair in _GIVEN.findall(run)):
            behind[name] = expanded(value.strip("\"'"), values, other)
    parts = ((f"{name} = {value}" for name, value in each.items()) for each in (before, behind))
    front, back = ("\n".join(lines) for lines in parts)
    return "\n".join(filter(None, (front, text, back)))


def _above(path: str, read: Callable[[str], str | None]) -> Iterator[tuple[str, str]]:
    """The makefiles of the folders above one, from the top."""
    for level in range(MAX_LEVELS, 0, -1):
        for name in _NAMES:
            other = beside(path, f"{'../' * level}{name}")
            text = read(other)
            if text is not None and "MAKE" in text:
                yield other, text
                break


def _leads_to(command: str, other: str, path: str) -> bool:
    """Whether a command runs make in the folder of a file, or in one that is not followed."""
    folder = Path(path).absolute().parent
    places = _PLACE.findall(command)
    return any(
        "$" in one or Path(beside(other, f"{one}/x")).absolute().parent == folder for one in places
    )


def _exported(text: str, values: dict[str, str]) -> Iterator[str]:
    for given in _EXPORT.findall(text):
        assigned = _ASSIGNED.match(given)
        names = [assigned[1]] if assigned is not None else given.split()
        yield from names or values
