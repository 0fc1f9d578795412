"""Which of the changes of a local variable may reach a place in its function.

Theory of operation: the statements are walked as control comes to them, with the set of changes
that may have been the last; loops and labels until nothing is added, and a statement in which
nothing matters is passed by. Where a statement could not be parsed, both ways stay open. Blind
spots: macros that hide statements, and exceptions behind `try` of excpt.h.
Knows the statements of one function; knows nothing of values.
"""

from __future__ import annotations

import operator
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from hvci.source.preprocess.expression import Truth
from hvci.source.preprocess.tree import Function, text_of

if TYPE_CHECKING:
    from tree_sitter import Node

MAX_ROUNDS = 12
"""Times that a loop or a function with labels is walked; a set can only grow."""
MAX_NESTED = 150
JUMPS = (
    "return_statement",
    "goto_statement",
    "break_statement",
    "continue_statement",
    "labeled_statement",
)
NO_PLACE = -1
START = -1
"""Stands for what the variable is when its function begins."""

State = frozenset[int]
NOWHERE: State = frozenset()
"""Control does not come here."""
_STARTS = (b";", b"{", b"}", b":")
"""What stands before a block that always runs."""


class Asked(Protocol):
    """Who knows of conditions."""

    def truth(self, condition: Node) -> Truth:
        """Which way a condition goes."""

    def label(self, switch: Node) -> int | None:
        """The position of the label that a `switch` leads to, behind all where none fits."""


@dataclass(frozen=True)
class Span:
    """Where a change of a variable stands, and whether it leaves nothing of what was before."""

    start: int
    end: int
    replaces: bool


@dataclass
class _Around:
    """A loop or `switch` that is being walked."""

    is_loop: bool
    entry: State = NOWHERE
    left: State = NOWHERE
    again: State = NOWHERE
    is_entered: bool = False
    """No way leads past all of its labels."""
    label: Node | None = None
    """The only one that a `switch` leads to."""


