"""Who calls a function of a program: by its name, and through tables and variables that get it.

Knows names and trees; knows nothing of values.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from hvci.source.preprocess.tree import Function, ancestors, arguments, text_of
from hvci.source.program import callbacks
from hvci.source.program.chains import bare
from hvci.source.program.constructors import is_constructor, made
from hvci.source.program.handed import Made
from hvci.source.program.linkage import Linkage
from hvci.source.program.program import Program, Unit, Use, opens
from hvci.source.program.stores import stores
from hvci.source.values.dead import Unused
from hvci.source.values.versions.kernels import ENTRIES

if TYPE_CHECKING:
    from tree_sitter import Node

MAX_CALLERS = 48
"""Functions that lead to one, beyond which the order of what they do is not followed."""
MAX_NAMES = 60
"""Names through which one call is followed."""
_CHOOSING = ("initializer_list", "initializer_pair", "conditional_expression", "comma_expression")


class Graph:
    """The calls of one program."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.linkage = Linkage(program)
        self.unused = Unused(program)
        self._calls: dict[Function, tuple[Use, ...]] = {}
        self._wide: set[Function] = set()
        self._runs: dict[Function, bool] = {}
        self._taken: dict[Function, bool] = {}

    def runs(self, function: Function | None) -> bool:
        """Whether a function may be in an image."""
        if function is None:
            return True
        if function not in self._runs:
            self._runs[function] = False  # those that only call each other do not
            self._runs[function] = self._is_used(function)
        return self._runs[function]

    def _is_used(self, function: Function) -> bool:
        if not self.linkage.scope(function.name, function.file.source.path):
            return not self.unused.is_unused(function)
        for use in self.program.uses(function.name):
            if use.function is None or (use.function is not function and self.runs(use.function)):
                return True
        return not self.unused.is_unused(function) and not self._is_listed_only(function)

    def _is_listed_only(self, function: Function) -> bool:
        """Whether a function stands only in tables of its file that nothing else names."""
        path, name = function.file.source.path, function.name
        if not self.linkage.scope(name, path) or function.is_method or self.program.uses(name):
            return False
        tables = set[bytes]()
        for unit in self.program.units_of(path):
            for at in unit.source.places(name):
                if opens(unit.source, at + len(name)):
                    continue
                table = _static_table(unit, at)
                if not table:
                    return False
                tables.add(table)
        return bool(tables) and all(map(self._is_left, tables))

    def _is_left(self, table: bytes) -> bool:
        """Whether nothing that runs names a table."""
        named = 0
        for unit in self.program.naming(table):
            for at in unit.source.places(table):
                function = None if unit.in_define(at) else unit.trees.at(at).function_at(at)
                named += function is None or self.runs(function)
        return named == 1  # where it is declared

    def calls(self, function: Function) -> tuple[Use, ...]:
        """The calls that may be of a function, in functions that may run."""
        if function not in self._calls:
            self._calls[function] = ()
            every = (*self._by_name(function), *self._through(function))
            self._calls[function] = tuple(use for use in every if self.runs(use.function))
        return self._calls[function]

    def is_entry(self, function: Function) -> bool:
        """Whether it runs before all others."""
        return function.name in ENTRIES

    def is_root(self, function: Function) -> bool:
        """Whether something else than the calls that are seen may call it."""
        if function not in self._taken:
            taken = callbacks.is_taken(self.program, function)
            self._taken[function] = taken or self.is_entry(function) or not self.calls(function)
        return self._taken[function]

    def given(self, function: Function, index: int) -> Iterator[tuple[Use, Node]]:
        """What the calls give to a parameter."""
        for use in self.calls(function):
            every = arguments(use.node)
            if index < len(every):
                yield use, every[index]

    def callers(self, functions: Iterable[Function]) -> frozenset[Function]:
        """Some functions and all that call them."""
        found, todo = set[Function](), list(functions)
        while todo:
            one = todo.pop()
            if one not in found:
                found.add(one)
                todo += (use.function for use in self.calls(one) if use.function is not None)
        return frozenset(found)

    def is_small(self, functions: Iterable[Function]) -> bool:
        """Whether few functions lead to some, so that all ways to them are followed."""
        found, todo = set[Function](), list(functions)
        while todo:
            one = todo.pop()
            if one in found:
                continue
            found.add(one)
            if one in self._wide or len(found) > MAX_CALLERS * self.program.joined:
                self._wide.add(one)
                return False
            todo += (use.function for use in self.calls(one) if use.function is not None)
        return True

    def means(self, name: bytes, path: str) -> list[Function]:
        """The functions that a name means in a file."""
        every, scope = self.program.functions(name), self.linkage.scope
        if len(every) < 2:
            return every
        return [one for one in every if scope(name, one.file.source.path) == scope(name, path)]

    def targets(self, pointer: Node, function: Function) -> list[Function]:
        """The functions that are given to what a call goes through, by its names."""
        found, seen = dict[Function, None](), set[bytes]()
        todo = [(pointer, function.file.source.path)]
        while todo and len(seen) < MAX_NAMES:
            node, path = todo.pop()
            node = bare(node)
            if node.type in _CHOOSING:
                todo += ((one, path) for one in node.named_children)
                continue
            if node.type in ("subscript_expression", "pointer_expression"):
                inner = node.child_by_field_name("argument")
                todo += ((inner, path),) if inner is not None else ()
                continue
            field = node.child_by_field_name("field")
            name = text_of(field if field is not None else node)
            if node.type not in ("identifier", "field_expression") or name in seen:
                continue
            seen.add(name)
            found |= dict.fromkeys(self.means(name, path) if field is None else ())
            every = stores(self.program, name, of_field=field is not None)
            todo += ((one.value, one.file.source.path) for one in every)
            if function.parameters.count(name) == 1:
                given = self.given(function, function.parameters.index(name))
                todo += ((one, use.source.path) for use, one in given)
        if todo and len(seen) >= MAX_NAMES:
            self.program.cut("a call through a pointer leads to more names than are followed")
        return list(found)

    def _by_name(self, function: Function) -> Iterator[Use]:
        path, name, scope = function.file.source.path, function.name, self.linkage.scope
        for one in self.program.uses(name):
            if function.is_method or scope(name, one.source.path) == scope(name, path):
                yield one

    def _through(self, function: Function) -> Iterator[Use]:
        """Calls through what gets a function by its name."""
        names = {
            holder
            for unit in self.program.naming(function.name)
            for holder in _holders(unit, function.name)
        }
        for name in sorted(names - {function.name, b"MajorFunction"}):
            for unit in self.program.naming(name):
                yield from _calls_through(unit, name, len(function.parameters))


