"""Evaluates CMake's generator expressions for one configuration.

Knows `$<…>`; what a target is asked elsewhere. An expression that is not known is kept as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

from hvci.source.preprocess.predefined import Compiler

MAX_DEPTH = 20
_FALSE = frozenset(("", "0", "OFF", "NO", "FALSE", "N", "IGNORE", "NOTFOUND"))
_KEPT = ("BUILD_INTERFACE", "BUILD_LOCAL_INTERFACE", "HOST_LINK", "1")
LINK_ONLY = "$<LINK_ONLY:"
"""Stands before what is linked and hands on nothing else."""
_DROPPED = ("INSTALL_INTERFACE", "DEVICE_LINK", "0")


@dataclass(frozen=True)
class Asked:
    """The configuration that is built."""

    configuration: str
    """"Debug" or "Release"."""
    language: str = ""
    """"C" or "CXX"; empty where several may be compiled: then it is left open."""
    preset: str = ""
    """With which variables the lists are run."""
    compiler: Compiler = Compiler.MSVC

    @property
    def label(self) -> str:
        """How a person tells it from the others."""
        compiler = "" if self.compiler is Compiler.MSVC else self.compiler
        return " ".join(filter(None, (self.preset, self.configuration, compiler)))

    @property
    def compiler_id(self) -> str:
        """What CMake calls the compiler."""
        named = {Compiler.MSVC: "MSVC", Compiler.GCC: "GNU"}
        return named.get(self.compiler, "Clang")


def replace(text: str, asked: Asked, depth: int = 0) -> str:
    """A text with its generator expressions evaluated."""
    if "$<" not in text or depth > MAX_DEPTH:
        return text
    parts, at = [], 0
    while (start := text.find("$<", at)) >= 0:
        end = _closing(text, start)
        if end < 0:
            break
        inner = replace(text[start + 2 : end], asked, depth + 1)
        value = _value(inner, asked)
        parts += [text[at:start], f"$<{inner}>" if value is None else value]
        at = end + 1
    return "".join((*parts, text[at:]))


def is_open(text: str) -> bool:
    """Whether something in a text was not evaluated."""
    return "$<" in text


def _closing(text: str, start: int) -> int:
    depth, at = 0, start
    while at < len(text):
        if text.startswith("$<", at):
            depth += 1
            at += 2
            continue
        if text[at] == ">":
            depth -= 1
            if depth == 0:
                return at
        at += 1
    return -1


def _value(inner: str, asked: Asked) -> str | None:
    if "$<" in inner.partition(":")[0]:
        return None  # what decides is not known yet
    name, colon, rest = inner.partition(":")
    if name in _KEPT:
        return rest
    if name in _DROPPED:
        return ""
    if not colon:
        return {"CONFIG": asked.configuration, "SEMICOLON": ";", "COMMA": ","}.get(name)
    words = rest.split(",")
    upper = [word.upper() for word in words]
    if name == "CONFIG":
        return _bit(asked.configuration.upper() in upper)
    if name in ("NOT", "BOOL"):
        return _bit((rest.upper() in _FALSE) == (name == "NOT"))
    if name in ("AND", "OR"):
        truths = [word not in _FALSE for word in upper]
        return _bit(all(truths) if name == "AND" else any(truths))
    if name == "IF" and len(words) >= 3:
        return words[1] if upper[0] not in _FALSE else ",".join(words[2:])
    if name == "STREQUAL" and len(words) == 2:
        return _bit(words[0] == words[1])
    if name == "JOIN":
        return words[0].replace(";", rest[len(words[0]) + 1 :])
    if name == "PLATFORM_ID":
        return _bit("WINDOWS" in upper)
    if name in ("C_COMPILER_ID", "CXX_COMPILER_ID"):
        return _bit(asked.compiler_id.upper() in upper)
    if name in ("COMPILE_LANGUAGE", "COMPILE_LANG_AND_ID"):
        listed = upper if name == "COMPILE_LANGUAGE" else upper[:1]
        is_one = name == "COMPILE_LANGUAGE" or asked.compiler_id.upper() in upper[1:]
        return _bit(asked.language in listed and is_one) if asked.language else None
    return rest.lower() if name == "LOWER_CASE" else rest.upper() if name == "UPPER_CASE" else None


def _bit(value: bool) -> str:
    return "1" if value else "0"
