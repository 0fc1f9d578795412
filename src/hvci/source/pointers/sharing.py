"""Whether two pointers may lead to the same memory, and who writes through pointers.

Theory of operation: a pointer leads to what it was ever given: variables whose addresses are
taken, and memory by where it is allocated. Where one of these is not known it may be anything.
Knows stores of fields and calls; what pointers get is asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from hvci.source.pointers import addressed
from hvci.source.pointers.changes import Changes
from hvci.source.pointers.graph import Graph
from hvci.source.pointers.held import Place, behind, is_array, place_of, within
from hvci.source.pointers.roots import Made
from hvci.source.pointers.steps import Every, Follows, thing
from hvci.source.preprocess.tree import Function, text_of
from hvci.source.program.scope import variable
from hvci.source.program.stores import Store, escapes, stores

if TYPE_CHECKING:
    from tree_sitter import Node

MAX_FILES = 60
"""Files of a program, beyond which names alone tell who writes what several functions see."""
Things = frozenset[tuple[str, str, int]]


class Sharing:
    """What pointers of one program lead to."""

    changes: Changes

    def __init__(self, follows: Follows, graph: Graph) -> None:
        self.program = follows.program
        self.follows = follows
        self.graph = graph
        self.is_large = len(self.program.paths) > MAX_FILES
        self._others: dict[Place, frozenset[Function]] = {}
        self._objects: dict[Place, Things | None] = {}
        self._asking: set[Place] = set()
        self._through: dict[bytes, _Through] = {}

    def alias(self, other: Place | None, place: Place, function: Function | None) -> bool:
        """Whether two places may be the same memory."""
        if other is not None and not other.through and not place.through:
            return other[:3] == place[:3]
        if not place.through and not self._is_shared(place):
            return False
        if other is not None and not other.through and not self._is_shared(other):
            return False
        first = self.objects(other) if other is not None else None
        second = self.objects(place)
        if first is None or second is None:
            return True
        return not first.isdisjoint(second)

    def _is_shared(self, place: Place) -> bool:
        """Whether the address of a variable goes anywhere."""
        if place.function is None:
            return bool(escapes(self.program, place.name)) or is_array(place)
        found = variable(place.function, place.name)
        return found is not None and (bool(found.addresses) or is_array(place))

    def objects(self, place: Place) -> Things | None:
        """The memory that a place may be in; None where that is not known."""
        if not place.through:
            return frozenset((thing(place),))
        pointer = place.pointer
        if pointer not in self._objects and pointer.parameter is not None:
            assert pointer.function is not None
            if self.is_large or not self.graph.is_small((pointer.function,)):
                self._objects[pointer] = None
        if pointer not in self._objects:
            if pointer in self._asking:
                self.changes.missed += 1
                return None
            self._asking.add(pointer)
            before = self.changes.missed
            found = self.follows.reached(Every(pointer, None), all_known=True)
            self._asking.discard(pointer)
            if self.changes.missed != before:
                return None
            is_known = all(root.made is not Made.UNKNOWN for root in found)
            own = (root for root in found if root.made in (Made.MEMORY, Made.VARIABLE, Made.DATA))
            held = frozenset((one.name, one.path, one.start) for one in own)
            self._objects[pointer] = held if is_known else None
        return self._objects[pointer]

    def strange(
        self,
        callee: Function,
        given: Sequence[Node],
        known: list[int],
        place: Place,
        function: Function,
    ) -> bool:
        """Whether a function that is called may write to a place, but for arguments that are it."""
        if not place.field or not (place.through or self._is_shared(place)):
            return False
        through = self._writes_through(place.field)
        for index, node in enumerate(given):
            if index not in known and (callee, index) in through.parameters:
                inner = addressed.pointee(node)
                other = place_of(node if inner is None else inner, function, node.start_byte)
                if other is not None and inner is None:
                    other = behind(other, place.part)
                if self.alias(other, place, function):
                    return True
        return callee in self._strangers(place)

    def may_write(self, callee: Function, index: int, part: bytes) -> bool:
        """Whether a function may write to a part of what a parameter of it points to."""
        fields = [one for one in _ELEMENTS.sub(b"", part).split(b".") if one]
        if any((callee, index) in self._writes_through(one).parameters for one in fields):
            return True
        whole = rb"\*\s*\(*\s*%b\s*\)*\s*=(?!=)" % re.escape(callee.parameters[index])
        return not fields or re.search(whole, text_of(callee.node)) is not None

    def _strangers(self, place: Place) -> frozenset[Function]:
        """The functions in which other pointers than parameters may write to a place."""
        if place not in self._others:
            before = self.changes.missed
            through = self._writes_through(place.field).others
            found = {one for one, other in through if self.alias(other, place, one)}
            every = self.graph.callers(found)
            if self.changes.missed != before:
                return every
            self._others[place] = every
        return self._others[place]

    def _writes_through(self, field: bytes) -> _Through:
        """Who writes to a field: through which parameters, and through what else."""
        if field not in self._through:
            found = self._through[field] = _Through(set(), [])
            todo: list[tuple[Function, Place | None]] = []
            for store in stores(self.program, field, of_field=True):
                inside = store.file.function_at(store.offset)
                if inside is not None and self.graph.runs(inside):
                    todo.append((inside, target_of(store, inside)))
            while todo:
                inside, target = todo.pop()
                index = target.parameter if target is not None and target.through else None
                if index is None:
                    found.others.append((inside, target))
                elif (inside, index) not in found.parameters:
                    found.parameters.add((inside, index))
                    todo += self._arguments(inside, index, target)
        return self._through[field]

    def _arguments(
        self, function: Function, index: int, target: Place | None
    ) -> Iterator[tuple[Function, Place | None]]:
        """Through what callers have a function write that writes through a parameter."""
        for use, node in self.graph.given(function, index):
            if use.function is None or target is None:
                continue
            inner = addressed.pointee(node)
            other = place_of(node if inner is None else inner, use.function, use.offset)
            if other is not None:
                other = behind(other, target.part) if inner is None else within(other, target.part)
            yield use.function, other


class _Through(NamedTuple):
    """How a field is written."""

    parameters: set[tuple[Function, int]]
    others: list[tuple[Function, Place | None]]


_ELEMENTS = re.compile(rb"\[[^\]]*\]")


def target_of(store: Store, function: Function | None) -> Place | None:
    """The place that a store of a field writes, as far as it is one."""
    above = store.value.parent
    if above is not None and above.type == "assignment_expression":
        return place_of(above.child_by_field_name("left"), function, above.start_byte)
    while above is not None and above.type in ("initializer_list", "initializer_pair"):
        above = above.parent
    if above is not None and above.type == "init_declarator":
        named = above.child_by_field_name("declarator")
        while named is not None and named.type == "array_declarator":
            named = named.child_by_field_name("declarator")
        return place_of(named, function, above.start_byte + 1)
    return None
