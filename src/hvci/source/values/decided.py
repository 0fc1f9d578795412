"""Conditions that a compiler decides: numbers, sizes of types, and macros that stand for them.

Knows expressions and the macros of one program; follows no variable.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

from hvci.source.preprocess.sizes import size_of
from hvci.source.preprocess.tree import parse, text_of, walk
from hvci.source.program.program import Program
from hvci.source.values import constants
from hvci.source.values.comparing import Conditions, Known

if TYPE_CHECKING:
    from tree_sitter import Node

MAX_DEPTH = 8
"""Macros that stand for another."""
_WORDS = {b"FALSE": 0, b"false": 0, b"NULL": 0, b"nullptr": 0, b"TRUE": 1, b"true": 1}
_DIGITS = re.compile(rb"(?:0[xXbB])?[0-9a-fA-F']+[uUlL]*")


class Decided:
    """Decides for one program."""

    def __init__(self, program: Program) -> None:
        self.program = program

    def truth(self, path: str, condition: Node) -> bool | None:
        """Which way a condition in a file goes."""
        return self._conditions(path, 0).truth(condition)

    def size(self, node: Node) -> int | None:
        """What `sizeof` is; None where that is not known."""
        inner = node.child_by_field_name("type") or node.child_by_field_name("value")
        return size_of(text_of(inner).strip(b"() "), self.program.pointer_size)

    def _conditions(self, path: str, depth: int) -> Conditions:
        return Conditions({}, partial(self.literal, path, depth))

    def literal(self, path: str, depth: int, node: Node) -> Known | None:
        """A number or size that stands in the text, or that every macro of a name stands for."""
        text = text_of(node)
        if node.type == "sizeof_expression":
            size = self.size(node)
            return Known(b"", size) if size is not None else None
        if node.type == "identifier":
            bodies = {macro.body.strip() for macro, _ in self.program.macros(text, path)}
            text = bodies.pop() if len(bodies) == 1 else text
        bare = text.strip(b"() \t")
        if bare in _WORDS:
            return Known(b"", _WORDS[bare])
        if _DIGITS.fullmatch(bare) is None:
            return self._expression(path, depth + 1, text) if node.type == "identifier" else None
        atoms = sorted(constants.number(bare).atoms)
        return Known(b"", atoms[0].bits) if len(atoms) == 1 else None

    def _expression(self, path: str, depth: int, text: bytes) -> Known | None:
        """The condition that a macro stands for."""
        if depth > MAX_DEPTH or not _COMPARED.search(text):
            return None
        for node in walk(parse(b"int q=(" + text + b");").root_node):
            if node.type == "init_declarator":
                value = node.child_by_field_name("value")
                truth = self._conditions(path, depth).truth(value)
                return Known(b"", int(truth)) if truth is not None else None
        return None


_COMPARED = re.compile(rb"[=!<>&|]")
"""Without one of these a name is no condition."""