@dataclass
class Reaching:
    """One walk through a function, for one variable and one place."""

    function: Function
    spans: Sequence[Span]
    place: int
    asked: Asked
    lasts: bool = False
    """The variable keeps its value from one run of the function to the next."""
    found: State = NOWHERE
    left: State = NOWHERE
    """What holds where the function is left."""
    labels: dict[bytes, State] = field(default_factory=dict)
    around: list[_Around] = field(default_factory=list)
    depth: int = 0

    def run(self) -> State:
        """The positions of the changes that may reach the place, and `START`."""
        body = self.function.body
        if body is None:
            return frozenset((START,))
        jumps = [node.start_byte for node in self.function.nodes(*JUMPS)]
        self._marks = sorted((*jumps, self.place, *(span.start for span in self.spans)))
        self._values = sorted((self.place, *(span.start for span in self.spans)))
        every = range(len(self.spans)) if self.lasts else ()
        for _ in range(MAX_ROUNDS):
            before = dict(self.labels)
            behind = self.statement(body, frozenset((START, *every)))
            self.left |= behind
            if before == self.labels:
                break
        else:
            self.found |= frozenset((START, *range(len(self.spans))))
            self.left |= self.found
        return self.found or frozenset((START, *range(len(self.spans))))

    def _holds(self, marks: list[int], node: Node) -> bool:
        at = bisect_left(marks, node.start_byte)
        return at < len(marks) and marks[at] < node.end_byte

    def _matters(self, node: Node) -> bool:
        return self._holds(self._marks, node)

    def _every(self, node: Node) -> State:
        """All changes inside a node."""
        inside = enumerate(self.spans)
        return frozenset(at for at, span in inside if node.start_byte <= span.start < node.end_byte)

    # ------------------------------------------------------------ statements

    def statement(self, node: Node | None, state: State) -> State:
        """What may hold behind a statement."""
        if node is None or not self._matters(node):
            return state
        if self.depth > MAX_NESTED:
            self._note(node, state | self._every(node))
            return state | self._every(node)
        self.depth += 1
        walked = _WALKED.get(node.type, Reaching._plain)(self, node, state)
        self.depth -= 1
        return walked

    def _note(self, node: Node, state: State) -> None:
        if node.start_byte <= self.place < node.end_byte:
            self.found |= state

    def _plain(self, node: Node, state: State) -> State:
        """An expression or a declaration."""
        before = state
        for at, span in enumerate(self.spans):
            if not node.start_byte <= span.start < node.end_byte:
                continue
            if span.end <= self.place:
                before = self._changed(before, at, span, node)
            state = self._changed(state, at, span, node)
        if self._is_in_lambda(node):
            before |= frozenset(range(len(self.spans)))
        self._note(node, before)
        return state

    def _is_in_lambda(self, node: Node) -> bool:
        """Whether the place is in a function inside the statement, which runs at any time."""
        if b"[" not in text_of(node) or not node.start_byte <= self.place < node.end_byte:
            return False
        inner = node.descendant_for_byte_range(self.place, self.place + 1)
        while inner is not None and inner != node:
            if inner.type == "lambda_expression":
                return True
            inner = inner.parent
        return False

    def _changed(self, state: State, at: int, span: Span, node: Node) -> State:
        if not state:
            return state
        is_sure = span.replaces and not _is_conditional(node, span.start)
        return frozenset((at,)) if is_sure else state | {at}

    def _block(self, node: Node, state: State) -> State:
        for child in node.named_children:
            behind = self.statement(child, state)
            is_maybe = child.type == "compound_statement" and not self._is_plain_block(child)
            is_maybe = is_maybe and node.type == "compound_statement"
            state = state | behind if is_maybe else behind
        return state

    def _is_plain_block(self, node: Node) -> bool:
        """Whether a block stands for itself, and not behind a macro or `try`."""
        before = self.function.file.source.plain[: node.start_byte].rstrip()[-1:]
        return before in _STARTS

    def _broken(self, node: Node, state: State) -> State:
        """What could not be parsed: it may run in any way."""
        return state | self._block(node, state | self._every(node))

    def _function(self, node: Node, state: State) -> State:
        """A function inside: it may run at any time from here on."""
        self._note(node, state | frozenset(range(len(self.spans))))
        return state | self._every(node)

    def _if(self, node: Node, state: State) -> State:
        condition = node.child_by_field_name("condition")
        state = self.statement(condition, state)
        first = node.child_by_field_name("consequence")
        second = node.child_by_field_name("alternative")
        truth = self._told(node, condition, first, second)
        found = NOWHERE
        if truth is not False:
            found = self.statement(first, state)
        if truth is not True:
            found |= self.statement(second, state)
        return found

    def _told(self, node: Node, condition: Node | None, *ways: Node | None) -> Truth:
        """Which way a condition goes; the way to the place is always open."""
        if condition is None or not self._holds(self._values, node):
            return None
        truth = self.asked.truth(condition)
        if truth is None:
            return None
        other = ways[1] if truth else ways[0]
        is_there = other is not None and other.start_byte <= self.place < other.end_byte
        return None if is_there else truth

    def _switch(self, node: Node, state: State) -> State:
        state = self.statement(node.child_by_field_name("condition"), state)
        body = node.child_by_field_name("body")
        if body is None:
            return state
        cases = [one for one in body.named_children if one.type == "case_statement"]
        at = self.asked.label(node) if self._holds(self._values, node) else None
        is_here = body.start_byte <= self.place < body.end_byte
        if at is not None and at >= len(cases) and not is_here:
            return state
        around = _Around(False, state)
        around.label = cases[at] if at is not None and at < len(cases) else None
        self.around.append(around)
        left = self.statement(body, NOWHERE)
        self.around.pop()
        found = left | around.left
        return found if around.is_entered else found | state

    def _case(self, node: Node, state: State) -> State:
        around = next((one for one in reversed(self.around) if not one.is_loop), None)
        value = node.child_by_field_name("value")
        is_here = node.start_byte <= self.place < node.end_byte
        if around is not None and (around.label in (None, node) or is_here):
            state |= around.entry
            is_any = value is None or around.label is not None
            around.is_entered = around.is_entered or is_any
        for child in node.named_children:
            if child != value:
                state = self.statement(child, state)
        return state

    def _loop(self, node: Node, state: State) -> State:
        """`while`, `for` and loops over ranges; the condition comes first."""
        condition = node.child_by_field_name("condition")
        state = self.statement(node.child_by_field_name("initializer"), state)
        endless = _is_endless(node, condition)
        around = _Around(True)
        self.around.append(around)
        for _ in range(MAX_ROUNDS):
            entry = state
            left = self.statement(condition, state)
            behind = self.statement(node.child_by_field_name("body"), left) | around.again
            behind = self.statement(node.child_by_field_name("update"), behind)
            state = entry | behind
            if state == entry:
                break
        self.around.pop()
        if _is_entered(node, condition):
            left = self.statement(condition, behind)
        return around.left if endless else left | around.left

    def _do(self, node: Node, state: State) -> State:
        condition = node.child_by_field_name("condition")
        once = _number(condition) == 0
        around = _Around(True)
        self.around.append(around)
        for _ in range(MAX_ROUNDS):
            entry = state
            behind = self.statement(node.child_by_field_name("body"), state) | around.again
            behind = self.statement(condition, behind)
            state = entry if once else entry | behind
            if state == entry:
                break
        self.around.pop()
        is_endless = (_number(condition) or 0) != 0
        return around.left if is_endless else behind | around.left

    def _try(self, node: Node, state: State) -> State:
        """Handlers run from anywhere in the block before them, `__leave` leads behind it."""
        body = node.child_by_field_name("body")
        handlers = [child for child in node.named_children if child != body]
        anywhere = state | self._every(body) if body is not None else state
        found = self.statement(body, state)
        if body is not None and b"__leave" in text_of(body):
            found |= anywhere
        for handler in handlers:
            is_last = handler.type == "seh_finally_clause"
            behind = self._block(handler, anywhere | found)
            found = behind if is_last else found | behind
        return found

    # ------------------------------------------------------------ jumps

    def _ends(self, node: Node, state: State) -> State:
        self.left |= self._plain(node, state)
        return NOWHERE

    def _goto(self, node: Node, state: State) -> State:
        name = text_of(node.child_by_field_name("label"))
        self.labels[name] = self.labels.get(name, NOWHERE) | state
        return NOWHERE

    def _label(self, node: Node, state: State) -> State:
        label = node.child_by_field_name("label")
        state |= self.labels.get(text_of(label), NOWHERE)
        for child in node.named_children:
            if child != label:
                state = self.statement(child, state)
        return state

    def _break(self, node: Node, state: State) -> State:
        if self.around:
            self.around[-1].left |= state
        return NOWHERE

    def _continue(self, node: Node, state: State) -> State:
        loop = next((one for one in reversed(self.around) if one.is_loop), None)
        if loop is not None:
            loop.again |= state
        return NOWHERE


