"""Source files that the text of a build names, itself or by their objects.

Knows names, folders and what is on the disk; knows no language of builds.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from hvci.source.text.disk import is_file
from hvci.source.text.files import Shelf, beside

MAX_FOLDERS = 2000
"""Folders below a build in which a file is looked for."""
_PATH = r"(?<![\w./\\%*-])((?:[\w+.-]+[/\\])*[\w+.-]+\.(?:{}))\b(?![/\\.]|\s*[(=])"
_SOURCE = re.compile(_PATH.format(r"c|cpp|cc|cxx|c\+\+|s|asm|nasm"), re.IGNORECASE)
_OBJECT = re.compile(_PATH.format("o|obj"), re.IGNORECASE)
_INFERRED = re.compile(r"\.\w+\.\w+")
"""Such as `.c.obj`: a rule of nmake."""
_REMOVED = re.compile(r"(?im)^[ \t]*[-@]*[ \t]*(?:\$\(RM\)|rm|del|erase|clean\w*:)\b[^\n]*")
ASSEMBLED = (".s", ".asm", ".nasm")
_ENDS = (".c", ".cpp", ".cc", ".cxx", *ASSEMBLED, ".S")


@dataclass
class Named:
    """What a text names."""

    files: dict[str, None] = field(default_factory=dict)
    objects: dict[str, None] = field(default_factory=dict)
    """Objects that are here and have no source."""
    lost: dict[str, None] = field(default_factory=dict)
    """Names of which neither the file nor a source is here."""

    def add(self, other: Named) -> None:
        """Take what another text names as well."""
        self.files |= other.files
        self.objects |= other.objects
        self.lost |= other.lost

    @property
    def compiled(self) -> list[str]:
        """The files of C and C++."""
        return sorted(one for one in self.files if not one.lower().endswith(ASSEMBLED))

    @property
    def assembly(self) -> tuple[str, ...]:
        """The files of assembly."""
        return tuple(sorted(one for one in self.files if one.lower().endswith(ASSEMBLED)))


def named(shelf: Shelf, path: str, text: str, folders: Iterable[str] = ()) -> Named:
    """The files that the text of a build file names; `folders` are searched as well."""
    found, text = Named(), _REMOVED.sub("", text)
    below = _Below(path)
    places = ("", *folders)
    for name in dict.fromkeys(match[1].replace("\\", "/") for match in _SOURCE.finditer(text)):
        whole = _first(shelf, path, (_in(folder, name) for folder in places), below)
        if whole:
            found.files[whole] = None
        else:
            found.lost[name] = None
    stems = {_stem(one) for one in found.files}
    for name in dict.fromkeys(match[1].replace("\\", "/") for match in _OBJECT.finditer(text)):
        front, last = name.rpartition(".")[0], _stem(name)
        tried = [
            _in(folder, one + end)
            for folder in places
            for one in (front, last, f"src/{last}")
            for end in _ENDS
        ]
        if last in stems or _INFERRED.fullmatch(name):
            continue
        whole = _first(shelf, path, tried, below)
        if whole:
            found.files[whole] = None
        elif is_file(beside(path, name)):
            found.objects[beside(path, name)] = None
        else:
            found.lost[name] = None
    return found


def _in(folder: str, name: str) -> str:
    return f"{folder.rstrip('/')}/{name}" if folder else name


def _stem(path: str) -> str:
    return path.rpartition("/")[2].rpartition(".")[0]


def _first(shelf: Shelf, path: str, names: Iterable[str], below: _Below) -> str:
    """The first of some names that is a file, else the only file below that has the last part."""
    last: dict[str, None] = {}
    for name in names:
        whole = shelf.actual(beside(path, name))
        if is_file(whole):
            return whole
        last[name.rpartition("/")[2]] = None
    many = {one for name in last for one in below.called(name)}
    return shelf.actual(shelf.shown(many.pop())) if len(many) == 1 else ""


class _Below:
    """The files below a build file, by their names; read when somebody asks."""

    def __init__(self, path: str) -> None:
        self.folder = path.rpartition("/")[0] or "."
        self._files: dict[str, list[str]] | None = None

    def called(self, name: str) -> list[str]:
        """The files of a name."""
        if self._files is None:
            self._files = {}
            for whole in _walk(self.folder):
                self._files.setdefault(whole.rpartition("/")[2].lower(), []).append(whole)
        return self._files.get(name.lower(), [])


def _walk(folder: str) -> Iterator[str]:
    for count, (top, folders, files) in enumerate(os.walk(folder)):
        folders[:] = sorted(one for one in folders if not one.startswith("."))
        if count >= MAX_FOLDERS:
            return
        prefix = "" if top == "." else top.removeprefix("./").rstrip("/") + "/"
        yield from (prefix + name for name in sorted(files))
