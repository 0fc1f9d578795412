"""All that a target builds, and which files no build of it compiles.

Theory of operation: every project file in the target gives builds (one for each configuration),
and these make products. A single file or project brings along the projects that compile or are
linked with it. Where nothing is built at all, each file is a unit of its own about whose build
nothing is known. Knows projects and files; knows nothing of calls or values.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from functools import cached_property

from hvci.model import BuildSetting, SourceSite, WindowsVersion
from hvci.model.judged import LINK_RULES, TEXT_RULES
from hvci.source.builds import legacy, makefiles, meson, nearby
from hvci.source.builds.cmake import builds as cmake
from hvci.source.builds.commands import commands
from hvci.source.builds.model import Build, Kind
from hvci.source.builds.msbuild import builds as vcxproj
from hvci.source.builds.msbuild.files import Library, absolute
from hvci.source.builds.msbuild.solutions import configured, read
from hvci.source.builds.products import (
    Product,
    Variant,
    commanded,
    products,
    unbuilt,
    variants,
)
from hvci.source.builds.unread import leave_out
from hvci.source.preprocess.units import Space, TranslationUnit
from hvci.source.program.program import Program
from hvci.source.text.disk import is_file
from hvci.source.text.files import SOLUTIONS, Shelf, is_code


class Workspace:
    """The files, products and programs of one target."""

    def __init__(self, shelf: Shelf, target: WindowsVersion, machine: str | None = None) -> None:
        self.shelf = shelf
        self.target = target
        every = read_builds(shelf, machine)
        self.builds = [one for one in every if machine in (None, one.machine) or not one.machine]
        self.package = _package(shelf)
        for path in sorted(_wanted_files(self.builds)):
            shelf.add(path)
        self.space = Space(shelf)
        self.space.includes.others = _other_folders(self.builds)
        self.products = products(self.builds)
        self._let_go()
        if shelf.unread:
            told = commands(shelf) if not self.builds else ()
            leave_out(shelf, self.compiled if self.builds else (), told)

    def _let_go(self) -> None:
        """Take the weight off what is not known of projects of which no driver holds anything."""
        weighed = {
            one.file
            for product in self.kernel_products
            for at in range(len(product.builds))
            for one in product.closure(at)
        }
        light = {one.file for one in self.builds if one.file.lower().endswith(_PROJECT)} - weighed
        for at, limit in enumerate(self.shelf.limits):
            if isinstance(limit.site, SourceSite) and limit.site.path in light:
                self.shelf.limits[at] = replace(limit, rules=())

    @property
    def settings(self) -> list[tuple[Product | None, BuildSetting]]:
        """What the projects of drivers and packages say about linking."""
        found: list[tuple[Product | None, BuildSetting]] = [
            (product, one)
            for product in self.kernel_products
            for build in product.builds
            for one in build.settings
        ]
        return [*found, *((None, one) for one in self.package)]

    @property
    def assembly(self) -> list[tuple[Product | None, str]]:
        """The MASM files of drivers and of what they link; of no product where nothing is built."""
        if not self.builds:
            return [(None, path) for path in sorted(self.shelf.sources) if _is_masm(path)]
        found: dict[tuple[int, str], tuple[Product | None, str]] = {}
        for product in self.kernel_products:
            for at in range(len(product.builds)):
                for build in product.closure(at):
                    for path in filter(self.is_asked, build.paths):
                        if path in build.assembly or _is_masm(path):
                            found[id(product), path] = (product, path)
        return list(found.values())

    def is_asked(self, path: str) -> bool:
        """Whether a file is part of the target; one file stands for itself and its headers."""
        return self._asked is None or path in self._asked

    @cached_property
    def _asked(self) -> set[str] | None:
        code = [path for path in self.shelf.named if is_code(path)]
        if not code:
            return None
        programs = [one.program for each in self.products for one in self.variants(each)]
        programs += [self.alone] if self.alone is not None else []
        units = [unit for one in programs for unit in one.compiled if unit.path in code]
        return {*code, *(path for unit in units for path in self.space.closure(unit))}

    @cached_property
    def kernel_products(self) -> list[Product]:
        """The products that run in the kernel, or may."""
        return [product for product in self.products if not product.is_user]

    @property
    def kernel_programs(self) -> Iterator[Program]:
        """Every program that may run in the kernel."""
        for product in self.kernel_products:
            yield from (variant.program for variant in self.variants(product))
        if self.alone is not None:
            yield self.alone

    def variants(self, product: Product) -> list[Variant]:
        """The configurations of a product, those together that compile the same text."""
        if not product.variants:
            product.variants = variants(product, self.space, self.target)
        return product.variants

    @cached_property
    def compiled(self) -> set[str]:
        """Every file that some build compiles, or may include."""
        found: set[str] = set()
        for product in self.products:
            for variant in self.variants(product):
                found.update(variant.program.paths)
        return found.union(*(build.assembly for build in self.builds))

    @cached_property
    def orphans(self) -> list[str]:
        """The files that no build compiles or includes; none where nothing is built."""
        if not self.builds:
            return []
        return sorted(path for path in self.shelf.sources if path not in self.compiled)

    @cached_property
    def alone(self) -> Program | None:
        """The files about whose build nothing is known, seen together; None: there are none."""
        sources = self.shelf.sources
        if not self.builds:
            code = sorted(sources)
        elif self.shelf.named:
            code = [path for path in self.shelf.named if path in sources]
            code = [path for path in code if path not in self.compiled]
        else:
            code = [] if self._builds_kernel_code else self.orphans
            code = code if nearby.is_kernel_code(self.shelf, code) else []
        code = [path for path in code if is_code(path) and not _is_masm(path)]
        return self._program_of(code) if code else None

    @cached_property
    def _builds_kernel_code(self) -> bool:
        """Whether the target builds a driver, whatever its project says of it."""
        every = self.kernel_products
        if any(product.kind in (Kind.DRIVER, Kind.LIBRARY) for product in every):
            return True
        paths = {
            path for each in every for one in self.variants(each) for path in one.program.paths
        }
        return nearby.is_kernel_code(self.shelf, sorted(paths))

    def _program_of(self, code: list[str]) -> Program:
        first = [path for path in code if not self.shelf.sources[path].is_header]
        made = {cplusplus: unbuilt(self.target, cplusplus) for cplusplus in (True, False)}

        def unit(path: str) -> TranslationUnit:
            return TranslationUnit(path, made[not path.lower().endswith(".c")])

        ways = commands(self.shelf) if not self.builds else {}

        def told(path: str) -> list[TranslationUnit]:
            made_by = (
                (
                    compile_,
                    commanded(self.target, machine, compile_, not path.lower().endswith(".c")),
                )
                for machine, compile_ in ways.get(path, ())
            )
            return [TranslationUnit(path, given, compile_.folders) for compile_, given in made_by]

        told_of = [one for path in first for one in told(path)]
        included = {
            path
            for each in (*map(unit, first), *told_of)
            for path in self.space.closure(each)
            if path != each.path
        }
        first = [path for path in first if path not in ways]
        units = [unit(path) for path in first if path not in included] or [
            unit(path) for path in first
        ]
        units += told_of
        headers = [path for path in code if path not in {*included, *first, *ways}]
        return Program(self.space, [*units, *(unit(path) for path in headers)])


def _other_folders(builds: Iterable[Build]) -> dict[tuple[str, ...], frozenset[str]]:
    """For the folders of each configuration those that only others of its project have."""
    by_project: dict[str, dict[tuple[str, ...], None]] = {}
    for build in builds:
        every = {id(one): one.folders for _, one in build.compiles}.values()
        by_project.setdefault(build.project, {}).update(dict.fromkeys(every))
    found: dict[tuple[str, ...], frozenset[str]] = {}
    for ways in by_project.values():
        whole = frozenset(folder for one in ways for folder in one)
        for one in ways if len(ways) > 1 else ():
            found[one] = found.get(one, frozenset()) | (whole - set(one))
    return found


def _is_masm(path: str) -> bool:
    return path.lower().endswith(".asm")


def _wanted_files(builds: Iterable[Build]) -> set[str]:
    """What the builds compile; for user-mode programs only what is there."""
    return {
        path
        for build in builds
        for path in build.paths
        if build.kind is not Kind.USER or is_file(path)
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


def read_builds(shelf: Shelf, machine: str | None = None) -> list[Build]:
    """Every configuration of every project of a target, with the projects that those refer to."""
    if shelf.is_single:
        nearby.bring_projects(shelf)
    every = [read(shelf, path) for path in shelf.projects if path.lower().endswith(SOLUTIONS)]
    solutions: dict[str, str] = {}
    old: set[str] = set()
    projects = {path for path in shelf.projects if path.lower().endswith(".vcxproj")}
    for solution in every:
        for named in solution.projects:
            if is_file(named) and named.lower().endswith(_OLD):
                old.add(named)
            elif is_file(named):
                projects.add(named)
                solutions.setdefault(named, solution.path)
            else:
                shelf.limit(named, f"{solution.path} names this project, and it is missing", ())
    library = Library(shelf, solutions)
    old.update(path for path in shelf.projects if path.lower().endswith(_OLD))
    found: list[Build] = []
    todo, seen = sorted(projects), set(projects)
    while todo:
        made = vcxproj.builds(library, todo.pop(0))
        found += made
        for other in _referred(made):
            if other not in seen and is_file(other):
                todo.append(other)
            elif other not in seen:
                is_linked = any(one.kind not in (Kind.PACKAGE, Kind.USER) for one in made)
                reason = f"the project {other}, which it refers to, is missing"
                shelf.limit(made[0].file, reason, TEXT_RULES if is_linked else ())
            seen.add(other)
    every += (read(shelf, path) for path in _around(library, found, solutions))
    found = list(configured(shelf, found, every))
    found += _other_builds(shelf, machine)
    for path in sorted(old):
        _leave_out(shelf, path, found)
    return nearby.wanted(shelf, nearby.made_drivers(shelf, found))


def _around(library: Library, builds: list[Build], named: Collection[str]) -> list[str]:
    """The solutions around projects that none of the target names."""
    projects = {build.project for build in builds if build.project not in named}
    folders = sorted({absolute(one).rpartition("/")[0] for one in projects})
    found = (path for folder in folders for path in library.solutions_around(folder))
    return [library.shelf.shown(one) for one in dict.fromkeys(found)]


_PROJECT = ".vcxproj"
_OLD = ".vcproj"


def _leave_out(shelf: Shelf, path: str, builds: list[Build]) -> None:
    """A limit for a driver's project of before 2010, where nothing else builds the driver."""
    folder = path.rpartition("/")[0]
    is_built = any(build.file.rpartition("/")[0] == folder for build in builds)
    is_single = path in shelf.named
    if is_single or (builds and not is_built and _OF_DRIVER.search(shelf.project_text(path))):
        reason = "projects of Visual Studio before 2010 are not read: convert it"
        shelf.limit(path, reason, (*TEXT_RULES, *LINK_RULES))


