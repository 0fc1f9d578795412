"""What a field may hold beside what is stored in a field of its name.

Theory of operation: stores in fields are found by their names. The same memory changes without
that name as well: through another member of a union, by a write of the whole record (zeros, a
copy, a list that leaves the field out), through a cast, or before the driver got the record at
all. Whole records are followed in the function at hand, and those outside of functions in others
(`wholes`). Knows names and the statements of one function; expressions are evaluated by
`resolve`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hvci.source.preprocess.tree import Function, arguments, text_of
from hvci.source.program.chains import (
    bare,
    callee,
    cast_inside,
    declared_name,
    flat,
    is_own_record,
    pointed,
    root_of,
    type_of,
    wholes_of,
)
from hvci.source.program.macro_assignments import assigned as assigned_by
from hvci.source.program.program import Program
from hvci.source.program.reaching import START, Span, reaching
from hvci.source.program.records import Record, dimensions, is_zero, leaves_out, records, sizes
from hvci.source.program.scope import variable
from hvci.source.program.stores import Store, left_zero, stores
from hvci.source.values.followed import may_write_over
from hvci.source.values.guess import NOTHING, Guess, exactly, unknown
from hvci.source.values.names import Names
from hvci.source.values.outside import is_outside
from hvci.source.values.places import Evaluator, Place, Ways, shown
from hvci.source.values.routines import (
    COPYING,
    FILLING,
    READING,
    ZEROING,
    may_write,
    source_of,
)
from hvci.source.values.wholes import (
    assigned,
    is_record,
    written_elsewhere,
    written_through,
)

if TYPE_CHECKING:
    from tree_sitter import Node

_ZEROS = (b"0", b"0x0", b"0x00", b"'\\0'")
_CHANGED = (
    rb"(?:\s*\[[^\]\n]*\]|\s*(?:\.|->)\s*\w+)*\s*"
    rb"(?:(?:[|&^+*-]|<<|>>)?=(?!=)|\+\+|--)"
)


@dataclass(frozen=True)
class _Write:
    """Something that changes a whole record, or one field of it."""

    span: Span
    leaves: Guess
    """What it leaves in the field, where stores by its name do not say so."""
    is_known: bool = False
    """They do say so."""


class Fields:
    """The fields of one program."""

    def __init__(self, program: Program, names: Names, evaluator: Evaluator) -> None:
        self.program = program
        self.names = names
        self.evaluator = evaluator

    def seen(self, node: Node, stored: Guess, place: Place, depth: int) -> Guess:
        """What is read of a field, given everything that the program stores by its name."""
        name = text_of(node.child_by_field_name("field"))
        base = node.child_by_field_name("argument")
        declared = records(self.program, name)
        found = self._narrowed(stored, name, declared)
        doubt = self._shared(name, declared)
        for outer in _outer(base):
            doubt = doubt.join(self._shared(outer, records(self.program, outer)))
        function = place.function
        if base is None or function is None or place.shift or place.macro is not None:
            return found.join(doubt)
        if not function.node.start_byte <= node.start_byte < function.node.end_byte:
            return found.join(doubt)
        if not stored.atoms and not is_own_record(base, function):
            return found.join(doubt)  # nothing is known of it in any case
        writes = list(self._writes(node, base, name, declared, function))
        is_set = False
        if writes:
            spans = [one.span for one in writes]
            asked = Ways(self.evaluator, place, depth)
            reached = reaching(function, spans, node.start_byte, asked, False)
            last = [writes[at] for at in sorted(reached) if at != START]
            is_set = START not in reached
            if is_set and not any(one.is_known for one in last):
                found = NOTHING
            for one in last:
                found = found.join(one.leaves)
        found = found.join(doubt)
        if not is_set and self._is_zero_at_first(base, name, place):
            found = found.join(unknown(f"{_shown(base)} is zero until something sets it"))
        if told := self._filled_elsewhere(base, name, function):
            found = found.join(unknown(told))
        if is_outside(base, function, node.start_byte, self.names.callers.uses_of):
            found = found.join(unknown(f"{_shown(base)} holds what somebody else wrote"))
        return found.join(self._left_out(base, name, declared, place, depth))

    def of_array(self, node: Node, stored: Guess, place: Place, depth: int) -> Guess:
        """What is read of an element of a field that is an array."""
        if self.seen(node, stored, place, depth) == stored:
            return stored
        return stored.join(unknown(f"{_shown(node)} is written as a whole as well"))

    # ------------------------------------------------- members of one memory

    def _narrowed(self, stored: Guess, name: bytes, declared: tuple[Record, ...]) -> Guess:
        """What is left of a value in a field of a few bits, or of a type of fewer than 32."""
        widths = {one.width for one in declared} - {None}
        if not widths:
            return stored
        if 0 in widths:
            return stored.join(unknown(f"{shown(name)} has fewer bits than a type"))
        found = NOTHING
        for one in declared:
            found = found.join(stored.cut(one.width) if one.width else stored)
        return found

    def _shared(self, name: bytes, declared: tuple[Record, ...]) -> Guess:
        """Doubt, where another member of the same union is written."""
        for other in sorted({other for one in declared for other in one.others}):
            if self._is_written(other):
                text = f"{shown(other)} is a member of the same union as {shown(name)}"
                return unknown(f"{text}, and is given a value as well")
        return NOTHING

    def _is_written(self, name: bytes) -> bool:
        key = b"=" + name
        if key not in self.program.stored:
            self.program.stored[key] = (any(self._written_at(name)),)
        return bool(self.program.stored[key][0])

    def _written_at(self, name: bytes) -> Iterator[bool]:
        word = rb"(?:\.|->)\s*" + re.escape(name) + rb"\b"
        copied = b"|".join(sorted(ZEROING | FILLING | COPYING))
        pattern = re.compile(
            rb"%b%b|&[\w.()\[\]\s>-]*%b|\b(?:%b)\s*\([^,;{}]*%b"
            % (word, _CHANGED, word, copied, word)
        )
        for unit in self.program.naming(name):
            for match in pattern.finditer(unit.source.code):
                yield unit.live(match.start()) is not False

    # ---------------------------------------------------- whole records

    def _writes(
        self,
        node: Node,
        base: Node,
        name: bytes,
        declared: tuple[Record, ...],
        function: Function,
    ) -> Iterator[_Write]:
        """What changes the field in this function."""
        wholes, field, root = frozenset(wholes_of(base)), flat(node), root_of(base)

        within, others = flat(base) + b".", {other for one in declared for other in one.others}

        def about(kind: str) -> list[Node]:
            return [item for item in function.nodes(kind) if root in text_of(item)]

        for item in about("assignment_expression"):
            left = item.child_by_field_name("left")
            target = flat(left) if left is not None else b""
            if target == field or target in wholes or target.startswith(field + b"["):
                is_plain = text_of(item.child_by_field_name("operator")) == b"="
                right = item.child_by_field_name("right")
                is_whole = target in wholes and b"->" not in text_of(node)
                told = assigned(self.program, right, root) if is_whole and right else ""
                leaves = unknown(told) if told else NOTHING
                yield _Write(Span(item.start_byte, item.end_byte, is_plain), leaves, not told)
            elif target.startswith(within) and target[len(within) :] in others:
                text = f"{shown(target)} is a member of the same union"
                yield _Write(Span(item.start_byte, item.end_byte, True), unknown(text))
            elif left is not None and not wholes.isdisjoint(cast_inside(left)):
                text = f"{_shown(base)} is written through a cast"
                yield _Write(Span(item.start_byte, item.end_byte, False), unknown(text))
            else:
                yield from self._other_view(item, "right", wholes, function)
        for item in about("init_declarator"):
            if flat(declared_name(item)) in wholes:
                yield _initial(item, name, declared)
            else:
                yield from self._other_view(item, "value", wholes, function)
        for item in about("pointer_expression"):
            above = item.parent
            if pointed(item) in wholes and above is not None and above.type != "argument_list":
                told = self._handed(item, name, function) if text_of(item)[:1] == b"&" else ""
                if told:
                    yield _Write(Span(item.start_byte, item.end_byte, False), unknown(told))
        is_own = is_own_record(base, function) or not stores(self.program, name)
        calls = about("call_expression") if is_own else function.nodes("call_expression")
        for item in calls:
            write = self._called(item, base, name, wholes, function)
            if write is None and not is_own and self._sets(callee(item), name):
                write = _Write(Span(item.start_byte, item.end_byte, True), NOTHING, True)
            if write is not None:
                yield write

    def _is_zero_at_first(self, base: Node, name: bytes, place: Place) -> bool:
        """Whether a field of a record outside of functions may be read before it is set."""
        root, function = root_of(base), place.function
        if flat(base) != text_of(base) or b"->" in text_of(base) or function is None:
            return False
        if variable(function, root, base.start_byte) is not None:
            return False
        scope, path = self.names.callers.linkage.scope, place.home or place.path
        every = left_zero(self.program, root)
        zero = [one for one in every if scope(root, one.file.source.path) == scope(root, path)]
        return bool(zero) and self._may_last(zero, name, place)

    def _may_last(self, first: list[Store], name: bytes, place: Place) -> bool:
        """Whether what a record outside of functions begins with may be read at a place."""
        every = stores(self.program, name, of_field=True)
        given = [one for one in every if not _is_of_local(one)]
        late, _ = self.evaluator.versions.kept([*first, *given], place.function, place.offset)
        return bool(every) and any(one in first for one in late)

    def _filled_elsewhere(self, base: Node, name: bytes, function: Function) -> str:
        """Who writes a record outside of functions as a whole, in other functions."""
        root = root_of(base)
        inner = base.child_by_field_name("argument")
        is_array = base.type == "subscript_expression" and inner is not None
        named = inner if is_array else base
        if named is None or named.type != "identifier":
            return ""
        if variable(function, root, base.start_byte) is not None:
            return ""
        return written_elsewhere(self.program, root, name, function, is_array)

    def _other_view(
        self, item: Node, value: str, wholes: frozenset[bytes], function: Function
    ) -> Iterator[_Write]:
        """What is written through a pointer of another type to the record."""
        right = item.child_by_field_name(value)
        if right is None or bare(right) == right or flat(right) not in wholes:
            return
        target = item.child_by_field_name("declarator" if value == "value" else "left")
        pointer = text_of(declared_name(item) if value == "value" else target)
        if function.body is None or not re.fullmatch(rb"\w+", pointer) or pointer in wholes:
            return
        word = re.escape(pointer)
        through = rb"\b%b(?:\s*\[[^\]\n]*\]|\s*->\s*\w+)" % word
        pattern = rb"%b%b|\*\s*%b\s*(?:[|&^+*-]|<<|>>)?=(?!=)" % (through, _CHANGED, word)
        begin = function.body.start_byte
        text = f"it is written through {shown(pointer)}, which has another type"
        for match in re.finditer(pattern, text_of(function.body)):
            if begin + match.start() > item.end_byte:
                at = begin + match.start()
                yield _Write(Span(at, begin + match.end(), False), unknown(text))

    def _called(
        self, item: Node, base: Node, name: bytes, wholes: frozenset[bytes], function: Function
    ) -> _Write | None:
        """What a call that gets the record leaves in the field."""
        called, given = callee(item), arguments(item)
        at = next((i for i, one in enumerate(given) if pointed(one) in wholes), None)
        span = Span(item.start_byte, item.end_byte, True)
        if at is None:
            return None
        if called in ZEROING | FILLING | COPYING:
            leaves = self._filled(called, given, base, name, function)
            return _Write(span, leaves, leaves is NOTHING) if at == 0 else None
        if self._sets(called, name) or self._assigns(item, name):
            return _Write(span, NOTHING, True)
        if told := self._cleared(called, at, base):
            return _Write(span, unknown(told))
        if self.program.functions(called) and (told := self._handed(given[at], name, function)):
            return _Write(replace(span, replaces=False), unknown(told))
        is_known = bool(self.program.functions(called) or self.program.macros(called))
        if is_known or bare(given[at]).type != "pointer_expression":
            return None
        if called in READING:
            return None
        is_own = variable(function, pointed(given[at]), item.start_byte) is not None
        if not is_own and not may_write(called, at):
            return None
        text = f"{_shown(base)} is given to {shown(called)}, which may write there"
        return _Write(replace(span, replaces=False), unknown(text))

    def _handed(self, given: Node, name: bytes, function: Function) -> str:
        """Who writes a whole record through a pointer that goes elsewhere."""
        return written_through(self.program, pointed(given), name, given, function)

    def _filled(
        self, called: bytes, given: list[Node], base: Node, name: bytes, function: Function
    ) -> Guess:
        """What a call that writes the whole record leaves in the field."""
        value = given[-1] if called != b"memset" or len(given) < 2 else given[1]
        if called in ZEROING or (called in FILLING and text_of(value) in _ZEROS):
            if is_own_record(base, function) or not self._is_set_beside(name, function):
                return exactly(0, "number")
            return unknown(f"{_shown(base)} is made zero here, and set in other functions")
        source = source_of(called, given)
        if called in COPYING and source is not None:
            kind = type_of(root_of(base), function, base.start_byte)
            other, at = root_of(bare(source)), source.start_byte
            if kind and (kind == type_of(other, function, at) or self._is_of(other, name, kind)):
                return NOTHING  # what another record of this type holds is found by the name
            if not kind and is_record(self.program, source, name, function):
                return NOTHING
        return unknown(f"{shown(called)} writes over {_shown(base)}")

    def _is_of(self, variable_: bytes, field: bytes, kind: bytes) -> bool:
        """Whether a variable outside of functions has a type that declares the field."""
        kinds = {one for each in records(self.program, field) for one in each.kinds}
        if kind not in kinds and kind.removeprefix(b"P") not in kinds:
            return False
        words = b"|".join(re.escape(one) for one in sorted(kinds))
        pattern = rb"\b(?:P?(?:%b))\b[\s*]*\b%b\s*[;=\[,]" % (words, re.escape(variable_))
        return any(re.search(pattern, unit.source.code) for unit in self.program.naming(variable_))

    def _sets(self, called: bytes, field: bytes) -> bool:
        """Whether a function of the sources stores in a field of that name."""
        for function in self.program.functions(called):
            start, end = function.node.byte_range
            for store in stores(self.program, field):
                if store.file is function.file and start <= store.offset < end:
                    return True
        return False

    def _assigns(self, call: Node, field: bytes) -> bool:
        """Whether a use of a macro stores in a field of that name."""
        if not self.program.macros(callee(call)):
            return False
        return any(one.use.offset == call.start_byte for one in assigned_by(self.program, field))

    def _cleared(self, called: bytes, index: int, base: Node) -> str:
        """What says that a macro writes over a whole record that it gets."""
        every = self.program.macros(called)
        if any(may_write_over(macro.parameters, macro.body, index) for macro, _ in every):
            return f"{shown(called)} writes over {_shown(base)}"
        return ""

    def _is_set_beside(self, field: bytes, function: Function) -> bool:
        """Whether other functions store in a field of that name."""
        start, end = function.node.byte_range
        every = stores(self.program, field)
        return any(one.file is not function.file or not start <= one.offset < end for one in every)

    # ---------------------------------------------------- lists

    def _left_out(
        self,
        base: Node,
        name: bytes,
        declared: tuple[Record, ...],
        place: Place,
        depth: int,
    ) -> Guess:
        """What lists of the variable leave out is zero."""
        root = root_of(base)
        if not root or place.function is None:
            return NOTHING
        if (
            variable(place.function, root, base.start_byte) is not None
            and base.type == "identifier"
        ):
            return NOTHING
        found = NOTHING
        for store in stores(self.program, root):
            if store.value.type == "initializer_list":
                found = found.join(self._of_list(store, base, name, declared, place, depth))
        return found

    def _of_list(
        self,
        store: Store,
        base: Node,
        name: bytes,
        declared: tuple[Record, ...],
        place: Place,
        depth: int,
    ) -> Guess:
        item = store.value.parent
        if item is None or item.type != "init_declarator" or item.parent is None:
            return NOTHING
        given = _objects(store.value, dimensions(item.parent, item))
        record = _record(item, declared)
        if base.type == "subscript_expression":
            index = base.child_by_field_name("indices") or base.child_by_field_name("index")
            number = self.evaluator.index_of(index, place, depth)
            size = self.evaluator.index_of(sizes(item)[0], place, depth) if sizes(item) else None
            count = len(store.value.named_children)
            if size is not None and count < size and (number is None or number >= count):
                return unknown(f"the list of {_shown(declared_name(item))} leaves elements out")
        is_left = any(leaves_out(record, one, name) for one in given if not is_zero(one))
        is_global = store.file.function_at(store.offset) is None
        if not is_left or (
            self._is_set_elsewhere(name, root_of(base))
            and not (is_global and self._may_last([store], name, place))
        ):
            return NOTHING
        if store.fixed:
            return exactly(0, "number")
        return unknown(f"the list of {_shown(declared_name(item))} leaves {shown(name)} out")

    def _is_set_elsewhere(self, name: bytes, root: bytes) -> bool:
        """Whether the field of that variable is assigned anywhere."""
        pattern = re.compile(
            rb"\b%b\b(?:\s*\[[^\]\n]*\]|\s*(?:\.|->)\s*\w+)*?\s*(?:\.|->)\s*%b\s*=(?!=)"
            % (re.escape(root), re.escape(name))
        )
        return any(
            pattern.search(unit.source.code) is not None for unit in self.program.naming(root)
        )


def _is_of_local(store: Store) -> bool:
    """Whether a store sets a field of a record that a function declares: it is no other's."""
    function, above = store.file.function_at(store.offset), store.value.parent
    if function is None or above is None:
        return False
    if above.type in ("initializer_list", "initializer_pair"):
        return True
    root = store.owner.partition(b".")[0]
    is_dot = store.file.source.code[store.offset - 1 : store.offset] == b"."
    return is_dot and bool(root) and variable(function, root, store.offset) is not None


