"""What changes a place of memory in a function: assignments, lists, calls that get its address.

Theory of operation: the assignments and calls of a function are taken apart once; which of them
change a place is told by what their left sides and arguments name. A write through another pointer
may change it as well, unless both lead to different things. Knows syntax trees; follows no value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from hvci.source.pointers import addressed
from hvci.source.pointers.graph import Graph
from hvci.source.pointers.held import ANY, Place, is_array, overlap, place_of
from hvci.source.pointers.macro_stores import puts
from hvci.source.pointers.makers import PUTTING
from hvci.source.preprocess.tree import Function, arguments, text_of
from hvci.source.program.chains import bare
from hvci.source.program.reaching import Span
from hvci.source.program.records import others_of
from hvci.source.program.scope import declares, misread, variable

if TYPE_CHECKING:
    from tree_sitter import Node


class How(Enum):
    """In which way a place is changed."""

    GIVEN = "it gets a value"
    SHARED = "another member of its union gets a value"
    CHANGED = "something is added to it"
    MOVED = "the pointer to it gets a value"
    LISTED = "it gets its part of a list"
    COPIED = "what it is a part of gets a value"
    CALLED = "a function writes there"
    PUT = "a routine of the kernel writes there"
    MAYBE = "another pointer may lead there"
    OTHERS = "a function writes through pointers that may lead there"


@dataclass(frozen=True)
class Change:
    """One change."""

    span: Span
    how: How
    value: Node
    """What is given, or the call."""
    part: bytes = b""
    """Of what is given, this is the place's."""
    inner: tuple[tuple[Function, Place], ...] = ()
    """The functions that are called, and what the place is there."""
    words: tuple[tuple[bytes, Node], ...] = ()
    """What the parameters of a macro stand for in the value."""


@dataclass(frozen=True)
class _Given:
    """An assignment or declaration."""

    node: Node
    target: Place | None
    value: Node
    operator: bytes
    field: bytes
    """The field that is written, where the left side is one."""


class _Argument(NamedTuple):
    """What an argument is, or is the address of."""

    target: Place | None
    is_address: bool
    is_array: bool = False

    def part(self, place: Place) -> bytes | None:
        """Which part of what it points to a place is; None where it is none."""
        target = self.target
        if target is None or target[:3] != place[:3]:
            return None
        if self.is_address:
            return b"" if target == place else rest_of(target, place)
        if place.through and not target.through and not target.part:
            return place.part
        if self.is_array:
            rest = rest_of(target, place)
            return b"" if rest == b"[0]" else rest
        return None


class _Call(NamedTuple):
    """One call."""

    node: Node
    name: bytes
    given: tuple[Node, ...]
    arguments: tuple[_Argument, ...]


class Written:
    """The assignments and calls of one function."""

    def __init__(self, function: Function) -> None:
        self.function = function

    @cached_property
    def given(self) -> tuple[_Given, ...]:
        """All assignments and declarations with a value."""
        return tuple(self._given())

    def _given(self) -> Iterator[_Given]:
        kinds = ("init_declarator", "assignment_expression", "update_expression")
        for node in self.function.nodes(*kinds):
            is_update = node.type == "update_expression"
            left = node.child_by_field_name("argument" if is_update else "left")
            value = left if is_update else node.child_by_field_name("right")
            if node.type == "assignment_expression" and (declared := misread(node)) is not None:
                left = declared
            if node.type == "init_declarator":
                left, value = _declared(node), node.child_by_field_name("value")
            if left is not None and value is not None:
                operator = text_of(node.child_by_field_name("operator")) or b"="
                at = node.start_byte if node.type != "init_declarator" else left.start_byte
                target = place_of(left, self.function, at)
                yield _Given(node, target, value, operator, _field(left))

    @cached_property
    def calls(self) -> tuple[_Call, ...]:
        """All calls, with the names that they are made by and what they give."""
        return tuple(map(self._call, self.function.nodes("call_expression")))

    def _call(self, node: Node) -> _Call:
        given = tuple(arguments(node))
        name = text_of(node.child_by_field_name("function")).strip()
        return _Call(node, name, given, tuple(map(self._argument, given)))

    def _argument(self, node: Node) -> _Argument:
        inner = addressed.pointee(node)
        at = node.start_byte
        if inner is not None:
            return _Argument(place_of(inner, self.function, at), True)
        target = place_of(node, self.function, at)
        is_whole = target is not None and not target.part and not target.through
        is_own = is_whole and target is not None and target.function is not None
        return _Argument(target, False, is_own and target is not None and is_array(target))


