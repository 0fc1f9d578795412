"""Splits CMake text into commands with their arguments.

Knows the lexical surface of CMake; knows nothing of what a command does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_COMMANDS = 20_000
"""Commands of one file."""

_SPACE = re.compile(r"(?:\s+|#\[(=*)\[.*?\]\1\]|#[^\n]*)+", re.DOTALL)
_NAME = re.compile(r"[A-Za-z_]\w*")
_BRACKET = re.compile(r"\[(=*)\[\n?(.*?)\]\1\]", re.DOTALL)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_BARE = re.compile(r'(?:[^\s()#"\\]|\\.|"(?:[^"\\]|\\.)*")+', re.DOTALL)
_ESCAPE = re.compile(r"\\(\n|.)", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", ";": "\\;", "\n": ""}


@dataclass(frozen=True)
class Argument:
    """One argument as it is written."""

    text: str
    quoted: bool
    raw: bool = False
    """In brackets: nothing in it is replaced."""


@dataclass(frozen=True)
class Command:
    """One command."""

    name: str
    """In lower case."""
    arguments: tuple[Argument, ...]
    offset: int


def commands(text: str) -> list[Command]:
    """Every command of a text; what is no command is passed over."""
    found: list[Command] = []
    at = 0
    while at < len(text) and len(found) < MAX_COMMANDS:
        at = _skip(text, at)
        name = _NAME.match(text, at)
        if name is None:
            at += 1
            continue
        opening = re.compile(r"[ \t]*\(").match(text, name.end())
        if opening is None:
            at = name.end()
            continue
        given, at = _arguments(text, opening.end())
        found.append(Command(name[0].lower(), tuple(given), name.start()))
    return found


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _arguments(text: str, at: int) -> tuple[list[Argument], int]:
    found: list[Argument] = []
    depth = 1
    while at < len(text):
        at = _skip(text, at)
        if at >= len(text):
            break
        char = text[at]
        if char in "()":
            depth += 1 if char == "(" else -1
            at += 1
            if depth == 0:
                break
            found.append(Argument(char, quoted=False))
        elif (match := _BRACKET.match(text, at)) is not None:
            found.append(Argument(match[2], quoted=True, raw=True))
            at = match.end()
        elif (match := _QUOTED.match(text, at)) is not None:
            found.append(Argument(match[1], quoted=True))
            at = match.end()
        elif (match := _BARE.match(text, at)) is not None:
            found.append(Argument(match[0], quoted=False))
            at = match.end()
        else:
            at += 1
    return found, at


def unescaped(text: str) -> str:
    """A text with its escape sequences replaced."""
    if "\\" not in text:
        return text
    return _ESCAPE.sub(lambda match: _ESCAPED.get(match[1], match[1]), text)
