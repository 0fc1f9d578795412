"""What a place of memory may hold where it is read, by what was written there last.

Theory of operation: of the changes of a place in its function those count that may be the last
before the read; where none need be, the callers are asked, each with what it gives, and for what
outlives all calls whatever the functions that Windows calls leave there. What pointers lead to is
told apart by where the memory comes from; where that is not known, by the name of the field alone.
Knows changes and calls; expressions are followed by `origins`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from hvci.source.pointers import addressed
from hvci.source.pointers.changes import Change, Changes, How
from hvci.source.pointers.graph import Graph, constructed
from hvci.source.pointers.held import Place, behind, is_array, place_of, within
from hvci.source.pointers.lists import chosen
from hvci.source.pointers.makers import RETURNING
from hvci.source.pointers.roots import NOTHING_KNOWN, Made, Root, Where
from hvci.source.pointers.sharing import Sharing, target_of
from hvci.source.pointers.steps import (
    MAX_FRAMES,
    Alike,
    At,
    Follows,
    Left,
    Named,
    Read,
    Standing,
    Way,
    inside,
    into,
    within_calls,
)
from hvci.source.preprocess.tree import Function, arguments, text_of
from hvci.source.program.chains import bare
from hvci.source.program.program import Program
from hvci.source.program.reaching import START, leaving, reaching
from hvci.source.program.scope import variable
from hvci.source.program.stores import Store, escapes, stores

if TYPE_CHECKING:
    from tree_sitter import Node

MAX_WRITERS = 24
"""Functions that name a variable, beyond which their order is not followed."""


class Flow:
    """What places of one program may hold."""

    def __init__(self, program: Program, follows: Follows) -> None:
        self.program = program
        self.follows = follows
        self.graph = Graph(program)
        share = self.sharing = Sharing(follows, self.graph)
        self.changes = share.changes = Changes(
            self.graph, self._may_leave, share.alias, self.writers, share.strange, share.may_write
        )
        self._asked = _Nothing()
        self._leaving: dict[tuple[Place, Function], frozenset[int]] = {}
        self._writers: dict[Place, frozenset[Function]] = {}
        self._narrow: dict[bytes, bool] = {}
        self._naming: dict[bytes, frozenset[Function]] = {}

    # ------------------------------------------------------------ what is read

    def read(self, place: Place, where: Where) -> Iterator[Way]:
        """What a place may hold somewhere."""
        function = where.function
        if place.through and place.field and self.sharing.objects(place) is None:
            yield from self._by_name(place.part)
            return
        is_wide = function is not None and not self._is_followed(place, function)
        if place.function is None and is_wide:
            yield from self._anyhow(place)
            return
        changes = self.changes.of(place, function) if function is not None else ()
        state = frozenset((START,))
        if function is not None and changes:
            spans = [one.span for one in changes]
            lasts = self._lasts(place)
            state = reaching(function, spans, where.offset, self._asked, lasts)
        for at in sorted(state):
            if at == START:
                yield from self._before(place, where)
            else:
                yield from self._change(changes[at], place, where)

    def _is_followed(self, place: Place, function: Function) -> bool:
        """Whether few enough functions write to a variable, or come to its reader."""
        if place.function is not None:
            return True
        return self._is_narrow(place) and self.graph.is_small((function,))

    def _is_narrow(self, place: Place) -> bool:
        if self.sharing.is_large:
            return False
        if place.name not in self._narrow:
            direct = self._direct(place.name)
            is_few = len(direct) <= MAX_WRITERS * self.program.joined
            self._narrow[place.name] = is_few and self.graph.is_small(direct)
        return self._narrow[place.name]

    def _direct(self, name: bytes) -> frozenset[Function]:
        """The functions that name a variable."""
        if name not in self._naming:
            every: set[Function] = set()
            for unit in self.program.naming(name):
                for at in unit.source.places(name):
                    if not unit.in_define(at) and unit.live(at) is not False:
                        function = unit.trees.at(at).function_at(at)
                        every.update((function,) if function is not None else ())
            self._naming[name] = frozenset(every)
        return self._naming[name]

    def _anyhow(self, place: Place) -> Iterator[Way]:
        """All that a variable of no function is given, in whatever order."""
        if place.field:
            yield from self._by_name(place.part)
        else:
            to = Named(place.name, place.part.endswith(b"]"))
            yield Way(to, loose=to)

    def left(self, place: Place, where: Where) -> Iterator[Way]:
        """What a function leaves in a place that it changes."""
        assert where.function is not None
        changes = self.changes.of(place, where.function)
        for at in sorted(self._left(place, where.function) - {START}):
            yield from self._change(changes[at], place, where)

    def every(self, place: Place, function: Function | None) -> Iterator[Way]:
        """All that a pointer ever gets, whatever the order."""
        if place.function is None:
            yield Way(Standing(place))
            return
        where = inside(place.function)
        for change in self.changes.of(place, place.function):
            yield from self._change(change, place, where)
        yield from self._before(place, where)

    def _lasts(self, place: Place) -> bool:
        if place.function is None or place.through:
            return False
        found = variable(place.function, place.name, place.declared)
        return found is not None and found.lasts

    def _left(self, place: Place, function: Function) -> frozenset[int]:
        key = (place, function)
        if key not in self._leaving:
            before = self.changes.missed
            spans = [one.span for one in self.changes.of(place, function)]
            found = leaving(function, spans, self._asked) if spans else _UNCHANGED
            if self.changes.missed != before:
                return found
            self._leaving[key] = found
        return self._leaving[key]

    def _may_leave(self, place: Place, function: Function) -> bool:
        if (place, function) in self.changes.busy:
            return True
        return START in self._left(place, function)

    def _change(self, change: Change, place: Place, where: Where) -> Iterator[Way]:
        """What one change leaves."""
        here = where.here(where.function, change.span.start)
        if change.how is How.GIVEN:
            yield Way(At(change.value, replace(here, words=change.words)))
        elif change.how is How.SHARED:
            is_given = bool(stores(self.program, place.field, of_field=True))
            yield Way(At(change.value, here), shared=is_given)
        elif change.how is How.CHANGED:
            yield Way(At(change.value, here), exact=False)
            yield Way(Read(place, here), exact=False)
        elif change.how is How.MOVED:
            yield from self.pointed(change.value, place.part, here)
        elif change.how is How.LISTED:
            for one in chosen(self.program, change.value, change.part):
                yield Way(At(one, here))
        elif change.how is How.COPIED:
            yield from self._copied(change.value, change.part, here)
        elif change.how is How.PUT:
            name = text_of(change.value.child_by_field_name("function")).decode("utf-8", "replace")
            yield Way(Root(Made.MEMORY, name.strip(), here.path, change.span.start))
        elif change.how is How.MAYBE:
            yield Way(At(change.value, here), loose=Alike(place, where.function))
        elif change.how is How.OTHERS:
            yield Way(Alike(place, where.function), loose=Alike(place, where.function))
        else:
            for function, inner in change.inner:
                yield Way(Left(inner, into(function, change.value, here)))

    def _copied(self, value: Node, part: bytes, here: Where) -> Iterator[Way]:
        value = bare(value)
        if value.type == "conditional_expression":
            for side in ("consequence", "alternative"):
                inner = value.child_by_field_name(side)
                if inner is not None:
                    yield from self._copied(inner, part, here)
            return
        whole = place_of(value, here.function, here.offset)
        if whole is not None:
            yield Way(Read(within(whole, part), here))
        else:
            yield from self._by_name(part)

    # ------------------------------------------------------------ pointers

    def pointed(self, node: Node, part: bytes, where: Where) -> Iterator[Way]:
        """What stands in a part of what a pointer leads to."""
        node = bare(node)
        inner = addressed.pointee(node)
        place = place_of(inner if inner is not None else node, where.function, where.offset)
        if node.type == "conditional_expression":
            for side in ("consequence", "alternative"):
                way = node.child_by_field_name(side)
                if way is not None:
                    yield from self.pointed(way, part, where)
        elif node.type == "assignment_expression":
            right = node.child_by_field_name("right")
            if right is not None:
                yield from self.pointed(right, part, where)
        elif inner is not None and place is not None:
            yield Way(Read(within(place, part) if part else place, where))
        elif inner is None and place is not None and (there := self._behind(place, part)):
            yield Way(Read(there, where))
        elif node.type == "call_expression":
            yield from self._returned(node, part, where)
        elif node.type not in _NO_POINTERS:
            yield from self._by_name(part)

    def _behind(self, pointer: Place, part: bytes) -> Place | None:
        if not pointer.through and not pointer.part and pointer.function and is_array(pointer):
            return within(pointer, part or b"[0]")
        return behind(pointer, part)

    def _returned(self, call: Node, part: bytes, where: Where) -> Iterator[Way]:
        """The same of what a call returns; nothing stands in memory that is fresh."""
        name = text_of(call.child_by_field_name("function")).strip()
        if name.decode("latin-1") in RETURNING:
            return
        known = self.graph.means(name, where.path)
        if not known or len(where.calls) > MAX_FRAMES:
            yield from self._by_name(part)
        for function in known:
            there = into(function, call, where)
            for item in function.nodes("return_statement"):
                inner = item.named_children[-1] if item.named_children else None
                if inner is not None:
                    yield from self.pointed(inner, part, there.here(function, item.start_byte))

    def _by_name(self, part: bytes) -> Iterator[Way]:
        field, is_element = Place(b"", None, 0, True, part).field, part.endswith(b"]")
        if field:
            to = Named(field, is_element, True)
            yield Way(to, loose=to)
        else:
            yield Way(NOTHING_KNOWN)

    # ------------------------------------------------------------ before the function

    def _before(self, place: Place, where: Where) -> Iterator[Way]:
        """What a place holds when its function begins."""
        function = where.function
        if place.function is None:
            yield from self._outside(place, where)
        elif place.parameter is None or function is None:
            if self._lasts(place):
                yield Way(NOTHING_KNOWN)
        elif where.calls:
            frame, *rest = where.calls
            given = arguments(frame.call)
            if place.parameter < len(given):
                there = within_calls(frame.where, tuple(rest))
                yield from self._argument(given[place.parameter], place, there)
        else:
            yield from self._given(place, function, place.parameter)

    def _given(self, place: Place, function: Function, index: int) -> Iterator[Way]:
        """What all callers give."""
        for use, node in self.graph.given(function, index):
            there = Where(use.file, use.function, use.offset, use.source.path)
            yield from self._argument(node, place, there)
        for one, node in constructed(self.program, function, index):
            file = one.file
            at = Where(file, file.function_at(one.offset), one.offset, file.source.path)
            yield from self._argument(node, place, at)
        if self.graph.is_root(function):
            if place.through:
                yield from self._by_name(place.part)
            else:
                yield Way(NOTHING_KNOWN)

    def _argument(self, node: Node, place: Place, there: Where) -> Iterator[Way]:
        if place.through:
            yield from self.pointed(node, place.part, there)
        elif place.part:
            yield from self._copied(node, place.part, there)
        else:
            yield Way(At(node, there))

    def _outside(self, place: Place, where: Where) -> Iterator[Way]:
        """The same of what is no variable of a function."""
        function = where.function
        if function is None:
            yield Way(Standing(place, True))
        elif where.calls:
            frame, *rest = where.calls
            yield Way(Read(place, within_calls(frame.where, tuple(rest))))
        else:
            for use in self.graph.calls(function):
                there = Where(use.file, use.function, use.offset, use.source.path)
                yield Way(Read(place, there))
            if self.graph.is_root(function):
                yield Way(Standing(place, self.graph.is_entry(function)))

    # ------------------------------------------------------------ what outlives all calls

    def standing(self, place: Place, is_first: bool) -> Iterator[Way]:
        """What a variable of no function holds while nothing of the driver runs."""
        if place.through:
            yield Way(Alike(place, None), loose=Alike(place, None))
            return
        if not self._is_narrow(place):
            yield from self._anyhow(place)
            return
        roots = [one for one in self.writers(place) if self.graph.is_root(one)]
        entries = [one for one in roots if self.graph.is_entry(one)]
        kept = all(START in self._left(place, one) for one in entries)
        if is_first or kept:
            yield from self._initial(place)
        for one in roots if not is_first else ():
            yield Way(Left(place, inside(one)))
        if escapes(self.program, place.name):
            yield Way(Alike(place, None), loose=Alike(place, None))

    def _initial(self, place: Place) -> Iterator[Way]:
        """What the declaration of a variable gives it."""
        for store in stores(self.program, place.name):
            function = store.file.function_at(store.offset)
            if function is not None or not _is_whole(store):
                continue
            here = Where(store.file, None, store.offset, store.file.source.path)
            if store.value.type == "initializer_list":
                for one in chosen(self.program, store.value, place.part):
                    yield Way(At(one, here))
            elif place.part:
                yield from self._copied(store.value, place.part, here)
            else:
                yield Way(At(store.value, here))

    def writers(self, place: Place) -> frozenset[Function]:
        """The functions in which a variable of no function, or a part of it, may be changed."""
        if place not in self._writers:
            every = self._direct(place.name)
            direct = (one for one in every if self.changes.named(place, one))
            self._writers[place] = self.graph.callers(filter(self.graph.runs, direct))
        return self._writers[place]

    # ------------------------------------------------------------ one memory, two pointers

    def alike(self, place: Place, function: Function | None) -> Iterator[Way]:
        """All that is written through whatever may point to a place."""
        if not place.field:
            yield Way(NOTHING_KNOWN)
            return
        for store in stores(self.program, place.field, of_field=True):
            around = store.file.function_at(store.offset)
            target = target_of(store, around)
            if self.graph.runs(around) and self.sharing.alias(target, place, around):
                yield Way(At(store.value, _at(store, around)))


_UNCHANGED = frozenset((START,))
_NO_POINTERS = ("number_literal", "null", "string_literal", "char_literal", "true", "false")


class _Nothing:
    """Knows no condition."""

    def truth(self, condition: Node) -> bool | None:
        return None

    def label(self, switch: Node) -> int | None:
        return None


def _is_whole(store: Store) -> bool:
    """Whether a value is that of a variable, and not of an enumerator or field in a list."""
    above = store.value.parent
    return above is not None and above.type in ("init_declarator", "assignment_expression")


def _at(store: Store, function: Function | None) -> Where:
    return Where(store.file, function, store.offset, store.file.source.path)
