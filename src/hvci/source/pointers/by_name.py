"""What a program gives to fields and variables of a name, whatever the object and the order.

Knows stores, macros and routines that write through addresses; follows no value.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from hvci.catalog.memory import is_function
from hvci.source.pointers import addressed
from hvci.source.pointers.graph import Graph
from hvci.source.pointers.held import named
from hvci.source.pointers.macro_stores import puts
from hvci.source.pointers.makers import PUTTING
from hvci.source.pointers.roots import NONE, NOTHING_KNOWN, Made, Root, Roots, Where
from hvci.source.pointers.steps import At, Named, Way
from hvci.source.preprocess.tree import File, arguments
from hvci.source.program.program import Program
from hvci.source.program.records import others_of
from hvci.source.program.stores import MAX_STORES, stores

if TYPE_CHECKING:
    from tree_sitter import Node


class ByName:
    """The names of one program."""

    def __init__(self, program: Program, graph: Graph) -> None:
        self.program = program
        self.graph = graph

    def named(self, value: Named) -> Iterator[Way]:
        """What is given to a field or variable of a name, or to its elements."""
        name, element, of_field = value.name, value.element, value.of_field
        if not name:
            yield Way(NOTHING_KNOWN)
            return
        every = stores(self.program, name, of_field)
        if len(every) >= MAX_STORES:
            what = f"{_text(name)} is given a value in more than {MAX_STORES} places"
            self.program.cut(f"{what}, and pointers to code in the rest are not followed")
        for store in every:
            behind = store.file.source.code[store.offset + len(name) :][:80].lstrip()
            if behind.startswith(b"[") is element:
                function = store.file.function_at(store.offset)
                if self.graph.runs(function):
                    here = Where(store.file, function, store.offset, store.file.source.path)
                    yield from self._list(store.value, here)
        if not element:
            yield from self.otherwise(name, of_field)
        for other in others_of(self.program, name) if of_field else ():
            yield Way(Named(other, False, True), shared=bool(every))
        if not every:
            yield Way(NOTHING_KNOWN)

    def _list(self, node: Node, where: Where) -> Iterator[Way]:
        if node.type != "initializer_list":
            yield Way(At(node, where))
            return
        for item in node.named_children:
            inner = item.child_by_field_name("value") if item.type == "initializer_pair" else item
            if inner is not None:
                yield from self._list(inner, where)

    def otherwise(self, name: bytes, of_field: bool) -> Iterator[Way]:
        """What is written through the address of a variable or field, or put there by a macro."""
        for root in self.put_anywhere.get(name, NONE):
            yield Way(root)
        for one in addressed.anywhere(self.program, name):
            here = self._at(one.file, one.offset)
            place = named(name, here.function, one.offset)
            if of_field or place is None or place.function is None:
                yield Way(At(one.value, here))
        for put in puts(self.program, name):
            here = self._at(put.use.file, put.use.offset)
            yield Way(At(put.value, replace(here, words=put.words)))

    def _at(self, file: File, offset: int) -> Where:
        return Where(file, file.function_at(offset), offset, file.source.path)

    def is_given(self, name: bytes) -> bool:
        """Whether a name gets a value; what is written through a routine of the kernel is none."""
        every = stores(self.program, name)
        if is_function(name.decode("latin-1")):
            every = tuple(one for one in every if not one.is_through)
        return bool(every) or name in self.put_anywhere

    @cached_property
    def put_anywhere(self) -> dict[bytes, Roots]:
        """Memory whose address a routine writes into `&object->name` or `&name`, by that name."""
        found: dict[bytes, Roots] = {}
        for putting, index in PUTTING.items():
            for use in self.program.uses(putting.encode()):
                given = arguments(use.node)
                name = addressed.name_of(given[index]) if index < len(given) else b""
                root = Root(Made.MEMORY, putting, use.source.path, use.offset)
                found[name] = found.get(name, NONE) | {root}
        return found


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace")
