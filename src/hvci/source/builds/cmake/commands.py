"""What the commands of CMake lists do: variables, lists, texts, files and targets.

Knows the commands that build drivers; a row of the table is one command.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from hvci.source.builds.cmake import conditions as cmake_conditions
from hvci.source.builds.cmake.files import glob
from hvci.source.builds.cmake.run import Lists, Runner, Target
from hvci.source.builds.cmake.text import Command

_SCOPES = ("PUBLIC", "PRIVATE", "INTERFACE")
_HANDED = ("definitions", "folders", "options")


def _set(lists: Lists, words: list[str], command: Command) -> None:
    if not words:
        return
    name, values = words[0], words[1:]
    if "CACHE" in values:
        values = values[: values.index("CACHE")]
        if lists.get(name) is not None:
            return
    if values[-1:] == ["PARENT_SCOPE"]:
        scope = lists.scopes[-2] if len(lists.scopes) > 1 else lists.scopes[-1]
        scope[name] = ";".join(values[:-1])
        return
    if len(words) == 1:
        lists.scopes[-1].pop(name, None)
    else:
        lists.set(name, ";".join(values))


def _option(lists: Lists, words: list[str], command: Command) -> None:
    if words and lists.get(words[0]) is None:
        lists.set(words[0], words[2] if len(words) > 2 else "OFF")


def _list(lists: Lists, words: list[str], command: Command) -> None:
    if len(words) < 2:
        return
    what, name, rest = words[0], words[1], words[2:]
    held = [one for one in (lists.get(name) or "").split(";") if one]
    if what == "APPEND":
        held += rest
    elif what == "PREPEND":
        held = rest + held
    elif what == "REMOVE_ITEM":
        held = [one for one in held if one not in rest]
    elif what == "REMOVE_DUPLICATES":
        held = list(dict.fromkeys(held))
    elif what == "FILTER" and len(rest) >= 3:
        keep = rest[0] == "INCLUDE"
        held = [one for one in held if bool(cmake_conditions.matches(rest[2], one)) is keep]
    elif what == "TRANSFORM" and rest[:1] in (["PREPEND"], ["APPEND"]) and len(rest) > 1:
        front = rest[0] == "PREPEND"
        held = [rest[1] + one if front else one + rest[1] for one in held]
    elif what == "LENGTH" and rest:
        lists.set(rest[0], str(len(held)))
        return
    elif what == "JOIN" and len(rest) > 1:
        lists.set(rest[1], rest[0].join(held))
        return
    elif what == "GET" and len(rest) > 1 and rest[0].isdigit() and int(rest[0]) < len(held):
        lists.set(rest[-1], held[int(rest[0])])
        return
    else:
        return
    lists.set(name, ";".join(held))


def _string(lists: Lists, words: list[str], command: Command) -> None:
    what = words[0] if words else ""
    if what == "REGEX" and words[1:2] == ["REPLACE"] and len(words) >= 6:
        text = ";".join(words[5:])
        try:
            value = re.sub(words[2][:400], words[3].replace("\\\\", "\\"), text[:100_000])
        except re.error:
            return
        lists.set(words[4], value)
    elif what == "REPLACE" and len(words) >= 5:
        lists.set(words[3], ";".join(words[4:]).replace(words[1], words[2]))
    elif what in ("TOLOWER", "TOUPPER", "STRIP") and len(words) == 3:
        change: dict[str, Callable[[str], str]] = {"TOLOWER": str.lower, "TOUPPER": str.upper}
        lists.set(words[2], change.get(what, str.strip)(words[1]))
    elif what in ("APPEND", "CONCAT") and len(words) >= 2:
        held = (lists.get(words[1]) or "") if what == "APPEND" else ""
        lists.set(words[1], held + "".join(words[2:]))
    elif what == "JOIN" and len(words) >= 3:
        lists.set(words[2], words[1].join(words[3:]))


def _file(lists: Lists, words: list[str], command: Command) -> None:
    if len(words) < 3 or words[0] not in ("GLOB", "GLOB_RECURSE"):
        return
    rest, relative, found = words[2:], "", []
    while rest:
        word = rest.pop(0)
        if word == "RELATIVE" and rest:
            relative = lists.path(rest.pop(0)).rstrip("/") + "/"
        elif word == "LIST_DIRECTORIES" and rest:
            rest.pop(0)
        elif word not in ("CONFIGURE_DEPENDS", "FOLLOW_SYMLINKS"):
            found += glob(lists.place.folder, word.replace("\\", "/"), words[0] == "GLOB_RECURSE")
    lists.set(words[1], ";".join(one.removeprefix(relative) for one in dict.fromkeys(found)))


def _component(lists: Lists, words: list[str], command: Command) -> None:
    if len(words) < 3:
        return
    path = Path(words[1].replace("\\", "/"))
    parts = {
        "NAME": path.name,
        "NAME_WE": path.name.partition(".")[0],
        "NAME_WLE": path.stem,
        "EXT": path.suffix,
        "DIRECTORY": str(path.parent),
        "PATH": str(path.parent),
        "ABSOLUTE": lists.path(words[1]),
        "REALPATH": lists.path(words[1]),
    }
    lists.set(words[0], parts.get(words[2], words[1]))


def _parse_arguments(lists: Lists, words: list[str], command: Command) -> None:
    """`cmake_parse_arguments(prefix options one many args…)`: lists keep their places here."""
    given = [lists.expand(one.text) for one in command.arguments]
    if given[:1] == ["PARSE_ARGV"]:
        given = [*given[2:6], lists.get("ARGV") or ""]
    if len(given) < 4:
        return
    prefix, kinds = given[0], [set(one.split(";")) - {""} for one in given[1:4]]
    values: dict[str, list[str]] = {}
    current = "UNPARSED_ARGUMENTS"
    for word in (each for one in given[4:] for each in one.split(";") if each):
        if word in kinds[0]:
            values[word] = ["TRUE"]
        elif word in kinds[1] or word in kinds[2]:
            current = word
            values.setdefault(word, [])
        else:
            values.setdefault(current, []).append(word)
            current = "UNPARSED_ARGUMENTS" if current in kinds[1] else current
    for name in sorted(kinds[0]):
        lists.set(f"{prefix}_{name}", ";".join(values.get(name, ["FALSE"])))
    for name in sorted((kinds[1] | kinds[2] | {"UNPARSED_ARGUMENTS"}) & values.keys()):
        lists.set(f"{prefix}_{name}", ";".join(values[name]))


def _project(lists: Lists, words: list[str], command: Command) -> None:
    if words:
        lists.set("PROJECT_NAME", words[0])
        for name in ("PROJECT_SOURCE_DIR", f"{words[0]}_SOURCE_DIR"):
            lists.set(name, lists.place.folder)
        lists.set("PROJECT_BINARY_DIR", f"{lists.place.folder}/build")


def _package(lists: Lists, words: list[str], command: Command) -> None:
    if words:
        lists.set(f"{words[0]}_FOUND", "1")


def _subdirectory(lists: Lists, words: list[str], command: Command) -> None:
    if words:
        lists.subdirectory(words[0])


def _include(lists: Lists, words: list[str], command: Command) -> None:
    if words:
        lists.include(words[0])


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
    if "IMPORTED" in said or "ALIAS" in said:
        return
    place = lists.place
    target = Target(name, command.name, said, place.folder, place.file, command.offset)
    lists.targets[name] = target
    target.sources = [(one, place.folder) for one in sources]
    for kind in (*_HANDED, "link_options"):
        getattr(target, kind).extend(getattr(place, kind))
    _note_unknown(lists, target, command)


def _note_unknown(lists: Lists, target: Target, command: Command) -> None:
    """Sources that stand in a variable which nothing here sets."""
    for one in command.arguments:
        for name in re.findall(r"\$\{(\w+)\}", one.text):
            if lists.get(name) is None:
                target.lost.append("${" + name + "}")


def _of_target(kind: str) -> Callable[[Lists, list[str], Command], None]:
    """A command that adds something to a target, for itself or for those that link it."""

    def run(lists: Lists, words: list[str], command: Command) -> None:
        target = lists.targets.get(words[0]) if words else None
        if target is None:
            return
        scope = "PUBLIC"
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
    if target is not None:
        names = [word for word in words[1:] if word not in (*_SCOPES, "FILE_SET", "FILES")]
        target.sources += ((name, lists.place.folder) for name in names)
        _note_unknown(lists, target, command)


def _link(lists: Lists, words: list[str], command: Command) -> None:
    target = lists.targets.get(words[0]) if words else None
    if target is not None:
        target.links += (word for word in words[1:] if word not in (*_SCOPES, "debug", "optimized"))


_BACKWARDS = ("add_definitions", "add_compile_definitions", "include_directories")
"""These hold for targets that were there before as well."""


def _of_folder(kind: str) -> Callable[[Lists, list[str], Command], None]:
    def run(lists: Lists, words: list[str], command: Command) -> None:
        words = [word for word in words if word not in ("SYSTEM", "BEFORE", "AFTER")]
        value = [lists.path(word) for word in words] if kind == "folders" else words
        getattr(lists.place, kind).extend(value)
        if command.name in _BACKWARDS:
            for target in lists.targets.values():
                if target.folder == lists.place.folder:
                    getattr(target, kind).extend(value)

    return run


def _set_properties(lists: Lists, words: list[str], command: Command) -> None:
    if "PROPERTIES" not in words:
        return
    at = words.index("PROPERTIES")
    pairs = dict(zip(words[at + 1 :: 2], words[at + 2 :: 2], strict=False))
    for name in words[:at]:
        if command.name == "set_source_files_properties":
            for key in ("COMPILE_DEFINITIONS", "COMPILE_FLAGS", "COMPILE_OPTIONS"):
                if key in pairs:
                    lists.properties[lists.path(name), key] = pairs[key]
        elif name in lists.targets:
            lists.targets[name].properties.update(pairs)


def _set_property(lists: Lists, words: list[str], command: Command) -> None:
    if words[:1] == ["TARGET"] and "PROPERTY" in words:
        at = words.index("PROPERTY")
        key, values = words[at + 1 : at + 2], words[at + 2 :]
        for name in words[1:at]:
            if key and name in lists.targets:
                held = lists.targets[name].properties
                old = held.get(key[0], "") if "APPEND" in words[:at] else ""
                held[key[0]] = ";".join(one for one in (old, *values) if one)


RUNNERS: dict[str, Runner] = {
    "set": _set,
    "unset": lambda lists, words, _: words and lists.scopes[-1].pop(words[0], None),
    "option": _option,
    "list": _list,
    "string": _string,
    "file": _file,
    "get_filename_component": _component,
    "cmake_parse_arguments": _parse_arguments,
    "project": _project,
    "find_package": _package,
    "add_subdirectory": _subdirectory,
    "include": _include,
    "add_library": _target,
    "add_executable": _target,
    "wdk_add_driver": _target,
    "wdk_add_library": _target,
    "target_sources": _sources,
    "target_link_libraries": _link,
    "target_compile_definitions": _of_target("definitions"),
    "target_compile_options": _of_target("options"),
    "target_include_directories": _of_target("folders"),
    "target_link_options": _of_target("link_options"),
    "add_definitions": _of_folder("options"),
    "add_compile_definitions": _of_folder("definitions"),
    "add_compile_options": _of_folder("options"),
    "include_directories": _of_folder("folders"),
    "add_link_options": _of_folder("link_options"),
    "set_target_properties": _set_properties,
    "set_source_files_properties": _set_properties,
    "set_property": _set_property,
}
"""What each command does."""
