"""Which structure an object has whose field is named, so that fields of one name are told apart.

Theory of operation: the type that declares an object is looked for among the structures with that
field. Two structures are apart unless they begin alike and something casts to one of them, as
code does that lays one over the other. Knows declarations; knows nothing of values.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hvci.source.preprocess.tree import Function, ancestors, text_of
from hvci.source.program.chains import bare, type_of
from hvci.source.program.program import Program
from hvci.source.program.records import Record, records
from hvci.source.program.stores import Store
from hvci.source.text.namespaces import Spaces, qualifier_of
from hvci.source.text.text import places

if TYPE_CHECKING:
    from tree_sitter import Node

_WORDS = frozenset((b"struct", b"class", b"union", b"const", b"volatile", b"static"))


def of_object(
    program: Program, base: Node, function: Function | None, name: bytes
) -> Record | None:
    """The structure of an object whose field is named; None where it is not known."""
    base = bare(base)
    while base.type in ("subscript_expression", "pointer_expression"):
        inner = base.child_by_field_name("argument")
        if inner is None:
            return None
        base = bare(inner)
    if base.type == "this":
        return None
    if base.type != "identifier" or function is None:
        return None
    kind = type_of(text_of(base), function, base.start_byte)
    kind = kind or global_type(program, text_of(base))
    return _of_type(program, kind, name)


def of_store(program: Program, store: Store, spaces: Spaces | None, name: bytes) -> Record | None:
    """The structure whose field gets a value; None where it is not known."""
    if spaces:  # where its class declares it
        return _of_type(program, b"::".join(spaces), name)
    file, at = store.file, store.offset
    node = file.node_at(at, at + len(name))
    above = node.parent if node is not None and text_of(node) == name else None
    if above is not None and above.type == "field_expression":
        base = above.child_by_field_name("argument")
        return of_object(program, base, file.function_at(at), name) if base else None
    if above is not None and above.type not in ("field_designator", "initializer_pair"):
        return None
    return of_list(program, store.value, name)


def of_list(program: Program, value: Node, name: bytes) -> Record | None:
    """The structure that a list is for in which a field gets a value."""
    for above in ancestors(value):
        if above.type in ("declaration", "compound_literal_expression", "field_declaration"):
            kind = text_of(above.child_by_field_name("type"))
            return _of_type(program, kind.strip(b"* "), name)
        if above.type in ("compound_statement", "function_definition"):
            return None
    return None


def global_type(program: Program, name: bytes) -> bytes:
    """The type of a variable outside of functions, where one declaration of the name is."""
    key = b"=:" + name
    if key not in program.stored:
        found = {
            kind[1]
            for unit in program.naming(name)
            for at in places(unit.source.code, name)
            if _IS_DECLARED.match(unit.source.code, at + len(name))
            and (kind := _TYPE_BEFORE.search(unit.source.code, max(0, at - _LONGEST), at))
        }
        program.stored[key] = (found.pop() if len(found) == 1 else b"",)
    return bytes(program.stored[key][0])


_TYPE_BEFORE = re.compile(rb"([A-Za-z_][\w:]*)\s*[\s*&]\s*\**\s*\Z")
_IS_DECLARED = re.compile(rb"\s*(?:\[[^\]\n]*\]\s*)*[=;{]")
_LONGEST = 300
"""Bytes before a name in which its type stands."""


def _of_type(program: Program, kind: bytes, name: bytes) -> Record | None:
    """The only structure with a field that a type can mean."""
    words = [word for word in kind.split() if word not in _WORDS]
    if len(words) != 1 or b"<" in kind:
        return None
    last, before = words[0].rpartition(b"::")[2], qualifier_of(words[0]) or ()
    every = records(program, name)
    found = [one for one in every if _is_named(one, last)]
    if before:
        found = [one for one in found if one.spaces[-len(before) :] == before]
    return found[0] if len(found) == 1 else None


def _is_named(one: Record, word: bytes) -> bool:
    names = {*one.kinds, *(b"P" + kind.lstrip(b"_") for kind in one.kinds)}
    return word in names or word in {b"LP" + kind.lstrip(b"_") for kind in one.kinds}


def are_apart(program: Program, first: Record, second: Record, name: bytes) -> bool:
    """Whether the field of one structure is never that of another."""
    if first == second or not first.kinds or not second.kinds:
        return False
    if first.others or second.others:
        return False
    return not _begin_alike(first, second, name) or not _is_cast_to(program, first, second)


def _begin_alike(first: Record, second: Record, name: bytes) -> bool:
    if name not in first.order or name not in second.order:
        return True
    before = first.order[: first.order.index(name)]
    return before == second.order[: second.order.index(name)]


def _is_cast_to(program: Program, first: Record, second: Record) -> bool:
    """Whether something is taken for one of two structures that it is not declared as."""
    kinds = sorted({*first.kinds, *second.kinds})
    key = b"(*)" + b",".join(kinds)
    if key not in program.stored:
        words = b"|".join(rb"(?:L?P)?_*" + re.escape(kind.lstrip(b"_")) for kind in kinds)
        pattern = re.compile(
            rb"\(\s*(?:struct\s+|const\s+)*(?:[\w:]*::)?(?:%b)\s*\**\s*\)|_cast<[^<>;]*\b(?:%b)\b"
            % (words, words)
        )
        held = (unit for kind in kinds for unit in program.naming_part(kind.lstrip(b"_")))
        program.stored[key] = (any(pattern.search(unit.source.code) for unit in held),)
    return bool(program.stored[key][0])
