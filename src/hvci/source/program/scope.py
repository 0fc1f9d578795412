"""What a local variable was given before a place: its assignments, and which of them surely ran.

Knows the statements of one function; knows nothing of values or other functions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from hvci.source.preprocess.tree import Function, ancestors, text_of
from hvci.source.program.lambdas import around, captures
from hvci.source.program.narrow import narrow
from hvci.source.program.reaching import START, Asked, Span, reaching

if TYPE_CHECKING:
    from tree_sitter import Node

BLOCKS = ("compound_statement", "case_statement", "translation_unit", "labeled_statement")
LOOPS = ("for_statement", "while_statement", "do_statement")
SCOPES = (
    *("compound_statement", "for_statement", "for_range_loop", "if_statement", "while_statement"),
    *("switch_statement", "catch_clause", "lambda_expression", "function_definition"),
)
"""What a declaration counts in."""


@dataclass(frozen=True)
class Assignment:
    """One place where a variable gets a value."""

    operator: str
    """"=", or "|=" and the like."""
    value: Node
    start: int
    block: tuple[int, int]
    """Range of the block that it stands in: every way to a later place there passes here."""
    loops: tuple[tuple[int, int], ...]
    """Ranges of the loops around it."""
    is_initializer: bool = False

    @property
    def is_counting(self) -> bool:
        """Whether it is `++` or `--`."""
        return self.operator in ("++", "--")

    def surely_before(self, offset: int) -> bool:
        """Whether every way to the offset passes here."""
        return self.start < offset and self.block[0] <= offset < self.block[1]

    def span(self, is_static: bool) -> Span:
        """Where it stands; the initializer of a `static` variable never runs again."""
        is_first = is_static and self.is_initializer
        return Span(self.start, self.value.end_byte, not is_first)

    def replaces(self, offset: int) -> bool:
        """Whether no value from before it can be seen at the offset."""
        return self.operator == "=" and self.surely_before(offset)


@dataclass(frozen=True)
class Change:
    """Something that changes a variable, or may."""

    span: Span
    assignment: Assignment | None
    """None: its address is given away, and nobody knows what is written there."""
    receiver: str = ""
    """Who got its address."""


@dataclass(frozen=True)
class Variable:
    """One local variable or parameter of a function."""

    function: Function
    parameter: int | None
    """Index among the parameters."""
    assignments: tuple[Assignment, ...]
    """In the order of the text."""
    addresses: tuple[tuple[int, str], ...]
    """Where its address is given away, and to whom."""
    updates: tuple[Assignment, ...] = ()
    """Where it counts up or down."""
    lasts: bool = False
    """It is `static`: a later run of the function sees what an earlier one left."""
    name: bytes = b""
    declared: int = -1
    """Where it is declared in the function; before that for a parameter."""
    width: int | None = None
    """The bits of its type, if they are fewer than 32; below zero for a type with a sign."""

    def before(self, offset: int) -> list[tuple[Assignment, bool]]:
        """The assignments that can matter at an offset, and whether each surely ran.

        Those before the last sure one are left out; those behind the offset, in a loop around
        both, come last and are never sure.
        """
        earlier = [item for item in self.assignments if item.start < offset]
        sure = [i for i, item in enumerate(earlier) if item.replaces(offset)]
        kept = earlier[sure[-1] :] if sure else earlier
        found = [(item, item.surely_before(offset)) for item in kept]
        found += [
            (item, False)
            for item in self.assignments
            if item.start >= offset and any(a <= offset < b for a, b in item.loops)
        ]
        return found

    @cached_property
    def changes(self) -> tuple[Change, ...]:
        """All changes, in the order of the text."""
        found = [Change(item.span(self.lasts), item) for item in (*self.assignments, *self.updates)]
        found += [Change(Span(at, at + 1, False), None, to) for at, to in self.addresses]
        return tuple(sorted(found, key=lambda change: change.span.start))

    def reaching(self, offset: int, asked: Asked) -> tuple[list[Change], bool]:
        """The changes that may be the last before an offset, and whether there may be none."""
        if not self.changes:
            return [], True
        node = around(self.function, offset)
        if node is not None and self.declared < node.start_byte and captures(node, self.name):
            return list(self.changes), True  # it may run whenever it is called
        away = [one for one in self.changes if self._is_away(one, offset)]
        if not away and (only := self._only(offset)) is not None:
            return [only], False
        here = [one for one in self.changes if one not in away]
        spans = [change.span for change in here]
        found = reaching(self.function, spans, offset, asked, self.lasts)
        return [*away, *(here[at] for at in sorted(found) if at != START)], START in found

    def _is_away(self, change: Change, offset: int) -> bool:
        """Whether a change is made by a lambda, whenever that is called."""
        node = around(self.function, change.span.start)
        if node is None or node.start_byte <= offset < node.end_byte:
            return False
        return self.declared < node.start_byte

    def _only(self, offset: int) -> Change | None:
        """The change that is plainly the last, in the same block and without loops."""
        if self.lasts or self.addresses or self.updates:
            return None
        found = self.before(offset)
        if len(found) != 1 or not found[0][0].replaces(offset):
            return None
        last = found[0][0]
        labels = self.function.nodes("labeled_statement")
        if any(last.start < node.start_byte < offset for node in labels):
            return None
        return next(change for change in self.changes if change.assignment is last)


class _Index:
    """What stands in a function, by the names that it is about; made in one walk."""

    def __init__(self, function: Function) -> None:
        self.declared: dict[bytes, list[_Declared]] = {}
        self.written: dict[bytes, list[Node]] = {}
        self.updated: dict[bytes, list[Node]] = {}
        self.addresses: dict[bytes, list[Node]] = {}
        self.refers = False
        for node in function.nodes("declaration"):
            for name in _declared(node):
                self.declared.setdefault(name, []).append(_Declared(node))
        for node in function.nodes("for_range_loop"):
            if (declarator := node.child_by_field_name("declarator")) is not None:
                self.declared.setdefault(text_of(_named(declarator)), []).append(_Declared(node))
                self._write(node, _named(declarator), "right")
        for node in function.nodes("init_declarator", "assignment_expression"):
            if node.type == "init_declarator":
                self._write(node, node.child_by_field_name("declarator"), "value")
                self._refer(node)
            elif (pointer := misread(node)) is not None:
                self.declared.setdefault(text_of(pointer), []).append(_Declared(node))
                self._write(node, pointer, "right")
            else:
                self._write(node, node.child_by_field_name("left"), "right")
        for node in function.nodes("pointer_expression"):
            text = text_of(node).replace(b" ", b"")
            if text[:1] == b"&":
                self.addresses.setdefault(text[1:], []).append(node)
        self._aliased()
        for node in function.nodes("update_expression"):
            self.updated.setdefault(text_of(_counted(node)), []).append(node)

    def _write(self, node: Node, target: Node | None, value: str) -> None:
        if target is not None and node.child_by_field_name(value) is not None:
            self.written.setdefault(text_of(_bare(target)), []).append(node)

    def _refer(self, node: Node) -> None:
        """`T &other = name;`: what is written to the one is written to the other."""
        declarator = node.child_by_field_name("declarator")
        value = node.child_by_field_name("value")
        declared = node.parent.children if node.parent is not None else []
        if declarator is None or value is None or declarator.type != "reference_declarator":
            return
        if not any(text_of(one) == b"const" for one in declared):
            self.addresses.setdefault(text_of(value), []).append(node)
            self.refers = True

    def _aliased(self) -> None:
        """Writes through a local pointer or reference to a variable change the variable."""
        if not self.refers and not any(_is_through(text) for text in self.written):
            return
        for name, nodes in list(self.addresses.items()):
            for node in list(nodes):
                holder = _holder(node)
                for text in (
                    (b"*" + holder, holder + b"[0]")
                    if node.type != "init_declarator"
                    else (holder,)
                ):
                    written = self.written.get(text, ()) if holder and holder != name else ()
                    nodes += [one for one in written if one.start_byte > node.end_byte]

    def owner(self, name: bytes, offset: int) -> _Declared | None:
        """The declaration that a name means at an offset; None: a parameter, or none here."""
        found = [one for one in self.declared.get(name, ()) if one.holds(offset)]
        return max(found, key=lambda one: one.start, default=None)


def _counted(update: Node) -> Node | None:
    """What `++` or `--` changes; the grammar takes `!k++` for `(!k)++`."""
    node = update.child_by_field_name("argument")
    while node is not None and node.type in _BEFORE and node.start_byte == update.start_byte:
        node = node.child_by_field_name("argument") or node.child_by_field_name("value")
        update = node or update
    return node


_BEFORE = ("unary_expression", "cast_expression", "pointer_expression")


def _is_through(target: bytes) -> bool:
    return target[:1] == b"*" or target[-3:] == b"[0]"


def _holder(node: Node) -> bytes:
    """The variable that gets an address, or that is a reference; empty for anything else."""
    for above in (node, *ancestors(node)):
        if above.type == "init_declarator":
            declarator = above.child_by_field_name("declarator")
            named = _bare(declarator) if declarator is not None else None
            if named is not None and named.type == "reference_declarator":
                named = named.named_children[-1]
            return text_of(named)
        if above.type == "assignment_expression":
            return text_of(above.child_by_field_name("left"))
        if above.type not in ("cast_expression", "parenthesized_expression", "pointer_expression"):
            break
    return b""


def misread(node: Node) -> Node | None:
    """The name in `TYPE (*name)(...) = ...`, which the grammar takes for an assignment of calls."""
    left = node.child_by_field_name("left")
    inner = left.child_by_field_name("function") if left is not None else None
    if left is None or left.type != "call_expression" or inner is None:
        return None
    listed = inner.child_by_field_name("arguments")
    given = listed.named_children if inner.type == "call_expression" and listed is not None else []
    if len(given) != 1 or given[0].type != "pointer_expression":
        return None
    return given[0].child_by_field_name("argument")


class _Declared:
    """One declaration in a function and where it counts."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.start = node.start_byte
        around_it = (one for one in (node, *ancestors(node)) if one.type in SCOPES)
        above = next(around_it, None)
        self.end = above.end_byte if above is not None else node.end_byte
        words = [text_of(one) for one in node.children if one.type == "storage_class_specifier"]
        self.lasts = b"static" in words
        self.is_elsewhere = b"extern" in words

    def holds(self, offset: int) -> bool:
        """Whether the name means this one at an offset, unless another one is nearer."""
        return self.start <= offset < self.end


