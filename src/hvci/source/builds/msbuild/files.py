"""The files of MSBuild projects: read once, found by name or pattern, wherever they are named.

Knows XML and paths; knows nothing of properties or configurations.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring

from hvci.model.judged import LINK_RULES, TEXT_RULES
from hvci.source.builds.msbuild.properties import MAX_LEVELS, above, slashed
from hvci.source.text.disk import contents, is_file, is_folder, is_there
from hvci.source.text.files import Shelf

if TYPE_CHECKING:
    import xml.etree.ElementTree as ET

MAX_ITEMS = 20_000
"""Files that one wildcard may stand for."""
MAX_PROJECT_BYTES = 4 << 20


class Element(NamedTuple):
    """One XML element, with its name in lower case and without name space."""

    name: str
    text: str
    attributes: dict[str, str]
    children: tuple[Element, ...]

    def find(self, name: str) -> Iterator[Element]:
        """All elements of that name, at any depth."""
        for child in self.children:
            if child.name == name:
                yield child
            yield from child.find(name)


_OF_ITEM = frozenset(
    (
        *("include", "exclude", "remove", "update", "condition", "label"),
        *("keepmetadata", "removemetadata", "keepduplicates", "matchonmetadata"),
    )
)


def said(item: Element) -> tuple[Element, ...]:
    """What an item says of its files: in elements, and in attributes that are short for them."""
    if item.attributes.keys() <= _OF_ITEM:
        return item.children
    short = ((name, text) for name, text in item.attributes.items() if name not in _OF_ITEM)
    return (*(Element(name, text, {}, ()) for name, text in short), *item.children)


class ProjectError(Exception):
    """Why a project file cannot be read; becomes a `Limit`."""


MAX_XML_DEPTH = 60


def _element(node: ET.Element, depth: int = 0) -> Element:
    if depth > MAX_XML_DEPTH:
        raise ProjectError("its elements are nested too deeply")
    children = tuple(_element(item, depth + 1) for item in node)
    name = node.tag.rpartition("}")[2].lower()
    attributes = {key.lower(): value for key, value in node.attrib.items()}
    return Element(name, (node.text or "").strip(), attributes, children)


def read_xml(path: str) -> Element:
    """Read one project file; raise `ProjectError`."""
    try:
        file = Path(path)
        if file.stat().st_size > MAX_PROJECT_BYTES:
            raise ProjectError("it is too large for a project file")
        return _element(fromstring(contents(file), forbid_dtd=True))
    except OSError as error:
        raise ProjectError(error.strerror or str(error)) from error
    except DefusedXmlException as error:
        raise ProjectError("it declares entities, which no project file needs") from error
    except (ParseError, ValueError, LookupError) as error:
        raise ProjectError(f"it is not well-formed XML: {error}") from error


class Library:
    """Project files by path, each read once."""

    def __init__(self, shelf: Shelf, solutions: Mapping[str, str] | None = None) -> None:
        self.shelf = shelf
        self.solutions = solutions or {}
        """Projects, and the solution that names each."""
        self.project = ""
        """The project that is run: what its items name is meant from there."""
        self._read: dict[str, Element | None] = {}
        self._places: dict[tuple[str, str], str] = {}
        self._folders: dict[str, bool] = {}
        self._there: dict[str, bool] = {}
        self._shared: dict[tuple[str, str], tuple[str, ...]] = {}
        self._lower: dict[str, str] = {}
        self._solutions: dict[str, list[str]] = {}
        self._own: dict[str, Mapping[str, str]] = {}

    def get(self, path: str) -> Element | None:
        """The file's root; None, and a limit, when it cannot be read."""
        if path not in self._read:
            try:
                self._read[path] = read_xml(path)
            except ProjectError as error:
                self.shelf.limit(path, str(error), (*TEXT_RULES, *LINK_RULES))
                self._read[path] = None
        return self._read[path]

    def own_properties(self, here: str) -> Mapping[str, str]:
        """The properties that tell a file where it is."""
        if here not in self._own:
            full = absolute(here)
            folder, _, name = full.rpartition("/")
            self._own[here] = {
                "msbuildthisfiledirectory": folder + "/",
                "msbuildthisfilefullpath": full,
                "msbuildthisfile": name,
                "msbuildthisfilename": name.rpartition(".")[0],
                "msbuildthisfileextension": "." + name.rpartition(".")[2],
                "msbuildthisfiledirectorynoroot": folder.lstrip("/") + "/",
            }
        return self._own[here]

    def place(self, here: str, name: str) -> str:
        """The path that a name means in a file."""
        key = (here.rpartition("/")[0], name)
        if key not in self._places:
            name = slashed(name)
            folder = absolute(here).rpartition("/")[0]
            whole = name if name.startswith("/") else f"{folder}/{name}"
            self._places[key] = self.shelf.actual(self.shelf.shown(os.path.normpath(whole)))
        return self._places[key]

    def is_folder(self, path: str) -> bool:
        """Whether there is a folder of that name."""
        if path not in self._folders:
            self._folders[path] = is_folder(path)
        return self._folders[path]

    def solutions_around(self, folder: str) -> list[str]:
        """The solutions of the nearest folder upwards that has any."""
        if folder not in self._solutions:
            self._solutions[folder] = _solutions(folder)
        return self._solutions[folder]

    def shared(self, path: str, name: str) -> tuple[str, ...]:
        """The nearest file of a name upwards of a project; none when there is none."""
        folder = absolute(path).rpartition("/")[0]
        if (folder, name) not in self._shared:
            found = above(folder, name)
            path = self.shelf.shown(f"{found}/{name}")
            self._shared[folder, name] = (self.shelf.actual(path),) if found else ()
        return self._shared[folder, name]

    def exists(self, here: str, name: str) -> bool:
        """Whether there is a file or folder of that name."""
        path = self.place(here, name)
        if path not in self._there:
            self._there[path] = is_there(path)
        return self._there[path]

    def line_of(self, path: str, element: str) -> int:
        """The line in which an element of a name begins first; 1 when there is none."""
        if path not in self._lower:
            self._lower.clear()  # one project is asked about after the other
            self._lower[path] = self.shelf.project_text(path).lower()
        text = self._lower[path]
        return text.count("\n", 0, max(text.find(f"<{element}>"), 0)) + 1

    def matching(self, here: str, name: str) -> list[str]:
        """The files that a name or a pattern means in a file."""
        name = slashed(name)
        if "*" not in name and "?" not in name:
            path = self.place(here, name)
            return [path] if name and is_file(path) else []
        head = re.split(r"[*?]", name, maxsplit=1)[0].rpartition("/")[0]
        folder = self.place(here, head or ("/" if name.startswith("/") else "."))
        tail = re.compile(_translated(name[len(head) :].lstrip("/")), re.IGNORECASE)
        prefix = "" if folder == "." else folder.rstrip("/") + "/"
        return [path for path in self._below(folder) if tail.fullmatch(path.removeprefix(prefix))]

    def _below(self, folder: str) -> list[str]:
        found: list[str] = []
        for top, folders, files in os.walk(folder):
            folders[:] = sorted(one for one in folders if not one.startswith("."))
            prefix = "" if top == "." else slashed(top).removeprefix("./").rstrip("/") + "/"
            found += (prefix + name for name in sorted(files))
            if len(found) > MAX_ITEMS:
                told = f"more than {MAX_ITEMS} files; the rest was not examined"
                self.shelf.limit(folder, told)
                break
        return found[:MAX_ITEMS]


def _translated(pattern: str) -> str:
    """A regular expression for a path with `*`, `?` and `**`."""
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    words = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(words.get(part, re.escape(part)) for part in parts)


def absolute(path: str) -> str:
    """A path from the root, with forward slashes; an empty one stays empty."""
    return slashed(os.path.abspath(path)) if path else ""  # noqa: PTH100 (links stay as they are)


def well_known(path: str) -> dict[str, str]:
    """What MSBuild says of each file by itself."""
    folder, slash, name = path.rpartition("/")
    stem, dot, extension = name.rpartition(".")
    return {
        "identity": path,
        "fullpath": absolute(path),
        "filename": stem if dot else name,
        "extension": dot + extension if dot else "",
        "relativedir": folder + slash,
        "directory": absolute(folder or ".").lstrip("/") + "/",
    }


def _solutions(folder: str) -> list[str]:
    here = Path(folder)
    for candidate in (here, *list(here.parents)[:MAX_LEVELS]):
        found = sorted((*candidate.glob("*.sln"), *candidate.glob("*.slnx")))
        if found:
            return [slashed(str(one)) for one in found]
    return []