def _declared(node: Node) -> Node | None:
    """The name that a declaration gives a value to."""
    inner = node.child_by_field_name("declarator")
    while inner is not None and inner.type not in ("identifier", "field_identifier"):
        below = inner.child_by_field_name("declarator")
        if below is None and inner.type == "parenthesized_declarator" and inner.named_children:
            below = inner.named_children[-1]
        inner = below
    return inner


def _field(left: Node) -> bytes:
    node = bare(left)
    return text_of(node.child_by_field_name("field")) if node.type == "field_expression" else b""


class Changes:
    """What changes places in the functions of one program."""

    def __init__(
        self,
        graph: Graph,
        leaves: Callable[[Place, Function], bool],
        alias: Callable[[Place | None, Place, Function], bool],
        writers: Callable[[Place], frozenset[Function]],
        strange: Callable[[Function, Sequence[Node], list[int], Place, Function], bool],
        may_write: Callable[[Function, int, bytes], bool],
    ) -> None:
        self.graph = graph
        self.leaves = leaves
        """Whether a function may leave a place as it is."""
        self.alias = alias
        """Whether another place may be the same memory."""
        self.writers = writers
        """The functions in which a place that all see may be changed."""
        self.strange = strange
        """Whether a function that is called may write to a place through other pointers."""
        self.may_write = may_write
        """Whether a function may write to a part of what a parameter of it points to."""
        self._written: dict[Function, Written] = {}
        self._known: dict[tuple[Place, Function], tuple[Change, ...]] = {}
        self.busy: set[tuple[Place, Function]] = set()
        self._known_callees: dict[Node, list[Function]] = {}
        self.missed = 0
        """Questions that were asked inside themselves: what was made of the answer is not kept."""

    def written(self, function: Function) -> Written:
        """The assignments and calls of a function."""
        if function not in self._written:
            self._written[function] = Written(function)
        return self._written[function]

    def of(self, place: Place, function: Function) -> tuple[Change, ...]:
        """What changes a place in a function, in the order in which it takes effect."""
        key = (place, function)
        if key not in self._known:
            if key in self.busy:
                self.missed += 1
                return ()
            self.busy.add(key)
            before = self.missed
            found = [*self._by_assignments(place, function), *self._by_calls(place, function)]
            found += self._by_macros(place, function)
            found.sort(key=lambda one: (one.span.end, -one.span.start))
            self.busy.discard(key)
            if self.missed != before:
                return tuple(found)
            self._known[key] = tuple(found)
        return self._known[key]

    def named(self, place: Place, function: Function) -> bool:
        """Whether a function itself changes a place by its name, or hands on its address."""
        targets = (one.target for one in self.written(function).given)
        return any(one is not None and _holds(one, place) for one in targets) or any(
            argument.part(place) is not None
            for call in self.written(function).calls
            for argument in call.arguments
        )

    # ------------------------------------------------------------ assignments

    def _by_assignments(self, place: Place, function: Function) -> Iterator[Change]:
        first = variable(function, place.name, place.declared) if place.function else None
        is_static = first is not None and first.lasts
        for one in self.written(function).given:
            found = self._assigned(one, place, function)
            if found is not None:
                if is_static and one.node.type == "init_declarator":
                    span = Span(found.span.start, found.span.end, False)
                    found = Change(span, found.how, found.value, found.part)
                yield found

    def _assigned(self, one: _Given, place: Place, function: Function) -> Change | None:
        target, node, value = one.target, one.node, one.value
        start, end, is_plain = node.start_byte, node.end_byte, one.operator == b"="
        if target is not None and target[:4] == place[:4] and overlap(target.part, place.part):
            sure = is_plain and target.part == place.part and ANY not in place.part
            how = How.GIVEN if is_plain else How.CHANGED
            if value.type == "initializer_list":
                return Change(Span(start, end, sure), How.LISTED, value)
            return Change(Span(start, end, sure), how, value)
        if target is not None and is_plain and self._is_union(target, place):
            return Change(Span(start, end, False), How.SHARED, value)
        if target is not None and target == place.pointer and place.through:
            how = How.MOVED if is_plain else How.CHANGED
            return Change(Span(start, end, True), how, value, place.part) if is_plain else None
        if target is not None and (rest := rest_of(target, place)) is not None:
            how = How.LISTED if value.type == "initializer_list" else How.COPIED
            return Change(Span(start, end, is_plain), how, value, rest)
        if one.field and one.field == place.field and self.alias(target, place, function):
            return Change(Span(start, end, False), How.MAYBE, value)
        is_bare = target is not None and target.through and not target.part and not place.part
        if is_bare and place.function is not None and self.alias(target, place, function):
            return Change(Span(start, end, False), How.MAYBE, value)
        return None

    def _is_union(self, target: Place, place: Place) -> bool:
        """Whether another member of the union is written that a place is in."""
        if target[:4] != place[:4] or not place.field or target.field == place.field:
            return False
        for one, other in zip(target.part.split(b"."), place.part.split(b"."), strict=False):
            first, second = one.partition(b"[")[0], other.partition(b"[")[0]
            if first != second:
                return first in others_of(self.graph.program, second)
        return False

    def _by_macros(self, place: Place, function: Function) -> Iterator[Change]:
        """What macros put into the field, of whatever object."""
        for put in puts(self.graph.program, place.field) if place.field else ():
            if put.use.function is function:
                start, end = put.use.node.start_byte, put.use.node.end_byte
                yield Change(Span(start, end, False), How.GIVEN, put.value, words=put.words)

    # ------------------------------------------------------------ calls

    def _by_calls(self, place: Place, function: Function) -> Iterator[Change]:
        is_c = function.file.source.is_c
        is_asked = place.function is None or bool(place.field)
        for call in self.written(function).calls:
            parts = [(i, one.part(place)) for i, one in enumerate(call.arguments)]
            pointed = [(i, part) for i, part in parts if part is not None]
            if not is_c:
                own = enumerate(call.arguments)
                pointed += [(i, b"&") for i, one in own if one.target == place]
            if pointed or is_asked:
                yield from self._by_call(call, pointed, place, function)

    def _by_call(
        self, call: _Call, pointed: list[tuple[int, bytes]], place: Place, function: Function
    ) -> Iterator[Change]:
        node = call.node
        start, end = node.start_byte, node.end_byte
        whole = [i for i, part in pointed if not part]
        if whole and PUTTING.get(call.name.decode("latin-1"), -1) in whole:
            yield Change(Span(start, end, True), How.PUT, node)
            return
        value = addressed.written_by(node) if 0 in whole else None
        if value is not None:
            yield Change(Span(start, end, False), How.GIVEN, value)
            return
        parts = [part for i, part in pointed if i == 0 and part]
        copied = addressed.copied_by(node) if parts else None
        if copied is not None:
            yield Change(Span(start, end, False), How.COPIED, copied, parts[0])
            return
        callees = self._callees(call, function)
        inner = list(self._inner(callees, pointed, place)) if callees else []
        if inner:
            yield self._called(node, inner, place, len(callees))
        known = [i for i, _ in pointed]
        if any(self.strange(one, call.given, known, place, function) for one in callees):
            yield Change(Span(start, end, False), How.OTHERS, node)

    def _called(
        self, node: Node, inner: list[tuple[Function, Place]], place: Place, count: int
    ) -> Change:
        sure = {one for one, _ in inner}
        is_sure = len(sure) == count and ANY not in place.part
        is_sure = is_sure and not any(self.leaves(there, one) for one, there in inner)
        span = Span(node.start_byte, node.end_byte, is_sure)
        return Change(span, How.CALLED, node, b"", tuple(inner))

    def _callees(self, call: _Call, function: Function) -> list[Function]:
        known = self._known_callees.get(call.node)
        if known is None:
            known = self._known_callees[call.node] = self._find(call, function)
        return known

    def _find(self, call: _Call, function: Function) -> list[Function]:
        name, node = call.name, call.node
        if name.decode("latin-1").isidentifier():
            known = self.graph.means(name, function.file.source.path)
            if known or declares(function, name, node.start_byte) is None:
                return known
        pointer = node.child_by_field_name("function")
        known = self.graph.targets(pointer, function) if pointer is not None else []
        return [one for one in known if len(one.parameters) == len(call.given)]

    def _inner(
        self, callees: list[Function], pointed: list[tuple[int, bytes]], place: Place
    ) -> Iterator[tuple[Function, Place]]:
        for callee in callees:
            for index, part in pointed:
                if index >= len(callee.parameters) or not callee.parameters[index]:
                    continue
                own = Place(callee.parameters[index], callee, 0)
                if part != b"&" and self.may_write(callee, index, part):
                    yield callee, own._replace(through=True, part=part)
                elif part == b"&" and callee.is_reference(index):
                    yield callee, own
            if place.function is None and callee in self.writers(place):
                yield callee, place


def _holds(target: Place, place: Place) -> bool:
    """Whether what is written is a place, or around it."""
    if target[:4] == place[:4] and overlap(target.part, place.part):
        return True
    return rest_of(target, place) is not None


def rest_of(whole: Place, place: Place) -> bytes | None:
    """The part of a place in a record or array around it; None where that is not around it."""
    if whole[:4] != place[:4] or whole.part == place.part:
        return None
    if not place.part.startswith(whole.part):
        return None
    rest = place.part[len(whole.part) :]
    if whole.part and rest[:1] not in (b".", b"["):
        return None
    return rest.lstrip(b".")
