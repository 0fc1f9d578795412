"""The Windows version as a value: what checks at run time say on the kernels that are aimed at.

Theory of operation: a condition is evaluated once for each kernel, with the routines and fields
that tell its version known; flags in variables, fields and results of functions are followed. A
statement is dead when no kernel comes to it, and sure when all do. Knows syntax trees, no memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from hvci.model import TARGETS, WindowsVersion
from hvci.source.preprocess.conditions import VERSIONS, ntddi
from hvci.source.preprocess.expression import Truth
from hvci.source.preprocess.tree import (
    File,
    Function,
    ancestors,
    arguments,
    is_same,
    parse,
    text_of,
    walk,
)
from hvci.source.program.program import Program
from hvci.source.program.scope import LOOPS, Variable, is_once, variable
from hvci.source.program.stores import MAX_STORES, Store, stores
from hvci.source.values import constants
from hvci.source.values.asking import Asking
from hvci.source.values.comparing import Known
from hvci.source.values.switches import Reached
from hvci.source.values.telling import (
    COMPARE,
    FIELDS,
    NUMBERS,
    OR_GREATER,
    TELLING,
    Exit,
    is_before,
    is_success,
    only,
    written,
)

if TYPE_CHECKING:
    from tree_sitter import Node

T = TypeVar("T")
MAX_DEPTH, MAX_STEPS, MAX_NESTED = 12, 4000, 3
"""Of an expression, of a question, and of conditions that are asked for while others are."""
MAX_TOTAL, SCAN, MAX_HOPS = 3_000, 100, 4
"""Steps of all questions about a program, those that looking through its text counts for, and calls
between the entry routine and a store that is made at the start."""
ENTRIES = (b"DriverEntry", b"GsDriverEntry", b"DllInitialize")


def kernels(target: WindowsVersion) -> tuple[WindowsVersion, ...]:
    """The kernels that have memory integrity and that a driver for the target meets."""
    return tuple(kernel for kernel in TARGETS if kernel >= target)


@dataclass(frozen=True)
class Here:
    """Where an expression stands."""

    file: File | None
    function: Function | None
    offset: int


class _Search:
    """What is known of a program, or being worked out, whichever kernels ask; and the work done."""

    def __init__(self) -> None:
        self.steps = self.nested = 0
        self.known: dict[object, int | None] = {}
        self.truths: dict[tuple[str, int, int, tuple[WindowsVersion, ...]], Truth] = {}
        self.asking: Asking | None = None
        self.is_asked: bool | None = None
        self.left = MAX_TOTAL
        self._variables: dict[tuple[str, int, bytes], Variable | None] = {}

    def variable(self, function: Function, name: bytes) -> Variable | None:
        """A local variable, looked for once."""
        key = function.file.source.path, function.node.start_byte, name
        if key not in self._variables:
            self.left -= SCAN
            self._variables[key] = variable(function, name)
        return self._variables[key]


class Versions:
    """Evaluates conditions of one program on some kernels."""

    def __init__(self, program: Program, on: Iterable[WindowsVersion]) -> None:
        self.program = program
        self.on = tuple(on)
        self.exits: dict[Function, list[Exit]] = {}
        self.always: dict[tuple[Function, int], str] = {}
        """Where functions leave early, and why each is always taken, by its place (`guards.py`)."""
        self._search = _Search()

    def _alone(self, on: WindowsVersion) -> Versions:
        """The same for one kernel, with what is known or being worked out already."""
        one = Versions(self.program, (on,))
        one._search = self._search
        return one

    @property
    def is_asked(self) -> bool:
        """Whether the program asks for a Windows version at all."""
        if self._search.is_asked is None:
            self._search.is_asked = any(self.program.names_part(name) for name in TELLING)
        return self._search.is_asked

    def truth(self, condition: Node | None, file: File, function: Function | None) -> Truth:
        """Which way a condition goes on every kernel; None when they differ or it is not known."""
        if condition is None or not self.is_asked:
            return None
        search = self._search
        if search.asking is None:
            search.asking = Asking(self.program)
        if not search.asking.concerns(condition, function):
            return None
        key = file.source.path, condition.start_byte, condition.end_byte, self.on
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
            number = self._number(condition, here, kernel, 0)
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
        condition, search = switch.child_by_field_name("condition"), self._search
        if condition is None or not self.is_asked or search.nested >= MAX_NESTED:
            return None
        search.asking = search.asking or Asking(self.program)
        if not search.asking.concerns(condition, function):
            return None

        def constant(on: WindowsVersion, one: Node) -> Known | None:
            number = self._number(one, Here(file, function, one.start_byte), on, 0)
            return Known(b"", number) if number is not None else None

        search.nested += 1
        found = {ask(Reached({}, partial(constant, kernel))) for kernel in self.on}
        search.nested -= 1
        return found.pop() if len(found) == 1 else None

    def is_at_start(self, store: Store) -> bool:
        """Whether the entry routine comes to a store on every kernel."""
        function = store.file.function_at(store.offset)
        if function is None or self.fate(store.value, store.file, function) is not True:
            return False
        if self._may_leave(function, 0, store.offset):
            return False
        for _ in range(MAX_HOPS):
            if function.name in ENTRIES:
                return True
            uses = [use for use in self.program.uses(function.name) if use.function is not None]
            sure = [use for use in uses if self.fate(use.node, use.file, use.function) is True]
            if not sure or sure[0].function is None:
                return False
            function = sure[0].function
            if self._may_leave(function, 0, sure[0].offset):
                return False
        return False

    def _may_leave(self, function: Function, start: int, end: int) -> bool:
        """Whether a function can return without an error between two offsets."""
        return any(
            start <= node.start_byte < end
            and is_success(node)
            and self.fate(node, function.file, function) is not False
            for node in function.nodes("return_statement")
        )

    # ------------------------------------------------------------ numbers

    def _number(self, node: Node | None, here: Here, on: WindowsVersion, depth: int) -> int | None:
        self._search.steps += 1
        self._search.left -= 1
        if (
            node is None
            or depth > MAX_DEPTH
            or self._search.steps > MAX_STEPS
            or self._search.left < 0
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
        return self._number(inner[-1] if inner else None, here, on, depth)

    def _cast(self, node: Node, here: Here, on: WindowsVersion, depth: int) -> int | None:
        return self._number(node.child_by_field_name("value"), here, on, depth)

    def _right(self, node: Node, here: Here, on: WindowsVersion, depth: int) -> int | None:
        return self._number(node.child_by_field_name("right"), here, on, depth)

    def _binary(self, node: Node, here: Here, on: WindowsVersion, depth: int) -> int | None:
        operator = text_of(node.child_by_field_name("operator"))
        left = self._number(node.child_by_field_name("left"), here, on, depth)
        if operator in (b"&&", b"||"):
            ends = operator == b"||"
            if left is not None and bool(left) is ends:
                return int(ends)
            right = self._number(node.child_by_field_name("right"), here, on, depth)
            if right is not None and bool(right) is ends:
                return int(ends)
            return None if left is None or right is None else int(not ends)
        right = self._number(node.child_by_field_name("right"), here, on, depth)
        apply = COMPARE.get(operator)
        return apply(left, right) if apply and left is not None and right is not None else None

    def _unary(self, node: Node, here: Here, on: WindowsVersion, depth: int) -> int | None:
        value = self._number(node.child_by_field_name("argument"), here, on, depth)
        operator = text_of(node.child_by_field_name("operator"))
        if value is None or operator != b"!":
            return None
        return int(not value)

    def _conditional(self, node: Node, here: Here, on: WindowsVersion, depth: int) -> int | None:
        condition = self._number(node.child_by_field_name("condition"), here, on, depth)
        if condition is None:
            return None
        way = "consequence" if condition else "alternative"
        return self._number(node.child_by_field_name(way), here, on, depth)

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
                return self._number(node.child_by_field_name("value"), here, on, depth)
        return None

    # ------------------------------------------------------------ variables and calls

    def _local(
        self, name: bytes, here: Here, function: Function, on: WindowsVersion, depth: int
    ) -> int | None:
        key = (function.file.source.path, function.node.start_byte, name, here.offset, on)
        if key in self._search.known:
            return self._search.known[key]
        self._search.known[key] = None
        self._search.known[key] = found = self._worked_out(name, here, function, on, depth)
        return found

    def _worked_out(
        self, name: bytes, here: Here, function: Function, on: WindowsVersion, depth: int
    ) -> int | None:
        found = self._search.variable(function, name)
        if found is None:
            return _ABSENT
        values: set[int | None] = set()
        if found.parameter is not None:
            values = self._passed(function, found.parameter, on, depth)
        one = self._alone(on)
        for assignment, sure in found.before(here.offset):
            fate = True if sure else one.fate(assignment.value, function.file, function)
            if fate is False:
                continue
            inside = Here(function.file, function, assignment.start)
            value = self._number(assignment.value, inside, on, depth)
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
        self._search.left -= SCAN
        for use in self.program.uses(function.name):
            given = arguments(use.node)
            inside = Here(use.file, use.function, use.offset)
            values.add(
                self._number(given[index], inside, on, depth) if index < len(given) else None
            )
        return values or {None}

    def _stored(self, name: bytes, on: WindowsVersion, depth: int) -> int | None:
        """What the program has put into a field or global variable, when it is one number."""
        key = ("stored", name, on)
        if key in self._search.known:
            return self._search.known[key]
        self._search.known[key] = None
        self._search.left -= SCAN
        one = self._alone(on)
        values = set()
        every = stores(self.program, name)
        for store in one.kept(every)[0] if len(every) < MAX_STORES else ():
            inside = Here(store.file, store.file.function_at(store.offset), store.offset)
            values.add(self._number(store.value, inside, on, depth))
        self._search.known[key] = found = values.pop() if len(values) == 1 else None
        return found

    def kept(
        self, every: Sequence[Store], function: Function | None = None, offset: int = 0
    ) -> tuple[Sequence[Store], list[Store]]:
        """The stores that some kernel comes to, and those that hold only until the start.

        A function that stores something sees before that what was there.
        """
        if not self.is_asked:
            return every, []
        alive: list[tuple[Store, Truth]] = [
            (store, fate)
            for store in every
            for owner in [store.file.function_at(store.offset)]
            if (fate := self.fate(store.value, store.file, owner)) is not False
        ]
        late = [store for store, fate in alive if not self._is_overridden(store, fate, alive)]
        starting = any(
            self.is_at_start(store) and not is_before(function, offset, store) for store in late
        )
        early = [one for one in late if starting and one.file.function_at(one.offset) is None]
        return [store for store in late if store not in early], early

    def _is_overridden(self, store: Store, fate: Truth, every: list[tuple[Store, Truth]]) -> bool:
        """Whether a later store of the same function surely replaces a value."""
        function = store.file.function_at(store.offset)
        if function is None or fate is not True:
            return False
        return any(
            sure is True
            and store.offset < other.offset < function.node.end_byte
            and other.file is store.file
            and not self._may_leave(function, store.offset, other.offset)
            for other, sure in every
        )

    def _call(self, node: Node, here: Here, on: WindowsVersion, depth: int) -> int | None:
        name = text_of(node.child_by_field_name("function")).strip().rpartition(b"::")[2]
        given = arguments(node)
        if name == b"RtlIsNtDdiVersionAvailable" and given:
            wanted = self._number(given[0], here, on, depth)
            return None if wanted is None else int(ntddi(on) >= wanted)
        if name == b"NT_SUCCESS" and given:
            status = self._number(given[0], here, on, depth)
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
        if key in self._search.known:
            return self._search.known[key]
        self._search.known[key] = None
        one, values = self._alone(on), set()
        for function in self.program.functions(name)[:2]:
            for item in function.nodes("return_statement"):
                fate = one.fate(item, function.file, function)
                if fate is not False:
                    inside = Here(function.file, function, item.start_byte)
                    values.add(self._inner(item, inside, on, depth))
                if fate is True:
                    break
        self._search.known[key] = found = values.pop() if len(values) == 1 else None
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
                    wanted[at] = self._number(node.child_by_field_name("right"), here, on, depth)
        if wanted[0] is None:
            return None
        least = (wanted[0], wanted[1] or 0, wanted[2] or 0)
        return 0 if (10, 0, int(on)) >= least else 0xC000_0059


_ABSENT = -0x7FFF_FFFF
"""No local variable has the name."""


Reader = Callable[["Versions", "Node", Here, WindowsVersion, int], "int | None"]
_READERS: dict[str, Reader] = {
    "number_literal": Versions._literal,
    "true": Versions._word,
    "false": Versions._word,
    "parenthesized_expression": Versions._inner,
    "condition_clause": Versions._inner,
    "comma_expression": Versions._inner,
    "cast_expression": Versions._cast,
    "assignment_expression": Versions._right,
    "binary_expression": Versions._binary,
    "unary_expression": Versions._unary,
    "conditional_expression": Versions._conditional,
    "pointer_expression": Versions._pointer,
    "field_expression": Versions._field,
    "identifier": Versions._name,
    "qualified_identifier": Versions._name,
    "call_expression": Versions._call,
}
