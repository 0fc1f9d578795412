"""Reads MSBuild project files: what each configuration compiles, with which macros and options.

Theory of operation: a project is run once for each of its configurations, in the passes that
MSBuild makes: properties and imports, then item definitions with `%(…)`, then items. Imports
outside the sources (the toolset's own) are not there and are passed over. Blind spots: property
functions, item transforms, targets and tasks.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hvci.source.files import LINK_RULES, Shelf, beside, tidy
from hvci.source.msbuild_condition import condition_holds

MAX_IMPORTS = 200
MAX_PROPERTY = 20_000
"""Characters of one expanded value."""
MAX_CONFIGURATIONS = 64
MAX_PROJECT_BYTES = 4 << 20

_PROPERTY = re.compile(r"\$\(([\w.]+)\)")
_ITEMS = re.compile(r"@\((\w+)\)")
_METADATA = re.compile(r"%\((?:\w+\.)?(\w+)\)")


@dataclass(frozen=True)
class Element:
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
        data = file.read_bytes()
        if b"<!ENTITY" in data or b"<!DOCTYPE" in data:
            raise ProjectError("it declares entities, which no project file needs")
        return _element(ET.fromstring(data))
    except OSError as error:
        raise ProjectError(error.strerror or str(error)) from error
    except (ET.ParseError, ValueError, LookupError) as error:
        raise ProjectError(f"it is not well-formed XML: {error}") from error


class Library:
    """Project files by path, each read once."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self._read: dict[str, Element | None] = {}

    def get(self, path: str) -> Element | None:
        """The file's root; None, and a limit, when it cannot be read."""
        if path not in self._read:
            try:
                self._read[path] = read_xml(path)
            except ProjectError as error:
                self.shelf.limit(path, str(error), LINK_RULES)
                self._read[path] = None
        return self._read[path]


@dataclass
class Compiled:
    """One item of a list, such as a compiled file."""

    path: str
    metadata: dict[str, str]


