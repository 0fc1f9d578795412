"""Reads Meson files as lists of sources with their definitions.

Knows calls and names of files; runs nothing. What a driver is made of is told by what is linked as
one (`makefiles`); programs beside it are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from hvci.source.builds.compiler import of_commands
from hvci.source.builds.makefiles import DRIVER, file_size, made, texts_of, too_many, ways_of
from hvci.source.builds.model import Build
from hvci.source.builds.named import Named, named
from hvci.source.builds.variables import files_like
from hvci.source.preprocess.predefined import Compiler
from hvci.source.text.files import Shelf, beside

MAX_FILES = 200
MAX_CROSS = 1 << 16
"""Bytes of a file for cross builds."""
_CALL = re.compile(r"\b(executable|shared_library|shared_module|library|test|benchmark)\s*\(")
_FOLDER = re.compile(r"\bsubdir\s*\(\s*'([^'\n]+)'")
_ASKED = re.compile(r"\brun_command\s*\(")


def builds(shelf: Shelf, path: str, machines: Iterable[str]) -> list[Build]:
    """What a Meson file builds, when it is a driver."""
    texts = dict(_texts(path))
    every = "\n".join(texts.values())
    if DRIVER.search(texts.get(path, "")) is None:
        return []
    unused = _programs(every)
    found = Named()
    for file, text in texts.items():
        kept = text
        for one in unused:
            kept = kept.replace(one, "")
        found.add(named(shelf, file, kept))
        for folder in _FOLDER.findall(text):
            if beside(file, f"{folder}/meson.build") not in texts:
                found.lost[f"{folder}/meson.build"] = None
    if _ASKED.search(every) and ".stdout()" in every:
        found.lost["what run_command gives"] = None
    ways = ways_of(every)
    found.lost |= too_many(ways)
    named_by = list(_cross_compilers(path))

    def compilers(text: str) -> tuple[Compiler, ...]:
        return of_commands(named_by, _QUOTES.sub(" ", text))

    return made(shelf, path, path, every, found, machines, ways[1:], compilers)


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


def _texts(path: str) -> Iterator[tuple[str, str]]:
    """A file and those of the folders that it names, each once."""
    todo, seen = [path], {path}
    while todo:
        file = todo.pop(0)
        text = texts_of(file)
        if text is None:
            continue
        yield file, text
        inner = (beside(file, f"{folder}/meson.build") for folder in _FOLDER.findall(text))
        for one in inner:
            if one not in seen and len(seen) < MAX_FILES:
                seen.add(one)
                todo.append(one)


def _programs(text: str) -> list[str]:
    """What makes programs beside a driver: their calls, and the lists that only those use."""
    calls = [text[match.start() : _closing(text, match.end())] for match in _CALL.finditer(text)]
    others = [one for one in calls if DRIVER.search(one) is None]
    if len(others) == len(calls):
        return []
    rest = text
    for one in others:
        rest = rest.replace(one, "")
    found = list(others)
    for name in sorted({word for one in others for word in re.findall(r"\b[a-z_]\w*\b", one)}):
        given = re.compile(rf"(?m)^[ \t]*{name}[ \t]*\+?=[ \t]*(?:files\()?\[?[^=\]]*?[\])']+$")
        lists = [match[0] for match in given.finditer(rest)]
        if lists and len(re.findall(rf"\b{name}\b", rest)) == len(lists):
            found += lists
    return found


def _closing(text: str, start: int) -> int:
    depth = 1
    for at in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        if not depth:
            return at + 1
    return len(text)
