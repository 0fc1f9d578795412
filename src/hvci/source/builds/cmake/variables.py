"""What the commands of CMake lists do to variables: lists, texts, names of files.

Knows values; knows no targets. A variable that a command sets in a way that is not followed is
unclear, and so is what is made of it.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

from hvci.source.builds.cmake import conditions as cmake_conditions
from hvci.source.builds.cmake.files import glob
from hvci.source.builds.cmake.run import Lists, Runner
from hvci.source.builds.cmake.targets import FLAGS
from hvci.source.builds.cmake.text import Command

MAX_EXPRESSION = 200
"""Characters of an expression of `math`."""
_SOURCES = ("*.c", "*.cc", "*.cpp", "*.cxx", "*.c++")


def _set(lists: Lists, words: list[str], command: Command) -> None:
    if not words:
        return
    name, values = words[0], words[1:]
    if "CACHE" in values:
        values, said = values[: values.index("CACHE")], values[values.index("CACHE") :]
        if lists.get(name) is not None and "FORCE" not in said and not _is_first(lists, name):
            return
    if values[-1:] == ["PARENT_SCOPE"]:
        scope = lists.scopes[-2] if len(lists.scopes) > 1 else lists.scopes[-1]
        scope[name] = ";".join(values[:-1])
        return
    if len(words) == 1:
        lists.scopes[-1].pop(name, None)
        if len(command.arguments) == 1:
            lists.cleared.add(name)
    else:
        lists.set(name, ";".join(values))
    lists.note(name, command)


def _is_first(lists: Lists, name: str) -> bool:
    """Whether the options of all compilers get a value before the project gives them one."""
    return name in FLAGS and not lists.get(name) and lists.get("PROJECT_NAME") is None


def _unset(lists: Lists, words: list[str], command: Command) -> None:
    """A variable is known to be none from there on."""
    if words:
        lists.scopes[-1].pop(words[0], None)
        lists.cleared.add(words[0])


def _option(lists: Lists, words: list[str], command: Command) -> None:
    if words and lists.get(words[0]) is None:
        lists.set(words[0], words[2] if len(words) > 2 else "OFF")


def _list(lists: Lists, words: list[str], command: Command) -> None:
    if len(words) < 2:
        return
    what, name, rest = words[0], words[1], words[2:]
    held = [one for one in (lists.get(name) or "").split(";") if one]
    if what in _READ:
        _read_list(lists, what, held, rest)
        return
    if what == "TRANSFORM" and "OUTPUT_VARIABLE" in rest:
        at = rest.index("OUTPUT_VARIABLE")
        name, rest = rest[at + 1], rest[:at]
    try:
        made = _changed(lists, what, held, rest)
    except (IndexError, ValueError, re.error):
        made = None
    if made is None:
        lists.unclear.add(name)
        return
    lists.set(name, ";".join(made))
    lists.note(name, command)


_READ = ("LENGTH", "JOIN", "GET", "SUBLIST", "FIND")


def _read_list(lists: Lists, what: str, held: list[str], rest: list[str]) -> None:
    """What is told of a list goes into another variable."""
    if not rest:
        return
    name, value = rest[-1], None
    if what == "LENGTH":
        value = str(len(held))
    elif what == "JOIN" and len(rest) > 1:
        value = rest[0].join(held)
    elif what == "FIND":
        value = str(held.index(rest[0])) if rest[0] in held else "-1"
    elif what == "GET" and all(one.lstrip("-").isdigit() for one in rest[:-1]):
        value = ";".join(held[int(one)] for one in rest[:-1] if -len(held) <= int(one) < len(held))
    elif what == "SUBLIST" and len(rest) == 3 and rest[0].isdigit():
        length = int(rest[1]) if rest[1].isdigit() else len(held)
        value = ";".join(held[int(rest[0]) :][:length])
    if value is None:
        lists.unclear.add(name)
    else:
        lists.set(name, value)


def _changed(lists: Lists, what: str, held: list[str], rest: list[str]) -> list[str] | None:
    """A list that is changed; None: not known how."""
    if what == "APPEND":
        return held + rest
    if what == "PREPEND":
        return rest + held
    if what == "REMOVE_ITEM":
        return [one for one in held if one not in rest]
    if what == "REMOVE_DUPLICATES":
        return list(dict.fromkeys(held))
    if what in ("SORT", "REVERSE"):
        return sorted(held) if what == "SORT" else held[::-1]
    if what == "INSERT":
        at = int(rest[0])
        return [*held[:at], *rest[1:], *held[at:]]
    if what == "REMOVE_AT":
        gone = {int(one) % max(len(held), 1) for one in rest}
        return [one for at, one in enumerate(held) if at not in gone]
    if what in ("POP_FRONT", "POP_BACK"):
        for one in rest or [""]:
            taken = held.pop(0 if what == "POP_FRONT" else -1) if held else ""
            if one:
                lists.set(one, taken)
        return held
    if what == "FILTER":
        keep = rest[0] == "INCLUDE"
        return [one for one in held if bool(cmake_conditions.matches(rest[2], one)) is keep]
    return list(_transformed(held, rest)) if what == "TRANSFORM" else None


def _transformed(held: list[str], rest: list[str]) -> Iterator[str]:
    """Each element of a list changed; raise `ValueError` for what is not known."""
    how, given = rest[0], rest[1:]
    changes: dict[str, Callable[[str], str]] = {
        "TOLOWER": str.lower,
        "TOUPPER": str.upper,
        "STRIP": str.strip,
    }
    if how in changes and not given:
        yield from map(changes[how], held)
    elif how in ("PREPEND", "APPEND") and len(given) == 1:
        yield from (given[0] + one if how == "PREPEND" else one + given[0] for one in held)
    elif how == "REPLACE" and len(given) == 2:
        yield from (re.sub(given[0][:400], given[1], one[:4000]) for one in held)
    else:
        raise ValueError(how)


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
    elif what not in ("COMPARE", "TIMESTAMP", "UUID", "RANDOM"):
        # the last word is where most of them put what they make
        lists.unclear.update((words[-1:], words[4:5])[what == "REGEX"])


def _globbed(lists: Lists, folder: str, pattern: str, recurse: bool = False) -> list[str]:
    found, is_whole = glob(folder, pattern.replace("\\", "/"), recurse)
    lists.gave_up |= not is_whole
    return found


def _file(lists: Lists, words: list[str], command: Command) -> None:
    if len(words) < 3 or words[0] not in ("GLOB", "GLOB_RECURSE"):
        if words[:1] and words[0] in _WRITING:
            lists.written |= dict.fromkeys(map(lists.path, words[1:]))
        at = {"STRINGS": 2, "READ": 2, "RELATIVE_PATH": 1, "REAL_PATH": 2, "TO_CMAKE_PATH": 2}
        lists.unclear.update(words[at[words[0]] :][:1] if words[:1] and words[0] in at else ())
        return
    rest, relative, found = words[2:], "", []
    while rest:
        word = rest.pop(0)
        if word == "RELATIVE" and rest:
            relative = lists.path(rest.pop(0)).rstrip("/") + "/"
        elif word == "LIST_DIRECTORIES" and rest:
            rest.pop(0)
        elif word not in ("CONFIGURE_DEPENDS", "FOLLOW_SYMLINKS"):
            found += _globbed(lists, lists.place.folder, word, words[0] == "GLOB_RECURSE")
    lists.set(words[1], ";".join(one.removeprefix(relative) for one in dict.fromkeys(found)))


_WRITING = ("WRITE", "APPEND", "GENERATE", "CONFIGURE", "COPY_FILE", "RENAME", "DOWNLOAD", "TOUCH")


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
    for name in sorted(kinds[1] | kinds[2] | {"UNPARSED_ARGUMENTS"}):
        if name in values:
            lists.set(f"{prefix}_{name}", ";".join(values[name]))
        else:
            lists.cleared.add(f"{prefix}_{name}")


def _folder_sources(lists: Lists, words: list[str], command: Command) -> None:
    if len(words) > 1:
        folder = lists.path(words[0])
        found = (one for pattern in _SOURCES for one in _globbed(lists, folder, pattern))
        lists.set(words[1], ";".join(found))


def _math(lists: Lists, words: list[str], command: Command) -> None:
    """`math(EXPR variable "expression")` of whole numbers."""
    if len(words) < 3 or words[0] != "EXPR":
        return
    number = _number(words[2])
    if number is None:
        lists.unclear.add(words[1])
    else:
        lists.set(words[1], hex(number) if "HEXADECIMAL" in words else str(number))
        lists.note(words[1], command)


_OPERATORS: dict[type[ast.AST], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.floordiv,
    ast.Mod: operator.mod,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
}


def _number(text: str) -> int | None:
    """What an expression of whole numbers gives; None where that is not known."""
    if len(text) > MAX_EXPRESSION or re.fullmatch(r"[\w\s+\-*/%&|^()]+", text) is None:
        return None
    try:
        return _evaluated(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError):
        return None


def _evaluated(node: ast.expr) -> int:
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_evaluated(node.operand)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        made = _OPERATORS[type(node.op)](_evaluated(node.left), _evaluated(node.right))
        if abs(made) < 1 << 63:
            return made
    raise ValueError(type(node).__name__)


def _sets(position: int) -> Runner:
    """A command that gives a variable something that is not followed."""

    def run(lists: Lists, words: list[str], command: Command) -> None:
        lists.unclear.update(words[position : position + 1])

    return run


def _sets_named(*names: str) -> Runner:
    def run(lists: Lists, words: list[str], command: Command) -> None:
        lists.unclear.update(word for name, word in pairwise(words) if name in names)

    return run


def _process(lists: Lists, words: list[str], command: Command) -> None:
    """A program that runs before anything is built: what it prints and writes is not followed."""
    _sets_named("OUTPUT_VARIABLE", "RESULT_VARIABLE")(lists, words, command)
    lists.note_written(words)


VARIABLES: dict[str, Runner] = {
    "set": _set,
    "unset": _unset,
    "option": _option,
    "list": _list,
    "string": _string,
    "file": _file,
    "get_filename_component": _component,
    "cmake_parse_arguments": _parse_arguments,
    "aux_source_directory": _folder_sources,
    "math": _math,
    "cmake_path": _sets(1),
    "separate_arguments": _sets(0),
    "get_property": _sets(0),
    "get_target_property": _sets(0),
    "get_source_file_property": _sets(0),
    "get_directory_property": _sets(0),
    "execute_process": _process,
    "try_compile": _sets(0),
    "try_run": _sets(0),
    **dict.fromkeys(
        (
            *("check_c_source_compiles", "check_cxx_source_compiles", "check_c_compiler_flag"),
            *("check_cxx_compiler_flag", "check_include_file", "check_include_files"),
            *("check_include_file_cxx", "check_function_exists", "check_type_size"),
            *("check_c_source_runs", "check_cxx_source_runs"),
        ),
        _sets(1),
    ),
    **dict.fromkeys(("check_symbol_exists", "check_cxx_symbol_exists"), _sets(2)),
}
"""What each command does."""
