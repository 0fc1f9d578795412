"""Reads compile_commands.json: with which options each file is compiled, as build tools write it.

Knows the format and the options of compilers; what is linked of it nobody says there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from hvci.model.judged import TEXT_RULES
from hvci.source.builds.compiler import of_command
from hvci.source.builds.model import (
    Compile,
    forced_headers,
    include_folders,
    option_defines,
    options_of,
    words_of,
)
from hvci.source.preprocess.predefined import Compiler
from hvci.source.text.disk import contents, is_file, is_folder
from hvci.source.text.files import Shelf, beside

NAME = "compile_commands.json"
FOLDERS = ("", "build/", "out/", "Build/", "builddir/")
"""Where it is looked for, below the target."""
MAX_BYTES = 64 << 20
MAX_OPTIONS = 1 << 20
Ways = dict[str, list[tuple[str, Compile]]]
"""Each file with every way in which it is compiled, and for which machine."""
_MACHINES = {
    "arm64": re.compile(r"(?i)aarch64|arm64"),
    "x86": re.compile(r"(?i)\s[-/]m32\b|--target=i\d86|-target i\d86|i\d86-|\bx86[\\/]cl\b"),
}
"""What names a machine in a command; x64 where nothing does."""


def commands(shelf: Shelf) -> Ways:
    """How the files of a folder are compiled; empty where nothing says so."""
    root = shelf.root.as_posix()
    found: Ways = {}
    for path in (f"{root}/{folder}{NAME}" for folder in FOLDERS):
        if is_file(path):
            for name, way in _read(shelf, path):
                held = found.setdefault(name, [])
                held += [way] if way not in held else []
    return found


def _read(shelf: Shelf, path: str) -> Iterator[tuple[str, tuple[str, Compile]]]:
    try:
        data = json.loads(contents(path, MAX_BYTES).decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        shelf.limit(
            path, "it could not be read, so how files are compiled is not known", TEXT_RULES
        )
        return
    for one in data if isinstance(data, list) else ():
        if isinstance(one, dict) and isinstance(one.get("file"), str):
            folder = beside(path, str(one.get("directory") or ".").replace("\\", "/"))
            here = f"{folder}/x"
            name = shelf.actual(shelf.shown(beside(here, one["file"].replace("\\", "/"))))
            options = _with_files(shelf, path, here, _options(one))
            machines = (machine for machine, said in _MACHINES.items() if said.search(options))
            yield name, (next(machines, "x64"), _compile(shelf, here, options))


def _options(one: dict[str, Any]) -> str:
    listed = one.get("arguments")
    if isinstance(listed, list):
        return " ".join(f'"{word}"' if " " in str(word) else str(word) for word in listed)
    return str(one.get("command") or "")


def _with_files(shelf: Shelf, path: str, here: str, options: str) -> str:
    """Options with those of the files that they name."""
    parts = [options]
    for word in words_of(options) if "@" in options else ():
        if word[:1] == "@" and len(word) > 1:
            name = shelf.actual(shelf.shown(beside(here, word[1:].replace("\\", "/"))))
            try:
                parts.append(contents(name, MAX_OPTIONS).decode("utf-8-sig", "replace"))
            except OSError:
                reason = f"the options in {word[1:]} could not be read: put that file into the tree"
                shelf.limit_once(path, reason, TEXT_RULES)
    return " ".join(parts)


def _compile(shelf: Shelf, here: str, options: str) -> Compile:
    folders = include_folders(options)
    places = [shelf.actual(shelf.shown(beside(here, one.replace("\\", "/")))) for one in folders]
    forced = []
    for name in forced_headers(options):
        tried = (beside(here, name), *(f"{place}/{name}" for place in places))
        path = next((one for one in map(shelf.actual, map(shelf.shown, tried)) if is_file(one)), "")
        if path and shelf.add(path):
            forced.append(path)
    return Compile(
        option_defines(options),
        frozenset(options_of("U", options)),
        tuple(forced),
        tuple(dict.fromkeys(one for one in places if is_folder(one))),
        "".join(options_of("Yu", options)[-1:]).replace("\\", "/").rpartition("/")[2].lower(),
        compiler=of_command(options, options) or Compiler.MSVC,
    )
