"""What lists of values give to a field of a structure, and what other names its memory has.

Theory of operation: the structures and unions that declare the field are looked for by its name,
their types by their names, and the value at its position is taken from each list that such a type
gets, also as a part of others. Knows syntax trees and names; knows nothing of values.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from hvci.source.preprocess.tree import File, ancestors, text_of
from hvci.source.program import handed
from hvci.source.program.callbacks import POOL
from hvci.source.program.constructors import made
from hvci.source.program.handed import LIST
from hvci.source.program.narrow import narrow
from hvci.source.program.program import Program, Unit
from hvci.source.text.namespaces import Spaces, around
from hvci.source.text.text import places

if TYPE_CHECKING:
    from tree_sitter import Node

_RECORDS = ("struct_specifier", "class_specifier", "union_specifier")
_KINDS = frozenset((b"struct", b"class", b"union"))
_DECLARED = re.compile(rb"(?:\s*\[[^\]\n]*\])*\s*(?:[;,:{=]|\)\s*\()")
MAX_AROUND = 4000
"""Fields of structures around that of one field whose lists are looked at."""
MAX_RECORDS = 200
"""Structures that declare a field of one name."""


class Listed(NamedTuple):
    """One value of a list."""

    file: File
    value: Node
    offset: int


@dataclass(frozen=True, eq=False)
class Record:
    """One type that declares a field."""

    kinds: tuple[bytes, ...]
    """Its names."""
    listed: Node
    """What it declares."""
    file: File
    others: frozenset[bytes] = frozenset()
    """Names that the same memory has: other members of a union that the field is in."""
    width: int | None = None
    """Bits of the field, where that is said; 0 where it is not said by a number."""
    spaces: Spaces = ()
    """The namespaces and classes around it."""

    @cached_property
    def order(self) -> tuple[bytes, ...]:
        """The fields that a list gives values to, in this order; of a union inside the first."""
        return tuple(_order(self.listed))

    @property
    def lists(self) -> Iterator[tuple[Node, int]]:
        """The lists of objects that are declared with it, and their dimensions."""
        kind = self.listed.parent
        declared = kind.parent if kind is not None else None
        if declared is not None and declared.type == "declaration":
            yield from _lists_of(declared)


def records(program: Program, name: bytes) -> tuple[Record, ...]:
    """The structures and unions that declare a field."""
    key = b"{" + name
    if key not in program.stored:
        program.stored[key] = tuple(_records(program, name))
    return program.stored[key]


def others_of(program: Program, name: bytes) -> frozenset[bytes]:
    """The other names that the memory of a field has: those of unions that it is in."""
    if not any(b"union" in program.space.words.of(path) for path in program.naming_paths(name)):
        return frozenset()
    return frozenset().union(*(one.others for one in records(program, name)))


class _Kind(NamedTuple):
    """What stands where a type is named."""

    lists: tuple[tuple[File, Node, int], ...]
    """What its objects get in braces, and how many lists stand around that of one object."""
    members: tuple[tuple[bytes, int], ...]
    """The fields of other structures that are of it, and how many lists stand around each."""


def in_order(program: Program, name: bytes, left: int) -> Iterator[Listed]:
    """The values that lists give to fields of a name by their place, at most so many."""
    return islice(_in_order(program, name), max(left, 0))


def _in_order(program: Program, name: bytes) -> Iterator[Listed]:
    """The same: from the structures around the field, outwards, then down from all their lists.

    Each field is looked at once, however deep it is and whatever asks.
    """
    held = _held(program, name)
    fields = dict.fromkeys((name, *held))
    direct = deque((field, one) for field in fields for one in _direct(program, field))
    named = deque((field, one) for field in held for one in _by_name(program, field))
    seen: set[tuple[bytes, int, int, int]] = set()
    for todo in (direct, named):
        while todo:
            field, one = todo.popleft()
            key = (field, id(one.file), one.value.start_byte, one.value.end_byte)
            if key in seen:
                continue
            seen.add(key)
            if field == name:
                yield one
            for inner, record, deep in held.get(field, ()):
                todo += ((inner, value) for value in _taken(one, record, inner, deep))


def _held(program: Program, name: bytes) -> dict[bytes, list[tuple[bytes, Record, int]]]:
    """By each field of a structure that holds a field of this name: what it holds.

    That is a field, its record, and how many lists stand around that of one record.
    """
    held: dict[bytes, list[tuple[bytes, Record, int]]] = {}
    todo, known = deque((name,)), {name}
    while todo:
        field = todo.popleft()
        for record, member, deep in _around(program, field):
            held.setdefault(member, []).append((field, record, deep))
            if member in known:
                continue
            if len(known) > MAX_AROUND:
                shown = name.decode("utf-8", "replace")
                what = f"more than {MAX_AROUND} fields are structures around a field {shown}"
                program.cut(f"{what}, and what lists give to the rest is not followed")
                return held
            known.add(member)
            todo.append(member)
    return held


def _taken(one: Listed, record: Record, name: bytes, deep: int) -> Iterator[Listed]:
    """What a value of a structure gives to a field in it."""
    if one.value.type == LIST:
        return _of_all(one.file, one.value, record, name, deep)
    return _flat(one, record, name)


def _around(program: Program, name: bytes) -> Iterator[tuple[Record, bytes, int]]:
    """The fields that the structures of a field are, in other structures."""
    for record in records(program, name):
        for kind in record.kinds:
            yield from ((record, *member) for member in _kind(program, kind).members)


def _direct(program: Program, name: bytes) -> Iterator[Listed]:
    """What lists of the structures of a field themselves give to it."""
    for record in records(program, name):
        for value, deep in record.lists:
            yield from _of_all(record.file, value, record, name, deep)
        for kind in record.kinds:
            for file, value, deep in _kind(program, kind).lists:
                yield from _of_all(file, value, record, name, deep)


def _kind(program: Program, name: bytes) -> _Kind:
    """Where a type is named, looked at once."""
    key = b"{}" + name
    if key not in program.stored:
        lists, members = list[tuple[File, "Node", int]](), dict[tuple[bytes, int], None]()
        for unit in program.naming(name):
            code, own = unit.source.code, dict[bytes, int]()
            for at in unit.source.places(name):
                end = at + len(name)
                if _MAY_LIST.match(code, end) is not None:
                    lists += _lists(unit, at, name)
                if _NO_MEMBER.match(code, end) is None:
                    own |= _members(unit, at, name)
            members |= dict.fromkeys(own.items())
            if not program.is_c:
                lists += (
                    (file, value, 0) for file, value in handed.lists(program, unit, name, made)
                )
        program.stored[key] = _Kind(tuple(lists), tuple(members))
    found = program.stored[key]
    assert isinstance(found, _Kind)
    return found


_MAY_LIST = re.compile(rb"[^;{}]*?(?:=[^;{}]*|[^;{})\s]\s*)\{|\s*(?:\[[^\]]*\]\s*)*\)\s*\{")
"""What stands behind a type in front of a list, be it no body of a function."""
_NO_MEMBER = re.compile(rb"\s*(?:[]),(;=.&>/+-]|\*+\s*\w*\s*[];)=(>])")
"""What never stands behind the type of a field that holds a structure."""


def _flat(first: Listed, record: Record, name: bytes) -> Iterator[Listed]:
    """The value of a field of a structure inside that a list gives without braces of its own."""
    listed, is_plain = first.value.parent, first.value.type in _PLAIN
    if not is_plain and POOL.fullmatch(text_of(first.value)) is None:
        return  # an object of the structure
    if listed is not None and listed.type == LIST and name in record.order:
        items = _items(listed)
        at = items.index(first.value) + record.order.index(name)
        yield from (Listed(first.file, one, one.start_byte) for one in items[at : at + 1])


_PLAIN = ("number_literal", "char_literal", "binary_expression", "cast_expression")


def _members(unit: Unit, at: int, kind: bytes) -> Iterator[tuple[bytes, int]]:
    """The fields that a type is named for, where it stands, if they are no pointers."""
    if unit.in_define(at) or unit.live(at) is False:
        return
    file = unit.trees.at(at)
    node = file.node_at(at, at + len(kind)) if file.declares_records(at) else None
    item = node.parent if node is not None else None
    if item is not None and item.type in _RECORDS:
        item = item.parent  # `struct KIND member;`
    if item is None or item.type != "field_declaration":
        return
    for declarator in item.children_by_field_name("declarator"):
        if not _is_of_pointers(declarator):
            yield _last(declarator), len(sizes(declarator))


def _by_name(program: Program, member: bytes) -> tuple[Listed, ...]:
    """What lists give to a field by its name; worked out once."""
    key = b"{." + member
    if key not in program.stored:
        program.stored[key] = tuple(_named(program, member))
    return program.stored[key]


def _named(program: Program, member: bytes) -> Iterator[Listed]:
    for unit in program.naming(member):
        code = unit.source.code
        for at in unit.source.places(member):
            if _IS_DESIGNATED.match(code, at + len(member)) is None or unit.live(at) is False:
                continue
            if code[:at].rstrip()[-1:] != b".":
                continue
            file = unit.trees.at(at)
            node = file.node_at(at, at + len(member))
            pair = node.parent.parent if node is not None and node.parent is not None else None
            value = pair.child_by_field_name("value") if pair is not None else None
            if pair is None or pair.type != "initializer_pair" or value is None:
                continue
            if _designated(pair)[-1:] == [member]:
                yield Listed(file, value, value.start_byte)


_IS_DESIGNATED = re.compile(rb"(?:\s*\[[^\]\n]*\])*\s*[={]")


def leaves_out(record: Record | None, value: Node, name: bytes) -> bool:
    """Whether a list, of one object, gives no value to a field, which then is zero."""
    if record is None:
        return all(_is_for_another(one, name) for one in _items(value))
    return not any(True for _ in _given(value, record, name, is_any=True))


def _is_for_another(item: Node, name: bytes) -> bool:
    """Whether an item of a list says which field it is for, and a field of a name has no part."""
    inner = item.child_by_field_name("value")
    if item.type != "initializer_pair" or name in _designated(item):
        return False
    return inner is None or inner.type != "initializer_list" or leaves_out(None, inner, name)


def _records(program: Program, name: bytes) -> list[Record]:
    found: dict[tuple[str, int], Record] = {}
    for unit in program.naming(name):
        if _KINDS.isdisjoint(program.space.words.of(unit.source.path)):
            continue
        code = unit.source.code
        for at in places(code, name):
            if _DECLARED.match(code, at + len(name)) is None or unit.in_define(at):
                continue
            if unit.live(at) is False:
                continue
            if len(found) >= MAX_RECORDS:
                shown = name.decode("utf-8", "replace")
                what = f"more than {MAX_RECORDS} structures have a field {shown}"
                program.cut(f"{what}, and what lists of the rest give to it is not followed")
                return list(found.values())
            found.update(_declared(unit, at, name))
    return list(found.values())


def _declared(unit: Unit, start: int, name: bytes) -> Iterator[tuple[tuple[str, int], Record]]:
    node = unit.trees.at(start).node_at(start, start + len(name))
    if node is None or node.type != "field_identifier":
        return
    above = list(ancestors(node))
    item = next((one for one in above if one.type == "field_declaration"), None)
    listed = item.parent if item is not None else None
    if item is None or listed is None or listed.type != "field_declaration_list":
        return
    others, inner = set[bytes](), item
    while listed is not None and (record := listed.parent) is not None:
        if record.type not in _RECORDS:
            return
        if record.type == "union_specifier":
            for one in listed.named_children:
                others |= set() if one == inner else _fields(one)
        outer = record.parent
        kinds = tuple(_names(record))
        if kinds or outer is None or outer.type != "field_declaration":
            break
        if outer.child_by_field_name("declarator") is not None:
            break
        inner, listed = outer, outer.parent
    if listed is None:
        return
    width = _width(item)
    key = unit.source.path, listed.start_byte
    file, spaces = unit.trees.at(start), _spaces(unit, listed)
    yield key, Record(kinds, listed, file, frozenset(others - {name}), width, spaces)


def _spaces(unit: Unit, listed: Node) -> Spaces:
    """The namespaces and classes around a structure."""
    outer = [one for one in ancestors(listed) if one.type in _RECORDS][1:]
    named = (text_of(one.child_by_field_name("name")) for one in reversed(outer))
    return (*around(unit.source, listed.start_byte), *(name for name in named if name))


def _fields(node: Node) -> set[bytes]:
    """The names that a member of a union declares, inside as well."""
    found, todo = set[bytes](), [node]
    while todo:
        one = todo.pop()
        if one.type == "field_identifier":
            found.add(text_of(one))
        todo.extend(one.named_children)
    return found


def _order(listed: Node) -> Iterator[bytes]:
    """The fields that a list gives values to without naming them."""
    record = listed.parent
    for item in listed.named_children:
        if item.type != "field_declaration":
            continue
        declared = item.children_by_field_name("declarator")
        inside = item.child_by_field_name("type")
        body = inside.child_by_field_name("body") if inside is not None else None
        if declared:
            yield from (_last(one) for one in declared)
        elif body is not None:
            yield from _order(body)
        if record is not None and record.type == "union_specifier":
            return


def _last(declarator: Node) -> bytes:
    """The name inside a declarator."""
    node: Node | None = declarator
    while node is not None and node.type != "field_identifier":
        inner = node.child_by_field_name("declarator")
        node = inner or next(iter(node.named_children), None)
    return text_of(node)


def _width(item: Node) -> int | None:
    clause = next((one for one in item.named_children if one.type == "bitfield_clause"), None)
    if clause is None:
        is_pointer = any(one.type == "pointer_declarator" for one in item.named_children)
        return None if is_pointer else narrow(text_of(item.child_by_field_name("type")))
    digits = text_of(clause.named_children[0] if clause.named_children else None)
    return int(digits) if digits.isdigit() and len(digits) < 4 else 0


def _names(record: Node) -> Iterator[bytes]:
    if (tag := record.child_by_field_name("name")) is not None:
        yield text_of(tag)
    outer = record.parent
    if outer is not None and outer.type == "type_definition":
        for declarator in outer.children_by_field_name("declarator"):
            if declarator.type == "type_identifier":
                yield text_of(declarator)


def _lists(unit: Unit, start: int, kind: bytes) -> Iterator[tuple[File, Node, int]]:
    """The lists that objects of a type get where it stands, with their dimensions."""
    if unit.in_define(start) or unit.live(start) is False:
        return
    file = unit.trees.at(start)
    node = file.node_at(start, start + len(kind))
    for above in ancestors(node) if node is not None else ():
        if above.type in ("declaration", "compound_literal_expression"):
            said = above.child_by_field_name("type")
            if said is None or not said.start_byte <= start < said.end_byte:
                return  # `BYTE Kind::Table[] = {…}` is no list of that kind
            yield from ((file, *found) for found in _lists_of(above))
            return
        if above.type in ("parameter_declaration", "compound_statement", "argument_list"):
            return


def _lists_of(declaration: Node) -> Iterator[tuple[Node, int]]:
    for item in declaration.named_children:
        value = item.child_by_field_name("value") or item
        if value.type == LIST and not _is_of_pointers(item):
            yield value, dimensions(declaration, item)


def _is_of_pointers(declarator: Node) -> bool:
    node: Node | None = declarator
    while node is not None:
        if node.type == "pointer_declarator":
            return True
        node = node.child_by_field_name("declarator")
    return False


def dimensions(declaration: Node, item: Node) -> int:
    """How many lists stand around that of one object."""
    if declaration.type == "compound_literal_expression":
        return text_of(declaration.child_by_field_name("type")).count(b"[")
    return len(sizes(item))


def sizes(declarator: Node) -> list[Node | None]:
    """The sizes of an array, outermost first; None where there is none."""
    found: list[Node | None] = []
    node: Node | None = declarator
    while node is not None:
        if node.type == "array_declarator":
            found.insert(0, node.child_by_field_name("size"))
        node = node.child_by_field_name("declarator")
    return found


def _of_all(file: File, value: Node, record: Record, name: bytes, deep: int) -> Iterator[Listed]:
    """The values for a field in a list of so many dimensions."""
    if deep == 0:
        if not is_zero(value):
            given = _given(value, record, name)
            yield from (Listed(file, item, item.start_byte) for item in given)
        return
    for item in _items(value):
        inner = item.named_children[-1] if item.type == "initializer_pair" else item
        if inner.type == "initializer_list":
            yield from _of_all(file, inner, record, name, deep - 1)
        elif item is inner and not is_zero(value):
            yield Listed(file, item, item.start_byte)  # no braces: any of them may be the field's


def _given(value: Node, record: Record, name: bytes, is_any: bool = False) -> Iterator[Node]:
    """What a list gives to a field by its place; by its name as well where `is_any` says so."""
    at = 0
    for item in _items(value):
        if item.type == "initializer_pair":
            named = _designated(item)
            if is_any and name in named:
                yield item
            if not named or named[0] not in record.order:
                return
            at = record.order.index(named[0])
        elif record.order[at : at + 1] == (name,):
            yield item
        at += 1


def _designated(pair: Node) -> list[bytes]:
    """The fields that a value of a list is for, from the outside in."""
    given = pair.children_by_field_name("designator")
    return [text_of(one).lstrip(b". ") for one in given if one.type == "field_designator"]


def _items(value: Node) -> list[Node]:
    return [one for one in value.named_children if one.type != "comment"]


def is_zero(value: Node) -> bool:
    """Whether a list only makes everything zero: that says nothing of a field."""
    items = _items(value)
    return not items or (len(items) == 1 and text_of(items[0]) in (b"0", b"NULL", b"nullptr"))
