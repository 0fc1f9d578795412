"""Which way a condition goes on one local variable, whichever of its values that has.

Knows conditions and assignments of numbers; no value is followed, so that it costs little.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Protocol

from hvci.source.preprocess.tree import Function, arguments, text_of, walk
from hvci.source.program.scope import Variable, variable
from hvci.source.values.comparing import Conditions, Constant, Known, bare

if TYPE_CHECKING:
    from tree_sitter import Node

MAX_VALUES = 8
LARGEST = 0x7F
"""Every type holds it, and it is positive in all."""


class Knows(Protocol):
    """Who is asked."""

    def local(self, function: Function, name: bytes, offset: int) -> Variable | None:
        """The local variable that a name means at an offset, with what changes it out of sight."""

    def decided(self, function: Function, condition: Node) -> bool | None:
        """Which way a condition of numbers and macros goes."""

    def literal(self, path: str, node: Node) -> Known | None:
        """The number that an expression is."""


def settled(function: Function, condition: Node, resolver: Knows) -> bool | None:
    """Which way a condition goes by numbers, or by every value that a local variable may have."""
    truth = resolver.decided(function, condition)
    if truth is not None:
        return truth
    found: dict[bytes, tuple[Variable, Node]] = {}
    for one in walk(condition):
        if one.type == "identifier":
            named = variable(function, text_of(one), one.start_byte)
            found.update({named.name: (named, one)} if named is not None else {})
    if len(found) != 1:
        return None
    ((name, (named, at)),) = found.items()
    literal = partial(resolver.literal, function.file.source.path)
    values = _values(named, literal)
    held = resolver.local(function, name, at.start_byte) if values else None  # this is dear
    if held is None or not _is_own(function, held):
        return None
    ways = {Conditions({name: one}, literal).truth(condition) for one in values}
    return ways.pop() if len(ways) == 1 else None


def _values(held: Variable, literal: Constant) -> list[Known]:
    """Everything that is assigned to a variable, if each is a small number; else nothing."""
    found: list[Known] = []
    todo = [one.value for one in held.assignments]
    while todo:
        node = bare(todo.pop())
        if node is not None and node.type == "conditional_expression":
            ways = ("consequence", "alternative")
            todo += filter(None, map(node.child_by_field_name, ways))
            continue
        known = literal(node) if node is not None else None
        if known is None or known.number is None or known.number > LARGEST:
            return []
        found.append(known)
    return found if len(found) <= MAX_VALUES else []


def _is_own(function: Function, held: Variable) -> bool:
    """Whether nobody but the assignments of its function gives a variable a value."""
    if held.parameter is not None or held.updates or held.lasts or held.addresses:
        return False
    if any(one.operator != "=" for one in held.assignments):
        return False
    text, name = text_of(function.node), held.name
    if b"volatile" in text and re.search(rb"\bvolatile\b[^;]*\b%b\b" % re.escape(name), text):
        return False
    calls = (one for one in function.nodes("call_expression") if name in text_of(one))
    return not any(_may_assign(one, name) for one in calls)


def _may_assign(call: Node, name: bytes) -> bool:
    """Whether a macro of a header that nobody has may get a variable."""
    called = text_of(call.child_by_field_name("function")).strip()
    is_macro = called.isupper() and called not in _HARMLESS
    return is_macro and any(text_of(one).strip() == name for one in arguments(call))


_HARMLESS = frozenset(
    b"ASSERT NT_ASSERT NT_SUCCESS NT_ERROR UNREFERENCED_PARAMETER UNREFERENCED_LOCAL_VARIABLE"
    b" DBG_UNREFERENCED_LOCAL_VARIABLE ASSERTMSG NT_VERIFY".split()
)
