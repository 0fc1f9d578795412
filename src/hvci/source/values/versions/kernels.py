"""The Windows version as a value: what checks at run time say on the kernels that are aimed at.

Theory of operation: a condition is evaluated once for each kernel, with the routines and fields
that tell its version known; flags in variables, fields and results of functions are followed. A
statement is dead when no kernel comes to it, and sure when all do. Knows syntax trees, no memory.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from hvci.model import TARGETS, WindowsVersion
from hvci.source.preprocess.expression import Truth
from hvci.source.preprocess.tree import File, Function, ancestors, is_same, text_of
from hvci.source.program.chains import flat
from hvci.source.program.program import Macro, Program
from hvci.source.program.scope import LOOPS, is_once, variable
from hvci.source.program.starting import called_before, key_of, run_before
from hvci.source.program.stores import Store
from hvci.source.values.comparing import Known
from hvci.source.values.leaving import leaving
from hvci.source.values.switches import Reached
from hvci.source.values.versions.asking import Asking
from hvci.source.values.versions.numbers import Here, Numbers
from hvci.source.values.versions.telling import TELLING, Exit, is_before

if TYPE_CHECKING:
    from tree_sitter import Node

T = TypeVar("T")
_WORD = re.compile(rb"\w+")


class Start(NamedTuple):
    """Where in the entry routine something is done, or the way to it begins."""

    entry: Function
    offset: int


MAX_NESTED, MAX_HOPS = 3, 4
"""Conditions that are asked for while others are, and calls between the entry routine and a store
that is made at the start."""
ENTRIES = (b"DriverEntry", b"GsDriverEntry", b"DllInitialize")


def kernels(target: WindowsVersion) -> tuple[WindowsVersion, ...]:
    """The kernels that have memory integrity and that a driver for the target meets."""
    return tuple(kernel for kernel in TARGETS if kernel >= target)


class Versions(Numbers):
    """Evaluates conditions of one program on some kernels."""

    def __init__(self, program: Program, on: Iterable[WindowsVersion]) -> None:
        super().__init__(program)
        self.on = tuple(on)
        self.exits: dict[Function, list[Exit]] = {}
        self.always: dict[tuple[Function, int], str] = {}
        """Where functions leave early, and why each is always taken, by its place (`guards.py`)."""

    def alone(self, on: WindowsVersion) -> Versions:
        """The same for one kernel, with what is known or being worked out already."""
        one = Versions(self.program, (on,))
        one.search = self.search
        return one

    @property
    def is_asked(self) -> bool:
        """Whether the program asks for a Windows version at all."""
        if self.search.is_asked is None:
            self.search.is_asked = any(self.program.names_part(name) for name in TELLING)
        return self.search.is_asked

    def concerns(self, condition: Node, function: Function | None) -> bool:
        """Whether a condition may say something of the version."""
        if not self.is_asked:
            return False
        self.search.asking = self.search.asking or Asking(self.program)
        return self.search.asking.concerns(condition, function)

    def truth(self, condition: Node | None, file: File, function: Function | None) -> Truth:
        """Which way a condition goes on every kernel; None when they differ or it is not known."""
        search = self.search
        if condition is None or not self.concerns(condition, function):
            return None
        key = file, condition.start_byte, condition.end_byte, self.on
        if key not in search.truths:
            if search.nested >= MAX_NESTED:
                return None
            if not search.nested:
                search.steps = 0
            search.truths[key] = None
            search.nested += 1
            search.truths[key] = self._truth(condition, file, function)
            search.nested -= 1
        return search.truths[key]

    def _truth(self, condition: Node, file: File, function: Function | None) -> Truth:
        here = Here(file, function, condition.start_byte)
        found: set[bool] = set()
        for kernel in self.on:
            number = self.number(condition, here, kernel, 0)
            if number is None:
                return None
            found.add(number != 0)
            if len(found) > 1:
                return None
        return found.pop() if found else None

    def fate(self, node: Node, file: File, function: Function | None) -> Truth:
        """Whether every kernel comes to a statement (True) or none does (False)."""
        below, sure = node, True
        for above in ancestors(node):
            if above.type == "function_definition":
                break
            if above.type in ("if_statement", "conditional_expression"):
                condition = above.child_by_field_name("condition")
                if not is_same(condition, below):
                    wanted = is_same(above.child_by_field_name("consequence"), below)
                    truth = self.truth(condition, file, function)
                    if truth is not None and truth is not wanted:
                        return False
                    sure = sure and truth is wanted
            elif above.type == "switch_statement":
                truth = self._enters(above, node, file, function)
                if truth is False:
                    return False
                sure = sure and truth is True
            elif above.type in LOOPS and not is_once(above):
                sure = False
            below = above
        return True if sure else None

    def start(self, switch: Node, file: File, function: Function) -> int | None:
        """The position of the label that a `switch` leads to on every kernel."""
        return self._alike(switch, file, function, lambda reached: reached.start(switch))

    def _enters(self, switch: Node, node: Node, file: File, function: Function | None) -> Truth:
        """Whether a `switch` leads to a statement on every kernel (True) or on none (False)."""
        return self._alike(switch, file, function, lambda reached: reached.enters(switch, node))

    def _alike(
        self, switch: Node, file: File, function: Function | None, ask: Callable[[Reached], T]
    ) -> T | None:
        """What a `switch` does on every kernel; None where they differ."""
        condition, search = switch.child_by_field_name("condition"), self.search
        if condition is None or search.nested >= MAX_NESTED:
            return None
        if not self.concerns(condition, function):
            return None

        def constant(on: WindowsVersion, one: Node) -> Known | None:
            number = self.number(one, Here(file, function, one.start_byte), on, 0)
            return Known(b"", number) if number is not None else None

        search.nested += 1
        found = {ask(Reached({}, partial(constant, kernel))) for kernel in self.on}
        search.nested -= 1
        return found.pop() if len(found) == 1 else None

    def start_of(self, store: Store) -> Start | None:
        """Where the entry routine comes to a store on every kernel; None where it may not."""
        function, offset = store.file.function_at(store.offset), store.offset
        if function is None or self.fate(store.value, store.file, function) is not True:
            return None
        if self._may_leave(function, 0, store.offset):
            return None
        for _ in range(MAX_HOPS):
            if function.name in ENTRIES:
                return Start(function, offset)
            uses = [use for use in self.program.uses(function.name) if use.function is not None]
            sure = [use for use in uses if self.fate(use.node, use.file, use.function) is True]
            if not sure or sure[0].function is None:
                return None
            function, offset = sure[0].function, sure[0].offset
            if self._may_leave(function, 0, offset):
                return None
        return None

    def _holds_at(
        self, store: Store, function: Function | None, offset: int, macro: Macro | None
    ) -> bool:
        """Whether a store was made at the start before a place is come to."""
        start = self.start_of(store)
        if start is None or is_before(function, offset, store):
            return False
        if function is None and macro is None:
            return True
        if start not in self.search.before:
            self.search.before[start] = run_before(self.program, start.entry, start.offset)
        before = self.search.before[start]
        if function is None:
            return macro is None or macro.name not in before.macros
        return key_of(function) not in before.functions

    def _may_leave(self, function: Function, start: int, end: int) -> bool:
        """Whether a function can return without an error between two offsets."""
        return any(
            start <= node.start_byte
            and went_well
            and self.fate(node, function.file, function) is not False
            for node, went_well in leaving(function, end)
        )

    def _is_seen(self, function: Function, store: Store, end: int) -> bool:
        """Whether another function of the program that names what is stored runs before an end."""
        name = _WORD.match(function.file.source.code, store.offset)
        done = called_before(self.program, function, store.offset)
        between = called_before(self.program, function, end) - done
        called = {
            text_of(node.child_by_field_name("function"))
            for node in function.nodes("call_expression")
            if store.offset <= node.start_byte < end
        }
        every = (one for each in called for one in self.program.functions(each))
        keys = between | {key_of(one) for one in every}
        return name is not None and any(self._names(path, at, name[0]) for path, at in keys)

    def _names(self, path: str, start: int, name: bytes) -> bool:
        """Whether a function of a file has a word in it."""
        for unit in self.program.units_of(path):
            function = unit.trees.at(start).function_at(start)
            if function is not None and function.node.start_byte == start:
                code = unit.source.code[start : function.node.end_byte]
                return re.search(rb"\b%b\b" % re.escape(name), code) is not None
        return False

    # ------------------------------------------------------------ stores

    def kept(
        self,
        every: Sequence[Store],
        function: Function | None = None,
        offset: int = 0,
        is_field: bool = False,
        macro: Macro | None = None,
    ) -> tuple[Sequence[Store], list[Store]]:
        """The stores that some kernel comes to, and those that hold only until the start.

        A function that stores something sees before that what was there. A field is replaced by
        what is stored in the same object; where no version is asked for, all of them stay.
        """
        outer = [one for one in every if one.file.function_at(one.offset) is None]
        if not self.is_asked and (is_field or not outer or len(outer) == len(every)):
            return every, []
        alive: list[tuple[Store, Truth]] = [
            (store, fate)
            for store in every
            for owner in [store.file.function_at(store.offset)]
            if (fate := self.fate(store.value, store.file, owner)) is not False
        ]
        late = [
            store
            for store, fate in alive
            if not self.is_asked
            or not self._is_overridden(store, fate, _seen_by(function, offset, alive), is_field)
        ]
        early: list[Store] = []
        for one in outer if late else ():
            same = [each for each in late if not is_field or _are_one(one, each)]
            if one in late and any(self._holds_at(each, function, offset, macro) for each in same):
                early.append(one)
        return [store for store in late if store not in early], early

    def _is_overridden(
        self, store: Store, fate: Truth, every: list[tuple[Store, Truth]], is_field: bool
    ) -> bool:
        """Whether a later store of the same function surely replaces a value."""
        function = store.file.function_at(store.offset)
        if function is None or fate is not True:
            return False
        return any(
            sure is True
            and store.offset < other.offset < function.node.end_byte
            and other.file is store.file
            and (_are_one(store, other) if is_field else other.is_whole)
            and not self._may_leave(function, store.offset, other.offset)
            and not self._is_seen(function, store, other.offset)
            for other, sure in every
        )


def _seen_by(
    function: Function | None, offset: int, every: list[tuple[Store, Truth]]
) -> list[tuple[Store, Truth]]:
    """The stores that were made when a place is come to: not those behind it in its function."""
    here = key_of(function) if function is not None else None
    owners = ((one, one[0].file.function_at(one[0].offset)) for one in every)
    return [
        one
        for one, owner in owners
        if owner is None or key_of(owner) != here or one[0].offset < offset
    ]


def _are_one(store: Store, other: Store) -> bool:
    """Whether two stores in fields of one name surely are in the same object."""
    owner, function = store.owner, store.file.function_at(store.offset)
    if not owner or owner != other.owner or store.file.source.path != other.file.source.path:
        return False
    inside = other.file.function_at(other.offset)
    if function is None:
        return inside is None or variable(inside, owner, other.offset) is None
    start, end = sorted((store.offset, other.offset))
    return inside is function and not any(
        start < node.start_byte < end and (owner + b".").startswith(_changed(node) + b".")
        for kind in ("assignment_expression", "update_expression")
        for node in function.nodes(kind)
    )


def _changed(node: Node) -> bytes:
    """What an expression gives a new value to."""
    target = node.child_by_field_name("left") or node.child_by_field_name("argument")
    return flat(target) if target is not None else b""
