"""Finds the calls of catalogued DDIs in one source file, whatever way they are written.

Theory of operation: a text search with comments and literals made blank finds every name that is
followed by "("; the syntax tree then says which of them are calls and what their arguments are.
Where the tree has errors, the text before the name decides and the arguments are split by hand,
so that nothing that a text search finds is lost. Knows nothing of values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING

from hvci import catalog
from hvci.catalog import Binding, Ddi, HiddenCall
from hvci.source.preprocess.conditions import Truth
from hvci.source.preprocess.tree import File, ancestors, arguments, text_of
from hvci.source.program.program import Macro, Program, Unit
from hvci.source.text.text import Source, places
from hvci.source.text.wordindex import WordIndex

if TYPE_CHECKING:
    from tree_sitter import Node

MAX_ARGUMENT_TEXT = 8000
NEW = "operator new"
"""Catalogue row of `new (PoolType, Tag) T`."""

_POOLISH = re.compile(rb"(?i)pool")


class Shape(StrEnum):
    """How a call is written."""

    CALL = "call"
    MACRO = "macro body"
    NEW = "new"
    NAMED = "routine found by name"


@dataclass(frozen=True)
class Argument:
    """One argument: its text, where it stands, and its node when there is one."""

    text: bytes
    start: int
    end: int
    node: Node | None


@dataclass(frozen=True)
class CallText:
    """One call as it is written."""

    ddi: Ddi
    unit: Unit
    shape: Shape
    start: int
    """Offset of the DDI's name."""
    end: int
    arguments: tuple[Argument, ...]
    file: File
    node: Node | None
    """None when the tree has no call there."""
    macro: Macro | None
    """The macro whose body holds the call."""
    kept: Truth
    """Whether the build keeps it."""

    @property
    def word(self) -> bytes:
        """The name as it stands in the text."""
        found = _NAME.match(self.unit.source.code, self.start)
        return found[0] if found is not None else b""

    def argument(self, parameter: str) -> Argument | None:
        """The argument given to a parameter of the DDI."""
        index = self.ddi.position(parameter)
        if self.shape is Shape.NEW:
            index = 0 if parameter == self.ddi.deciding else 1
        return self.arguments[index] if 0 <= index < len(self.arguments) else None


_NAME = re.compile(rb"\w+")


@cache
def _rows() -> dict[bytes, tuple[Ddi, ...]]:
    """The catalogue's rows by the last word of their names."""
    found: dict[bytes, tuple[Ddi, ...]] = {}
    for ddi in catalog.ddis().values():
        name = ddi.name.rpartition("::")[2]
        if re.fullmatch(r"\w+", name) and not name.startswith("PFN"):
            found[name.encode()] = (*found.get(name.encode(), ()), ddi)
    return found


def _row(name: bytes, count: int) -> Ddi | None:
    rows = _rows().get(name, ())
    return next((row for row in rows if len(row.parameters) == count), rows[0] if rows else None)


@cache
def _words_of_calls() -> frozenset[bytes]:
    """The words without which a file holds no call."""
    hidden = (name.encode() for name in catalog.hidden_calls())
    return frozenset((*_rows(), b"new", *hidden))


def may_hold_calls(source: Source, index: WordIndex) -> bool:
    """A quick look before a file is examined."""
    held = index.among(source.path, _words_of_calls())
    return bool(held) and (
        any(True for _ in _named(source.text, held))
        or (b"new" in held and any(True for _ in _news(source.text)))
        or any(name.encode() in held for name in catalog.hidden_calls())
    )


def _news(code: bytes) -> Iterator[int]:
    """Where `new` stands before a parenthesis."""
    return (at for at in places(code, b"new") if _OPENS.match(code, at + 3) is not None)


def _named(code: bytes, held: frozenset[bytes]) -> Iterator[tuple[int, int]]:
    """Where the names of DDIs stand before a parenthesis, in no order."""
    for name in held & _rows().keys():
        for at in places(code, name):
            if _OPENS.match(code, at + len(name)) is not None:
                yield at, at + len(name)


_OPENS = re.compile(rb"(?:[\s\\]|/\*(?:[^*]|\*(?!/))*+\*/|//[^\n]*+)*+[(#]")
"""Behind a name in a text that may continue its lines and hold comments.

A directive may stand between the name and its parentheses: then the tree tells.
"""


def find_calls(unit: Unit, index: WordIndex) -> Iterator[CallText]:
    """Every call of a catalogued DDI, in the order of the text."""
    held = index.among(unit.source.path, _words_of_calls())
    for start, end in sorted(_named(unit.source.code, held)):
        if call := _call(unit, start, end):
            yield call
    for start in _news(unit.source.code) if b"new" in held else ():
        if (call := _new(unit, start)) is not None:
            yield call
    yield from _hidden(unit, index)


