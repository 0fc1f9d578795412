"""All builds of a target, and which files see each other in them.

Theory of operation: every project file in the target gives builds (one for each configuration).
Projects that link each other are one component; the files of a component, with what they
include, are one program. A file that no project compiles belongs to the nearest component
upwards. Knows projects and files; knows nothing of calls or values.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from hvci.model import BuildSetting, WindowsVersion
from hvci.source import legacy, vcxproj
from hvci.source.build import Build, Kind
from hvci.source.conditions import Setting, setting
from hvci.source.files import Shelf, is_code
from hvci.source.includes import Includes
from hvci.source.msbuild import Library
from hvci.source.program import Program, Unit


@dataclass(frozen=True)
class Component:
    """Projects that link each other."""

    projects: tuple[str, ...]
    builds: tuple[Build, ...]

    @property
    def compiled(self) -> list[str]:
        """Every file that some build compiles."""
        return sorted({path for build in self.builds for path in build.files})

    @property
    def folders(self) -> set[str]:
        """Where the project files are."""
        return {project.rpartition("/")[0] for project in self.projects}


class Workspace:
    """The files, builds and programs of one target."""

    def __init__(self, shelf: Shelf, target: WindowsVersion, machine: str | None = None) -> None:
        self.shelf = shelf
        self.target = target
        every = _read_builds(shelf)
        self.builds = [one for one in every if machine in (None, one.machine) or not one.machine]
        self.package = _package(shelf)
        for path in sorted(_wanted_files(self.builds)):
            shelf.add(path)
        self.includes = Includes(shelf)
        self.components = _components(self.builds)
        self._units: dict[str, Unit] = {}
        self._programs: dict[tuple[str, ...], Program] = {}

    @property
    def settings(self) -> list[BuildSetting]:
        """What the projects of drivers and packages say about linking."""
        drivers = [build for build in self.builds if build.kind is not Kind.USER]
        return [one for build in drivers for one in build.settings] + self.package

    def load_includes(self) -> None:
        """Read what the files include; only a target that is one file leaves that to do."""
        if self.shelf.is_single:
            self.includes.closure(self.shelf.sources)

    @cached_property
    def _of_file(self) -> dict[str, list[Component]]:
        found: dict[str, list[Component]] = {}
        for component in self.components:
            for path in self.includes.closure(component.compiled):
                found.setdefault(path, []).append(component)
        return found

    def files_of_output(self, names: Iterable[str]) -> set[str]:
        """The files of the driver that is built under one of these names."""
        wanted = set(names)
        return {
            path
            for component in self.components
            if any(build.output in wanted for build in component.builds)
            for path in (*self.includes.closure(component.compiled), *component.projects)
        }

    def components_of(self, path: str) -> list[Component]:
        """The components that a file belongs to: built in, included by, or nearest to."""
        if path in self._of_file:
            return self._of_file[path]
        folder = path.rpartition("/")[0]
        while folder:
            near = [one for one in self.components if folder in one.folders]
            if near:
                return near
            folder = folder.rpartition("/")[0]
        return []

    def is_built(self, path: str) -> bool:
        """Whether some build compiles or includes a file."""
        return path in self._of_file

    def builds_of(self, path: str) -> list[Build]:
        """The builds that compile a file; for a header, all of the components that include it."""
        near = self.components_of(path)
        every = [build for component in near for build in component.builds]
        return [build for build in every if path in build.files] or every

    def is_user_mode(self, path: str) -> bool:
        """Whether only applications and user-mode drivers are built from a file."""
        builds = self.builds_of(path)
        return bool(builds) and all(build.kind is Kind.USER for build in builds)

    def unit(self, path: str) -> Unit:
        """One file, with the macros of its builds."""
        if path not in self._units:
            builds = self.builds_of(path)
            self._units[path] = Unit(self.shelf.sources[path], _joint(builds, self.target))
        return self._units[path]

    def program(self, path: str) -> Program:
        """The files that are looked at together with a file."""
        near = self.components_of(path)
        key = tuple(project for component in near for project in component.projects)
        if path not in self._of_file:
            key += (path,) if near else ()
        if key not in self._programs:
            paths = self._seen_with(path, near)
            self._programs[key] = Program(self.unit(one) for one in paths)
        return self._programs[key]

    def _seen_with(self, path: str, near: list[Component]) -> set[str]:
        if not near:
            return set(self.shelf.sources)
        found = {path, *self.includes.closure([path])}
        for component in near:
            found.update(self.includes.closure(component.compiled))
        return found


def _wanted_files(builds: Iterable[Build]) -> set[str]:
    """What the builds compile; for user-mode programs only what is there."""
    return {
        path
        for build in builds
        for path in build.files
        if is_code(path) and (build.kind is not Kind.USER or Path(path).is_file())
    }


def _package(shelf: Shelf) -> list[BuildSetting]:
    """What INF files and the makefiles beside projects say."""
    found: list[BuildSetting] = []
    for path in shelf.projects:
        if path.lower().endswith((".inf", ".inx")):
            found += legacy.inf_settings(shelf, path)
        elif path.lower().endswith("makefile.inc"):
            found += legacy.makefile_settings(shelf, path)
    return found


def _read_builds(shelf: Shelf) -> list[Build]:
    library = Library(shelf)
    found: list[Build] = []
    projects = {path for path in shelf.projects if path.lower().endswith(".vcxproj")}
    for path in shelf.projects:
        if path.lower().endswith((".sln", ".slnx")):
            named = vcxproj.solution_projects(path)
            projects.update(one for one in named if Path(one).is_file())
            for lost in (one for one in named if not Path(one).is_file()):
                shelf.limit(lost, f"{path} names this project, and it is missing", ())
    for path in sorted(projects):
        found += vcxproj.builds(library, path)
    for path in shelf.projects:
        name = path.rpartition("/")[2].lower()
        reader = _READERS.get(name) or (legacy.cmake_build if name.endswith(".cmake") else None)
        build = reader(shelf, path) if reader is not None else None
        found += [build] if build is not None else []
    return found


_READERS = {"sources": legacy.sources_build, "cmakelists.txt": legacy.cmake_build}


def _components(builds: Iterable[Build]) -> list[Component]:
    """Group projects that refer to each other, directly or in turn."""
    by_project: dict[str, list[Build]] = {}
    for build in builds:
        by_project.setdefault(build.project, []).append(build)
    leader = {project: project for project in by_project}

    def lead(project: str) -> str:
        while leader[project] != project:
            project = leader[project]
        return project

    for project, many in by_project.items():
        for other in {one for build in many for one in build.references if one in by_project}:
            leader[lead(other)] = lead(project)
    grouped: dict[str, list[str]] = {}
    for project in sorted(by_project):
        grouped.setdefault(lead(project), []).append(project)
    return [
        Component(tuple(group), tuple(build for one in group for build in by_project[one]))
        for group in grouped.values()
    ]


def _joint(builds: list[Build], target: WindowsVersion) -> Setting:
    """The macros on which all builds agree."""
    settings = [setting(build.version or target, build.machine, _common(build)) for build in builds]
    if not settings:
        return setting(target, None)
    first, *rest = settings
    values = {
        name: number
        for name, number in first.values.items()
        if all(name in other.values and other.values[name] == number for other in rest)
    }
    undefined = first.undefined.intersection(*(other.undefined for other in rest))
    return Setting(values, undefined)


def _common(build: Build) -> dict[str, str]:
    """The macros that all files of a build are compiled with."""
    many = list(build.files.values())
    first = dict(many[0]) if many else {}
    return {
        name: value for name, value in first.items() if all(one.get(name) == value for one in many)
    }