_INDEXES: WeakKeyDictionary[Function, _Index] = WeakKeyDictionary()


def _index(function: Function) -> _Index:
    if function not in _INDEXES:
        _INDEXES[function] = _Index(function)
    return _INDEXES[function]


def variable(function: Function, name: bytes, offset: int | None = None) -> Variable | None:
    """The variable that a name means at an offset, or None when the function declares none there.

    Without an offset, all variables of that name together.
    """
    parameter = function.parameters.index(name) if name in function.parameters else None
    index, owner = _index(function), None
    if offset is not None:
        owner = index.owner(name, offset)
        if (owner is None and parameter is None) or (owner is not None and owner.is_elsewhere):
            return None
        parameter = None if owner is not None else parameter
    elif parameter is None and name not in index.declared:
        return None

    def own(nodes: dict[bytes, list[Node]]) -> Iterator[Node]:
        for node in nodes.get(name, ()):
            if offset is None or index.owner(name, node.start_byte) is owner:
                yield node

    return Variable(
        function,
        parameter,
        tuple(_assignment(node) for node in own(index.written)),
        tuple((node.start_byte, _receiver(node)) for node in own(index.addresses)),
        tuple(_update(node) for node in own(index.updated)),
        owner is not None and owner.lasts,
        name,
        owner.start if owner is not None else -1,
        _width(function, name, owner, parameter) if offset is not None else None,
    )


