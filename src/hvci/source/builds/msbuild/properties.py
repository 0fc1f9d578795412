"""Replaces `$(Property)` in MSBuild text, with the property functions that find files and folders.

Knows names and paths; knows nothing of items or targets. What is not known becomes empty, as in
MSBuild, and its name is kept, so that somebody can say why a file was not found.
"""

from __future__ import annotations

import operator
import os
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path

from hvci.source.builds.msbuild.condition import version
from hvci.source.text.disk import is_file, is_folder, spelled

MAX_VALUE = 1 << 18
"""Characters of one expanded value."""
MAX_CALL = 20_000
"""Characters of one `$(…)`."""
MAX_DEPTH = 12
MAX_LEVELS = 24
"""Folders that are gone up to find a file."""

Lookup = Callable[[str], str | None]

_METHOD = re.compile(r"([\w]+)((?:\.\w+\(.*\))+)\s*$", re.DOTALL)
_STATIC = re.compile(r"\[([\w.]+)\]::(\w+)\(")
_ARGUMENT = re.compile(r"\s*(?:'([^']*)'|\"([^\"]*)\"|`([^`]*)`|([^,]*))\s*(?:,|$)")
_CALLS = re.compile(r"(?:\.\w+\(.*\))+", re.DOTALL)
_CALL = re.compile(r"\.(\w+)\(((?:'[^']*'|\"[^\"]*\"|[^()'\"])*)\)")


def expand(text: str, lookup: Lookup, unknown: set[str], depth: int = 0) -> str:
    """Replace every `$(…)`; names that nobody defines are added to `unknown`."""
    if "$(" in text and depth <= MAX_DEPTH:
        parts = (
            part if literal else _value(part, lookup, unknown, depth + 1)
            for literal, part in _split(text)
        )
        text = "".join(parts)
    if len(text) > MAX_VALUE:
        unknown.add(f"[a text of more than {MAX_VALUE} characters]")
    return text[:MAX_VALUE]


@lru_cache(maxsize=1 << 12)
def _split(text: str) -> tuple[tuple[bool, str], ...]:
    """Text and the insides of `$(…)`, in turn; whether each is text."""
    parts, at = [], 0
    while (start := text.find("$(", at)) >= 0:
        end = _closing(text, start + 1)
        if end < 0:
            break
        parts += [(True, text[at:start]), (False, text[start + 2 : end])]
        at = end + 1
    return (*parts, (True, text[at:]))


@lru_cache(maxsize=1 << 12)
def quoted(condition: str) -> str:
    """A condition with quotes around each `$(…)` that has none: what it stands for is one word."""
    parts, at, is_inside = list[str](), 0, False
    while at < len(condition):
        end = _closing(condition, at + 1) if condition.startswith("$(", at) else -1
        if end < 0:
            is_inside ^= condition[at] == "'"
            parts.append(condition[at])
            at += 1
        else:
            whole = condition[at : end + 1]
            parts.append(whole if is_inside else f"'{whole}'")
            at = end + 1
    return "".join(parts)


def _closing(text: str, start: int) -> int:
    """Where the parenthesis that opens at an index is closed."""
    depth, quote = 0, ""
    for at in range(start, min(len(text), start + MAX_CALL)):
        char = text[at]
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"`":
            quote = char
        elif char == "(":
            depth += 1
        elif char == ")":
            depth -= 1
            if depth == 0:
                return at
    return -1


def _value(inner: str, lookup: Lookup, unknown: set[str], depth: int) -> str:
    name = inner.strip()
    if re.fullmatch(r"[\w.\-]+", name):
        found = lookup(name.lower())
        if found is None:
            unknown.add(name)
        return found or ""
    inner = expand(inner, lookup, unknown, depth).strip()
    if (match := _STATIC.match(inner)) is not None:
        end = _closing(inner, match.end() - 1)
        result = _static(match[1].lower(), match[2].lower(), arguments(inner[match.end() : end]))
        if result is not None and (rest := inner[end + 1 :].strip()):
            result = _methods(result, rest) if _CALLS.fullmatch(rest) else None
    elif (match := _METHOD.match(inner)) is not None:
        result = _methods(lookup(match[1].lower()) or "", match[2])
    else:
        result = None
    if result is None:
        unknown.add(inner[:80])
    return result or ""


def arguments(text: str) -> list[str]:
    """The arguments of a property function, without quotes."""
    found = []
    for match in _ARGUMENT.finditer(text):
        if match.start() >= len(text):
            break
        found.append(next((one for one in match.groups() if one is not None), "").strip())
    return found


def _static(owner: str, name: str, given: list[str]) -> str | None:
    function = _FUNCTIONS.get(f"{owner}::{name}") if given else None
    try:
        return function(given) if function is not None else None
    except (OSError, ValueError, IndexError, re.error):
        return None


def slashed(path: str) -> str:
    """A path with forward slashes."""
    return path.replace("\\", "/")


def _joined(given: list[str]) -> str:
    return slashed(os.path.join(*(slashed(one) for one in given)))  # noqa: PTH118 (text only)


