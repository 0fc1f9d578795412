"""Reads Meson files as lists of sources with their definitions.

Knows calls and names of files; runs nothing. What a driver is made of is told by what is linked as
one (`makefiles`); programs beside it are left out. A file in a folder is read with those above it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from hvci.model.judged import TEXT_RULES
from hvci.source.builds.compiler import of_commands
from hvci.source.builds.makefiles import DRIVER, file_size, made, texts_of, too_many, ways_of
from hvci.source.builds.meson_calls import Call, Script, closing
from hvci.source.builds.meson_loops import written_out
from hvci.source.builds.model import Build, Kind
from hvci.source.builds.named import Named, named
from hvci.source.builds.variables import files_like
from hvci.source.preprocess.predefined import Compiler
from hvci.source.text.disk import is_file
from hvci.source.text.files import Shelf, beside

MAX_FILES = 200
MAX_TARGETS = 200
MAX_LEVELS = 8
"""Folders upwards in which the beginning of a tree is looked for."""
MAX_CROSS = 1 << 16
"""Bytes of a file for cross builds."""
NAME = "meson.build"
_FOLDER = re.compile(r"\bsubdir\s*\(\s*'([^'\n]+)'")
_ASKED = re.compile(r"\brun_command\s*\(")
_BEGINS = re.compile(r"(?m)^[ \t]*project[ \t]*\(")


def files(shelf: Shelf, paths: Iterable[str]) -> list[str]:
    """The files of a target; where it is one of them, with those of the folders that it names."""
    if not shelf.is_single:
        return list(paths)
    return list(dict.fromkeys(file for path in paths for file, _ in _texts(path)))


def builds(shelf: Shelf, path: str, machines: Iterable[str]) -> list[Build]:
    """What a Meson file builds: each driver, and the libraries that those link."""
    if DRIVER.search(texts_of(path) or "") is None:
        return []
    top = _top(path)
    texts = dict(_texts(top))
    if path not in texts:
        top, texts = path, dict(_texts(path))
    script = Script(texts)
    tree = _Tree(shelf, path, top, script, tuple(machines))
    shelf.written(beside(file, one) for file, text in texts.items() for one in _outputs(text))
    own = [one for one in script.images if one.file == path]
    if len(own) > MAX_TARGETS:
        shelf.limit(path, f"more than {MAX_TARGETS} targets; the rest was not examined", TEXT_RULES)
        own = own[:MAX_TARGETS]
    drivers = [one for one in own if DRIVER.search(script.about(one)) is not None]
    if not drivers:
        return tree.whole()
    is_only = len(drivers) == 1
    linked = {lib.start: lib for one in drivers for lib in script.linked(one)}
    return [
        *(build for one in drivers for build in tree.of(one, is_only=is_only)),
        *(build for one in linked.values() for build in tree.of(one)),
    ]


def _outputs(text: str) -> list[str]:
    """The names of what steps of a file make, in the folder of the build."""
    every = (_OUTPUT.findall(text), _OUTPUTS.findall(text))
    return [*every[0], *(name for one in every[1] for name in re.findall(r"'([^'\n]+)'", one))]


_OUTPUT = re.compile(r"\boutput\s*:\s*'([^'\n]+)'")
_OUTPUTS = re.compile(r"\boutput\s*:\s*\[([^\]]*)\]")


_LIBRARY = re.compile(r"\bfind_library\s*\(")
_DEPENDENCY = re.compile(r"(?<!declare_)\bdependency\s*\(\s*'([^'\n]+)'")


def _found_libraries(file: str, text: str) -> Iterator[str]:
    """What calls of `find_library` find: in a folder that they name, else somewhere."""
    for match in _LIBRARY.finditer(text):
        words = re.findall(r"'([^'\n]+)'", text[match.end() : closing(text, match.end())])
        for name in words[:1]:
            files = (f"{folder}/{one}" for folder in words[1:] for one in _called(name))
            places = (beside(file, one) for one in files)
            yield next((one for one in places if is_file(one)), f"{name}.lib")


def _called(name: str) -> tuple[str, ...]:
    return f"{name}.lib", f"lib{name}.a", f"{name}.a"


class _Tree:
    """The builds of one file, in the tree that it is part of."""

    def __init__(
        self, shelf: Shelf, path: str, top: str, script: Script, machines: tuple[str, ...]
    ) -> None:
        self.shelf = shelf
        self.path = path
        self.script = script
        self.machines = machines
        self.every = "\n".join(script.texts.values())
        self.compilers = list(_cross_compilers(top))

    def whole(self) -> list[Build]:
        """One driver of all that the file and those below it name."""
        texts = dict(_texts(self.path))
        found, every = self._named(texts), "\n".join(texts.values())
        return self._made(self.path, every, found)

    def of(self, call: Call, *, is_only: bool = False) -> list[Build]:
        """A driver or library of a call."""
        kept = dict(self.script.kept(call))
        found = self._named(kept)
        languages = {"c" if one.lower().endswith(".c") else "cpp" for one in found.files}
        text, open_ = self.script.in_languages("\n".join(kept.values()), languages)
        found.lost |= dict.fromkeys(open_)
        project = self.path if is_only else f"{self.path}#{call.name or call.start}"
        found.objects |= dict.fromkeys(_found_libraries(call.file, text))
        found.lost |= dict.fromkeys(f"dependency('{one}')" for one in _DEPENDENCY.findall(text))
        builds = self._made(project, text, found)
        linked = tuple(f"{self.path}#{one.name or one.start}" for one in self.script.linked(call))
        output = call.name.lower()
        builds = [replace(one, references=linked, output=output) for one in builds]
        if call.is_library:
            builds = [replace(one, kind=Kind.LIBRARY, static=True) for one in builds]
        return builds

    def _named(self, texts: dict[str, str]) -> Named:
        found = Named()
        for file, text in texts.items():
            found.add(named(self.shelf, file, text))
            for folder in _FOLDER.findall(text):
                if beside(file, f"{folder}/{NAME}") not in self.script.texts:
                    found.lost[f"{folder}/{NAME}"] = None
        if _ASKED.search(self.every) and ".stdout()" in self.every:
            found.lost["what run_command gives"] = None
        return found

    def _made(self, project: str, text: str, found: Named) -> list[Build]:
        ways = ways_of(text)
        found.lost |= too_many(ways)

        def compilers(text: str) -> tuple[Compiler, ...]:
            return of_commands(self.compilers, _QUOTES.sub(" ", text))

        return made(self.shelf, self.path, project, text, found, self.machines, ways[1:], compilers)


_QUOTES = re.compile(r"[\[\]'\",]+(?=[\s\[\]'\",-]|\Z)|'")
_COMPILER = re.compile(r"(?m)^[ \t]*c(?:pp)?[ \t]*=[ \t]*([^\n]+)")
_CROSS = ("*.txt", "*.ini", "*.cross", "*/*.txt", "*/*.ini", "*/*.cross")


def _cross_compilers(path: str) -> Iterator[str]:
    """The compilers that files for cross builds name, in the folder of a Meson file and below."""
    names = {one for like in _CROSS for one in files_like(Path(path).parent, like) or ()}
    for name in sorted(names)[:MAX_FILES]:
        if 0 < file_size(beside(path, name)) < MAX_CROSS:
            text = texts_of(beside(path, name)) or ""
            yield from _COMPILER.findall(text) if "[binaries]" in text else ()


def _top(path: str) -> str:
    """The file that begins the tree of one; itself where none does."""
    here = path
    for _ in range(MAX_LEVELS):
        if _BEGINS.search(texts_of(here) or "") is not None:
            return here
        here = beside(here, f"../{NAME}")
        if texts_of(here) is None:
            return path
    return path


def _texts(path: str) -> Iterator[tuple[str, str]]:
    """A file and those of the folders that it names, each once."""
    todo, seen = [path], {path}
    while todo:
        file = todo.pop(0)
        text = texts_of(file)
        if text is None:
            continue
        text = written_out(text)
        yield file, text
        inner = (beside(file, f"{folder}/{NAME}") for folder in _FOLDER.findall(text))
        for one in inner:
            if one not in seen and len(seen) < MAX_FILES:
                seen.add(one)
                todo.append(one)
