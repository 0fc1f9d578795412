"""Who writes a whole record that all functions share, and leaves what in a field of it.

Theory of operation: a field is found by its name wherever it is stored. A record that lies outside
of functions can be filled without that name: its address goes to a routine that copies, reads a
file or is nobody's, or it is assigned from memory of another type. Such places are looked for in
all functions. A later store of the field in the same function makes up for it.
Blind spots: records that only pointers lead to, and the order of functions.
Knows names and single statements; evaluates nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from hvci.source.preprocess.tree import Function, arguments, text_of
from hvci.source.program.chains import bare, callee, root_of, type_of
from hvci.source.program.program import Program, Unit
from hvci.source.program.records import records
from hvci.source.program.scope import variable
from hvci.source.program.stores import stores
from hvci.source.values.followed import Followed, decays
from hvci.source.values.places import shown
from hvci.source.values.routines import (
    COPYING,
    FILLING,
    READING,
    ZEROING,
    may_write,
    source_of,
)

if TYPE_CHECKING:
    from tree_sitter import Node

MOST_PLACES = 64
"""Places of one record that are looked at."""


class _Place(NamedTuple):
    """Where a record is written as a whole."""

    function: Function
    at: int
    told: str


def written_elsewhere(
    program: Program, root: bytes, field: bytes, here: Function, is_array: bool = False
) -> str:
    """Who writes a record outside of functions as a whole in other functions; empty: nobody."""
    key = b"whole %b%b.%b" % (root, b"[]" * is_array, field)
    if key not in program.stored:
        every = _of_array(program, root, field) if is_array else _places(program, root, field)
        found = [each for each in every if each.told]
        program.stored[key] = tuple(each for each in found if not _is_made_up(program, each, field))
    for each in program.stored[key]:
        assert isinstance(each, _Place)
        same = each.function.file is here.file
        if not same or each.function.node.start_byte != here.node.start_byte:
            return each.told
    return ""


def _is_made_up(program: Program, place: _Place, field: bytes) -> bool:
    """Whether the same function stores in the field behind that."""
    file, end = place.function.file, place.function.node.end_byte
    every = stores(program, field)
    return any(one.file is file and place.at < one.offset < end for one in every)


def _of_array(program: Program, root: bytes, field: bytes) -> Iterator[_Place]:
    """Where a pointer to an array of records is made that lies outside of functions."""
    for node, function in islice(decays(program, root, None), MOST_PLACES):
        told = written_through(program, root, field, node, function)
        yield _Place(function, node.start_byte, told)


def written_through(
    program: Program, root: bytes, field: bytes, node: Node, function: Function
) -> str:
    """Who writes a whole record through a pointer that is made at a place; empty: nobody."""

    def routine(call: Node, index: int, around: Function) -> str:
        told = _called(program, call, index, root, field, around)
        place = _Place(around, call.start_byte, told)
        return told if told and not _is_made_up(program, place, field) else ""

    for one in Followed(program, root, routine, tells_lost=False).used(node, function):
        told = one if isinstance(one, str) else assigned(program, one.value, root)
        if told:
            return told
    return ""


def _places(program: Program, root: bytes, field: bytes) -> Iterator[_Place]:
    word = re.escape(root)
    pattern = re.compile(
        rb"&[\s(]*%b\b(?!\s*(?:\.|->|\[|\())|(?<![\w.>])%b\s*=(?!=)"
        rb"|\b\w+\s*\(\s*%b\s*[,)]" % (word, word, word)
    )
    left = MOST_PLACES
    for unit in program.naming(root):
        for match in pattern.finditer(unit.source.code):
            at = unit.source.code.rindex(root, match.start(), match.end())
            if unit.in_define(at) or unit.live(at) is False:
                continue
            left -= 1
            if left < 0:
                return
            found = _place(program, unit, root, field, at)
            if found is not None:
                yield found


def _place(program: Program, unit: Unit, root: bytes, field: bytes, at: int) -> _Place | None:
    file = unit.trees.at(at)
    function, node = file.function_at(at), file.node_at(at, at + len(root))
    if function is None or node is None or variable(function, root, at) is not None:
        return None
    above = node.parent
    while above is not None and above.type == "parenthesized_expression":
        node, above = above, above.parent
    if above is None:
        return None
    if above.type == "assignment_expression" and above.child_by_field_name("left") == node:
        right = above.child_by_field_name("right")
        return _Place(function, at, assigned(program, right, root) if right is not None else "")
    call = above.parent
    if above.type == "argument_list" and call is not None:
        above = node
        if not program.macros(callee(call)):
            return None
    return _Place(function, at, written_through(program, root, field, above, function))


def assigned(program: Program, right: Node, root: bytes) -> str:
    """Where a record is assigned from, when no record of its type is."""
    node = bare(right)
    if node.type == "call_expression":
        called = callee(node)
        if program.functions(called) or program.macros(called):
            return ""
        return f"{shown(root)} is what {shown(called)} returns"
    inner = node.child_by_field_name("argument") if node.type == "pointer_expression" else None
    if inner is None or text_of(node)[:1] != b"*" or bare(inner) == inner:
        return ""
    return f"{shown(root)} is copied from memory of another type"


def _called(
    program: Program, call: Node, index: int, root: bytes, field: bytes, function: Function
) -> str:
    """What a call that gets the address of a record may do to it."""
    called, given = callee(call), arguments(call)
    if called in ZEROING | FILLING:
        if index or _is_set(program, field):
            return ""
        return f"{shown(called)} writes over {shown(root)}"
    if called in COPYING:
        source = source_of(called, given)
        is_same = source is not None and is_record(program, source, field, function)
        return "" if index or is_same else f"{shown(called)} writes over {shown(root)}"
    if called in READING:
        return ""
    return f"{shown(root)} is given to {shown(called)}, which may write there" * may_write(
        called, index
    )


def _is_set(program: Program, field: bytes) -> bool:
    """Whether any function stores in a field of that name: lists of variables apart."""
    lists = ("initializer_list", "initializer_pair")
    for one in stores(program, field):
        above = one.value.parent
        is_listed = above is not None and above.type in lists
        if not is_listed and one.file.function_at(one.offset) is not None:
            return True
    return False


def is_record(program: Program, source: Node, field: bytes, function: Function) -> bool:
    """Whether a copy comes from a record that has the field: what that holds is found by name."""
    kinds = {one for each in records(program, field) for one in each.kinds}
    kinds |= {b"P" + one for one in kinds}
    other = root_of(bare(source))
    if type_of(other, function, source.start_byte) in kinds:
        return True
    words = b"|".join(re.escape(one) for one in sorted(kinds))
    if not words or not other:
        return False
    pattern = re.compile(rb"\b(?:%b)\b[^;{}()]*\b%b\s*[;=\[,]" % (words, re.escape(other)))
    return any(pattern.search(unit.source.code) for unit in program.naming(other))
