"""Which files of code the steps of a build may write before the compiler reads them.

Theory of operation: a redirection, an option for output and the end of a copy say what is written;
of any other program each file that it is given may be. Knows command lines and tasks; knows no
project format, and no file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from hvci.source.builds.model import words_of

_SEPARATED = re.compile(r"\r?\n|&&|\|\||[&|;]")
_CODE = re.compile(r"(?i)[\w.:~+@/\\-]+\.(?:h|hpp|hxx|hh|inl|inc|c|cpp|cc|cxx)\b(?![\w.*?])")
_REDIRECTED = re.compile(r"(?<![<>])>>?\s*(\"[^\"]+\"|[^\s\"&|>]+)")
_OUTPUT = re.compile(
    r"(?i)(?:\A|\s)(?:-o|--?out(?:put|file)?|[-/]out(?:file)?)[\s:=]+(\"[^\"]+\"|\S+)"
)
_COPIES = frozenset(
    (
        "copy",
        "xcopy",
        "move",
        "ren",
        "rename",
        "cp",
        "mv",
        "install",
        "copy_if_different",
        "robocopy",
    )
)
_READERS = frozenset(
    (
        *("echo", "type", "cat", "findstr", "find", "grep", "rem", "del", "erase", "rm", "rmdir"),
        *("mkdir", "md", "cd", "set", "attrib", "fc", "diff", "cmp", "test", "setlocal", "pushd"),
        *("signtool", "inf2cat", "stampinf", "infverif", "link", "lib", "dumpbin", "clang-format"),
    )
)
"""Commands that write none of the files that they are given."""
_FRONT = frozenset(("call", "cmd", "/c", "start", "cmake", "-e"))
_ASKING = re.compile(r"(?i)\bif\s+(?:not\s+)?(?:exist\s+)?(?:\"[^\"]*\"|\S+)\s*(?:==\s*\S+\s*)?")


def written(commands: str, is_sure: bool = False) -> Iterator[str]:
    """The files of code that commands may write, as they name them, or that they surely write."""
    for one in _SEPARATED.split(commands):
        for match in (*_REDIRECTED.finditer(one), *_OUTPUT.finditer(one)):
            yield from _CODE.findall(match[1])
        words = words_of(_ASKING.sub(" ", _REDIRECTED.sub(" ", one)).lstrip(" \t@"))
        while words and words[0].lower() in _FRONT:
            words.pop(0)
        name = _name(words[0]).lower() if words else ""
        name = name.removesuffix(".exe")
        if name in _COPIES:
            yield from _copied(words[1:])
        elif name not in _READERS and not is_sure:
            yield from (found for word in words[1:] for found in _CODE.findall(word))


def _copied(words: list[str]) -> Iterator[str]:
    """What a copy writes: its last word, or files of the same names in that folder."""
    given = [word for word in words if re.fullmatch(r"[-/][\w:-]{1,12}", word) is None]
    if len(given) < 2:
        return
    if _CODE.search(given[-1]) is not None:
        yield from _CODE.findall(given[-1])
        return
    folder = given[-1].rstrip("/\\")
    for one in given[:-1]:
        for found in _CODE.findall(one):
            yield f"{folder}/{_name(found)}"


def _name(path: str) -> str:
    return path.replace("\\", "/").rpartition("/")[2]


_QUIET = frozenset(
    (
        *("message", "warning", "error", "delete", "makedir", "removedir", "touch", "setenv"),
        *("msbuild", "calltarget", "propertygroup", "itemgroup", "onerror", "output", "cl", "link"),
        *("findinlist", "convertpath", "readlinesfromfile", "xmlpeek", "hash", "getfilehash"),
    )
)
"""Elements of a target that write no file of code."""


def may_write(name: str, given: Mapping[str, str]) -> bool:
    """Whether a task of MSBuild is worth a look: it may name a file of code, or a list of them."""
    return name not in _QUIET and any(
        end in text.lower() for text in given.values() for end in (".h", ".c", ".i", "@(", "%(")
    )


def written_by_task(name: str, given: Mapping[str, str]) -> Iterator[str]:
    """The files of code that a task of MSBuild may write; names are in lower case."""
    if name == "exec":
        yield from written(given.get("command", ""))
    elif name in ("copy", "move"):
        if folder := given.get("destinationfolder", ""):
            sources = given.get("sourcefiles", "").split(";")
            yield from _copied([*sources, folder])
        yield from _CODE.findall(given.get("destinationfiles", ""))
    elif name not in _QUIET:
        yield from (one for text in given.values() for one in _CODE.findall(text))


_SECTIONS = frozenset(
    (
        *("OUTPUT", "BYPRODUCTS", "COMMAND", "DEPENDS", "MAIN_DEPENDENCY", "WORKING_DIRECTORY"),
        *("COMMENT", "DEPFILE", "VERBATIM", "OUTPUT_VARIABLE", "RESULT_VARIABLE", "TARGET", "ARGS"),
        *("PRE_BUILD", "PRE_LINK", "POST_BUILD", "IMPLICIT_DEPENDS", "ERROR_VARIABLE", "APPEND"),
    )
)


def sections(words: list[str]) -> dict[str, list[str]]:
    """The arguments of a command of CMake that runs programs, by what they are about."""
    found: dict[str, list[str]] = {}
    current = ""
    for word in words:
        if word in _SECTIONS:
            current = word if word != "ARGS" else current
            found.setdefault(current, [])
        else:
            found.setdefault(current, []).append(word)
        if word == "COMMAND":
            found[word].append("&&")
    return {
        name: [" ".join(_quoted(many))] if name == "COMMAND" else many
        for name, many in found.items()
    }


def _quoted(words: list[str]) -> list[str]:
    return [f'"{one}"' if " " in one else one for one in words]
