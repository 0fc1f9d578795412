"""Syntax trees of source files, without a WDK: what the grammar cannot know is made blank first.

Theory of operation: a tree is made of a copy of the text in which directives, the branches of
`#if` that are not wanted, SAL annotations and calling conventions are spaces. Every offset in the
tree is therefore an offset in the file. Each choice of branches has a tree of its own, so a call
inside any branch stands in a tree without the other branches. Blind spots: macros that hide
braces or statements; there the tree holds error nodes, and callers fall back on plain text.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from functools import cache, cached_property, lru_cache
from typing import TYPE_CHECKING

from hvci.source.preprocess.expression import Truth
from hvci.source.preprocess.runs import Choice
from hvci.source.text.chunks import starts
from hvci.source.text.directives import Directives, Macro
from hvci.source.text.text import WORD_BYTES, Source, blank, directive_lines

if TYPE_CHECKING:
    from tree_sitter import Node, Parser, QueryCursor, Tree

MAX_TREES = 16
"""Trees made of one file, for different choices of branches."""
MAX_NODES = 400_000
"""Nodes looked at while searching one tree."""

_ANNOTATION = re.compile(
    rb"_(?:[A-Z][A-Za-z0-9]*(?:_[A-Za-z0-9]+)*_|_drv_\w+|_in|_out|_inout|_in_opt|_out_opt"
    rb"|_inout_opt|_deref_\w+|_checkReturn|_reserved|_[a-z]+_[eb]count\w*|_success"
    rb"|_control_entrypoint)\b"
)
"""An annotation, or the end of a word that looks like one."""
_NOISE = re.compile(
    rb"\b(?:NTAPI|WINAPI|APIENTRY|CALLBACK|STDMETHODCALLTYPE|NTKERNELAPI|NTSYSAPI|NTHALAPI"
    rb"|IN|OUT|OPTIONAL|UNALIGNED|FORCEINLINE|__forceinline|DECLSPEC_NORETURN|DECLSPEC_NOINLINE"
    rb"|EXTERN_C_START|EXTERN_C_END|WDFAPI|INITCODE|PAGEDCODE|LOCKEDCODE|EXTERN_C|__override)\b"
)
MAX_ANNOTATION = 1200
"""Bytes of one annotation with its parentheses."""


@cache
def _parser(cplusplus: bool) -> Parser:
    import tree_sitter
    import tree_sitter_c
    import tree_sitter_cpp

    language = tree_sitter_cpp.language() if cplusplus else tree_sitter_c.language()
    return tree_sitter.Parser(tree_sitter.Language(language))


@lru_cache(maxsize=512)
def parse(text: bytes) -> Tree:
    """Parse a short text as C++; what the grammar does not take becomes error nodes."""
    return _parser(True).parse(_without_suffixes(text))


def _parse_piece(text: bytearray, begin: int, end: int, cplusplus: bool) -> Tree:
    """Parse a stretch of a text; offsets are those of the whole."""
    from tree_sitter import Point, Range

    parser = _parser(cplusplus)
    everywhere = Point(0, 0), Point(0x7FFF_FFFF, 0)
    parser.included_ranges = [Range(*everywhere, begin, end)]
    try:
        return parser.parse(text)
    finally:
        parser.included_ranges = [Range(*everywhere, 0, 0xFFFF_FFFF)]


def _without_suffixes(text: bytes) -> bytes:
    if any(suffix in text for suffix in _SUFFIXES):
        return _OF_MSVC.sub(lambda match: match[1] + b" " * len(match[2]), text)
    return text


_SUFFIXES = tuple(i + bits for i in (b"i", b"I") for bits in (b"8", b"16", b"32", b"64"))
_OF_MSVC = re.compile(rb"\b(0[xX][0-9a-fA-F']+|[0-9][0-9']*)([uU]?[iI](?:8|16|32|64))\b")
"""A number with a suffix that only MSVC knows."""


def text_of(node: Node | None) -> bytes:
    """The text of a node."""
    return (node.text or b"") if node is not None else b""


def is_same(left: Node | None, right: Node) -> bool:
    """Whether two nodes of a file cover the same text."""
    return left is not None and left.byte_range == right.byte_range


def walk(node: Node) -> Iterator[Node]:
    """A node and all nodes below it, in the order of the text; bounded."""
    todo, left = [node], MAX_NODES
    while todo and left:
        left -= 1
        found = todo.pop()
        yield found
        todo.extend(reversed(found.named_children))


GATHERED = (
    "declaration",
    "init_declarator",
    "assignment_expression",
    "pointer_expression",
    "call_expression",
    "return_statement",
    "if_statement",
    "conditional_expression",
    "switch_statement",
    "while_statement",
    "update_expression",
    "goto_statement",
    "break_statement",
    "continue_statement",
    "labeled_statement",
)
"""Kinds of nodes that are found in a function without looking at all others."""


_OF_CPLUSPLUS = ("lambda_expression", "for_range_loop")


@cache
def _query(cplusplus: bool) -> QueryCursor:
    import tree_sitter

    language = _parser(cplusplus).language
    assert language is not None
    kinds = (*GATHERED, *_OF_CPLUSPLUS) if cplusplus else GATHERED
    text = " ".join(f"({kind}) @{kind}" for kind in kinds)
    return tree_sitter.QueryCursor(tree_sitter.Query(language, text))


def _gathered(node: Node, cplusplus: bool) -> dict[str, list[Node]]:
    return _query(cplusplus).captures(node)


def _begin(node: Node) -> int:
    return node.start_byte


def ancestors(node: Node) -> Iterator[Node]:
    """The nodes that hold a node, inmost first."""
    above = node.parent
    while above is not None:
        yield above
        above = above.parent


def arguments(call: Node, field: str = "arguments") -> list[Node]:
    """The arguments of a call."""
    found = call.child_by_field_name(field)
    return [item for item in found.named_children if item.type != "comment"] if found else []


class Function:
    """One function definition: its name, its parameters and its body."""

    def __init__(self, node: Node, file: File) -> None:
        self.node = node
        self.file = file
        declarator = _function_declarator(node)
        named = declarator.child_by_field_name("declarator") if declarator else None
        self.qualified = text_of(named).replace(b" ", b"")
        """Such as "Class::Method"."""
        self.name = b"new" if b"operatornew" in self.qualified else _last_name(self.qualified)
        listed = declarator.child_by_field_name("parameters") if declarator else None
        kinds = ("parameter_declaration", "optional_parameter_declaration")
        declared = [
            item for item in (listed.named_children if listed else ()) if item.type in kinds
        ]
        self._declared = declared
        self.parameters = [_parameter_name(item) for item in declared]
        self.types = [text_of(item.child_by_field_name("type")) for item in declared]
        self.defaults = [item.child_by_field_name("default_value") for item in declared]

    def is_reference(self, index: int) -> bool:
        """Whether a parameter is taken by reference that is not constant."""
        node = self._declared[index]
        declarator = node.child_by_field_name("declarator")
        is_one = declarator is not None and declarator.type == "reference_declarator"
        return is_one and b"const" not in text_of(node).split(b"&")[0].split()

    def is_pointer(self, index: int) -> bool:
        """Whether a parameter is a pointer or an array."""
        declarator = self._declared[index].child_by_field_name("declarator")
        kind = declarator.type if declarator is not None else ""
        return "pointer" in kind or "array" in kind

    @property
    def is_method(self) -> bool:
        """Whether it belongs to a class."""
        return b"::" in self.qualified or any(
            above.type in ("class_specifier", "struct_specifier") for above in ancestors(self.node)
        )

    @cached_property
    def _nodes(self) -> dict[str, list[Node]]:
        return _gathered(self.node, not self.file.source.is_c)

    def nodes(self, *kinds: str) -> list[Node]:
        """The nodes of some kinds in it, in the order of the text."""
        found = [node for kind in kinds for node in self._nodes.get(kind, ())]
        return sorted(found, key=_begin)

    @cached_property
    def body(self) -> Node | None:
        """The braces and what they hold."""
        return self.node.child_by_field_name("body")


def _function_declarator(node: Node) -> Node | None:
    found = node.child_by_field_name("declarator")
    while found is not None and found.type != "function_declarator":
        inner = found.child_by_field_name("declarator")
        found = inner or next((n for n in found.named_children if "declarator" in n.type), None)
    return found


def _last_name(qualified: bytes) -> bytes:
    return qualified.rpartition(b"::")[2].strip(b" *&()")


def _parameter_name(node: Node) -> bytes:
    found = node.child_by_field_name("declarator")
    while found is not None and found.type not in ("identifier", "field_identifier"):
        inner = found.child_by_field_name("declarator")
        found = inner or next(iter(found.named_children), None)
    return text_of(found)


class _Piece:
    """A stretch of a file that was parsed."""

    def __init__(self, file: File, tree: Tree) -> None:
        self.tree = tree
        found, todo = list[Function](), [tree.root_node]
        while todo:
            node = todo.pop()
            if node.type == "function_definition" and node.child_by_field_name("body") is not None:
                found.append(Function(node, file))
            elif node.type != "compound_statement":
                todo.extend(node.named_children)
        self.functions = sorted(found, key=lambda function: function.node.start_byte)
        self.starts = [function.node.start_byte for function in self.functions]


class File:
    """One choice of branches of a source file; its top-level declarations are parsed when asked."""

    def __init__(self, source: Source, text: bytes) -> None:
        self.source = source
        self._text = bytearray(text)
        """What is parsed; made fit for the grammar piece by piece, at the same offsets."""
        self._begins = starts(text, source.code)
        self._pieces: dict[int, _Piece] = {}

    def forget(self) -> None:
        """Let go of what was parsed: functions know their file, and no pause need find that."""
        self._pieces.clear()

    def _piece(self, offset: int) -> _Piece:
        index = max(bisect_right(self._begins, offset) - 1, 0)
        if index not in self._pieces:
            begin = self._begins[index]
            behind = index + 1
            end = self._begins[behind] if behind < len(self._begins) else len(self._text)
            self._text[begin:end] = _prepared(bytes(self._text[begin:end]), self.source.is_c)
            tree = _parse_piece(self._text, begin, end, not self.source.is_c)
            self._pieces[index] = _Piece(self, tree)
        return self._pieces[index]

    def declares_records(self, offset: int) -> bool:
        """Whether structures may be declared around an offset, which needs no tree."""
        index = max(bisect_right(self._begins, offset) - 1, 0)
        ends = self._begins[index + 1 : index + 2] or [len(self._text)]
        return _RECORD.search(self._text, self._begins[index], *ends) is not None

    def function_at(self, offset: int) -> Function | None:
        """The function whose definition holds an offset."""
        piece = self._piece(offset)
        for function in reversed(piece.functions[: bisect_right(piece.starts, offset)]):
            if offset < function.node.end_byte:
                return function
        return None

    def node_at(self, start: int, end: int) -> Node | None:
        """The smallest node that holds a range."""
        return self._piece(start).tree.root_node.descendant_for_byte_range(start, end)


_RECORD = re.compile(rb"\b(?:struct|class|union)\b")

Picked = tuple[int | None, ...]
"""Of each group, the branch that a tree is made with."""


class Text:
    """One source file, read once for all programs, with the trees that were made of it."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.notes: dict[type, object] = {}
        """What other modules worked out of the text alone, by what it is."""
        self._files: dict[Picked, File] = {}

    @cached_property
    def directives(self) -> Directives:
        """The lines that a preprocessor acts on."""
        return Directives(self.source)

    @cached_property
    def _defines(self) -> tuple[list[int], list[Macro]]:
        every = [macro for many in self.directives.macros.values() for macro in many]
        every.sort(key=lambda macro: macro.start)
        return [macro.start for macro in every], every

    def define_at(self, offset: int) -> Macro | None:
        """The `#define` whose line holds an offset."""
        starts, every = self._defines
        at = bisect_right(starts, offset) - 1
        return every[at] if at >= 0 and offset < every[at].end else None

    def file(self, picked: Picked) -> File:
        """The tree with some branches kept."""
        if picked not in self._files:
            if len(self._files) >= MAX_TREES:
                return next(iter(self._files.values()))
            self._files[picked] = File(self.source, self._kept(picked))
        return self._files[picked]

    def forget(self) -> None:
        """Let go of the trees, and of what is easily made again."""
        for file in self._files.values():
            file.forget()
        self._files.clear()
        self.notes.clear()
        self.source.forget()

    def _kept(self, picked: Picked) -> bytes:
        """The text without directives and without the branches that are not kept."""
        lines, plain = self.directives, self.source.plain
        parts: list[bytes] = []
        for index, start in enumerate(lines.starts):
            end = lines.starts[index + 1] if index + 1 < len(lines.starts) else len(plain)
            region, keep = lines.regions[index], True
            while region is not None and keep:
                keep = picked[region.group] == region.branch
                region = region.outer
            parts.append(plain[start:end] if keep else blank(plain[start:end]))
        text = b"".join(parts)
        kept = bytearray(text)
        for start, end in directive_lines(text, (b"#",)):
            kept[start:end] = blank(text[start:end])
        return bytes(kept)


