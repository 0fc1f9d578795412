"""What is written through a pointer to a variable: in its function, through others, in callees.

Theory of operation: from one place where a pointer is made, along variables and parameters that
get it, to stores through it and to calls of routines; what those do is for who asks.
Blind spots: pointers that are handed on more than a few times, and the order of functions.
Knows single statements and names; evaluates nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hvci.source.preprocess.tree import Function, arguments, is_same, text_of
from hvci.source.program.chains import callee, declared_name
from hvci.source.program.program import Program
from hvci.source.program.scope import declares, variable
from hvci.source.program.stores import Store
from hvci.source.values.places import shown
from hvci.source.values.routines import COPYING, FILLING, ZEROING

if TYPE_CHECKING:
    from tree_sitter import Node

MAX_HANDED = 4
"""Functions that hand a pointer on to another one."""
_ON = (
    *("parenthesized_expression", "cast_expression", "conditional_expression"),
    *("binary_expression", "update_expression"),
)
_CALL, _ASSIGNMENT = "call_expression", "assignment_expression"
_ALONE = re.compile(rb"\s*(?:\.|->|\()")
_ELEMENT = re.compile(rb"\s*\[")
Holder = tuple[bytes, bytes]
"""A function, and the variable of it that keeps a pointer."""
Written = Iterator[Store | str]
"""Values that are stored, and who may write there where no value is told."""


def decays(
    program: Program, name: bytes, scope: Function | None = None, is_field: bool = False
) -> Iterator[tuple[Node, Function]]:
    """Where the name of an array stands for a pointer, or an element has its address taken."""
    for unit in program.naming(name):
        if scope is not None and unit.source.path != scope.file.source.path:
            continue
        code = unit.source.code
        for at in unit.source.places(name):
            if scope is not None and not scope.node.start_byte <= at < scope.node.end_byte:
                continue
            before, end = code[max(0, at - 9) : at].rstrip(b" \t("), at + len(name)
            is_element = _ELEMENT.match(code, end) is not None
            is_part = before.endswith((b".", b"->"))
            if is_part is not is_field or _ALONE.match(code, end) is not None:
                continue
            if not is_field and before.endswith(b"&") is not is_element:
                continue
            if unit.in_define(at) or unit.live(at) is False:
                continue
            file = unit.trees.at(at)
            node, function = file.node_at(at, end), file.function_at(at)
            if node is None or function is None:
                continue
            if not is_field and scope is None and declares(function, name, at) is not None:
                continue  # another one of that name
            above = node.parent
            if is_field and above is not None and above.type == "field_expression":
                node = above
            if not is_element or is_taken(node):
                yield node, function


def is_taken(array: Node) -> bool:
    """Whether the address of an element of an array is taken where it stands."""
    above = array.parent
    while above is not None and above.type in ("subscript_expression", "parenthesized_expression"):
        above = above.parent
    return above is not None and above.type == "pointer_expression" and text_of(above)[:1] == b"&"


@dataclass(frozen=True)
class Followed:
    """A pointer to one variable, followed through a program."""

    program: Program
    name: bytes
    routine: Callable[[Node, int, Function], str]
    """What a call of a routine that is not in the sources does with an argument."""
    tells_lost: bool = True
    """Whether to tell where a pointer goes that is not followed."""

    def used(
        self, node: Node, function: Function, seen: frozenset[Holder] = frozenset()
    ) -> Written:
        """What may be written through a pointer that stands at a place of a function."""
        above = node.parent
        while above is not None and above.type in _ON and not _chooses(above, node):
            node, above = above, above.parent
        call = above.parent if above is not None else None
        if above is None or call is None:
            return
        if above.type == "argument_list":
            yield from self._given(call, node, function, seen) if call.type == _CALL else ()
        elif above.type in ("pointer_expression", "subscript_expression"):
            yield from self._reached(above, function, seen)
        elif above.type == "return_statement":
            yield from self._lost(f"{shown(function.name)} returns a pointer to")
        elif above.type in ("init_declarator", _ASSIGNMENT):
            left = above.child_by_field_name("left")
            if not is_same(left, node):
                yield from self._kept(left or declared_name(above), function, seen)
        elif above.type in ("initializer_list", "initializer_pair"):
            yield from self._lost("a list keeps a pointer to")

    def _reached(self, node: Node, function: Function, seen: frozenset[Holder]) -> Written:
        """What is done with what a pointer leads to."""
        above = node.parent
        while above is not None and above.type == "parenthesized_expression":
            node, above = above, above.parent
        if above is None:
            return
        if text_of(node)[:1] == b"&":
            yield from self.used(node, function, seen)
        elif text_of(above)[:1] == b"&" and above.type == "pointer_expression":
            yield from self.used(above, function, seen)
        elif above.type == _ASSIGNMENT and is_same(above.child_by_field_name("left"), node):
            right = above.child_by_field_name("right")
            if text_of(above.child_by_field_name("operator")) == b"=" and right is not None:
                yield Store(function.file, right, above.start_byte)
            else:
                yield f"{shown(self.name)} is changed through a pointer"
        elif above.type == "update_expression":
            yield f"{shown(self.name)} is changed through a pointer"

    def _kept(self, holder: Node, function: Function, seen: frozenset[Holder]) -> Written:
        """What is done through a variable that a pointer is put into."""
        text = text_of(holder)
        if holder.type != "identifier" or variable(function, text, holder.start_byte) is None:
            yield from self._lost(f"{shown(text)} keeps a pointer to")
        else:
            yield from self.through(text, function, seen)

    def through(self, held: bytes, function: Function, seen: frozenset[Holder]) -> Written:
        """What a function does through a variable or parameter."""
        holder = (function.qualified, held)
        if holder in seen:
            return
        if len(seen) >= MAX_HANDED:
            yield from self._lost("many functions hand on a pointer to")
            return
        start, end = function.node.byte_range
        for at in function.file.source.places(held):
            node = function.file.node_at(at, at + len(held)) if start <= at < end else None
            if node is not None and node.type == "identifier":
                yield from self.used(node, function, seen | {holder})

    def _lost(self, where: str) -> Written:
        if self.tells_lost:
            yield f"{where} {shown(self.name)}"

    def _given(
        self, call: Node, node: Node, function: Function, seen: frozenset[Holder]
    ) -> Written:
        """What a call does with a pointer."""
        called = callee(call)
        index = next((at for at, one in enumerate(arguments(call)) if one == node), -1)
        if macros := self.program.macros(called):
            if any(may_write_over(macro.parameters, macro.body, index) for macro, _ in macros):
                yield f"{shown(called)} may write over {shown(self.name)}"
        elif own := self.program.functions(called):
            for one in (one for one in own if 0 <= index < len(one.parameters)):
                yield from self.through(one.parameters[index], one, seen)
        elif told := self.routine(call, index, function):
            yield told


def _chooses(above: Node, node: Node) -> bool:
    """Whether a name only chooses what stands in a condition."""
    return is_same(above.child_by_field_name("condition"), node)


def may_write_over(parameters: tuple[bytes, ...] | None, body: bytes, index: int) -> bool:
    """Whether a macro writes through a parameter."""
    if parameters is None or not 0 <= index < len(parameters):
        return False
    word = re.escape(parameters[index])
    return re.search(_WRITTEN % (word, word, word), body) is not None


_WRITTEN = (
    rb"(?:\*[\s(]*%b\b[\s)]*|\b%b[\s)]*\[[^]]*\]\s*)(?:(?:[|&^+*-]|<<|>>)?=(?!=)|\+\+|--)"
    rb"|\b(?:" + b"|".join(sorted(COPYING | FILLING | ZEROING)) + rb")\s*\([\s(&]*%b\b"
)
