"""Conditions of Rust text: `cfg`, `cfg_attr`, `cfg!` and `cfg_if!`, and where in a file each holds.

Knows conditions and syntax trees; which configurations there are is for other modules. A condition
is true, false, or None where nobody here can tell.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import islice
from typing import TYPE_CHECKING

from hvci.source.preprocess.tree import text_of, walk
from hvci.source.text.text import Source

if TYPE_CHECKING:
    from tree_sitter import Node, Parser

MAX_DEPTH = 24
MAX_HELD = 64
"""Conditions around one place."""
ROUNDS = 4
"""How deep `cfg_if!` may stand in `cfg_if!`."""

Ask = Callable[[str, str | None], bool | None]
"""Whether a flag ("windows", None) or a pair ("feature", "x") is set; None: unknown."""


@dataclass(frozen=True)
class Condition:
    """One condition: a flag or a pair when it has a key, else some others joined."""

    kind: str
    """"is", "all", "any" or "not"."""
    key: str = ""
    value: str | None = None
    parts: tuple[Condition, ...] = ()

    def holds(self, ask: Ask) -> bool | None:
        """Whether it is true, false or not known."""
        if self.kind == "is":
            return ask(self.key, self.value)
        answers = [part.holds(ask) for part in self.parts]
        if self.kind == "not":
            return None if answers[0] is None else not answers[0]
        decides = self.kind == "any"
        if decides in answers:
            return decides
        return None if None in answers else not decides

    def keeps(self, ask: Ask) -> bool | None:
        """Whether text under it may run: what only a run decides is taken both ways."""
        if all(key != _RUN for key, _ in self.atoms()):
            return self.holds(ask)
        ways = [self.holds(_answering(ask, way)) for way in (True, False)]
        return True if True in ways else None if None in ways else False

    def atoms(self) -> Iterator[tuple[str, str | None]]:
        """The flags and pairs that it asks for."""
        if self.kind == "is":
            yield self.key, self.value
        for part in self.parts:
            yield from part.atoms()

    def __str__(self) -> str:
        if self.kind == "is":
            return self.key if self.value is None else f'{self.key} = "{self.value}"'
        return f"{self.kind}({', '.join(map(str, self.parts))})"


_RUN = "?run"
UNKNOWN = Condition("is", "?")


def _answering(ask: Ask, way: bool) -> Ask:
    """Answers with one way that a run may go."""
    return lambda key, value: way if key == _RUN else ask(key, value)


TEST = Condition("is", "test")


def negated(one: Condition) -> Condition:
    """The opposite."""
    return Condition("not", parts=(one,))


def joined(kind: str, parts: Iterable[Condition]) -> Condition:
    """All or any of some."""
    every = tuple(parts)
    return every[0] if len(every) == 1 else Condition(kind, parts=every)


_TOKEN = re.compile(r'\s*(?:r?#*"([^"]*)"#*|([A-Za-z_]\w*)|([(),=])|//[^\n]*|(\S))')


def parse(text: str) -> Condition:
    """A condition as it stands in `cfg(...)`; what is none is unknown."""
    tokens = [one for one in _TOKEN.findall(text[:4000]) if any(one)]
    found, rest = _parse(tokens, 0, 0)
    return found if rest == len(tokens) else UNKNOWN


Token = tuple[str, str, str, str]


def _parse(tokens: list[Token], at: int, depth: int) -> tuple[Condition, int]:
    name = tokens[at][1] if at < len(tokens) else ""
    if not name or depth > MAX_DEPTH:
        return UNKNOWN, len(tokens) + 1
    after = tokens[at + 1][2] if at + 1 < len(tokens) else ""
    if after == "=" and at + 2 < len(tokens):
        return Condition("is", name, tokens[at + 2][0]), at + 3
    if after != "(":
        return Condition("is", name), at + 1
    parts, at = [], at + 2
    while at < len(tokens) and tokens[at][2] != ")":
        one, at = _parse(tokens, at, depth + 1)
        parts.append(one)
        if at < len(tokens) and tokens[at][2] == ",":
            at += 1
    is_known = name in ("all", "any") or (name == "not" and len(parts) == 1)
    return (Condition(name, parts=tuple(parts)) if is_known else UNKNOWN), at + 1


def split(text: str) -> list[str]:
    """What stands between the outer commas of a list."""
    parts, depth, begin, quoted = [], 0, 0, False
    for at, char in enumerate(text):
        quoted ^= char == '"'
        depth += 0 if quoted else (char in "([{") - (char in ")]}")
        if char == "," and depth == 0 and not quoted:
            parts.append(text[begin:at])
            begin = at + 1
    return [one.strip() for one in (*parts, text[begin:]) if one.strip()]


def of_attribute(text: str, depth: int = 0) -> Condition | None:
    """When an attribute (what stands in `#[...]`) keeps its item; None: always."""
    name, _, inner = (one.strip() for one in text.partition("("))
    inner = inner.rpartition(")")[0]
    if name == "cfg":
        return parse(inner.strip().rstrip(","))
    if name in ("test", "bench") or name.endswith("::test"):
        return TEST
    if name == "cfg_attr" and depth < MAX_DEPTH:
        condition, *others = split(inner) or [""]
        kept = [of_attribute(one, depth + 1) for one in others]
        if every := [one for one in kept if one is not None]:
            return joined("any", (negated(parse(condition)), joined("all", every)))
    return None


@dataclass(frozen=True)
class Region:
    """Bytes of a file that a condition keeps."""

    start: int
    end: int
    condition: Condition


class RustText:
    """One file with its tree and its conditions; `cfg_if!` is taken apart in place."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.regions: list[Region] = []
        text = source.text
        self.root = parser().parse(text).root_node
        for _ in range(ROUNDS if b"cfg_if!" in text else 0):
            flat = self._flattened(text)
            if flat == text:
                break
            text = flat
            self.root = parser().parse(text).root_node
        if b"cfg" in text or b"test]" in text or b"bench]" in text:
            for node in walk(self.root):
                self._attributes(node)
                if node.type == "if_expression" and b"cfg!" in text_of(node):
                    self._if(node)

    def conditions(self, offset: int) -> tuple[Condition, ...]:
        """All that must hold for the text at an offset to be compiled."""
        points, kept = self._stretches
        return kept[bisect_right(points, offset) - 1]

    @cached_property
    def _stretches(self) -> tuple[list[int], list[tuple[Condition, ...]]]:
        """Where the conditions change, and which hold from there on."""
        opened: dict[int, list[Region]] = {0: []}
        closed: dict[int, list[Region]] = {}
        for one in (one for one in self.regions if one.start < one.end):
            opened.setdefault(one.start, []).append(one)
            closed.setdefault(one.end, []).append(one)
        points, kept = sorted({*opened, *closed}), []
        now: dict[int, Condition] = {}
        for point in points:
            for one in closed.get(point, ()):
                now.pop(id(one), None)
            now |= {id(one): one.condition for one in opened.get(point, ())}
            every = tuple(islice(now.values(), MAX_HELD))
            kept.append(every if len(now) <= MAX_HELD else (*every, UNKNOWN))
        return points, kept

    def _attributes(self, node: Node) -> None:
        waiting: list[Condition] = []
        for child in node.named_children:
            if child.type == "attribute_item":
                condition = of_attribute(_bare(child))
                waiting += [condition] if condition is not None else []
                if waiting and node.type in _HOLD_THEIR_OWN:
                    self._add(node, waiting)
                    waiting = []
            elif child.type == "inner_attribute_item":
                if (condition := of_attribute(_bare(child))) is not None:
                    self._add(node, [condition])
            elif child.type not in ("line_comment", "block_comment") and waiting:
                self._add(child, waiting)
                waiting = []

    def _if(self, node: Node) -> None:
        condition = of_expression(node.child_by_field_name("condition"))
        body = node.child_by_field_name("consequence")
        other = node.child_by_field_name("alternative")
        if body is not None:
            self._add(body, [condition])
        if other is not None:
            self._add(other, [negated(condition)])

    def _add(self, node: Node, conditions: list[Condition]) -> None:
        self.regions += (Region(node.start_byte, node.end_byte, one) for one in conditions)

    def _flattened(self, text: bytes) -> bytes:
        """A copy in which the branches of `cfg_if!` stand where it stands."""
        flat = bytearray(text)
        for node in walk(self.root):
            name = text_of(node.child_by_field_name("macro"))
            if node.type != "macro_invocation" or name.rpartition(b"::")[2] != b"cfg_if":
                continue
            tree = next((one for one in node.children if one.type == "token_tree"), None)
            start, end = node.start_byte, node.end_byte
            flat[start:end] = re.sub(rb"[^\n]", b" ", text[start:end])
            before: list[Condition] = []
            waiting: Condition | None = None
            for part in tree.named_children if tree is not None else ():
                if part.type != "token_tree":
                    continue
                if text_of(part).startswith(b"["):
                    waiting = of_attribute(text_of(part)[1:-1].decode("utf-8", "replace"))
                    continue
                begin, stop = part.start_byte + 1, part.end_byte - 1
                flat[begin:stop] = text[begin:stop]
                every = [*map(negated, before), *([waiting] if waiting else ())]
                self.regions += (Region(begin, stop, one) for one in every)
                before += [waiting] if waiting else []
                waiting = None
        return bytes(flat)


