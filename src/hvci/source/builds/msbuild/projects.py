"""Reads MSBuild project files: what each configuration compiles, with which macros and options.

Theory of operation: a project is run once for each of its configurations, in the passes that
MSBuild makes: properties and imports, then item definitions with `%(…)`, then items. Imports
of the toolset are passed over; any other that is not found is named. What targets do is done last,
as if each ran. Blind spots: most property functions, item transforms, tasks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial

from hvci.source.builds.msbuild import properties as msbuild_properties
from hvci.source.builds.msbuild.condition import condition_holds
from hvci.source.builds.msbuild.files import Element, Library, said, well_known
from hvci.source.builds.msbuild.known import known_properties
from hvci.source.builds.msbuild.lists import Reader, lists_in
from hvci.source.builds.msbuild.unset import (
    OF_KIT,
    TOOLSET,
    kept_out,
    may_define,
    of_environment,
    of_linker,
    unset,
)
from hvci.source.builds.steps import may_write, written_by_task

MAX_IMPORTS = 200
MAX_CONFIGURATIONS = 64

_CALL = re.compile(r"[()\[\]:]")
"""In the name of what nobody defines: it is no property but a function."""
_METADATA = re.compile(r"%\((?:\w+\.)?(\w+)\)")


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
    open: dict[str, None] = field(default_factory=dict)
    """What could not be followed: conditions, lists of items."""
    unclear: dict[str, str] = field(default_factory=dict)
    """Properties whose value is made by a function that is not followed, and that function."""
    unset: dict[tuple[str, str], None] = field(default_factory=dict)
    """Properties that only the environment may set, and the macros whose values they are, if so."""
    doubted: dict[str, dict[tuple[str, str], None]] = field(default_factory=dict)
    """Properties, with what they may hold where the environment decides so."""
    commands: list[tuple[str, str]] = field(default_factory=list)
    """What its targets run, and the file that says so."""
    written: dict[str, None] = field(default_factory=dict)
    """Files of code that its targets may write, as they name them."""
    _imported: set[str] = field(default_factory=set)
    _left_out: list[tuple[Element, str, str]] = field(default_factory=list)
    """What no condition on the environment left out."""
    _used: frozenset[str] = frozenset()
    _targets: list[tuple[Element, str]] = field(default_factory=list)
    _later: dict[str, list[tuple[Element, str]]] = field(
        default_factory=lambda: {"itemdefinitiongroup": [], "itemgroup": []}
    )

    def expand(self, text: str, here: str, metadata: dict[str, str] | None = None) -> str:
        """Replace `$(Property)` and `%(Metadata)`."""
        return self.followed(text, here, metadata)[0]

    def followed(
        self, text: str, here: str, metadata: dict[str, str] | None = None
    ) -> tuple[str, set[str]]:
        """The same, and the names in it that nobody defines."""
        own = self.library.own_properties(here)
        unknown: set[str] = set()

        def held(name: str) -> str | None:
            if name in self.unclear:
                unknown.add(self.unclear[name])
            return own.get(name, self.properties.get(name))

        text = msbuild_properties.expand(text, held, unknown)
        if metadata is not None:
            text = _METADATA.sub(lambda match: metadata.get(match[1].lower(), ""), text)
        return text, unknown

    def finish(self) -> None:
        """When all properties are known: all definitions, then all items."""
        name = self.library.project.rpartition("/")[2].rpartition(".")[0]
        self.properties.setdefault("targetname", name)
        for element, here in self._later["itemdefinitiongroup"]:
            if self._wanted(element, here):
                self._definitions(element, here)
            else:
                self._passed_over(element, element.name, here)
        of_targets = [
            (child, here)
            for element, here in self._targets
            for child in element.children
            if child.name == "itemgroup"
        ]
        every = [*self._later["itemgroup"], *of_targets]
        groups = [one for one in every if _WANTED & {c.name for c in one[0].children}]
        self._used = _WANTED | _referred(element for element, _ in groups)
        for element, here in self._later["itemgroup"]:
            if self._may_add(element) and self._wanted(element, here):
                self._items(element, here)
        for element, here in self._targets:
            self._run_target(element, here)

    def _may_add(self, group: Element) -> bool:
        return bool(self._used & {child.name for child in group.children})

    def _run_target(self, target: Element, here: str) -> None:
        """What a target does to properties and items; whether it runs is taken for granted."""
        is_hooked = any(name in target.attributes for name in ("beforetargets", "aftertargets"))
        name = target.attributes.get("name", "")
        for child in target.children:
            made = {one.attributes.get("itemname", "").lower() for one in child.find("output")}
            if (made & _CODE or child.name == "cl") and self._wanted(child, here):
                self.open[f"a task of the target {name} says what is compiled"] = None
            said = child.attributes.get("name", "").upper()
            if child.name == "setenv" and said in _SET and self._wanted(child, here):
                self.open[f"the target {name} sets {said}, whose options are not read"] = None
            if child.name == "exec" and "command" in child.attributes and self._wanted(child, here):
                self.commands.append((self.expand(child.attributes["command"], here), here))
            if may_write(child.name, child.attributes) and self._wanted(child, here):
                given = {key: self.expand(text, here) for key, text in child.attributes.items()}
                self.written |= dict.fromkeys(written_by_task(child.name, given))
            if child.name == "propertygroup" and self._wanted(child, here):
                self._properties(child, here)
            if child.name == "itemgroup" and self._may_add(child) and self._wanted(child, here):
                changes = [one for one in child.children if one.name == "clcompile"]
                if not is_hooked and any(map(_is_change, changes)):
                    told = f"the target {name} changes how files are compiled, if anything runs it"
                    self.open[told] = None
                self._items(child, here)

    def force(self, name: str, here: str) -> None:
        """Run the files that a property names."""
        for written in self.properties.get(name, "").split(";"):
            for path in self.library.matching(here, written.strip()):
                self.run(path)

    def shared(self, name: str) -> None:
        """Run the nearest file of a name upwards, unless a property says no."""
        said = self.properties.get("import" + name.replace(".", "").lower(), "")
        for path in self.library.shared(self.library.project, name) if said != "false" else ():
            self.run(path)

    def run(self, path: str) -> None:
        """Take the properties of one file; a file that imports itself is run once."""
        if path in self._imported:
            return
        if len(self._imported) >= MAX_IMPORTS:
            self.open[f"it imports more than {MAX_IMPORTS} files; the rest was not examined"] = None
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
            "target": self._target,
        }
        for child in element.children:
            if child.name in self._later:
                self._later[child.name].append((child, here))
                continue
            if (reader := readers.get(child.name)) is None:
                continue
            if self._wanted(child, here):
                reader(child, here)
            else:
                self._passed_over(child, child.name, here)

    def _wanted(self, element: Element, here: str, metadata: dict[str, str] | None = None) -> bool:
        """Whether a condition holds; with `metadata` it is about how something is compiled."""
        condition = element.attributes.get("condition")
        if condition is None:
            return True
        expanded, unknown = self.followed(msbuild_properties.quoted(condition), here, metadata)
        holds = condition_holds(expanded, lambda path: self.library.exists(here, path))
        is_open = holds is None or any(_CALL.search(name) for name in unknown)
        if metadata is not None and any(OF_KIT.fullmatch(name) for name in unknown):
            is_open = True
        if is_open and (metadata is not None or not _is_toolset(unknown)):
            shown = " ".join(condition.split())[:SHOWN]
            self.open[f"the condition {shown} could not be followed, and was taken as false"] = None
        return bool(holds) and not is_open

    def _properties(self, element: Element, here: str) -> None:
        for child in element.children:
            if child.name in ("configuration", "platform"):
                continue
            if not self._wanted(child, here):
                self._passed_over(child, "propertygroup", here)
            else:
                self.properties[child.name], unknown = self.followed(child.text, here)
                self.unclear.pop(child.name, None)
                if made := next((name for name in sorted(unknown) if _CALL.search(name)), ""):
                    self.unclear[child.name] = made

    def _target(self, element: Element, here: str) -> None:
        """A target is run when everything else is known."""
        self._targets.append((element, here))

    def _choose(self, element: Element, here: str) -> None:
        for child in element.children:
            if child.name == "otherwise" or (child.name == "when" and self._wanted(child, here)):
                self._children(child, here)
                return
            self._passed_over(child, child.name, here)

    def _import(self, element: Element, here: str) -> None:
        written = element.attributes.get("project", "")
        target, unknown = self.followed(written, here)
        if written.lower().endswith(_DEFAULTS) and here == self.library.project:
            self.shared("Directory.Build.props")
        if "sdk" in element.attributes or not written or _is_toolset(unknown):
            return
        found = self.library.matching(here, target)
        for path in found:
            self.run(path)
        if not found and "*" not in target:
            self.missing.append(written)

    def _definitions(self, element: Element, here: str) -> None:
        for item in element.children:
            if not self._wanted(item, here):
                self._passed_over(item, item.name, here)
                continue
            held = self.definitions.setdefault(item.name, {})
            for child in said(item):
                if _WELL_KNOWN.search(child.attributes.get("condition", "")) is not None:
                    shown = child.attributes["condition"][:SHOWN]
                    self.open[f"the condition {shown} could not be followed"] = None
                    continue
                if not self._wanted(child, here, held):
                    self._passed_over(child, item.name, here)
                else:
                    self._give(item.name, child, here, held)
                    self.places[f"{item.name}.{child.name}"] = here

    def _give(self, item: str, child: Element, here: str, held: dict[str, str]) -> None:
        """A value of an item or definition; a limit where it is not known."""
        held[child.name], unknown = self.followed(child.text, here, held)
        unknown = {one for one in unknown if one.lower() not in self._set_elsewhere}
        if child.name in _TELLING and (
            made := next((name for name in sorted(unknown) if _CALL.search(name)), "")
        ):
            self.open[f"$({made[:SHOWN]}) in {child.name} could not be followed"] = None
        if item == "link" and child.name == "additionaloptions":
            self.open |= dict.fromkeys(of_linker(child.text, unknown))
        if may_define(item, child.name):
            self.unset |= unset(child.text, unknown) if unknown else {}
            for name in self.doubted.keys() & set(_PROPERTIES.findall(child.text.lower())):
                self.unset |= self.doubted[name]

    def _passed_over(self, element: Element, item: str, here: str) -> None:
        """Macros that a condition keeps out, which only the environment may decide about."""
        _, unknown = self.followed(element.attributes.get("condition", ""), here)
        if not unknown:
            self._left_out.append((element, item, here))
        if names := of_environment(unknown):
            macros, properties = kept_out(element, item, lambda one: self._imported_by(one, here))
            self.unset |= dict.fromkeys((name, macro) for macro in macros for name in names)
            for key, held in properties.items():
                doubts = ((name, macro) for macro in held for name in names)
                self.doubted.setdefault(key, {}).update(dict.fromkeys(doubts))

    @cached_property
    def _set_elsewhere(self) -> frozenset[str]:
        """Properties that the project sets in other configurations: here they are empty."""
        kept = (
            kept_out(element, item, partial(self._imported_by, here=here))[1]
            for element, item, here in self._left_out
        )
        return frozenset(name for properties in kept for name in properties)

    def _imported_by(self, element: Element, here: str) -> list[Element]:
        """The files of an import, if they are here."""
        target, _ = self.followed(element.attributes.get("project", ""), here)
        found = map(self.library.get, self.library.matching(here, target) if target else ())
        return [one for one in found if one is not None]

    def _items(self, element: Element, here: str) -> None:
        for item in element.children:
            if item.name not in self._used:
                continue
            held = self.items.setdefault(item.name, [])
            if _is_change(item):
                for one in held:
                    own = well_known(one.path) | one.metadata
                    if self._wanted(item, here, own):
                        self._metadata(item, here, one)
                continue
            if not self._wanted(item, here, {} if item.name in _CODE else None):
                continue
            if gone := self._paths(item, "remove", here):
                held[:] = [one for one in held if one.path not in gone]
            if touched := self._paths(item, "update", here):
                for one in (one for one in held if one.path in touched):
                    self._metadata(item, here, one)
            defined = self.definitions.get(item.name, {})
            without = self._paths(item, "exclude", here)
            for path, known in self._paths(item, "include", here).items():
                if path not in without:
                    held.append(one := Compiled(path, defined | known))
                    self._metadata(item, here, one)

    def _metadata(self, item: Element, here: str, one: Compiled) -> None:
        """What an item says of one file."""
        if not (every := said(item)):
            return
        metadata = well_known(one.path) | one.metadata
        for child in every:
            if not self._wanted(child, here, metadata):
                self._passed_over(child, item.name, here)
            else:
                self._give(item.name, child, here, metadata)
        one.metadata = metadata

    def _paths(self, item: Element, name: str, here: str) -> dict[str, dict[str, str]]:
        """The paths in a list of an item, with what is said of them already.

        Limits where it is not followed and says what is compiled or linked.
        """
        written = item.attributes.get(name, "")
        if not written:
            return {}
        text, unknown = self.followed(written, here)
        reader = Reader(self.library, self.items)
        found = dict(reader.entries(text))
        if item.name in _CODE:
            if any(_CALL.search(one) for one in unknown):
                self.open[f"the files {written[:SHOWN]} could not be followed"] = None
            told = [*reader.open, *(reader.unfilled if name == "include" else ())]
            self.open |= dict.fromkeys(told)
        return found


def _is_change(item: Element) -> bool:
    """Whether an item of a target changes all items that are there."""
    return bool(said(item)) and not {"include", "remove", "update"} & item.attributes.keys()


_SET = ("CL", "_CL_", "LINK", "_LINK_")
"""What compiler and linker take more options from."""
_WELL_KNOWN = re.compile(
    r"(?i)%\((?:\w+\.)?(?:identity|fullpath|filename|extension|relativedir|directory)\)"
)
_PROPERTIES = re.compile(r"\$\(([\w.-]+)\)")
_TELLING = frozenset(
    (
        *("preprocessordefinitions", "undefinepreprocessordefinitions", "additionaloptions"),
        *("forcedincludefiles", "additionaldependencies", "excludedfrombuild", "compileas"),
    )
)
"""What changes the text that is compiled, or what is linked."""
_DEFAULTS = "microsoft.cpp.default.props"
"""What imports Directory.Build.props."""
LINKED = ("library", "object", "link", "lib")
"""Items that name libraries and objects."""
ASSEMBLED = ("masm", "marmasm", "nasm", "yasm")
"""Items that an assembler makes code of."""
SHOWN = 120
"""Characters of a condition in a sentence."""
_CODE = frozenset(("clcompile", *LINKED, *ASSEMBLED))
_WANTED = frozenset(("clcompile", *ASSEMBLED, "custombuild", "projectreference", *LINKED))
"""Items that say what is built; others matter only where these name them."""


def _referred(groups: Iterator[Element]) -> frozenset[str]:
    """The item lists that wanted items stand for."""
    wanted = (item for group in groups for item in group.children if item.name in _WANTED)
    texts = (item.attributes.get(word, "") for item in wanted for word in _LISTING)
    return frozenset(name for text in texts for name in lists_in(text))


_LISTING = ("include", "exclude", "remove", "update")


def _is_toolset(unknown: set[str]) -> bool:
    """Whether a path leads to what Visual Studio and the kits bring along."""
    return any(TOOLSET.fullmatch(name) for name in unknown)


def configurations(library: Library, path: str) -> list[tuple[str, str]]:
    """The (configuration, platform) pairs of a project, also from what it imports."""
    every = list(dict.fromkeys(_configurations(library, path, set())))
    if len(every) > MAX_CONFIGURATIONS:
        told = f"more than {MAX_CONFIGURATIONS} configurations; the rest was not examined"
        library.shelf.limit(path, told)
    return every[:MAX_CONFIGURATIONS]


def _configurations(library: Library, path: str, seen: set[str]) -> list[tuple[str, str]]:
    root, is_first = library.get(path), not seen
    if root is None or path in seen:
        return []
    seen.add(path)
    found = []
    for element in root.find("projectconfiguration"):
        name, bar, platform = element.attributes.get("include", "").partition("|")
        found += [(name, platform)] if bar else []
    state = None
    for element in root.find("import"):
        state = state or _state(library, path, "", "")
        own = state.expand(element.attributes.get("project", ""), path)
        for inner in library.matching(path, own) if own else ():
            found += _configurations(library, inner, seen)
    if is_first:
        for shared in library.shared(path, "Directory.Build.props"):
            found += _configurations(library, shared, seen)
    return found


_FORCED = (
    "forceimportbeforecppprops",
    "forceimportaftercppprops",
    "forceimportaftercppdefaultprops",
)
_FORCED_LATE = ("forceimportbeforecpptargets", "forceimportaftercpptargets")


def run(library: Library, path: str, configuration: str, platform: str) -> State:
    """Evaluate a project for one configuration."""
    state = _state(library, path, configuration, platform)
    library.project = path
    root = library.get(path)
    imports = root.find("import") if root is not None else iter(())
    written = (one.attributes.get("project", "").lower() for one in imports)
    if not any(one.endswith(_DEFAULTS) for one in written):
        state.shared("Directory.Build.props")
    for name in _FORCED:
        state.force(name, path)
    state.run(path)
    state.shared("Directory.Build.targets")
    for name in _FORCED_LATE:
        state.force(name, path)
    state.finish()
    return state


def _state(library: Library, path: str, configuration: str, platform: str) -> State:
    return State(library, known_properties(library, path, configuration, platform))
