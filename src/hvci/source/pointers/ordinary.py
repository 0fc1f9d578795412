"""Whether a call maps ordinary memory by its physical address, and how the text shows that.

Theory of operation: the address is followed back through assignments and callers. What leads to
the ranges of memory that Windows tells, or is nothing but a constant that goes up page by page,
is ordinary memory; what comes from anywhere else may belong to a device and says nothing.
Knows calls and values; decides nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hvci.source.preprocess.tree import File, Function, ancestors, arguments, text_of
from hvci.source.program.calls import CallText
from hvci.source.program.scope import LOOPS
from hvci.source.program.stores import stores
from hvci.source.values.places import Place
from hvci.source.values.resolve import Resolver

if TYPE_CHECKING:
    from tree_sitter import Node

MAPPING = frozenset(("MmMapIoSpace", "MmMapIoSpaceEx"))
RANGES = b"MmGetPhysicalMemoryRanges"
_RANGE_TYPES = (b"PHYSICAL_MEMORY_RANGE", b"PPHYSICAL_MEMORY_RANGE")
MAX_NAMES, MAX_CALLERS = 24, 8
"""Names followed for one call, and callers of one function."""

PAGE = 0x1000
DEVICES_BELOW_1M = range(0xA0000, 0x100000)
"""Video memory and firmware."""
DEVICES_BELOW_4G = range(0xC000_0000, 0x1_0000_0000)
"""Where firmware puts devices when there is a choice."""

_WORD = re.compile(rb"\b[A-Za-z_]\w*")
_TO_ADDRESS = re.compile(rb"<<\s*(?:PAGE_SHIFT|12)\b|\*\s*(?:PAGE_SIZE|0x1000|4096)\b")
"""Makes the address of a page of its number."""
_PARTS = frozenset((b"QuadPart", b"LowPart", b"HighPart", b"u"))
_PLAIN = frozenset((b"PAGE_SIZE", b"PAGE_SHIFT", b"ULONG64", b"ULONGLONG", b"LONGLONG", b"UINT64"))


@dataclass
class _Found:
    """What the address of one call leads to."""

    ranges: bool = False
    by_page: bool = False
    """A number of a page is made an address."""
    counts: bool = False
    """Something is counted up in a loop."""
    steps: bool = False
    """It goes up by pages in a loop."""
    numbers: set[int] = field(default_factory=set)
    """Where it begins."""
    open: bool = False
    """Something else has a part in it."""
    names: set[tuple[File, int, bytes]] = field(default_factory=set)


def ordinary(call: CallText, function: Function | None, resolver: Resolver) -> str:
    """Why the address that a call maps is ordinary memory; empty when nothing says so."""
    if call.ddi.name not in MAPPING or call.node is None or function is None:
        return ""
    given = arguments(call.node)
    if not given:
        return ""
    found = _Found()
    _Walk(resolver, found).value(given[0], function)
    if found.ranges:
        return f"the address comes from {RANGES.decode()}"
    steps = found.steps or (found.by_page and found.counts)
    if found.open or not steps or not found.numbers:
        return ""
    if all(one in DEVICES_BELOW_1M or one in DEVICES_BELOW_4G for one in found.numbers):
        return ""
    return f"a loop walks over physical memory from {min(found.numbers):#x} on"


class _Walk:
    """Follows one address back."""

    def __init__(self, resolver: Resolver, found: _Found) -> None:
        self.resolver = resolver
        self.program = resolver.program
        self.found = found

    def value(self, node: Node, function: Function) -> None:
        """What an expression is made of."""
        text = text_of(node)
        if RANGES in text:
            self.found.ranges = True
        self.found.by_page = self.found.by_page or _TO_ADDRESS.search(text) is not None
        names = set(_WORD.findall(text)) - _PARTS - _PLAIN
        variables = {name for name in names if _is_variable(function, name)}
        if not variables:
            self._elsewhere(names)
            return self._constant(node, function)
        self._elsewhere(names - variables)
        for name in sorted(variables):
            self._name(name, function)
        return None

    def _elsewhere(self, names: set[bytes]) -> None:
        """Names that no function declares: globals, fields, types and macros."""
        unknown = [name for name in sorted(names) if not self._is_known(name)]
        self.found.open = self.found.open or bool(unknown)
        if self.program.names(RANGES):
            every = (
                store for name in unknown[:MAX_CALLERS] for store in stores(self.program, name)
            )
            self.found.ranges = self.found.ranges or any(
                RANGES in text_of(one.value) for one in every
            )

    def _constant(self, node: Node, function: Function) -> None:
        place = Place(function, node.start_byte, None, function.file.source.path)
        guess = self.resolver.evaluate(node, place)
        if guess.complete and guess.atoms:
            self.found.numbers.update(atom.bits for atom in guess.atoms)
        else:
            self.found.open = True

    def _is_known(self, name: bytes) -> bool:
        """Whether a name is a type or a macro of the sources: no value of its own."""
        return bool(self.program.macros(name)) or name.upper() == name

    def _name(self, name: bytes, function: Function) -> None:
        """What a variable of a function is given."""
        key = (function.file, function.node.start_byte, name)
        if key in self.found.names or len(self.found.names) >= MAX_NAMES:
            return
        self.found.names.add(key)
        if _declared_as_range(function, name):
            self.found.ranges = True
        given = list(_given(function, name))
        for value, operator in given:
            self._assigned(value, operator, name, function)
        if name in function.parameters:
            self._callers(function, function.parameters.index(name))
        elif not given:
            self.found.open = True

    def _assigned(self, value: Node | None, operator: str, name: bytes, function: Function) -> None:
        if value is None:
            self.found.counts = True
            return
        stepping = operator == "+=" or (operator == "=" and name in _WORD.findall(text_of(value)))
        if not stepping:
            self.value(value, function)
        elif any(item.type in LOOPS for item in ancestors(value)) and self._is_page(value):
            self.found.steps = True

    def _is_page(self, value: Node) -> bool:
        text = text_of(value)
        if b"PAGE_SIZE" in text:
            return True
        numbers = (int(one, 0) for one in re.findall(rb"\b(?:0[xX][0-9a-fA-F]+|[1-9]\d*)", text))
        return any(one >= PAGE and one % PAGE == 0 for one in numbers)

    def _callers(self, function: Function, index: int) -> None:
        uses = self.program.uses(function.name)[:MAX_CALLERS]
        self.found.open = self.found.open or not uses
        for use in uses:
            given = arguments(use.node)
            if index < len(given) and use.function is not None:
                self.value(given[index], use.function)


def _is_variable(function: Function, name: bytes) -> bool:
    """Whether a function declares a name, or takes it."""
    return name in function.parameters or any(True for _ in _declarations(function, name))


def _declarations(function: Function, name: bytes) -> Iterator[Node]:
    for node in function.nodes("declaration"):
        for item in node.children_by_field_name("declarator"):
            if name in _WORD.findall(text_of(item).partition(b"=")[0]):
                yield node


def _declared_as_range(function: Function, name: bytes) -> bool:
    types = (node.child_by_field_name("type") for node in _declarations(function, name))
    if any(text_of(node) in _RANGE_TYPES for node in types):
        return True
    if name not in function.parameters:
        return False
    words = function.types[function.parameters.index(name)].split()
    return bool(words) and words[-1] in _RANGE_TYPES


def _given(function: Function, name: bytes) -> Iterator[tuple[Node | None, str]]:
    """What is written into a variable or a part of it, and how."""
    kinds = ("init_declarator", "assignment_expression", "update_expression")
    for node in function.nodes(*kinds):
        if node.type == "init_declarator":
            left, operator = node.child_by_field_name("declarator"), "="
            right = node.child_by_field_name("value")
            if right is None:
                continue
        elif node.type == "assignment_expression":
            left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
            operator = text_of(node.child_by_field_name("operator")).decode("ascii", "replace")
        else:
            left, right, operator = node.child_by_field_name("argument"), None, "++"
        if left is not None and _WORD.findall(text_of(left))[:1] == [name]:
            yield right, operator