_HOLD_THEIR_OWN = ("match_arm", "field_initializer", "shorthand_field_initializer")
UNREAD = Condition("is", _RUN)
"""A condition that only a run decides."""


def of_expression(node: Node | None, depth: int = 0) -> Condition:
    """What an expression of `cfg!` says; `UNREAD` where it is about something else."""
    if node is None or depth > MAX_DEPTH:
        return UNREAD
    inner = [of_expression(one, depth + 1) for one in node.named_children[:2]]
    match node.type:
        case "macro_invocation" if text_of(node).replace(b" ", b"").startswith(b"cfg!"):
            text = text_of(node).decode("utf-8", "replace")
            return parse(text.partition("!")[2].strip()[1:-1].strip().rstrip(","))
        case "boolean_literal":
            return Condition("all" if text_of(node) == b"true" else "any")
        case "parenthesized_expression" if inner:
            return inner[0]
        case "unary_expression" if text_of(node).startswith(b"!") and inner:
            return negated(inner[0])
        case "binary_expression" if len(inner) == 2:
            kind = {b"&&": "all", b"||": "any"}.get(text_of(node.child_by_field_name("operator")))
            return joined(kind, inner) if kind else UNREAD
    return UNREAD


def _bare(node: Node) -> str:
    inner = next((one for one in node.named_children if one.type == "attribute"), None)
    return text_of(inner).decode("utf-8", "replace")


@cache
def parser() -> Parser:
    """The parser of Rust."""
    import tree_sitter
    import tree_sitter_rust

    return tree_sitter.Parser(tree_sitter.Language(tree_sitter_rust.language()))