def _number(condition: Node | None) -> int | None:
    """The number that a condition is, where it is one."""
    text = text_of(condition).strip(b"() \t\r\n")
    if text in (b"FALSE", b"false"):
        return 0
    return 1 if text in (b"TRUE", b"true") else int(text) if text.isdigit() else None


def _is_endless(loop: Node, condition: Node | None) -> bool:
    """Whether only a jump leaves a loop."""
    if loop.type == "for_statement" and condition is None:
        return True
    return (_number(condition) or 0) != 0


def _is_entered(loop: Node, condition: Node | None) -> bool:
    """Whether a `for` surely runs once, by the numbers that it counts from and to."""
    first = loop.child_by_field_name("initializer") if loop.type == "for_statement" else None
    if first is not None and first.type == "declaration":
        first = first.child_by_field_name("declarator")
    if first is None or condition is None or condition.type != "binary_expression":
        return False
    name = first.child_by_field_name("left") or first.child_by_field_name("declarator")
    start = _number(first.child_by_field_name("right") or first.child_by_field_name("value"))
    end = _number(condition.child_by_field_name("right"))
    order = _ORDERS.get(text_of(condition.child_by_field_name("operator")))
    is_same = text_of(name) == text_of(condition.child_by_field_name("left"))
    if not is_same or order is None or start is None or end is None:
        return False
    return order(start, end)


_ORDERS: Mapping[bytes, Callable[[int, int], bool]] = {
    b"<": operator.lt,
    b"<=": operator.le,
    b"!=": operator.ne,
    b">": operator.gt,
    b">=": operator.ge,
}


def _is_conditional(statement: Node, offset: int) -> bool:
    """Whether what stands at an offset of a statement may be skipped."""
    node = statement.descendant_for_byte_range(offset, offset + 1)
    while node is not None and node != statement:
        above = node.parent
        if above is None:
            break
        if above.type == "conditional_expression":
            if above.child_by_field_name("condition") != node:
                return True
        elif above.type == "binary_expression":
            is_right = above.child_by_field_name("right") == node
            if is_right and text_of(above.child_by_field_name("operator")) in (b"&&", b"||"):
                return True
        elif above.type in ("lambda_expression", "ERROR"):
            return True
        node = above
    return False


def reaching(
    function: Function, spans: Iterable[Span], place: int, asked: Asked, lasts: bool
) -> State:
    """Which changes of a variable may be the last at an offset; `START` for none of them."""
    return Reaching(function, tuple(spans), place, asked, lasts).run()


def leaving(function: Function, spans: Iterable[Span], asked: Asked) -> State:
    """Which changes of what outlives a function may be the last when it is left."""
    walk = Reaching(function, tuple(spans), NO_PLACE, asked)
    walk.run()
    return walk.left


Walker = Callable[[Reaching, "Node", State], State]
_WALKED: dict[str, Walker] = {
    "compound_statement": Reaching._block,
    "else_clause": Reaching._block,
    "attributed_statement": Reaching._block,
    "if_statement": Reaching._if,
    "switch_statement": Reaching._switch,
    "case_statement": Reaching._case,
    "while_statement": Reaching._loop,
    "for_statement": Reaching._loop,
    "for_range_loop": Reaching._loop,
    "do_statement": Reaching._do,
    "seh_try_statement": Reaching._try,
    "try_statement": Reaching._try,
    "labeled_statement": Reaching._label,
    "return_statement": Reaching._ends,
    "throw_statement": Reaching._ends,
    "goto_statement": Reaching._goto,
    "break_statement": Reaching._break,
    "continue_statement": Reaching._continue,
    "lambda_expression": Reaching._function,
    "function_definition": Reaching._function,
    "ERROR": Reaching._broken,
}
