"""The files in the lists of MSBuild items: names, patterns, other lists and what is made of those.

Knows lists that are filled so far; knows nothing of what is said of their files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from hvci.source.builds.msbuild.files import Library, well_known

SHOWN = 120
"""Characters of a list in a sentence."""

_LIST = re.compile(r"@\(\s*(\w+)\s*(?:->\s*'([^']*)'\s*)?(?:,\s*'[^']*'\s*)?\)")
"""A list, what is made of each of its files, and what stands between them."""
_NAMED = re.compile(r"@\(\s*(\w+)")
_METADATA = re.compile(r"%\((?:\w+\.)?(\w+)\)")
_OF_CONVERTER = re.compile("(?:cl|rc|idl|mc|asm|mof)sourcefiles")
"""Lists that projects of the oldest kits name, which only those filled."""


class Listed(Protocol):
    """One item of a list."""

    path: str
    metadata: dict[str, str]


def lists_in(text: str) -> Iterator[str]:
    """The lists that a text names, in lower case."""
    return (name.lower() for name in _NAMED.findall(text))


class Reader:
    """Reads lists; `open` tells what was not followed, `unfilled` the lists that nothing fills."""

    def __init__(self, library: Library, items: Mapping[str, Sequence[Listed]]) -> None:
        self.library = library
        self.items = items
        self.open: list[str] = []
        self.unfilled: list[str] = []

    def entries(self, text: str) -> Iterator[tuple[str, dict[str, str]]]:
        """The paths that a list stands for, with what other lists say of them already."""
        for one in _parts(text):
            if one.startswith("@("):
                yield from self._of_list(one)
            else:
                yield from ((path, {}) for path in self._of_name(one))

    def _of_name(self, name: str) -> Iterator[str]:
        # a path in an item is meant from the project, wherever the item stands
        if "*" in name or "?" in name:
            yield from self.library.matching(self.library.project, name)
        else:
            yield self.library.place(self.library.project, name)

    def _of_list(self, text: str) -> Iterator[tuple[str, dict[str, str]]]:
        match = _LIST.fullmatch(text)
        if match is None:
            self.open.append(f"the files {text[:SHOWN]} could not be followed")
            return
        name, made = match[1].lower(), match[2]
        if name not in self.items and not _OF_CONVERTER.fullmatch(name):
            self.unfilled.append(f"nothing here fills the list @({match[1]})")
        for item in self.items.get(name, ()):
            if made is None:
                yield item.path, item.metadata
                continue
            text = _filled(made, well_known(item.path) | item.metadata).strip()
            for path in self._of_name(text) if text else ():
                yield path, item.metadata


def _filled(text: str, metadata: Mapping[str, str]) -> str:
    """A text with the metadata that it asks for."""
    return _METADATA.sub(lambda match: metadata.get(match[1].lower(), ""), text)


def _parts(text: str) -> Iterator[str]:
    """The entries of a list; a semicolon inside of `@(…)` separates nothing."""
    depth, begin = 0, 0
    for at, char in enumerate(text):
        if char == "(" and (depth or text[at - 1 : at] == "@"):
            depth += 1
        elif char == ")" and depth:
            depth -= 1
        elif char == ";" and not depth:
            if entry := text[begin:at].strip():
                yield entry
            begin = at + 1
    if entry := text[begin:].strip():
        yield entry
