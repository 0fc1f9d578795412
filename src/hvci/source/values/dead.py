"""Code that no image holds or runs: branches that a compiler decides, and functions nobody uses.

Theory of operation: a condition of plain constants goes one way, and what stands behind a `return`
is not come to, unless a label lies on the way. A function of its file only, or an inline one, of
which nothing else speaks is not compiled. Knows statements and names; what constants are is told.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from hvci.source.preprocess.tree import Function, ancestors, is_same, text_of, walk
from hvci.source.program.pasted import may_make
from hvci.source.program.program import Program, Unit
from hvci.source.values.versions.kernels import ENTRIES

if TYPE_CHECKING:
    from tree_sitter import Node

Decided = Callable[["Node"], bool | None]
"""Which way a condition goes that consists of constants; None where it is none of these."""
CONSTANT = "no way leads here: its condition is a constant"
BEHIND = "no way leads here: it stands behind a statement that always leaves"
_LEAVING = ("return_statement", "goto_statement", "break_statement", "continue_statement")
_JOINED = {b"&&": False, b"||": True}
_OWN = re.compile(rb"\b(?:static|inline|__inline|__inline__|__forceinline|FORCEINLINE)\b")
_KEPT = re.compile(rb"\b(?:__attribute__|__declspec|virtual|operator)\b|\[\[")
"""What may have a function compiled that nobody calls."""
_DIRECTIVES = re.compile(rb"(?m)^[ \t]*#[^\n]*")
_PRAGMA = re.compile(rb"#[ \t]*pragma[ \t]+(?:alloc_text|NDIS_\w+|code_seg|auto_inline)\b")
_ASKING = ("if_statement", "conditional_expression", "while_statement", "for_statement")


def unreached(node: Node, decided: Decided) -> str:
    """Why no way leads to a place in its function; empty where one may."""
    below = node
    for above in ancestors(node):
        if above.type == "function_definition":
            break
        if above.type in _ASKING:
            condition = above.child_by_field_name("condition")
            if condition is not None and not is_same(condition, below):
                first = above.child_by_field_name("alternative")
                wanted = first is None or not is_same(first, below)
                is_inner = wanted or above.type in ("if_statement", "conditional_expression")
                truth = decided(condition) if is_inner and _is_inside(above, below) else None
                if truth is not None and truth is not wanted and not _may_be_entered(below):
                    return CONSTANT
        elif above.type == "binary_expression":
            ends = _JOINED.get(text_of(above.child_by_field_name("operator")))
            left = above.child_by_field_name("left")
            is_right = ends is not None and left is not None and not is_same(left, below)
            if is_right and left is not None and decided(left) is ends:
                return CONSTANT
        elif above.type == "compound_statement" and _is_behind(above, below):
            return BEHIND
        below = above
    return ""


def _is_inside(above: Node, below: Node) -> bool:
    """Whether a part of a statement runs only where its condition holds, or does not."""
    names = ("consequence", "alternative", "body", "update")
    return any(is_same(above.child_by_field_name(name), below) for name in names)


def _is_behind(block: Node, below: Node) -> bool:
    """Whether an earlier statement of a block always leaves, and no label lies on the way."""
    starts, left = _statements(block)
    at = bisect_right(starts, below.start_byte) - 1
    return at >= 0 and left[at]


@lru_cache(maxsize=16)  # the calls of a block are asked one after the other
def _statements(block: Node) -> tuple[list[int], list[bool]]:
    """Where each statement of a block begins, and whether no way leads to it from before."""
    starts, left, is_left = list[int](), list[bool](), False
    for one in block.named_children:
        if one.type == "comment":
            continue
        is_left = is_left and not _may_be_entered(one)
        starts.append(one.start_byte)
        left.append(is_left)
        is_left = is_left or one.type in _LEAVING
    return starts, left


def _may_be_entered(node: Node) -> bool:
    """Whether a jump from elsewhere may lead into a statement: a label, or a `case` of outside."""
    if b":" not in text_of(node):
        return False
    for inner in walk(node):
        if inner.type == "labeled_statement":
            return True
        if inner.type == "case_statement":
            around = (one for one in ancestors(inner) if one.type == "switch_statement")
            first = next(around, None)  # none in a text that is damaged
            if first is None or first.start_byte < node.start_byte:
                return True
    return False


class Unused:
    """Which functions of one program nothing speaks of."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._known: dict[tuple[str, int], bool] = {}

    @cached_property
    def _is_whole(self) -> bool:
        """Whether it has an entry routine: else what uses its functions may stand elsewhere."""
        return any(self.program.functions(name) for name in ENTRIES)

    def reason(self, function: Function) -> str:
        """Why a function is in no image; empty where it may be in one."""
        if not self.is_unused(function):
            return ""
        name = function.name.decode("utf-8", "replace")
        return f"nothing in the sources uses {name}, so that no image holds it"

    def is_unused(self, function: Function) -> bool:
        """Whether a function is its file's own or inline, and nothing that is compiled names it."""
        key = function.file.source.path, function.node.start_byte
        if key not in self._known:
            self._known[key] = True  # functions that only call each other are unused
            is_own = self._is_own(function) and self._is_whole
            self._known[key] = is_own and not self._is_named(function)
        return self._known[key]

    def _is_own(self, function: Function) -> bool:
        body, path = function.body, function.file.source.path
        if body is None or function.is_method or (self.program.is_unit(path) and _is_header(path)):
            return False
        if any(one.type == "template_declaration" for one in ancestors(function.node)):
            return False
        # what the grammar does not know, as FORCEINLINE, stands before the definition in its tree
        code, start = function.file.source.code, function.node.start_byte
        begin = 1 + max(code.rfind(one, 0, start) for one in (b";", b"}", b"{"))
        head = _DIRECTIVES.sub(b"", code[begin : body.start_byte])
        return _OWN.search(head) is not None and _KEPT.search(head) is None

    def _is_named(self, function: Function) -> bool:
        name, program = function.name, self.program
        if name in program.space.assembled or program.macros(name):
            return True
        units = list(program.naming(name))
        every = ((unit, at) for unit in units for at in unit.source.places(name))
        if any(self._uses(unit, at, name) for unit, at in every):
            return True
        quoted = re.compile(rb"(?<!\w)" + re.escape(name) + rb"(?!\w)")
        for unit in units:
            in_plain = sum(1 for _ in quoted.finditer(unit.source.plain))
            if in_plain > sum(1 for _ in unit.source.places(name)):
                return True  # in a string: assembly, or an option of the linker
        return may_make(program, name)

    def _uses(self, unit: Unit, at: int, name: bytes) -> bool:
        """Whether a place names a function otherwise than where it is declared or inside itself."""
        if unit.live(at) is False:
            return False
        code = unit.source.code
        line = code[code.rfind(b"\n", 0, at) + 1 : at]
        if line.lstrip().startswith(b"#"):
            return _PRAGMA.match(line.lstrip()) is None
        if unit.in_define(at):
            return True
        file = unit.trees.at(at)
        node = file.node_at(at, at + len(name))
        for above in ancestors(node) if node is not None else ():
            if above.type in ("declaration", "function_definition"):
                if _declares(above, at):
                    return False
                break
            if above.type in ("compound_statement", "initializer_list", "init_declarator"):
                break
        around = file.function_at(at)
        return around is None or not self.is_unused(around)


def _declares(above: Node, at: int) -> bool:
    """Whether a declaration, or the head of a function, is about the name at an offset."""
    for declarator in above.children_by_field_name("declarator"):
        node: Node | None = declarator
        while node is not None and node.type in ("pointer_declarator", "reference_declarator"):
            node = node.child_by_field_name("declarator") or next(iter(node.named_children), None)
        if node is not None and node.type == "function_declarator":
            named = node.child_by_field_name("declarator")
            if named is not None and named.start_byte <= at < named.end_byte:
                return True
    return False


def _is_header(path: str) -> bool:
    return path.lower().endswith((".h", ".hpp", ".hxx", ".hh", ".inl"))