def constructed(program: Program, function: Function, index: int) -> Iterator[tuple[Made, Node]]:
    """What a constructor gets where objects are made without a call of its name."""
    for one in made(program, function.name) if is_constructor(function) else ():
        if one.given is not None and index < len(one.given):
            yield one, one.given[index]


def _holders(unit: Unit, name: bytes) -> Iterator[bytes]:
    """The variables and fields of a file that get a function by its name."""
    for at in unit.source.places(name):
        if opens(unit.source, at + len(name)) or unit.in_define(at) or unit.live(at) is False:
            continue
        node = unit.trees.at(at).node_at(at, at + len(name))
        for above in ancestors(node) if node is not None else ():
            if above.type in ("init_declarator", "assignment_expression"):
                target = above.child_by_field_name("declarator") or above.child_by_field_name(
                    "left"
                )
                yield _last(target)
                break
            if above.type == "initializer_pair":
                yield text_of(above.named_children[0]).lstrip(b". ")
            if above.type in ("call_expression", "compound_statement", "return_statement"):
                break


def _static_table(unit: Unit, at: int) -> bytes:
    """The static variable outside of functions in whose list a name stands; empty for none."""
    if unit.in_define(at):
        return b""
    file = unit.trees.at(at)
    node = file.node_at(at, at + 1)
    table, is_static = b"", False
    for above in ancestors(node) if node is not None and file.function_at(at) is None else ():
        if above.type == "init_declarator":
            table = _last(above.child_by_field_name("declarator"))
        if above.type == "declaration":
            words = (one for one in above.children if one.type == "storage_class_specifier")
            is_static = any(text_of(one) == b"static" for one in words)
    return table if is_static else b""


def _last(target: Node | None) -> bytes:
    """The variable or field that is given a value."""
    while target is not None:
        inner = target.child_by_field_name("declarator") or target.child_by_field_name("field")
        if inner is None and target.type == "subscript_expression":
            inner = target.child_by_field_name("argument")
        if inner is None and target.type in ("parenthesized_declarator", "call_expression"):
            inner = target.named_children[-1] if target.named_children else None
        if inner is None:
            return text_of(target)
        target = inner
    return b""


def _calls_through(unit: Unit, name: bytes, count: int) -> Iterator[Use]:
    """The calls of a file through a name that holds functions, with so many arguments."""
    for at in unit.source.places(name):
        if unit.in_define(at) or unit.live(at) is False:
            continue
        file = unit.trees.at(at)
        node = file.node_at(at, at + len(name))
        for above in ancestors(node) if node is not None else ():
            if above.type == "call_expression":
                called = above.child_by_field_name("function")
                is_it = called is not None and called.start_byte <= at < called.end_byte
                if is_it and len(arguments(above)) == count:
                    yield Use(unit.source, file, above, at, file.function_at(at))
                break
            if above.type.endswith(("statement", "declaration")):
                break
