"""What the commands of CMake lists do: variables, lists, texts, files and targets.

Knows the commands that build drivers; a row of the table is one command.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from hvci.source.builds.cmake.modules import around_project
from hvci.source.builds.cmake.nested import NESTED
from hvci.source.builds.cmake.run import Lists, Runner
from hvci.source.builds.cmake.targets import Place, Target
from hvci.source.builds.cmake.text import Command
from hvci.source.builds.cmake.unclear import is_unclear
from hvci.source.builds.cmake.variables import VARIABLES
from hvci.source.builds.steps import sections, written

_SCOPES = ("PUBLIC", "PRIVATE", "INTERFACE")
_HANDED = ("definitions", "folders", "options")
_TOLD = ("definitions", "options")


def _project(lists: Lists, words: list[str], command: Command) -> None:
    before, behind = around_project(words[0] if words else "")
    _run_files(lists, before)
    lists.toolchain()
    if words:
        lists.set("PROJECT_NAME", words[0])
        for name in ("PROJECT_SOURCE_DIR", f"{words[0]}_SOURCE_DIR"):
            lists.set(name, lists.place.folder)
        lists.set("PROJECT_BINARY_DIR", f"{lists.place.folder}/build")
    _run_files(lists, behind)


def _run_files(lists: Lists, names: tuple[str, ...]) -> None:
    """Run the files that variables name."""
    for name in names:
        for one in (lists.get(name) or "").split(";"):
            if one:
                lists.include(one)


def _package(lists: Lists, words: list[str], command: Command) -> None:
    if words:
        lists.set(f"{words[0]}_FOUND", "1")


def _subdirectory(lists: Lists, words: list[str], command: Command) -> None:
    if words:
        lists.subdirectory(words[0])


def _message(lists: Lists, words: list[str], command: Command) -> None:
    lists.refused |= words[:1] == ["FATAL_ERROR"]


_VALUED = ("WINVER", "KMDF", "NTDDI_VERSION", "CUSTOM_TARGET")
_FLAGS = frozenset(
    (
        *("STATIC", "SHARED", "MODULE", "OBJECT", "INTERFACE", "WIN32", "EXCLUDE_FROM_ALL"),
        *("IMPORTED", "ALIAS", "GLOBAL", "UNKNOWN", "EXTENDED_CPP_FEATURES"),
    )
)


def _target(lists: Lists, words: list[str], command: Command) -> None:
    """A target with the sources that its command names."""
    if not words:
        return
    name, rest, said = words[0], words[1:], [words[0]]
    sources = []
    while rest:
        word = rest.pop(0)
        if word in _VALUED and rest:
            said.append(f"{word}={rest.pop(0)}")
        elif word in _FLAGS:
            said.append(word)
        else:
            sources.append(word)
    if "ALIAS" in said:
        if sources and sources[0] in lists.targets:
            lists.targets[name] = lists.targets[sources[0]]
        return
    place = lists.place
    target = Target(name, command.name, said, place.folder, place.file, command.offset)
    lists.targets[name] = target
    target.sources = [(one, place.folder) for one in sources]
    if (united := lists.get("CMAKE_UNITY_BUILD")) is not None:
        target.properties["UNITY_BUILD"] = united
    for kind in (*_HANDED, "link_options", "links", "precompiled"):
        getattr(target, kind).extend(getattr(place, kind))
    _note_unknown(lists, target, command)


def _note_unknown(lists: Lists, target: Target, command: Command) -> None:
    """Sources that stand in a variable which nothing here sets."""
    for one in command.arguments:
        for name in re.findall(r"\$\{(\w+)\}", one.text):
            if lists.get(name) is None or name in lists.unclear:
                target.lost.append("${" + name + "}")


def _unset(lists: Lists, command: Command, is_defining: bool = True) -> Iterator[str]:
    """Definitions that are, or have for a value, what only the caller of CMake may set."""
    for one in command.arguments:
        named = re.fullmatch(r"(?:[^=]*=)?\$\{(\w+)\}", one.text) if is_defining else None
        is_unset = named is not None and lists.get(named[1]) is None
        is_unset = is_unset and named is not None and named[1] not in lists.cleared
        if is_unset or (not one.raw and is_unclear(one.text, lists.unclear)):
            yield one.text


def _of_target(kind: str) -> Callable[[Lists, list[str], Command], None]:
    """A command that adds something to a target, for itself or for those that link it."""

    def run(lists: Lists, words: list[str], command: Command) -> None:
        target = lists.targets.get(words[0]) if words else None
        if target is None:
            return
        scope = "PUBLIC"
        target.lost += _unset(lists, command, kind == "definitions") if kind in _TOLD else ()
        for word in words[1:]:
            if word in _SCOPES:
                scope = word
            elif word not in ("SYSTEM", "BEFORE", "AFTER"):
                value = lists.path(word) if kind == "folders" else word
                if scope != "INTERFACE":
                    getattr(target, kind).append(value)
                if scope != "PRIVATE" and kind in _HANDED:
                    target.handed.setdefault(kind, []).append(value)

    return run


def _sources(lists: Lists, words: list[str], command: Command) -> None:
    target = lists.targets.get(words[0]) if words else None
    if target is None:
        return
    scope = "PRIVATE"
    for word in words[1:]:
        if word in _SCOPES:
            scope = word
        elif word not in ("FILE_SET", "FILES"):
            if scope != "INTERFACE":
                target.sources.append((word, lists.place.folder))
            if scope != "PRIVATE":
                target.handed_sources.append((word, lists.place.folder))
    _note_unknown(lists, target, command)


_MODES = frozenset(
    (
        *(*_SCOPES, "debug", "optimized", "general"),
        *("LINK_PUBLIC", "LINK_PRIVATE", "LINK_INTERFACE_LIBRARIES"),
    )
)


def _link(lists: Lists, words: list[str], command: Command) -> None:
    target = lists.targets.get(words[0]) if words else None
    if target is None:
        return
    scope = "PUBLIC"
    for word in words[1:]:
        if word in _MODES:
            scope = word.removeprefix("LINK_") if word.endswith(_SCOPES) else scope
            scope = "INTERFACE" if word == "LINK_INTERFACE_LIBRARIES" else scope
            continue
        is_new = word not in target.links
        for name, many in (("PRIVATE", target.inner), ("INTERFACE", target.outer)):
            if scope == name and is_new:
                many.add(word)
            elif scope != name:
                many.discard(word)
        target.links.append(word)
    _note_unknown(lists, target, command)


def _configured(lists: Lists, words: list[str], command: Command) -> None:
    """`configure_file(from to)`."""
    lists.written |= dict.fromkeys(map(lists.binary_path, words[1:2]))


def _custom(lists: Lists, words: list[str], command: Command) -> None:
    """A target that runs programs, if anything asks for it: what they surely write counts."""
    parts = sections(words)
    sure = [*parts.get("BYPRODUCTS", []), *written(" ".join(parts.get("COMMAND", [])), True)]
    lists.written |= dict.fromkeys(map(lists.binary_path, sure))


def _step(lists: Lists, words: list[str], command: Command) -> None:
    """What runs when a target is linked; other steps make files."""
    if not {"PRE_LINK", "POST_BUILD"} & set(words):
        lists.note_written(words)
    if words[:1] == ["TARGET"] and words[1:2] and words[1] in lists.targets:
        lists.targets[words[1]].steps.append(" ".join(words[2:]))


def _precompiled(lists: Lists, words: list[str], command: Command) -> None:
    """Headers that each file of a target begins with."""
    target = lists.targets.get(words[0]) if words else None
    if target is not None and words[1:2] == ["REUSE_FROM"]:
        other = lists.targets.get("".join(words[2:3]))
        target.precompiled += other.precompiled if other is not None else ()
        target.lost += () if other is not None else (" ".join(words[1:]),)
    elif target is not None:
        given = (word for word in words[1:] if word not in _SCOPES and word[:1] not in "<$")
        target.precompiled += (lists.path(word) for word in given)


def _include(lists: Lists, words: list[str], command: Command) -> None:
    if words:
        lists.include(words[0], "OPTIONAL" in words)


_OF_FILES = (
    *("COMPILE_DEFINITIONS", "COMPILE_FLAGS", "COMPILE_OPTIONS"),
    *("HEADER_FILE_ONLY", "LANGUAGE"),
)
_HANDED_BY = {
    "INTERFACE_COMPILE_DEFINITIONS": "definitions",
    "INTERFACE_COMPILE_OPTIONS": "options",
    "INTERFACE_INCLUDE_DIRECTORIES": "folders",
}
_OF_FOLDERS = {
    "COMPILE_DEFINITIONS": "definitions",
    "COMPILE_OPTIONS": "options",
    "INCLUDE_DIRECTORIES": "folders",
    "LINK_OPTIONS": "link_options",
}
"""Properties of folders, and of targets as well."""
_DEFINES = re.compile(r"[/-]D\S+")
"""Options of `add_definitions` that are kept as definitions."""
_BACKWARDS = (
    *("add_definitions", "add_compile_definitions", "include_directories"),
    *("set_property", "set_directory_properties"),
)
"""These hold for targets that were there before as well."""


def _of_folder(kind: str) -> Callable[[Lists, list[str], Command], None]:
    def run(lists: Lists, words: list[str], command: Command) -> None:
        words = [word for word in words if word not in ("SYSTEM", "BEFORE", "AFTER")]
        value = [lists.path(word) for word in words] if kind == "folders" else words
        if kind in _TOLD and command.name[:4] == "add_":
            is_defining = command.name != "add_compile_options"
            lists.missing |= dict.fromkeys(_unset(lists, command, is_defining), True)
        places: list[Place | Target] = [lists.place]
        if command.name in _BACKWARDS:
            every = lists.targets.values()
            places += (one for one in every if one.folder == lists.place.folder)
        for one in value:
            is_macro = command.name == "add_definitions" and _DEFINES.fullmatch(one) is not None
            for place in places:
                getattr(place, "definitions" if is_macro else kind).append(one)

    return run


def _set_properties(lists: Lists, words: list[str], command: Command) -> None:
    if "PROPERTIES" not in words:
        return
    at = words.index("PROPERTIES")
    pairs = dict(zip(words[at + 1 :: 2], words[at + 2 :: 2], strict=False))
    for name in words[:at]:
        if command.name == "set_source_files_properties":
            for key in _OF_FILES:
                if key in pairs:
                    lists.properties[lists.path(name), key] = pairs[key]
        elif name in lists.targets:
            for key, value in pairs.items():
                _of_properties(lists, lists.targets[name], key, value.split(";"), False)
            lists.targets[name].properties.update(pairs)


def _of_properties(
    lists: Lists, target: Target, key: str, values: list[str], is_more: bool
) -> None:
    """What a property says of a target, for itself or for those that link it.

    It takes the place of what commands said before, unless it is more of it.
    """
    if key in _HANDED_BY or key in _OF_FOLDERS:
        what = _HANDED_BY.get(key) or _OF_FOLDERS[key]
        made = [lists.path(one) for one in values] if what == "folders" else values
        if key in _HANDED_BY:
            held = target.handed.setdefault(what, [])
        else:
            held = getattr(target, what)
        held[:] = [*(held if is_more else ()), *made]
    elif key == "INTERFACE_SOURCES":
        target.handed_sources += ((one, lists.place.folder) for one in values)
    elif key == "SOURCES":
        target.sources += ((one, lists.place.folder) for one in values)
    elif key in ("LINK_LIBRARIES", "INTERFACE_LINK_LIBRARIES"):
        target.links += values


def _set_folder(lists: Lists, words: list[str], command: Command) -> None:
    """`set_directory_properties(PROPERTIES name value …)`."""
    at = words.index("PROPERTIES") if "PROPERTIES" in words else len(words)
    for key, value in zip(words[at + 1 :: 2], words[at + 2 :: 2], strict=False):
        if key in _OF_FOLDERS:
            _of_folder(_OF_FOLDERS[key])(lists, value.split(";"), command)


def _link_folders(lists: Lists, words: list[str], command: Command) -> None:
    """Folders in which the linker looks for libraries, as options of its own."""
    is_of_target = command.name.startswith("target_")
    place: Place | Target | None = lists.place
    if is_of_target:
        place = lists.targets.get("".join(words[:1]))
    named = [one for one in words[is_of_target:] if one not in (*_SCOPES, "BEFORE", "AFTER")]
    if place is not None:
        place.link_options += (f'-L"{lists.path(one)}"' for one in named)


def _remove_definitions(lists: Lists, words: list[str], command: Command) -> None:
    """What `add_definitions` added goes again."""
    gone = set(words)
    targets = (one for one in lists.targets.values() if one.folder == lists.place.folder)
    places: list[Place | Target] = [lists.place, *targets]
    for one in places:
        for held in (one.options, one.definitions):
            held[:] = [word for word in held if word not in gone]


def _set_property(lists: Lists, words: list[str], command: Command) -> None:
    if "PROPERTY" not in words:
        return
    at = words.index("PROPERTY")
    kind, key, values = words[0], "".join(words[at + 1 : at + 2]), words[at + 2 :]
    names = [word for word in words[1:at] if word not in ("APPEND", "APPEND_STRING")]
    is_more = len(names) < at - 1
    if kind == "DIRECTORY" and key in _OF_FOLDERS and not names:
        _of_folder(_OF_FOLDERS[key])(lists, values, command)
    for name in names:
        held: dict[str, str] = {}
        if kind == "TARGET" and name in lists.targets:
            held = lists.targets[name].properties
            _of_properties(lists, lists.targets[name], key, values, is_more)
        old = lists.properties.get((lists.path(name), key), "") if kind == "SOURCE" else ""
        old = (held.get(key, "") or old) if is_more else ""
        held[key] = ";".join(one for one in (old, *values) if one)
        if kind == "SOURCE" and key in _OF_FILES:
            lists.properties[lists.path(name), key] = held[key]


RUNNERS: dict[str, Runner] = {
    **VARIABLES,
    **NESTED,
    "project": _project,
    "find_package": _package,
    "message": _message,
    "add_subdirectory": _subdirectory,
    "include": _include,
    "add_library": _target,
    "add_executable": _target,
    "wdk_add_driver": _target,
    "wdk_add_library": _target,
    "target_sources": _sources,
    "target_link_libraries": _link,
    "link_libraries": _of_folder("links"),
    "add_custom_command": _step,
    "add_custom_target": _custom,
    "configure_file": _configured,
    "target_precompile_headers": _precompiled,
    "target_compile_definitions": _of_target("definitions"),
    "target_compile_options": _of_target("options"),
    "target_include_directories": _of_target("folders"),
    "target_link_options": _of_target("link_options"),
    "add_definitions": _of_folder("options"),
    "add_compile_definitions": _of_folder("definitions"),
    "add_compile_options": _of_folder("options"),
    "include_directories": _of_folder("folders"),
    "add_link_options": _of_folder("link_options"),
    "link_directories": _link_folders,
    "target_link_directories": _link_folders,
    "set_target_properties": _set_properties,
    "set_source_files_properties": _set_properties,
    "set_property": _set_property,
    "set_directory_properties": _set_folder,
    "remove_definitions": _remove_definitions,
}
"""What each command does."""
