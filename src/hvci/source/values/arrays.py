"""Who changes the elements of an array without naming one: through its name, which is a pointer.

`t[i] = v` is found by the name; the name alone is followed. Knows names; evaluates nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from hvci.source.preprocess.tree import Function
from hvci.source.program.chains import callee
from hvci.source.program.program import Program
from hvci.source.program.scope import declares
from hvci.source.program.starting import key_of
from hvci.source.program.stores import Store, stores
from hvci.source.values.followed import Followed, decays
from hvci.source.values.places import shown
from hvci.source.values.routines import COPYING, COUNTING, FILLING, READING, ZEROING, may_write

if TYPE_CHECKING:
    from tree_sitter import Node


def changes(
    program: Program, name: bytes, function: Function | None, at: int, is_field: bool
) -> Iterator[Store | str]:
    """What elements of an array that a name means at a place get through its name alone."""
    is_own = not is_field and function is not None and declares(function, name, at) is not None
    scope = function if is_own else None
    where = repr(key_of(scope)).encode() if scope is not None else b"." * is_field
    key = b"[%b]%b" % (where, name)
    if key not in program.stored:
        pointer = Followed(program, name, partial(_called, program, name))
        is_fixed = all(one.fixed for one in stores(program, name))
        places = () if is_fixed else decays(program, name, scope, is_field)
        program.stored[key] = tuple(one for place in places for one in pointer.used(*place))
    yield from program.stored[key]


def _called(program: Program, name: bytes, call: Node, index: int, function: Function) -> str:
    """What a routine does with a pointer to an array."""
    called = callee(call)
    if called in READING | COUNTING:
        return ""
    told = f"{shown(called)} may write over {shown(name)}"
    if called in ZEROING | FILLING:
        return told * (index == 0 and not _is_set(program, name, call, function))
    return told * (index == 0 if called in COPYING else may_write(called, index))


def _is_set(program: Program, name: bytes, call: Node, function: Function) -> bool:
    """Whether elements get values behind a call that makes all of them the same."""
    every, end = stores(program, name), function.node.end_byte
    if any(one.file is function.file and call.end_byte <= one.offset < end for one in every):
        return True
    around = {one.file.function_at(one.offset) for one in every}
    return bool(around - {None, function})
