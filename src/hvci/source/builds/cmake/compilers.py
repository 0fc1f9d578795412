"""Which compilers CMake lists are for, and what the lists are told of the one that is asked.

Knows variables and texts; runs no list.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from hvci.source.builds.cmake.generators import Asked
from hvci.source.builds.cmake.targets import Target
from hvci.source.builds.compiler import of_command, of_options
from hvci.source.preprocess.predefined import Compiler

_OF_GNU = re.compile(
    r"\bMINGW\b|COMPILER_IS_GNU|COMPILER_ID\b[^\n]*\bGNU\b|-Wl,--?\w|mingw32|LANG_AND_ID:[^\n]*\bGNU\b"
)
_OF_CLANG = re.compile(r"COMPILER_ID\b[^\n]*\bClang\b|clang-cl")
_TARGETS = ("CMAKE_C_COMPILER_TARGET", "CMAKE_CXX_COMPILER_TARGET")


def variables(asked: Asked) -> dict[str, str]:
    """What lists are told of the compiler before they run."""
    found = dict.fromkeys(("CMAKE_C_COMPILER_ID", "CMAKE_CXX_COMPILER_ID"), asked.compiler_id)
    if asked.compiler is Compiler.GCC:
        found |= dict.fromkeys(("CMAKE_COMPILER_IS_GNUCC", "CMAKE_COMPILER_IS_GNUCXX"), "1")
    if asked.compiler.is_gnu:
        return {**found, "MINGW": "1"}
    if asked.compiler is Compiler.CLANG_MSVC:
        for language in ("C", "CXX"):
            found[f"CMAKE_{language}_SIMULATE_ID"] = "MSVC"
            found[f"CMAKE_{language}_COMPILER_FRONTEND_VARIANT"] = "MSVC"
    return {**found, "MSVC": "1", "MSVC_VERSION": "1940", "WDK_FOUND": "1"}


def named(text: str) -> set[Compiler]:
    """Compilers besides MSVC for which the text of a list has something to say."""
    found = {Compiler.GCC} if _OF_GNU.search(text) else set()
    return found | ({Compiler.CLANG_MSVC} if _OF_CLANG.search(text) else set())


def chosen(get: Callable[[str], str | None], targets: Iterable[Target]) -> Compiler | None:
    """The compiler that lists name by themselves, or whose options they use whatever is asked."""
    every = list(targets)
    about = " ".join(get(name) or "" for name in _TARGETS)
    about = " ".join((about, *(_options(one) for one in every)))
    for name in ("CMAKE_C_COMPILER", "CMAKE_CXX_COMPILER"):
        found = of_command(get(name) or "", about)
        if found is not None:
            return found
    uses_kit = any(one.command.startswith("wdk_") for one in every)
    return Compiler.GCC if not uses_kit and of_options(about) is Compiler.GCC else None


def _options(target: Target) -> str:
    said = (target.properties.get(name, "") for name in ("LINK_FLAGS", "LINK_OPTIONS"))
    every = (*target.link_options, *target.options, *target.links, *said)
    return " ".join(every).replace(";", " ")
