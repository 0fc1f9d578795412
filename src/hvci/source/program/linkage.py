"""Which names of a file are its own: `static` ones, and those of a namespace without a name.

Knows declarations at file scope; knows nothing of values.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hvci.source.preprocess.tree import ancestors, text_of
from hvci.source.program.program import Program, Unit
from hvci.source.text.namespaces import is_nameless

if TYPE_CHECKING:
    from tree_sitter import Node

_DECLARED = re.compile(rb"\b(?:static|const|constexpr)\b[^;{}()=]*")
_WORD = re.compile(rb"\w+")
_HOLDS = ("compound_statement", "field_declaration_list", "parameter_list")


class Linkage:
    """Tells names of one program apart that several files use for different things."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._scopes: dict[tuple[bytes, str], str] = {}
        self._declared: dict[str, dict[bytes, list[int]]] = {}

    def scope(self, name: bytes, path: str) -> str:
        """The file whose own thing a name is there; empty for what all files share."""
        key = (name, path)
        if key not in self._scopes:
            self._scopes[key] = path if self._is_own(name, path) else ""
        return self._scopes[key]

    def _is_own(self, name: bytes, path: str) -> bool:
        if not self.program.is_unit(path):
            return False
        for unit in self.program.units_of(path):
            code = unit.source.code
            if name not in self.program.space.words.of(unit.source.path):
                continue
            if any(_is_static(unit, start) for start in self._declared_in(unit).get(name, ())):
                return True
            if b"namespace" in code and _is_in_nameless(unit, name):
                return True
        return False

    def _declared_in(self, unit: Unit) -> dict[bytes, list[int]]:
        """Where each word of a file stands behind `static` or `const`, found once for all names."""
        known = self._declared.get(unit.source.path)
        if known is None:
            known = self._declared[unit.source.path] = {}
            for stretch in _DECLARED.finditer(unit.source.code):
                for word in _WORD.finditer(unit.source.code, *stretch.span()):
                    known.setdefault(word[0], []).append(word.start())
        return known


def _is_static(unit: Unit, start: int) -> bool:
    """Whether a name is declared at file scope for its file only."""
    if unit.in_define(start) or unit.live(start) is False:
        return False
    node = unit.trees.at(start).node_at(start, start + 1)
    declared: Node | None = None
    for above in ancestors(node) if node is not None else ():
        if above.type in _HOLDS or above.type == "initializer_list":
            return False
        if above.type in ("declaration", "function_definition") and declared is None:
            declared = above
    if declared is None:
        return False
    words = [text_of(one) for one in declared.children if one.type == "storage_class_specifier"]
    if b"static" in words:
        return True
    kinds = [text_of(one) for one in declared.children if one.type == "type_qualifier"]
    is_constant = b"const" in kinds or b"constexpr" in kinds
    return not unit.source.is_c and is_constant and b"extern" not in words


def _is_in_nameless(unit: Unit, name: bytes) -> bool:
    """Whether a namespace without a name defines it."""
    for match in re.finditer(rb"\b" + re.escape(name) + rb"\b\s*[=({;\[]", unit.source.code):
        if not is_nameless(unit.source, match.start()):
            continue
        node = unit.trees.at(match.start()).node_at(match.start(), match.start() + len(name))
        above = list(ancestors(node)) if node is not None else []
        inside = any(one.type == "compound_statement" for one in above)
        if not inside and any(one.type.endswith(("declarator", "declaration")) for one in above):
            return True
    return False