class Trees:
    """The trees of one source file under one choice of branches."""

    def __init__(self, text: Text, choice: Choice) -> None:
        self.text = text
        self.choice = choice

    @cached_property
    def _usual(self) -> Picked:
        return tuple(one[0] if isinstance(one, tuple) else one for one in self.choice)

    def live(self, offset: int) -> Truth:
        """Whether the text at an offset is compiled under this choice."""
        value: Truth = True
        region = self.text.directives.region_at(offset)
        while region is not None:
            taken = self.choice[region.group]
            if isinstance(taken, tuple):
                if region.branch not in taken:
                    return False
                value = None
            elif taken != region.branch:
                return False
            region = region.outer
        return value

    def at(self, offset: int | None = None) -> File:
        """The tree in which the text at an offset is kept."""
        picked = self._usual
        region = self.text.directives.region_at(offset) if offset is not None else None
        while region is not None:
            if picked[region.group] != region.branch:
                before, behind = picked[: region.group], picked[region.group + 1 :]
                picked = (*before, region.branch, *behind)
            region = region.outer
        return self.text.file(picked)


_HANDLED = re.compile(rb"\b(?:(try|finally)(?=\s*\{)|(except)(?=\s*\())")


def _without_handlers(text: bytes) -> bytes:
    """`try` and `except` of excpt.h as plain blocks: the grammar of C does not know them."""
    if b"except" not in text and b"finally" not in text:
        return text
    return _HANDLED.sub(lambda match: b"if    " if match[2] else blank(match[0]), text)


def _prepared(text: bytes, is_c: bool) -> bytes:
    """A stretch of a file without what the grammar does not know, at the same offsets."""
    return _without_suffixes(_quiet(_without_handlers(text) if is_c else text))


def _quiet(text: bytes) -> bytes:
    """The text without annotations and calling conventions."""
    kept = bytearray(_NOISE.sub(lambda match: blank(match.group()), text))
    for match in _ANNOTATION.finditer(text):
        if match.start() and text[match.start() - 1] in WORD_BYTES:
            continue
        end = _after_parentheses(text, match.end())
        kept[match.start() : end] = blank(text[match.start() : end])
    return bytes(kept)


def _after_parentheses(text: bytes, start: int) -> int:
    """The end of the parentheses that open at an offset, else the offset."""
    depth = 0
    for match in _BRACKET.finditer(text, start, start + MAX_ANNOTATION):
        if depth == 0 and text[start : match.start()].strip():
            return start
        depth += 1 if match.group() == b"(" else -1
        if depth <= 0:
            return match.end() if depth == 0 else start
    return start


_BRACKET = re.compile(rb"[()]")