def _outer(base: Node | None) -> Iterator[bytes]:
    """The fields that hold a field, inmost first."""
    while base is not None:
        if base.type == "field_expression":
            yield text_of(base.child_by_field_name("field"))
        base = base.child_by_field_name("argument")


def _initial(item: Node, name: bytes, declared: tuple[Record, ...]) -> _Write:
    """What a record holds from its declaration on."""
    value = item.child_by_field_name("value")
    span = Span(item.start_byte, item.end_byte, True)
    is_list = value is not None and value.type == "initializer_list" and not sizes(item)
    if value is None or not is_list:
        return _Write(span, NOTHING, True)
    record = _record(item, declared)
    is_zero = leaves_out(record, value, name) or not value.named_children
    return _Write(span, exactly(0, "number")) if is_zero else _Write(span, NOTHING, True)


def _record(item: Node, declared: tuple[Record, ...]) -> Record | None:
    """The type of a variable, among those that declare the field."""
    kind = item.parent.child_by_field_name("type") if item.parent is not None else None
    body = kind.child_by_field_name("body") if kind is not None else None
    if body is not None:
        return next((one for one in declared if one.listed == body), None)
    words = text_of(kind).split()
    found = [one for one in declared if words and words[-1] in one.kinds]
    return found[0] if len(found) == 1 else None


def _objects(value: Node, deep: int) -> list[Node]:
    """The lists of single objects in a list of so many dimensions."""
    if deep == 0:
        return [value]
    found: list[Node] = []
    for item in value.named_children:
        inner = item.named_children[-1] if item.type == "initializer_pair" else item
        found += _objects(inner, deep - 1) if inner.type == "initializer_list" else []
    return found


def _shown(node: Node) -> str:
    return " ".join(shown(text_of(node)).split())[:60]
