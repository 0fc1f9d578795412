"""What of CMake lists depends on programs that CMake runs, or on the environment.

Theory of operation: both ways of such a condition may be gone. Where one of them adds to a target
that is told; a variable that one of them sets is unclear from there on. Knows commands as they are
written; runs none.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping

from hvci.source.builds.cmake.text import Command

MAX_DEPTH = 8
"""Functions that call each other."""
SHOWN = 60
_USED = re.compile(r"\$(ENV|CACHE)?\{([\w./+-]+)\}")
_OF_ENVIRONMENT = re.compile(r"\A(?:\$?)ENV\{")
_ADDING = frozenset(
    (
        *("add_library", "add_executable", "add_subdirectory", "include", "set_property"),
        *("target_sources", "target_compile_definitions", "target_compile_options"),
        *("target_link_libraries", "link_libraries", "add_definitions", "add_compile_options"),
        *("add_compile_definitions", "set_target_properties", "set_source_files_properties"),
        *("set_directory_properties", "wdk_add_driver", "wdk_add_library", "remove_definitions"),
        "target_precompile_headers",
    )
)
_SETTING = {"set": 0, "unset": 0, "list": 1, "string": -1, "option": 0}
_SETTING["cmake_dependent_option"] = 0
"""Commands that set a variable, and which argument names it."""
Functions = Mapping[str, tuple[Command, list[Command], bool]]


def is_unclear(text: str, unclear: Collection[str]) -> bool:
    """Whether a text holds an unclear variable, or one of the environment."""
    return any(kind == "ENV" or name in unclear for kind, name in _USED.findall(text))


def is_open(condition: Command, unclear: Collection[str]) -> bool:
    """Whether a condition asks for such a thing."""
    return any(
        is_unclear(one.text, unclear)
        or (not one.quoted and (one.text in unclear or _OF_ENVIRONMENT.match(one.text)))
        for one in condition.arguments
    )


def shown(condition: Command) -> str:
    """A condition for a sentence."""
    words = (f'"{one.text}"' if one.quoted else one.text for one in condition.arguments)
    return f"if({' '.join(words)[:SHOWN]})"


def adds(body: Iterable[Command], functions: Functions, depth: int = 0) -> bool:
    """Whether commands may add something to a target."""
    for one in body:
        inner = functions[one.name][1] if one.name in functions and depth < MAX_DEPTH else ()
        if one.name in _ADDING or adds(inner, functions, depth + 1):
            return True
    return False


def sets(body: Iterable[Command]) -> Iterator[str]:
    """The variables that commands set."""
    for one in body:
        if one.name in _SETTING and one.arguments:
            at = _SETTING[one.name]
            yield one.arguments[at if at < len(one.arguments) else 0].text
