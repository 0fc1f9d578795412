"""Where a tree of CMake lists begins, and in which ways it is run.

Theory of operation: a list that calls no `project` is part of a tree whose lists above give it
definitions and functions: the tree is run from there, if that comes to the list. Knows lists;
what their targets are is for `builds`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product

from hvci.source.builds.cmake import compilers
from hvci.source.builds.cmake.commands import RUNNERS
from hvci.source.builds.cmake.generators import Asked
from hvci.source.builds.cmake.presets import Preset, presets
from hvci.source.builds.cmake.run import MAX_TEXT, Lists
from hvci.source.builds.msbuild.files import absolute
from hvci.source.preprocess.predefined import Compiler
from hvci.source.text.disk import contents, is_file

CONFIGURATIONS = ("Debug", "Release")
FURTHER = ("RelWithDebInfo", "MinSizeRel")
"""Configurations that count where the lists say something of them."""
MAX_RUNS = 48
"""Machines, configurations and compilers of one tree."""
MAX_LEVELS = 8
"""Folders upwards in which the beginning of a tree is looked for."""
NAME = "CMakeLists.txt"
_BEGINS = re.compile(r"(?im)^[ \t]*project[ \t]*\(")


@dataclass
class Tree:
    """A tree of lists, run in every way."""

    root: str
    runs: list[Lists]
    unread: list[str]
    is_above: bool = False
    """It begins above the list that was asked for."""

    @property
    def read(self) -> set[str]:
        """Every list that was run."""
        return set[str]().union(*(one.read for one in self.runs))


def tree_of(path: str, machines: Iterable[str]) -> Tree:
    """The tree that a list is part of."""
    known = tuple(machines)
    if (top := _above(path)) and absolute(path) in (tree := _run(top, known)).read:
        tree.is_above = True
        return tree
    return _run(path, known)


def _run(root: str, machines: tuple[str, ...]) -> Tree:
    every, unread = presets(folder_of(root))
    return Tree(root, [one for preset in every for one in _runs(root, preset, machines)], unread)


def _above(path: str) -> str:
    """The list above that begins the tree of one that begins none; empty when there is none."""
    if _begins(path):
        return ""
    folder = folder_of(path)
    for _ in range(MAX_LEVELS):
        folder = folder.rpartition("/")[0]
        if not folder or not is_file(other := f"{folder}/{NAME}"):
            return ""
        if _begins(other):
            return other
    return ""


def _begins(path: str) -> bool:
    try:
        text = contents(path, MAX_TEXT).decode("utf-8-sig", "replace")
    except OSError:
        return False
    return _BEGINS.search(text) is not None


def _runs(root: str, preset: Preset, machines: Iterable[str]) -> Iterator[Lists]:
    """The lists run for each machine and configuration; those that only some lists name as well."""
    left = [(machine, name, Compiler.MSVC) for machine in machines for name in CONFIGURATIONS]
    done: set[tuple[str, str, Compiler]] = set()
    while left:
        machine, configuration, compiler = left.pop(0)
        done.add((machine, configuration.upper(), compiler))
        asked = Asked(configuration, preset=preset.name, compiler=compiler)
        lists = Lists(folder_of(root), asked, machine, RUNNERS)
        lists.scopes[0].update(preset.variables)
        lists.list_file(absolute(root))
        lists.end()
        chosen = compilers.chosen(lists.get, lists.targets.values()) or compiler
        types = (lists.get("CMAKE_CONFIGURATION_TYPES") or "").split(";")
        named = [*types, *(one for one in FURTHER if one.upper() in lists.configurations)]
        every = {one.upper(): one for one in (configuration, *named) if one}
        also = (machine, "arm64") if lists.is_for_arm64 else (machine,)
        of = {chosen} if chosen is not compiler or _is_one(lists) else {compiler, *lists.compilers}
        for key in product(also, every, sorted(of)):
            lists.gave_up |= key not in done and len(done) >= MAX_RUNS
            if key not in done and len(done) < MAX_RUNS:
                done.add(key)
                left.append((key[0], every[key[1]], key[2]))
        if chosen is compiler and not (lists.refused and compiler is not Compiler.MSVC):
            yield lists


def _is_one(lists: Lists) -> bool:
    """Whether lists say by which compiler they are built: by name, or as the kit's module needs."""
    named = (lists.get(f"CMAKE_{language}_COMPILER") for language in ("C", "CXX"))
    uses_kit = any(one.command.startswith("wdk_") for one in lists.targets.values())
    return uses_kit or any(named)


def folder_of(path: str) -> str:
    """The folder that a list is in."""
    return absolute(path).rpartition("/")[0]