def _width(
    function: Function, name: bytes, owner: _Declared | None, parameter: int | None
) -> int | None:
    """The bits of a variable's type, where they are few; pointers to such types have all."""
    if owner is None:
        is_plain = parameter is not None and not function.is_pointer(parameter)
        return narrow(function.types[parameter]) if is_plain and parameter is not None else None
    bits = narrow(text_of(owner.node.child_by_field_name("type")))
    if bits is not None:
        for one in owner.node.children_by_field_name("declarator"):
            inner = one.child_by_field_name("declarator") if one.type == "init_declarator" else one
            if inner is not None and inner.type == "identifier" and text_of(inner) == name:
                return bits
    return None


def declares(function: Function, name: bytes, offset: int) -> int | None:
    """Where a function declares what a name means at an offset; 0 for a parameter."""
    owner = _index(function).owner(name, offset)
    if owner is not None:
        return None if owner.is_elsewhere else owner.start
    return 0 if name in function.parameters else None


def declaration_of(function: Function, name: bytes, offset: int) -> int:
    """What tells variables of one name in a function apart: where it is declared, 0 for none."""
    owner = _index(function).owner(name, offset)
    return owner.start if owner is not None else 0


def _declared(node: Node) -> list[bytes]:
    named = [_bare(item) for item in node.children_by_field_name("declarator")]
    bound = [one for one in named if one.type == "structured_binding_declarator"]
    parts = [text_of(part) for one in bound for part in one.named_children]
    return [*(text_of(one) for one in named if one not in bound), *parts]