def _call(unit: Unit, start: int, end: int) -> CallText | None:
    name = unit.source.code[start:end]
    macro = unit.text.define_at(start)
    if macro is not None and start < macro.body_start:
        return None
    file = unit.trees.at(start)
    node = None if macro is not None else _called(file, start, end)
    if macro is None and node is None and _is_declaration(unit.source.code, start):
        return None
    if node is None and not _is_before_parentheses(unit, end, is_macro=macro is not None):
        return None
    given = _of_node(node) if node is not None else split(unit.source.code, end)
    ddi = _row(name, len(given))
    if ddi is None or (ddi.binding is Binding.COM_VTABLE and not _is_member(unit, start)):
        return None
    if ddi.binding is Binding.COM_VTABLE and len(given) == len(ddi.parameters) + 1:
        given = given[1:]  # C gives the object itself first
    shape = Shape.CALL if macro is None else Shape.MACRO
    kept = unit.live(start)
    return CallText(ddi, unit, shape, start, end, tuple(given), file, node, macro, kept)


def _is_before_parentheses(unit: Unit, end: int, *, is_macro: bool) -> bool:
    """Whether parentheses open behind a name, with directives between at most."""
    code = unit.source.code
    behind = (_LINE if is_macro else _LINES).match(code, end)
    return behind is not None and code[behind.end() : behind.end() + 1] == b"("


_LINE = re.compile(rb"[\s\\]*+")
_LINES = re.compile(rb"(?:[\s\\]|#(?:[^\n\\]|\\\r?\n|\\)*+)*+")


def _is_member(unit: Unit, start: int) -> bool:
    return unit.source.code[:start].rstrip()[-2:].endswith((b"->", b"."))


def _called(file: File, start: int, end: int) -> Node | None:
    """The call whose function name stands there."""
    node = file.node_at(start, end)
    for above in (node, *ancestors(node)) if node is not None else ():
        if above.type == "call_expression":
            called = above.child_by_field_name("function")
            return above if called is not None and called.end_byte == end else None
        if above.type in ("argument_list", "compound_statement", "ERROR", "parameter_list"):
            return None
    return None


def _of_node(call: Node, field: str = "arguments") -> list[Argument]:
    return [
        Argument(text_of(node), node.start_byte, node.end_byte, node)
        for node in arguments(call, field)
    ]


def with_macros_spread(call: CallText, program: Program) -> CallText:
    """A call in which a macro gives several arguments, with these; others stay as they are.

    Without arguments where it is not known which they are.
    """
    wanted = len(call.ddi.parameters)
    if call.shape is Shape.NEW or not 0 < len(call.arguments) < wanted:
        return call
    found: list[Argument] = []
    is_spread = is_unclear = False
    for one in call.arguments:
        word = one.text.strip()
        macros = program.macros(word, call.unit.source.path) if _IS_WORD.fullmatch(word) else []
        bodies = {macro.body.strip() for macro, _ in macros if macro.parameters is None}
        lists = [split(b"(" + body + b")", 0) for body in sorted(bodies)]
        if max(map(len, lists), default=0) < 2:
            found.append(one)
            continue
        is_spread, is_unclear = True, is_unclear or len(lists) > 1
        found += (Argument(part.text, one.start, one.end, None) for part in lists[0])
    if not is_spread:
        return call
    is_unclear = is_unclear or len(found) != wanted
    return replace(call, arguments=() if is_unclear else tuple(found))


_IS_WORD = re.compile(rb"[A-Za-z_]\w*")


def find_named(unit: Unit, routines: Mapping[bytes, str], shape: Shape) -> Iterator[CallText]:
    """Every call of a catalogued routine by another name, which a variable or macro has."""
    for name, routine in sorted(routines.items()):
        ddi = catalog.ddis().get(routine)
        if ddi is None or name not in unit.source.text:
            continue
        pattern = re.compile(rb"\b(" + re.escape(name) + rb")\s*(?:\[[^\]\n]*\]\s*)?\)?\s*\(")
        for match in pattern.finditer(unit.source.code):
            if (call := _by_name(unit, match, ddi, shape)) is not None:
                yield call


def _by_name(unit: Unit, match: re.Match[bytes], ddi: Ddi, shape: Shape) -> CallText | None:
    start, end = match.span(1)
    file, kept = unit.trees.at(start), unit.live(start)
    macro = unit.text.define_at(start)
    if macro is not None:
        given = tuple(split(unit.source.plain, match.end() - 1))
        if start < macro.body_start or len(given) != len(ddi.parameters):
            return None
        return CallText(ddi, unit, Shape.MACRO, start, end, given, file, None, macro, kept)
    node = _through(file, start, end)
    if node is None:
        return None
    return CallText(ddi, unit, shape, start, end, tuple(_of_node(node)), file, node, None, kept)


