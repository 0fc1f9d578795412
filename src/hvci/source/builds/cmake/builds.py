"""Turns the targets of CMake lists into builds.

Knows what targets mean for a driver; the lists are run by `cmake_run`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from hvci.model import BuildSetting, SourceSite, WindowsVersion
from hvci.model.judged import TEXT_RULES
from hvci.source.builds.cmake.commands import RUNNERS
from hvci.source.builds.cmake.generators import Asked, is_open
from hvci.source.builds.cmake.run import MAX_STEPS, Lists, Target
from hvci.source.builds.model import (
    Build,
    Compile,
    Kind,
    defines,
    link_settings,
    option_defines,
    options_of,
)
from hvci.source.builds.msbuild.files import absolute
from hvci.source.preprocess.conditions import of_ntddi
from hvci.source.text.disk import contents, is_file, is_folder
from hvci.source.text.files import Shelf, is_code

CONFIGURATIONS = ("Debug", "Release")
SHOWN = 6
_LONG = f"more than {MAX_STEPS} commands"
_NATIVE = re.compile(
    r"(?i)[/-]DRIVER\b|SUBSYSTEM[:,=]\s*native|--subsystem[=, ]\s*(?:native|1)\b|-mwindows-kernel"
    r"|[/-]ENTRY:(?:Gs)?Driver|[-,]entry[=, ]_?Driver|[/-]kernel\b"
)
_KERNEL_LIBRARIES = re.compile(
    r"(?i)(?:^|[\\/])(?:ntoskrnl|fltmgr|wdfldr|wdfdriverentry|hal)(?:\.lib)?$"
)
Key = tuple[str, str]


def builds(shelf: Shelf, paths: Iterable[str], machines: Iterable[str]) -> list[Build]:
    """Every target of every list, in each configuration; a list that another runs is no root."""
    roots = sorted(paths, key=lambda path: (path.count("/"), path))
    read: set[str] = set()
    found: list[Build] = []
    lost: dict[Key, tuple[list[str], bool]] = {}
    for root in roots:
        if absolute(root) in read:
            continue
        for machine in machines:
            for configuration in CONFIGURATIONS:
                lists = Lists(_folder(root), Asked(configuration), machine, RUNNERS)
                lists.list_file(absolute(root))
                read |= lists.read
                if lists.gave_up:
                    lost.setdefault((shelf.shown(root), "(all)"), ([_LONG], True))
                made = _Made(shelf, lists, machine, lost)
                found += made.builds()
    for (project, name), (what, weighs) in sorted(lost.items()):
        more = f" and {len(what) - SHOWN} more" if len(what) > SHOWN else ""
        reason = f"of the target {name} this could not be followed: {', '.join(what[:SHOWN])}{more}"
        shelf.limit(project, reason, TEXT_RULES if weighs else ())
    return found


def _folder(path: str) -> str:
    return absolute(path).rpartition("/")[0]


class _Made:
    """The builds of one run."""

    def __init__(
        self, shelf: Shelf, lists: Lists, machine: str, lost: dict[Key, tuple[list[str], bool]]
    ) -> None:
        self.shelf = shelf
        self.lists = lists
        self.machine = machine
        self.lost = lost

    def builds(self) -> Iterator[Build]:
        """One build for each target that compiles something, or should."""
        for target in self.lists.targets.values():
            if not {"INTERFACE"} & set(target.words):
                yield self._build(target)

    def _project(self, target: Target) -> str:
        """A name for the target: its list, and its own name behind it."""
        return f"{self.shelf.shown(target.file)}#{target.name}"

    def _linked(self, target: Target) -> list[Target]:
        """The targets that one links, directly and in turn."""
        found: dict[str, Target] = {}
        todo = list(target.links)
        while todo:
            other = self.lists.targets.get(todo.pop(0))
            if other is not None and other.name not in found and other is not target:
                found[other.name] = other
                todo += other.links
        return list(found.values())

    def _build(self, target: Target) -> Build:
        linked = self._linked(target)
        options = self._all("options", target, linked)
        link = " ".join((*target.link_options, target.properties.get("LINK_FLAGS", "")))
        link += " " + target.properties.get("LINK_OPTIONS", "").replace(";", " ")
        kind, static = self._kind(target, f"{link} {' '.join(options)}")
        compiled, assembly = self._files(target, linked, options, kind)
        file = self.shelf.shown(target.file)
        site = SourceSite(file, _line(target))
        said = dict(word.split("=", 1) for word in target.words if "=" in word)
        winver = said.get("WINVER") or said.get("NTDDI_VERSION") or ""
        version = _version(winver)
        settings: list[BuildSetting] = list(link_settings(link, site))
        if target.command == "wdk_add_driver" and not any(
            one.name == "/DRIVER" for one in settings
        ):
            settings.append(BuildSetting("/DRIVER", "", site))
        references = [self._project(one) for one in linked]
        objects = [self.lists.targets.get(name) for name in _objects(target)]
        references += [self._project(one) for one in objects if one is not None]
        output = target.properties.get("OUTPUT_NAME") or target.name
        return Build(
            self._project(target),
            f"{self.lists.asked.configuration}|{self.machine}",
            self.machine,
            kind,
            version,
            compiled,
            tuple(settings),
            tuple(references),
            output.lower(),
            frozenset({"DriverEntry", "DllInitialize"}),
            assembly,
            static=static,
            kernel=kind is Kind.DRIVER or target.command.startswith("wdk_"),
            libraries=tuple(self._libraries(target)),
            ntddi=version,
            debug=self.lists.asked.configuration == "Debug",
        )

    def _is_of_programs(self, target: Target) -> bool:
        """Whether it is a library that only programs for user mode link."""
        if target.command not in ("add_library", "add_executable"):
            return False
        linking = [one for one in self.lists.targets.values() if target in self._linked(one)]
        kinds = [self._kind(one, " ".join(one.options)) for one in linking]
        ends = [kind for kind, static in kinds if not static]
        return bool(ends) and all(kind is Kind.USER for kind in ends)

    def _libraries(self, target: Target) -> Iterator[str]:
        """What is linked and no target of these lists."""
        for name in target.links:
            is_library = name.lower().endswith((".lib", ".obj", ".a"))
            if name in self.lists.targets or is_open(name):
                continue
            if is_library or ("::" not in name and name[:1] not in "-/$"):
                yield name if is_library else f"{name}.lib"

    def _kind(self, target: Target, said: str) -> tuple[Kind, bool]:
        if target.command == "wdk_add_driver":
            return Kind.DRIVER, False
        native = _NATIVE.search(said) is not None or any(
            _KERNEL_LIBRARIES.search(one) for one in target.links
        )
        suffix = target.properties.get("SUFFIX", "").lower()
        if target.command == "add_executable" or {"SHARED", "MODULE"} & set(target.words):
            if native or suffix == ".sys":
                return Kind.DRIVER, False
            wdk = target.command == "wdk_add_library"
            return (Kind.LIBRARY if wdk else Kind.USER), False
        return Kind.LIBRARY, True

    def _all(self, what: str, target: Target, linked: list[Target]) -> list[str]:
        handed = (value for other in linked for value in other.handed.get(what, ()))
        return [*getattr(target, what), *handed]

    def _files(
        self, target: Target, linked: list[Target], options: list[str], kind: Kind
    ) -> tuple[dict[str, Compile], tuple[str, ...]]:
        definitions = self._all("definitions", target, linked)
        definitions += target.properties.get("COMPILE_DEFINITIONS", "").split(";")
        flags = " ".join((*options, target.properties.get("COMPILE_FLAGS", "")))
        flags += " " + (self.lists.get("CMAKE_C_FLAGS") or "")
        folders = [
            self.shelf.shown(one) for one in self._all("folders", target, linked) if is_folder(one)
        ]
        forced = self._forced(target, flags)
        base = _defined(definitions) | option_defines(flags)
        removed = frozenset(options_of("U", flags))
        compiled: dict[str, Compile] = {}
        assembly: list[str] = []
        weighs = kind is not Kind.USER and not self._is_of_programs(target)
        for name, folder in target.sources:
            path = self._source(target, name, folder, weighs)
            if path.lower().endswith(".asm"):
                assembly.append(path)
            elif path:
                own = self._own(absolute(path))
                compiled[path] = Compile(
                    {**base, **own}, removed, forced, tuple(dict.fromkeys(folders))
                )
        open_ = [one for one in (*definitions, *options) if is_open(one)]
        for one in (*target.lost, *open_):
            self._lose(target, one, weighs)
        if not compiled and weighs and not _objects(target):
            self._lose(target, "it names no source file that could be found", weighs)
        return compiled, tuple(assembly)

    def _own(self, path: str) -> dict[str, str]:
        """What one file is compiled with besides."""
        properties = self.lists.properties
        found = _defined(properties.get((path, "COMPILE_DEFINITIONS"), "").split(";"))
        for key in ("COMPILE_FLAGS", "COMPILE_OPTIONS"):
            found |= option_defines(properties.get((path, key), "").replace(";", " "))
        return found

    def _forced(self, target: Target, flags: str) -> tuple[str, ...]:
        found = []
        for name in (*options_of("FI", flags), *options_of("include", flags)):
            for folder in (target.folder, *target.folders):
                path = self.shelf.locate(self.shelf.shown(f"{folder}/{name}"))
                if path is not None and self.shelf.add(path):
                    found.append(path)
                    break
        return tuple(found)

    def _source(self, target: Target, name: str, folder: str, weighs: bool) -> str:
        """The path of a source; empty for what is none, and for what is not there."""
        if "$<TARGET_OBJECTS:" in name:
            return ""
        if is_open(name):
            self._lose(target, name, weighs)
            return ""
        name = name.replace("\\", "/")
        if not is_code(name) or name.lower().endswith(_HEADERS):
            return ""
        whole = name if name.startswith("/") else f"{folder}/{name}"
        path = self.shelf.actual(self.shelf.shown(absolute(whole)))
        if not is_file(path):
            self._lose(target, f"{self.shelf.shown(absolute(whole))} does not exist", weighs)
            return ""
        return path

    def _lose(self, target: Target, what: str, weighs: bool) -> None:
        key = (self.shelf.shown(target.file), target.name)
        held = self.lost.setdefault(key, ([], weighs))[0]
        if what not in held:
            held.append(what)


_HEADERS = (".h", ".hpp", ".hxx", ".hh", ".inl")


def _objects(target: Target) -> list[str]:
    """The object libraries whose files are sources of a target."""
    pattern = re.compile(r"\$<TARGET_OBJECTS:([\w.+-]+)>")
    return [name for one, _ in target.sources for name in pattern.findall(one)]


def _defined(words: Iterable[str]) -> dict[str, str]:
    """Definitions with or without the option that makes them."""
    found: dict[str, str] = {}
    for word in (one.strip() for one in words):
        bare = re.sub(r"^[/-]D", "", word)
        found |= defines(bare) if not is_open(bare) else {}
    return found


def _line(target: Target) -> int:
    try:
        data = contents(target.file, 1 << 20)
    except OSError:
        return 1
    return data.decode("utf-8-sig", "replace").count("\n", 0, target.offset) + 1


def _version(text: str) -> WindowsVersion | None:
    if not re.fullmatch(r"0[xX][0-9a-fA-F]{3,8}", text):
        return None
    number = int(text, 16)
    return of_ntddi(number << 16 if number < 0x10000 else number)
