"""What expressions are on one kernel: the routines and fields that tell its version are known.

Theory of operation: flags in variables, fields and results of functions are followed back; what is
not one number for sure is not known. Knows expressions; which statements run is for `kernels`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hvci.model import WindowsVersion
from hvci.source.preprocess.conditions import VERSIONS, ntddi
from hvci.source.preprocess.expression import Truth
from hvci.source.preprocess.tree import File, Function, arguments, parse, text_of, walk
from hvci.source.program.program import Program
from hvci.source.program.scope import Variable, variable
from hvci.source.program.starting import Before
from hvci.source.program.stores import MAX_STORES, Store, stores
from hvci.source.values import constants
from hvci.source.values.versions.asking import Asking
from hvci.source.values.versions.telling import (
    COMPARE,
    FIELDS,
    NUMBERS,
    OR_GREATER,
    only,
    written,
)

if TYPE_CHECKING:
    from tree_sitter import Node

MAX_DEPTH, MAX_STEPS = 12, 4000
"""Of an expression, and of a question."""
MAX_TOTAL, SCAN = 3_000, 100
"""Steps of all questions about a program, and those that looking through its text counts for."""


@dataclass(frozen=True)
class Here:
    """Where an expression stands."""

    file: File | None
    function: Function | None
    offset: int


class Search:
    """What is known of a program, or being worked out, whichever kernels ask; and the work done."""

    def __init__(self) -> None:
        self.steps = self.nested = 0
        self.known: dict[object, int | None] = {}
        self.truths: dict[tuple[File, int, int, tuple[WindowsVersion, ...]], Truth] = {}
        self.asking: Asking | None = None
        self.is_asked: bool | None = None
        self.left = MAX_TOTAL
        self.before: dict[object, Before] = {}
        """What runs before a place in the entry routine."""
        self._variables: dict[tuple[File, int, bytes], Variable | None] = {}

    def variable(self, function: Function, name: bytes) -> Variable | None:
        """A local variable, looked for once."""
        key = function.file, function.node.start_byte, name
        if key not in self._variables:
            self.left -= SCAN
            self._variables[key] = variable(function, name)
        return self._variables[key]


class Numbers(ABC):
    """Evaluates expressions of one program."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.search = Search()

    @abstractmethod
    def alone(self, on: WindowsVersion) -> Numbers:
        """The same for one kernel, with what is known or being worked out already."""

    @abstractmethod
    def fate(self, node: Node, file: File, function: Function | None) -> Truth:
        """Whether every kernel comes to a statement (True) or none does (False)."""

    @abstractmethod
    def kept(
        self, every: Sequence[Store], function: Function | None = None, offset: int = 0
    ) -> tuple[Sequence[Store], list[Store]]:
        """The stores that some kernel comes to, and those that hold only until the start."""

    def number(self, node: Node | None, here: Here, on: WindowsVersion, depth: int) -> int | None:
        """The number that an expression is on a kernel; None where it is not known."""
        self.search.steps += 1
        self.search.left -= 1
        if (
            node is None
            or depth > MAX_DEPTH
            or self.search.steps > MAX_STEPS
            or self.search.left < 0
        ):
            return None
        reader = _READERS.get(node.type)
        return reader(self, node, here, on, depth + 1) if reader is not None else None

    def _literal(self, node: Node, here: Here, on: WindowsVersion, depth: int) -> int | None:
        return only(constants.number(text_of(node)))

    def _word(self, node: Node, here: Here, on: WindowsVersion, depth: int) -> int | None:
        return int(node.type == "true")

    def _inner(self, node: Node, here: Here, on: WindowsVersion, depth: int) -> int | None:
        inner = [item for item in node.named_children if item.type != "comment"]
        return self.number(inner[-1] if inner else None, here, on, depth)

    def _cast(self, node: Node, here: Here, on: WindowsVersion, depth: int) -> int | None:
        return self.number(node.child_by_field_name("value"), here, on, depth)

    def _right(self, node: Node, here: Here, on: WindowsVersion, depth: int) -> int | None:
        return self.number(node.child_by_field_name("right"), here, on, depth)

    def _binary(self, node: Node, here: Here, on: WindowsVersion, depth: int) -> int | None:
        operator = text_of(node.child_by_field_name("operator"))
        left = self.number(node.child_by_field_name("left"), here, on, depth)
        if operator in (b"&&", b"||"):
            ends = operator == b"||"
            if left is not None and bool(left) is ends:
                return int(ends)
            right = self.number(node.child_by_field_name("right"), here, on, depth)
            if right is not None and bool(right) is ends:
                return int(ends)
            return None if left is None or right is None else int(not ends)
        right = self.number(node.child_by_field_name("right"), here, on, depth)
        apply = COMPARE.get(operator)
        return apply(left, right) if apply and left is not None and right is not None else None

    def _unary(self, node: Node, here: Here, on: WindowsVersion, depth: int) -> int | None:
        value = self.number(node.child_by_field_name("argument"), here, on, depth)
        operator = text_of(node.child_by_field_name("operator"))
        if value is None or operator != b"!":
            return None
        return int(not value)

    def _conditional(self, node: Node, here: Here, on: WindowsVersion, depth: int) -> int | None:
        condition = self.number(node.child_by_field_name("condition"), here, on, depth)
        if condition is None:
            return None
        way = "consequence" if condition else "alternative"
        return self.number(node.child_by_field_name(way), here, on, depth)

    def _pointer(self, node: Node, here: Here, on: WindowsVersion, depth: int) -> int | None:
        name = text_of(node.child_by_field_name("argument")).strip(b"() ")
        return int(on) if name == b"NtBuildNumber" and text_of(node)[:1] == b"*" else None

    def _field(self, node: Node, here: Here, on: WindowsVersion, depth: int) -> int | None:
        name = text_of(node.child_by_field_name("field"))
        return FIELDS[name](on) if name in FIELDS else self._stored(name, on, depth)

    def _name(self, node: Node, here: Here, on: WindowsVersion, depth: int) -> int | None:
        name = text_of(node).rpartition(b"::")[2]
        if name.startswith(b"NTDDI_") and name[6:].decode() in VERSIONS:
            return ntddi(VERSIONS[name[6:].decode()])
        if name in NUMBERS:
            return NUMBERS[name]
        if here.function is not None:
            found = self._local(name, here, here.function, on, depth)
            if found is not _ABSENT:
                return found
        for macro, _ in self.program.macros(name):
            if macro.parameters is None and macro.body.strip():
                return self._text(macro.body, here, on, depth)
        return self._stored(name, on, depth)

    def _text(self, body: bytes, here: Here, on: WindowsVersion, depth: int) -> int | None:
        for node in walk(parse(b"int q=(" + body + b");").root_node):
            if node.type == "init_declarator":
                return self.number(node.child_by_field_name("value"), here, on, depth)
        return None

    # ------------------------------------------------------------ variables and calls

    def _local(
        self, name: bytes, here: Here, function: Function, on: WindowsVersion, depth: int
    ) -> int | None:
        key = (function.file, function.node.start_byte, name, here.offset, on)
        if key in self.search.known:
            return self.search.known[key]
        self.search.known[key] = None
        self.search.known[key] = found = self._worked_out(name, here, function, on, depth)
        return found

    def _worked_out(
        self, name: bytes, here: Here, function: Function, on: WindowsVersion, depth: int
    ) -> int | None:
        found = self.search.variable(function, name)
        if found is None:
            return _ABSENT
        values: set[int | None] = set()
        if found.parameter is not None:
            values = self._passed(function, found.parameter, on, depth)
        one = self.alone(on)
        for assignment, sure in found.before(here.offset):
            fate = True if sure else one.fate(assignment.value, function.file, function)
            if fate is False:
                continue
            inside = Here(function.file, function, assignment.start)
            value = self.number(assignment.value, inside, on, depth)
            values = values if fate is None else set()
            values.add(value if assignment.operator == "=" else None)
        for at, receiver in found.addresses:
            if at < here.offset:
                values = {written(function, name, receiver, on)}
        return values.pop() if len(values) == 1 else None

    def _passed(
        self, function: Function, index: int, on: WindowsVersion, depth: int
    ) -> set[int | None]:
        values: set[int | None] = set()
        self.search.left -= SCAN
        for use in self.program.uses(function.name):
            given = arguments(use.node)
            inside = Here(use.file, use.function, use.offset)
            values.add(self.number(given[index], inside, on, depth) if index < len(given) else None)
        return values or {None}

    def _stored(self, name: bytes, on: WindowsVersion, depth: int) -> int | None:
        """What the program has put into a field or global variable, when it is one number."""
        key = ("stored", name, on)
        if key in self.search.known:
            return self.search.known[key]
        self.search.known[key] = None
        self.search.left -= SCAN
        one = self.alone(on)
        values = set()
        every = stores(self.program, name)
        for store in one.kept(every)[0] if len(every) < MAX_STORES else ():
            inside = Here(store.file, store.file.function_at(store.offset), store.offset)
            values.add(self.number(store.value, inside, on, depth))
        self.search.known[key] = found = values.pop() if len(values) == 1 else None
        return found

    def _call(self, node: Node, here: Here, on: WindowsVersion, depth: int) -> int | None:
        name = text_of(node.child_by_field_name("function")).strip().rpartition(b"::")[2]
        given = arguments(node)
        if name == b"RtlIsNtDdiVersionAvailable" and given:
            wanted = self.number(given[0], here, on, depth)
            return None if wanted is None else int(ntddi(on) >= wanted)
        if name == b"NT_SUCCESS" and given:
            status = self.number(given[0], here, on, depth)
            return None if status is None else int(status & 0x8000_0000 == 0)
        if name == b"IoIsWdmVersionAvailable":
            return 1
        if name in (b"RtlGetVersion", b"PsGetVersion"):
            return 0
        if name == b"RtlVerifyVersionInfo":
            return self._verified(here, on, depth)
        if not self.program.functions(name):
            if OR_GREATER.fullmatch(name):
                return 1
            for macro, _ in self.program.macros(name):
                if macro.parameters is not None and not given:
                    return self._text(macro.body, here, on, depth)
        return self._returned(name, on, depth)

    def _returned(self, name: bytes, on: WindowsVersion, depth: int) -> int | None:
        key = ("returned", name, on)
        if key in self.search.known:
            return self.search.known[key]
        self.search.known[key] = None
        one, values = self.alone(on), set()
        for function in self.program.functions(name)[:2]:
            for item in function.nodes("return_statement"):
                fate = one.fate(item, function.file, function)
                if fate is not False:
                    inside = Here(function.file, function, item.start_byte)
                    values.add(self._inner(item, inside, on, depth))
                if fate is True:
                    break
        self.search.known[key] = found = values.pop() if len(values) == 1 else None
        return found

    def _verified(self, here: Here, on: WindowsVersion, depth: int) -> int | None:
        """RtlVerifyVersionInfo that asks for a version or later: 0, or STATUS_REVISION_MISMATCH."""
        if here.function is None or b"VER_GREATER_EQUAL" not in text_of(here.function.node):
            return None
        wanted: list[int | None] = [None, None, None]
        for node in here.function.nodes("assignment_expression"):
            if node.start_byte >= here.offset:
                continue
            left = node.child_by_field_name("left")
            field = text_of(left.child_by_field_name("field")) if left is not None else b""
            for at, name in enumerate((b"dwMajorVersion", b"dwMinorVersion", b"dwBuildNumber")):
                if field == name:
                    wanted[at] = self.number(node.child_by_field_name("right"), here, on, depth)
        if wanted[0] is None:
            return None
        least = (wanted[0], wanted[1] or 0, wanted[2] or 0)
        return 0 if (10, 0, int(on)) >= least else 0xC000_0059


_ABSENT = -0x7FFF_FFFF
"""No local variable has the name."""


Reader = Callable[["Numbers", "Node", Here, WindowsVersion, int], "int | None"]
_READERS: dict[str, Reader] = {
    "number_literal": Numbers._literal,
    "true": Numbers._word,
    "false": Numbers._word,
    "parenthesized_expression": Numbers._inner,
    "condition_clause": Numbers._inner,
    "comma_expression": Numbers._inner,
    "cast_expression": Numbers._cast,
    "assignment_expression": Numbers._right,
    "binary_expression": Numbers._binary,
    "unary_expression": Numbers._unary,
    "conditional_expression": Numbers._conditional,
    "pointer_expression": Numbers._pointer,
    "field_expression": Numbers._field,
    "identifier": Numbers._name,
    "qualified_identifier": Numbers._name,
    "call_expression": Numbers._call,
}