def _normal(given: list[str]) -> str:
    return slashed(os.path.normpath(_joined(given)))


def above(start: str, name: str) -> str:
    """The nearest folder upwards that holds a file of that name; empty when none does."""
    here = Path(slashed(start))
    for folder in (here, *list(here.parents)[:MAX_LEVELS]):
        if is_file(folder / spelled(folder, slashed(name))):
            return slashed(str(folder))
    return ""


def _folder_above(given: list[str]) -> str:
    return above(given[0], given[1])


def _file_above(given: list[str]) -> str:
    folder = above(given[1] if len(given) > 1 and given[1] else ".", given[0])
    return f"{folder}/{given[0]}" if folder else ""


def _ordered(compare: Callable[[list[float], list[float]], bool]) -> Callable[[list[str]], str]:
    def run(given: list[str]) -> str:
        parts = [version(one) for one in given[:2]]
        if len(parts) < 2 or not all(parts):
            raise ValueError(given)
        return str(compare(*parts))

    return run


def _numbers(combine: Callable[[float, float], float]) -> Callable[[list[str]], str]:
    return lambda given: f"{combine(float(given[0]), float(given[1])):g}"


def _is_match(given: list[str]) -> str:
    return str(re.search(given[1][:400], given[0][:4000]) is not None)


_FUNCTIONS: Mapping[str, Callable[[list[str]], str]] = {
    "msbuild::getdirectorynameoffileabove": _folder_above,
    "msbuild::getpathoffileabove": _file_above,
    "msbuild::normalizepath": _normal,
    "msbuild::normalizedirectory": lambda given: _normal(given) + "/",
    "msbuild::ensuretrailingslash": lambda given: slashed(given[0]).rstrip("/") + "/",
    "msbuild::valueordefault": lambda given: given[0] or given[1],
    "system.io.path::combine": _joined,
    "system.io.path::getfullpath": _normal,
    "system.io.path::getdirectoryname": lambda given: slashed(given[0]).rpartition("/")[0],
    "system.io.path::getfilename": lambda given: slashed(given[0]).rpartition("/")[2],
    "system.io.path::getfilenamewithoutextension": lambda given: Path(slashed(given[0])).stem,
    "system.io.directory::getparent": lambda given: str(Path(slashed(given[0])).parent),
    "system.io.file::exists": lambda given: str(is_file(slashed(given[0]))),
    "system.io.directory::exists": lambda given: str(is_folder(slashed(given[0]))),
    "system.string::isnullorempty": lambda given: str(not given[0]),
    "system.string::concat": "".join,
    "system.string::join": lambda given: given[0].join(given[1:]),
    "system.string::copy": lambda given: given[0],
    "system.string::new": lambda given: given[0],
    "system.string::isnullorwhitespace": lambda given: str(not given[0].strip()),
    "system.convert::toint32": lambda given: str(int(given[0], int((*given, "10")[1]))),
    "system.text.regularexpressions.regex::ismatch": _is_match,
    "system.version::parse": lambda given: given[0],
    "msbuild::versionequals": _ordered(operator.eq),
    "msbuild::versionnotequals": _ordered(operator.ne),
    "msbuild::versiongreaterthan": _ordered(operator.gt),
    "msbuild::versiongreaterthanorequals": _ordered(operator.ge),
    "msbuild::versionlessthan": _ordered(operator.lt),
    "msbuild::versionlessthanorequals": _ordered(operator.le),
    "msbuild::add": _numbers(operator.add),
    "msbuild::subtract": _numbers(operator.sub),
    "msbuild::multiply": _numbers(operator.mul),
    "msbuild::isosplatform": lambda given: str(given[0].lower() == "windows"),
}


def _methods(value: str, calls: str) -> str | None:
    for match in _CALL.finditer(calls):
        given = arguments(match[2])
        function = _METHODS.get(match[1].lower())
        try:
            value = function(value, given) if function is not None else ""
        except (IndexError, ValueError):
            return None
        if function is None:
            return None
    return value


_METHODS: Mapping[str, Callable[[str, list[str]], str]] = {
    "replace": lambda value, given: value.replace(given[0], given[1]),
    "tolower": lambda value, given: value.lower(),
    "tolowerinvariant": lambda value, given: value.lower(),
    "toupper": lambda value, given: value.upper(),
    "trim": lambda value, given: value.strip(given[0] if given else None),
    "trimend": lambda value, given: value.rstrip(_both(given)),
    "trimstart": lambda value, given: value.lstrip(_both(given)),
    "contains": lambda value, given: str(given[0] in value),
    "startswith": lambda value, given: str(value.startswith(given[0])),
    "endswith": lambda value, given: str(value.endswith(given[0])),
    "substring": lambda value, given: value[int(given[0]) :][: int((*given, "99999")[1])],
    "equals": lambda value, given: str(value == given[0]),
    "tostring": lambda value, given: value,
}


def _both(given: list[str]) -> str | None:
    """Slashes of either kind are one here."""
    return "/\\" if given and given[0] in ("\\", "/") else given[0] if given else None
