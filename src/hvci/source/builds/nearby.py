"""What a target that is one file needs from around it: the project that compiles it.

Knows folders and names; the readers of projects say what those compile.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from operator import attrgetter
from pathlib import Path

from hvci.model import Limit, SourceSite
from hvci.source.builds.model import Build, Kind
from hvci.source.text.disk import contents
from hvci.source.text.files import Shelf, beside, is_code, is_project, tidy

MAX_LEVELS = 4
"""Folders upwards in which a project of a file is looked for."""
MAX_FOLDERS = 60
"""A folder that holds more is no folder of projects: only what lies in it is looked at."""
_ENDS = (".vcxproj",)
_NAMES = ("sources", "cmakelists.txt", "makefile", "meson.build")

_KERNEL = re.compile(
    rb'#[ \t]*include[ \t]*[<"](?:[\w./\\]*[/\\])?(?i:ntddk|wdm|ntifs|fltkernel|ndis|storport'
    rb"|portcls|ntddndis|wdf|scsiport|dispmprt|netadaptercx|fwpsk|ntosp|usbdi|hidport|srb|miniport)\.h"
)


def is_kernel_code(shelf: Shelf, paths: Iterable[str]) -> bool:
    """Whether some file includes a header that only drivers use."""
    return any(_KERNEL.search(shelf.sources[path].text) for path in paths)


_ENTRIES = (b"DriverEntry", b"DllInitialize")
_ENTRY = re.compile(rb"\b(?:%b)\s*\([^;{}]*\)\s*\{" % b"|".join(_ENTRIES))
_ONLY_KERNEL = re.compile(
    rb'#[ \t]*include[ \t]*[<"](?:[\w./\\]*[/\\])?'
    rb"(?i:ntddk|wdm|ntifs|fltkernel|ntosp|storport|ndis)\.h"
)
_OF_PROGRAMS = re.compile(rb'#[ \t]*include[ \t]*[<"](?i:windows)\.h')


def made_drivers(shelf: Shelf, builds: list[Build]) -> list[Build]:
    """The builds, those among them made drivers that are called programs and are none.

    Such a one holds the entry point of a driver, in a file with headers that no program can
    include, and no driver here is built of that file: else it is a test of the driver. What
    calls itself a driver for user mode (UMDF) is one.
    """
    of_drivers = {path for one in builds if one.kind is not Kind.USER for path in one.paths}
    found = []
    for one in builds:
        mine = (path for path in one.files if path not in of_drivers)
        is_said = any((it.name, it.value.lower()) == ("drivertype", "umdf") for it in one.settings)
        if one.kind is Kind.USER and not is_said and any(has_entry(shelf, path) for path in mine):
            one = replace(one, kind=Kind.DRIVER, kernel=True)
        found.append(one)
    return found


def has_entry(shelf: Shelf, path: str) -> bool:
    """Whether a file has the entry point of a driver, with headers that only the kernel has."""
    source = shelf.sources.get(path)
    if source is None or not any(name in source.text for name in _ENTRIES):
        return False
    if _ENTRY.search(source.code) is None:
        return False
    texts = [source.text]
    for name in _QUOTED.findall(source.text):
        file = shelf.actual(beside(path, name.decode("utf-8", "replace").replace("\\", "/")))
        texts += [shelf.sources[file].text] if file in shelf.sources else []
    is_kernel = any(_ONLY_KERNEL.search(one) for one in texts)
    return is_kernel and not any(_OF_PROGRAMS.search(one) for one in texts)


_QUOTED = re.compile(rb'#[ \t]*include[ \t]*"([^"\n]+)"')


def bring_projects(shelf: Shelf) -> None:
    """For a source file: add the projects around it that name it."""
    for path in list(shelf.named):
        if is_code(path):
            found = [one for one in _around(path) if _names(one, path.rpartition("/")[2])]
            shelf.projects += (shelf.shown(one) for one in found)


def _around(path: str) -> Iterator[str]:
    """Project files in the folders upwards, and in the folders beside those."""
    here = Path(path).absolute().parent
    for level, folder in enumerate((here, *list(here.parents)[:MAX_LEVELS])):
        entries = _entries(str(folder))
        yield from _projects(entries)
        if level <= 1 and len(entries) <= MAX_FOLDERS:
            inner = (one for one in entries if not one.name.startswith(".") and _is_folder(one))
            for other in inner:
                yield from _projects(_entries(other))
        names = [one.name.lower() for one in entries]
        if any(name.endswith((".sln", ".slnx")) or name == ".git" for name in names):
            break


def _entries(folder: str | os.DirEntry[str]) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=attrgetter("name"))
    except OSError:
        return []


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # links in a circle
        return False


def _projects(entries: list[os.DirEntry[str]]) -> Iterator[str]:
    for one in entries:
        name = one.name.lower()
        if name.endswith(_ENDS) or name in _NAMES:
            yield tidy(one.path)


def _names(project: str, name: str) -> bool:
    """Whether the text of a project may name a file."""
    try:
        data = contents(project, 4 << 20)
    except OSError:
        return False
    text = data.replace(b"\0", b"").lower()
    stem = name.rpartition(".")[0].lower().encode()
    if project.lower().endswith("cmakelists.txt"):
        return True
    return (
        stem in text
        or b"glob" in text
        or b"wildcard" in text
        or name.lower().endswith((".h", ".hpp", ".inl"))
    )


def wanted(shelf: Shelf, builds: list[Build]) -> list[Build]:
    """For a source file: the builds that compile it, whole; else all of them."""
    named = [path for path in shelf.named if not is_project(path.rpartition("/")[2])]
    if not shelf.is_single or not named:
        return builds
    compiling = {build.project for build in builds if set(named) & set(build.paths)}
    if not compiling and all(path.lower().endswith(_HEADERS) for path in named):
        compiling = {build.project for build in builds if _beside(build, named)}
    referring = {build.project for build in builds if compiling & set(build.references)} | compiling
    chosen = {one for build in builds if build.project in referring for one in build.references}
    found = [build for build in builds if build.project in referring | chosen]
    files = {build.file for build in found}
    shelf.limits[:] = [one for one in shelf.limits if _is_about(shelf, one, named, files)]
    return found


def _is_about(shelf: Shelf, limit: Limit, named: list[str], files: set[str]) -> bool:
    """Whether a limit is of a project that compiles the files of a target, or may do so."""
    path = limit.site.path if isinstance(limit.site, SourceSite) else ""
    if path in files or not is_project(path.rpartition("/")[2]):
        return True
    if path.lower().endswith(_ENDS):
        text = shelf.project_text(path).lower()
        return not files and any(one.rpartition("/")[2].lower() in text for one in named)
    return any(Path(path).absolute().parent in Path(one).absolute().parents for one in named)


_HEADERS = (".h", ".hpp", ".hxx", ".hh", ".inl")


def _beside(build: Build, named: list[str]) -> bool:
    """Whether a build compiles a file of the folder of a header."""
    folders = {path.rpartition("/")[0] for path in named}
    return any(path.rpartition("/")[0] in folders for path in build.files)


def nearest(path: str, projects: Sequence[str]) -> int:
    """The position of the project whose folder lies nearest to a file."""
    return min(range(len(projects)), key=lambda at: (distance(path, projects[at]), at))


def distance(path: str, project: str) -> int:
    """Folders on the way from a file to a project."""
    steps = path.partition("#")[0].split("/")[:-1]
    folders = project.partition("#")[0].split("/")[:-1]
    shared = 0
    while steps[shared : shared + 1] == folders[shared : shared + 1] != []:
        shared += 1
    return len(steps) + len(folders) - 2 * shared