def _named(declarator: Node) -> Node:
    """The name in the declarator of a loop over a range."""
    node = _bare(declarator)
    return node.named_children[-1] if node.type == "reference_declarator" else node


def _bare(node: Node) -> Node:
    """The name inside a declarator, without initializer, pointers, arrays and parentheses."""
    while True:
        inner = node.child_by_field_name("declarator")
        if inner is None and node.type == "parenthesized_declarator" and node.named_children:
            inner = node.named_children[-1]
        if inner is None:
            return node
        node = inner


def _assignment(node: Node) -> Assignment:
    is_init = node.type == "init_declarator"
    value = node.child_by_field_name("value" if is_init else "right")
    operator = text_of(node.child_by_field_name("operator")) or b"="
    above = list(ancestors(node))
    around = [item for item in above if item.type in LOOPS and not is_once(item)]
    loops = tuple((item.start_byte, item.end_byte) for item in around)
    assert value is not None
    spelled = operator.decode("ascii", "replace")
    return Assignment(spelled, value, node.start_byte, _block(above), loops, is_init)


def _update(node: Node) -> Assignment:
    value = node.child_by_field_name("argument")
    assert value is not None
    return Assignment(
        text_of(node.child_by_field_name("operator")).decode(), value, node.start_byte, (0, 0), ()
    )


def _block(above: list[Node]) -> tuple[int, int]:
    """The block of a statement; an empty range for one that an `if` or a loop may skip."""
    for item in above:
        if item.type in BLOCKS:
            return item.start_byte, item.end_byte
        if item.type in ("if_statement", "conditional_expression", "switch_statement", *LOOPS):
            break
        if item.type == "binary_expression" and is_short(item):
            break
    return 0, 0


def is_once(loop: Node) -> bool:
    """Whether a loop runs exactly once: `do ... while (0)`."""
    condition = text_of(loop.child_by_field_name("condition")).strip(b"() \t\r\n")
    return loop.type == "do_statement" and condition in (b"0", b"FALSE", b"false")


def is_short(node: Node) -> bool:
    """Whether the right side of an operator may be skipped."""
    return text_of(node.child_by_field_name("operator")) in (b"&&", b"||")


def _receiver(node: Node) -> str:
    """The function that an address is given to."""
    for item in ancestors(node):
        if item.type == "call_expression":
            called = text_of(item.child_by_field_name("function"))
            return called.decode("utf-8", "replace")[:80]
        if item.type.endswith("statement"):
            break
    return "a pointer"