@dataclass
class State:
    """A project file run for one configuration."""

    library: Library
    properties: dict[str, str]
    definitions: dict[str, dict[str, str]] = field(default_factory=dict)
    """Item definitions: item type, then metadata name, all in lower case."""
    items: dict[str, list[Compiled]] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    """The file that last set a definition, by "type.metadata"."""
    missing: list[str] = field(default_factory=list)
    _imported: set[str] = field(default_factory=set)
    _later: dict[str, list[tuple[Element, str]]] = field(
        default_factory=lambda: {"itemdefinitiongroup": [], "itemgroup": []}
    )

    def expand(self, text: str, here: str, metadata: dict[str, str] | None = None) -> str:
        """Replace `$(Property)` and `%(Metadata)`."""
        folder = (here.rpartition("/")[0] or ".") + "/"

        def property_of(match: re.Match[str]) -> str:
            name = match[1].lower()
            return folder if name == "msbuildthisfiledirectory" else self.properties.get(name, "")

        text = _PROPERTY.sub(property_of, text)
        if metadata is not None:
            text = _METADATA.sub(lambda match: metadata.get(match[1].lower(), ""), text)
        return text[:MAX_PROPERTY]

    def evaluate(self, *paths: str) -> None:
        """Run files one after the other: all properties, then all definitions, then all items."""
        for path in paths:
            self.run(path)
        for element, here in self._later["itemdefinitiongroup"]:
            if self._wanted(element, here):
                self._definitions(element, here)
        for element, here in self._later["itemgroup"]:
            if self._wanted(element, here):
                self._items(element, here)

    def run(self, path: str) -> None:
        """Take the properties of one file; a file that imports itself is run once."""
        if path in self._imported or len(self._imported) >= MAX_IMPORTS:
            return
        self._imported.add(path)
        root = self.library.get(path)
        if root is not None:
            self._children(root, path)

    def _children(self, element: Element, here: str) -> None:
        readers = {
            "propertygroup": self._properties,
            "importgroup": self._children,
            "choose": self._choose,
            "import": self._import,
        }
        for child in element.children:
            if child.name in self._later:
                self._later[child.name].append((child, here))
                continue
            reader = readers.get(child.name)
            if reader is not None and self._wanted(child, here):
                reader(child, here)

    def _wanted(self, element: Element, here: str) -> bool:
        condition = element.attributes.get("condition")
        if condition is None:
            return True
        expanded = self.expand(condition, here)
        return condition_holds(expanded, lambda path: Path(beside(here, path)).exists())

    def _properties(self, element: Element, here: str) -> None:
        for child in element.children:
            if child.name not in ("configuration", "platform") and self._wanted(child, here):
                self.properties[child.name] = self.expand(child.text, here)

    def _choose(self, element: Element, here: str) -> None:
        for child in element.children:
            if child.name == "otherwise" or (child.name == "when" and self._wanted(child, here)):
                self._children(child, here)
                return

    def _import(self, element: Element, here: str) -> None:
        written = element.attributes.get("project", "")
        target = self.expand(written, here)
        path = self.library.shelf.actual(beside(here, target))
        if target and Path(path).is_file():
            self.run(path)
        elif "$(" not in written:
            self.missing.append(written)

    def _definitions(self, element: Element, here: str) -> None:
        for item in element.children:
            if not self._wanted(item, here):
                continue
            held = self.definitions.setdefault(item.name, {})
            for child in item.children:
                if self._wanted(child, here):
                    held[child.name] = self.expand(child.text, here, held)
                    self.places[f"{item.name}.{child.name}"] = here

    def _items(self, element: Element, here: str) -> None:
        for item in element.children:
            written = item.attributes.get("include", "")
            if not written or not self._wanted(item, here):
                continue
            metadata = dict(self.definitions.get(item.name, {}))
            for child in item.children:
                if self._wanted(child, here):
                    metadata[child.name] = self.expand(child.text, here, metadata)
            held = self.items.setdefault(item.name, [])
            held += [Compiled(path, metadata) for path in self._paths(written, here)]

    def _paths(self, written: str, here: str) -> list[str]:
        """The paths in an item list; `@(Items)` stands for what they hold so far."""
        found = []
        for one in self.expand(written, here).split(";"):
            if match := _ITEMS.fullmatch(one.strip()):
                found += [item.path for item in self.items.get(match[1].lower(), [])]
            elif one.strip():
                found.append(self.library.shelf.actual(beside(here, one.strip())))
        return found


def configurations(library: Library, path: str, depth: int = 0) -> list[tuple[str, str]]:
    """The (configuration, platform) pairs of a project, also from what it imports."""
    root = library.get(path)
    if root is None or depth > 4:
        return []
    found = []
    for element in root.find("projectconfiguration"):
        name, bar, platform = element.attributes.get("include", "").partition("|")
        found += [(name, platform)] if bar else []
    for element in root.find("import"):
        target = element.attributes.get("project", "")
        target = re.sub(r"(?i)\$\(MSBuild(ThisFile|Project)Directory\)\\?", "", target)
        inner = beside(path, target)
        if target and "$(" not in target and Path(inner).is_file():
            found += configurations(library, inner, depth + 1)
    return list(dict.fromkeys(found))[:MAX_CONFIGURATIONS]


def run(library: Library, path: str, configuration: str, platform: str) -> State:
    """Evaluate a project for one configuration."""
    folder, _, name = path.rpartition("/")
    folder = folder or "."
    state = State(
        library,
        {
            "configuration": configuration,
            "platform": platform,
            "projectdir": folder + "/",
            "msbuildprojectdirectory": folder,
            "msbuildprojectname": name.rpartition(".")[0],
            "projectname": name.rpartition(".")[0],
            "solutiondir": _folder_with(folder, "*.sln") + "/",
        },
    )
    shared = _folder_with(folder, "Directory.Build.props") + "/Directory.Build.props"
    state.evaluate(*([tidy(shared)] if Path(shared).is_file() else []), path)
    return state


MAX_LEVELS = 12


def _folder_with(folder: str, pattern: str) -> str:
    """The nearest folder upwards that holds a file of that name; the start when none does."""
    here = Path(folder)
    for candidate in (here, *list(here.parents)[:MAX_LEVELS]):
        if next(candidate.glob(pattern), None) is not None:
            return tidy(candidate)
    return folder