def _through(file: File, start: int, end: int) -> Node | None:
    """The call whose function is a variable, a field, or either in parentheses with a star."""
    node = file.node_at(start, end)
    for above in (node, *ancestors(node)) if node is not None else ():
        if above.type == "call_expression":
            called = above.child_by_field_name("function")
            inside = called is not None and called.start_byte <= start and end <= called.end_byte
            return above if inside else None
        if above.type in ("argument_list", "compound_statement", "ERROR"):
            return None
    return None


_BEFORE = re.compile(rb"(\w+|\S)\s*\Z")
_CALLS_AFTER = (b"return", b"else", b"do", b"case", b"goto", b"throw", b"co_return")


def _is_declaration(code: bytes, start: int) -> bool:
    """Whether the word before a name is a type: then the name is declared, not called."""
    match = _BEFORE.search(code[max(0, start - 160) : start])
    word = match[1] if match else b""
    if word in _CALLS_AFTER:
        return False
    return word[:1].isalpha() or word[:1] == b"_" or word in (b"*", b"&")


def split(code: bytes, start: int) -> list[Argument]:
    """The arguments in the parentheses that open at or after an offset, by counting brackets."""
    opening = code.find(b"(", start)
    found: list[Argument] = []
    depth, begin = 0, opening + 1
    for match in _PUNCTUATION.finditer(code, opening, opening + MAX_ARGUMENT_TEXT):
        byte, offset = match[0], match.start()
        if byte in b"([{":
            depth += 1
        elif byte != b",":
            depth -= 1
            if depth == 0:
                return [*found, *_trimmed(code, begin, offset)]
        elif depth == 1:
            found += _trimmed(code, begin, offset)
            begin = offset + 1
    return found


_PUNCTUATION = re.compile(rb"[(){}\[\],]")


def _trimmed(code: bytes, start: int, end: int) -> list[Argument]:
    text = code[start:end]
    lead = len(text) - len(text.lstrip())
    bare = text.strip()
    return [Argument(bare, start + lead, start + lead + len(bare), None)] if bare else []


def _new(unit: Unit, start: int) -> CallText | None:
    """A `new` whose first placement argument speaks of pool, or that is given a tag as well."""
    ddi = catalog.ddis().get(NEW)
    if ddi is None:
        return None
    file, above = unit.trees.at(start), None
    macro = unit.text.define_at(start)
    if macro is not None:
        given = split(unit.source.plain, start + 3) if start >= macro.body_start else []
    else:
        node = file.node_at(start, start + 3)
        above = node.parent if node is not None else None
        if above is None or above.type != "new_expression":
            return None
        given = _of_node(above, "placement")
    if not given or given[0].text[:1] in (b"&", b"*") or not _chooses_pool(given):
        return None
    kept = unit.live(start)
    return CallText(ddi, unit, Shape.NEW, start, start + 3, tuple(given), file, above, macro, kept)


def _as_written(unit: Unit, argument: Argument) -> Argument:
    """An argument that was split by hand, with its literals."""
    text = unit.source.plain[argument.start : argument.end]
    return replace(argument, text=text)


def _chooses_pool(given: list[Argument]) -> bool:
    tagged = len(given) > 1 and (given[1].text[:1] == b"'" or b"TAG" in given[1].text.upper())
    return tagged or _POOLISH.search(given[0].text) is not None


def _hidden(unit: Unit, index: WordIndex) -> Iterator[CallText]:
    """Calls in macros of the kit, whose bodies no source shows."""
    code = unit.source.code
    for name, row in catalog.hidden_calls().items():
        word = name.encode()
        if word not in index.of(unit.source.path):
            continue
        for match in re.finditer(rb"\b" + word + rb"\s*\(", code):
            start, ddi = match.start(), catalog.ddis()[row.ddi]
            if unit.in_define(start):
                continue
            file = unit.trees.at(start)
            node = _called(file, start, start + len(word))
            given = _of_node(node) if node is not None else split(code, match.end() - 1)
            chosen = tuple(_gives(unit, row, one, given, start) for one in row.gives)
            kept, shape = unit.live(start), Shape.NEW if row.ddi == NEW else Shape.CALL
            end = start + len(word)
            yield CallText(ddi, unit, shape, start, end, chosen, file, None, None, kept)


def _gives(unit: Unit, row: HiddenCall, what: str, given: list[Argument], start: int) -> Argument:
    """What a macro hands on: one of its arguments, or a literal of its body."""
    if what not in row.parameters:
        return Argument(what.encode(), start, start, None)
    index = row.parameters.index(what)
    if index >= len(given):
        return Argument(b"", start, start, None)
    return given[index] if given[index].node is not None else _as_written(unit, given[index])
