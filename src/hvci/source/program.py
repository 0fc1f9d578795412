"""The source files that are looked at together: what a name is defined as, and where it is used.

Knows names across files; knows nothing of DDIs, values or projects.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from hvci.source.conditions import Setting, Truth, live
from hvci.source.text import Source
from hvci.source.tree import File, Function, Trees, ancestors

if TYPE_CHECKING:
    from tree_sitter import Node

MAX_USES = 200
"""Uses of one name that are followed."""

_DEFINE = re.compile(
    rb"^[ \t]*#[ \t]*define[ \t]+([A-Za-z_]\w*)(\([^)\n]*\))?[ \t]*((?:[^\n\\]|\\\r?\n|\\)*)",
    re.MULTILINE,
)
_PREPROCESSOR = re.compile(rb"^[ \t]*#(?:[^\n\\]|\\\r?\n|\\)*", re.MULTILINE)
_COMMENT = re.compile(rb"/\*.*?\*/|//[^\n]*", re.DOTALL)
_CONTINUED = re.compile(rb"\\\r?\n")


@dataclass(frozen=True)
class Macro:
    """One `#define`."""

    name: bytes
    parameters: tuple[bytes, ...] | None
    """None for a macro without parentheses."""
    body: bytes
    source: Source
    start: int
    """Offset of its line."""
    body_start: int
    end: int


@dataclass(frozen=True)
class Use:
    """One call of a function by its name, or one use of a macro with arguments."""

    source: Source
    file: File
    node: Node
    offset: int
    function: Function | None


class Unit:
    """One source file with what was found in it; shared between programs."""

    def __init__(self, source: Source, macros: Setting) -> None:
        self.source = source
        self.trees = Trees(source, macros)

    @cached_property
    def macros(self) -> dict[bytes, list[Macro]]:
        """Every `#define` of the file, by name."""
        found: dict[bytes, list[Macro]] = {}
        for match in _DEFINE.finditer(self.source.text):
            macro = _macro(match, self.source)
            found.setdefault(macro.name, []).append(macro)
        return found

    @cached_property
    def defines(self) -> list[tuple[int, int]]:
        """Start and end of every `#define`."""
        return sorted((macro.start, macro.end) for many in self.macros.values() for macro in many)

    def in_define(self, offset: int) -> bool:
        """Whether an offset lies in a `#define`."""
        return any(start <= offset < end for start, end in self.defines)

    def live(self, offset: int) -> Truth:
        """Whether the build keeps the text at an offset."""
        return live(self.trees.groups, offset, self.trees.macros)


def _macro(match: re.Match[bytes], source: Source) -> Macro:
    listed = match[2]
    parameters = None
    if listed is not None:
        parameters = tuple(word.strip() for word in listed[1:-1].split(b",") if word.strip())
    # offsets in the body must stay true, so breaks and comments become as many spaces
    body = _COMMENT.sub(_spaces, _CONTINUED.sub(_spaces, match[3]))
    return Macro(match[1], parameters, body, source, match.start(), match.start(3), match.end())


def _spaces(match: re.Match[bytes]) -> bytes:
    return b" " * len(match.group())


class Program:
    """Files that see each other, such as those that one driver is built from."""

    def __init__(self, units: Iterable[Unit]) -> None:
        self.units = sorted(units, key=lambda unit: unit.source.path)
        self._uses: dict[bytes, list[Use]] = {}
        self._functions: dict[bytes, list[Function]] = {}
        self._macros: dict[bytes, list[tuple[Macro, Truth]]] = {}

    def naming(self, name: bytes) -> Iterator[Unit]:
        """The files whose text holds a name."""
        return (unit for unit in self.units if name in unit.source.text)

    def macros(self, name: bytes) -> list[tuple[Macro, Truth]]:
        """The definitions of a macro that a build may keep, and whether it surely does."""
        if name not in self._macros:
            self._macros[name] = self._defining(name)
        return self._macros[name]

    def _defining(self, name: bytes) -> list[tuple[Macro, Truth]]:
        found: list[tuple[Macro, Truth]] = []
        for unit in self.naming(name):
            for macro in unit.macros.get(name, ()):
                kept = unit.live(macro.start)
                if kept is not False:
                    found.append((macro, kept))
        return found

    def mentions(self, name: bytes) -> bool:
        """Whether a macro is used anywhere, in code or in another macro."""
        word = re.compile(rb"\b" + re.escape(name) + rb"\b")
        for unit in self.naming(name):
            text = _PREPROCESSOR.sub(_spaces, unit.source.code)
            if word.search(text) is not None:
                return True
            others = (macro for many in unit.macros.values() for macro in many)
            if any(macro.name != name and word.search(macro.body) for macro in others):
                return True
        return False

    def functions(self, name: bytes) -> list[Function]:
        """The definitions of a function, by its last name."""
        if name not in self._functions:
            self._functions[name] = list(self._defined(name))
        return self._functions[name]

    def _defined(self, name: bytes) -> Iterator[Function]:
        pattern = re.compile(rb"\b" + re.escape(name) + rb"\s*\(")
        for unit in self.naming(name):
            seen: set[int] = set()
            for match in pattern.finditer(unit.source.code):
                function = unit.trees.at(match.start()).function_at(match.start())
                if function is None or function.name != name:
                    continue
                if function.node.start_byte not in seen:
                    seen.add(function.node.start_byte)
                    yield function

    def uses(self, name: bytes) -> list[Use]:
        """The calls of a function, or of a macro, by its name."""
        if name not in self._uses:
            self._uses[name] = list(self._called(name))
        return self._uses[name]

    def _called(self, name: bytes) -> Iterator[Use]:
        pattern = re.compile(rb"(?<![\w~])" + re.escape(name) + rb"\s*\(")
        left = MAX_USES
        for unit in self.naming(name):
            for match in pattern.finditer(unit.source.code):
                use = _use(unit, match.start(), match.start() + len(name))
                if use is not None and left:
                    left -= 1
                    yield use

    def news(self) -> list[Use]:
        """Every `new (...)` expression."""
        key = b"new ("
        if key not in self._uses:
            found = []
            for unit in self.naming(b"new"):
                for match in re.finditer(rb"\bnew\s*\(", unit.source.code):
                    use = _new(unit, match.start())
                    found += [use] if use is not None else []
            self._uses[key] = found[:MAX_USES]
        return self._uses[key]


def _use(unit: Unit, start: int, end: int) -> Use | None:
    if unit.in_define(start) or unit.live(start) is False:
        return None
    file = unit.trees.at(start)
    node = file.node_at(start, end)
    if node is None:
        return None
    for above in (node, *ancestors(node)):
        if above.type == "call_expression":
            called = above.child_by_field_name("function")
            if called is not None and called.start_byte <= start < called.end_byte:
                return Use(unit.source, file, above, start, file.function_at(start))
            return None
        if above.type in ("function_declarator", "compound_statement", "argument_list"):
            return None
    return None


def _new(unit: Unit, start: int) -> Use | None:
    if unit.in_define(start) or unit.live(start) is False:
        return None
    file = unit.trees.at(start)
    node = file.node_at(start, start + 3)
    above = node.parent if node is not None else None
    if above is None or above.type != "new_expression":
        return None
    return Use(unit.source, file, above, start, file.function_at(start))