_OF_DRIVER = re.compile(r'(?i)\.sys\b|\bDriver="[12]"|DriverEntry|ddkbuild|ntoskrnl\.lib')
"""What says that such a project is of a driver."""


def _other_builds(shelf: Shelf, machine: str | None) -> Iterator[Build]:
    """What is built with `sources`, CMake, Makefiles and Meson; these say no platform."""
    machines = (machine,) if machine in ("x64", "x86", "arm64") else ("x64", "x86")
    by_name: dict[str, list[str]] = {}
    for path in shelf.projects:
        by_name.setdefault(path.rpartition("/")[2].lower(), []).append(path)
    todo, seen = by_name.get("sources", []), set[str]()
    while todo:
        path = todo.pop(0)
        if path in seen:
            continue
        seen.add(path)
        made = legacy.sources_builds(shelf, path, machines)
        todo += sorted({one for build in made for one in build.references})
        yield from made
    yield from cmake.builds(shelf, by_name.get("cmakelists.txt", ()), machines)
    for name in ("makefile", "gnumakefile", "makefile.mingw"):
        for path in by_name.get(name, ()):
            yield from makefiles.builds(shelf, path, machines)
    for path in meson.files(shelf, by_name.get(meson.NAME, ())):
        yield from meson.builds(shelf, path, machines)


def _referred(builds: Iterable[Build]) -> Iterator[str]:
    """Projects that some builds link or pack."""
    every = {path for build in builds for path in build.references}
    return iter(sorted(path for path in every if path.lower().endswith(".vcxproj")))
