"""Which names of a program may depend on the Windows version; all others need no evaluation.

From the routines and fields that tell the version, along assignments, conditions, results and
arguments. A name too few only leaves a condition undecided. Knows names and trees; no kernel.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from hvci.source.preprocess.tree import Function, arguments, text_of
from hvci.source.program.program import Program
from hvci.source.program.scope import variable
from hvci.source.text.text import WORD_BYTES
from hvci.source.values.versions.telling import FIELDS, TELLING

if TYPE_CHECKING:
    from tree_sitter import Node

_WORD = re.compile(rb"[A-Za-z_]\w*")
MAX_ROUNDS, MAX_NAMES, MAX_PLACES, MAX_LOOKS, MAX_BYTES = 4, 30, 40, 2, 50_000
"""Steps from what tells the version, names followed, places looked at for one of them, looks at
one function, and bytes of functions looked at."""
_FOLLOWED = ("assignment_expression", "init_declarator", "return_statement", "call_expression")
_CONDITIONS = ("if_statement", "conditional_expression", "switch_statement", "while_statement")


def _words_ending(text: bytes, name: bytes) -> Iterator[int]:
    """Where a name stands, and where the word that it is part of begins."""
    at = text.find(name) if name else -1
    while at >= 0:
        start = at
        while start and text[start - 1] in WORD_BYTES:
            start -= 1
        yield start
        at = text.find(name, at + len(name))


def words(text: bytes) -> set[bytes]:
    """The identifiers in a piece of text."""
    return set(_WORD.findall(text))


class Asking:
    """The names of one program, global ones and those that belong to a function."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._anywhere: set[bytes] = {*FIELDS, *TELLING}
        self._within: dict[tuple[str, int], set[bytes]] = {}
        self._looked: dict[tuple[str, int], int] = {}
        self._left = MAX_BYTES
        self._pending: list[Function] = []
        """Functions that get such a value as an argument."""
        fresh = {name for name in self._anywhere if program.names_part(name)}
        for _ in range(MAX_ROUNDS):
            known = set(self._anywhere)
            for name in sorted(fresh):
                self._follow(name)
            for _ in range(MAX_PLACES):
                if not self._pending:
                    break
                self._in_function(self._pending.pop())
            fresh = self._anywhere - known
            if not fresh or len(self._anywhere) > MAX_NAMES:
                break

    def concerns(self, condition: Node, function: Function | None) -> bool:
        """Whether a condition may say something of the version."""
        found = words(text_of(condition))
        if not found.isdisjoint(self._anywhere) or any(b"OrGreater" in word for word in found):
            return True
        return function is not None and not found.isdisjoint(self._local(function))

    def _local(self, function: Function) -> set[bytes]:
        key = function.file.source.path, function.node.start_byte
        return self._within.setdefault(key, set())

    def _follow(self, name: bytes) -> None:
        """Everything in the functions and macros that name something."""
        left = MAX_PLACES
        known = name in FIELDS or name in TELLING
        for unit in self.program.naming_part(name) if known else self.program.naming(name):
            for macro, many in unit.macros.items():
                if any(name in each.body for each in many):
                    self._anywhere.add(macro)
            for start in _words_ending(unit.source.code, name):
                left -= 1
                if left < 0:
                    return
                function = unit.trees.at(start).function_at(start)
                if function is not None:
                    self._in_function(function)

    def _in_function(self, function: Function) -> None:
        """Follow what tells through one function, which is done but a few times."""
        key = function.file.source.path, function.node.start_byte
        size = function.node.end_byte - function.node.start_byte
        self._looked[key] = self._looked.get(key, 0) + 1
        if self._looked[key] > MAX_LOOKS or self._left < size:
            return
        self._left -= size
        self._spread(function, self._anywhere | self._local(function))

    def _spread(self, function: Function, telling: set[bytes]) -> None:
        """Names that get a value which depends on what tells."""
        decided = any(
            self._tells(node.child_by_field_name("condition"), telling)
            for node in function.nodes(*_CONDITIONS)
        )
        for node in function.nodes(*_FOLLOWED):
            if node.type in ("assignment_expression", "init_declarator"):
                is_init = node.type == "init_declarator"
                left, right = ("declarator", "value") if is_init else ("left", "right")
                if decided or self._tells(node.child_by_field_name(right), telling):
                    self._add(function, node.child_by_field_name(left))
            elif node.type == "return_statement":
                if decided or self._tells(node, telling):
                    self._anywhere.add(function.name)
            else:
                self._arguments(function, node, telling)

    def _arguments(self, function: Function, node: Node, telling: set[bytes]) -> None:
        name = text_of(node.child_by_field_name("function")).strip().rpartition(b"::")[2]
        given = arguments(node)
        if name in TELLING:
            for each in given:
                self._add(function, each)
        for at, each in enumerate(given):
            if self._tells(each, telling):
                for callee in self.program.functions(name)[:2]:
                    self._local(callee).update(callee.parameters[at : at + 1])
                    self._pending.append(callee)

    def _add(self, function: Function, target: Node | None) -> None:
        """A variable or field that gets such a value: its last name."""
        found = _WORD.findall(text_of(target)) if target is not None else []
        if not found:
            return
        name = found[-1]
        if len(found) == 1 and variable(function, name) is not None:
            self._local(function).add(name)
        else:
            self._anywhere.add(name)

    @staticmethod
    def _tells(node: Node | None, telling: set[bytes]) -> bool:
        return node is not None and not words(text_of(node)).isdisjoint(telling)
