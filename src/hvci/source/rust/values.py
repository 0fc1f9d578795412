"""What expressions of Rust text can be, in one configuration of the crate.

Knows syntax trees and constants; knows no crates and no calls.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hvci.model import Value
from hvci.source.preprocess.tree import ancestors, text_of, walk
from hvci.source.rust.cfg import Ask, RustText
from hvci.source.rust.uses import EVERYTHING, Parts, parts_of, uses
from hvci.source.values import constants

if TYPE_CHECKING:
    from tree_sitter import Node

MAX_DEPTH = 12
MAX_HOPS = 8
"""Names of names."""
MAX_STEPS = 2000
"""Expressions that are looked at for one argument."""


@dataclass(frozen=True)
class Spot:
    """A node, with the file that it stands in."""

    node: Node
    text: RustText


class Items:
    """What the files of one crate give a name."""

    def __init__(self, texts: list[RustText]) -> None:
        self.uses = {text.source.path: uses(text) for text in texts}
        """What each file brings in."""
        self.scopes = {b"crate", b"self", b"super", b"Self", b"<Self"}
        """What a path of its own may begin with."""
        for text in texts:
            self.scopes.update(_stems(text))
            for node in walk(text.root):
                if node.type in _SCOPES:
                    self.scopes.add(text_of(node.child_by_field_name("name")))
        self.functions = {
            text_of(node.child_by_field_name("name"))
            for text in texts
            for node in walk(text.root)
            if node.type == "function_item"
        }
        self.values: dict[bytes, list[Spot]] = {}
        """Values of `const` and `static` items."""
        self.mutable: set[bytes] = set()
        """Those that code may change: `static mut`."""
        self.enums: list[Spot] = []
        for text in texts:
            for node in walk(text.root):
                if node.type in ("const_item", "static_item"):
                    value = node.child_by_field_name("value")
                    name = text_of(node.child_by_field_name("name"))
                    if value is not None:
                        self.values.setdefault(name, []).append(Spot(value, text))
                    if any(one.type == "mutable_specifier" for one in node.children):
                        self.mutable.add(name)
                elif node.type == "enum_item":
                    self.enums.append(Spot(node, text))


class Files:
    """Which text a configuration compiles."""

    def __init__(self, ask: Ask, compiled: dict[str, bool | None]) -> None:
        self.ask = ask
        self.compiled = compiled
        self._known: dict[tuple[str, int], bool | None] = {}

    def keeps(self, spot: Spot) -> bool | None:
        """Whether a place is compiled; None: nobody here can tell."""
        path, conditions = spot.text.source.path, spot.text.conditions(spot.node.start_byte)
        key = path, id(conditions)
        if key not in self._known:
            answers = [one.keeps(self.ask) for one in conditions]
            answers.append(self.compiled.get(path, True))
            self._known[key] = False if False in answers else None if None in answers else True
        return self._known[key]


class Values:
    """The evaluator of a crate in one configuration."""

    def __init__(self, items: Items, files: Files) -> None:
        self.items, self.files, self._left = items, files, 0
        self.others: dict[bytes, Values] = {}
        """The crates that it links, by the names that they have here."""
        self.numbers: dict[bytes, int] = {}
        """Enum variants by `Enum::Variant`."""
        for spot in items.enums:
            if files.keeps(spot) is not False:
                self._enum(spot)

    def _enum(self, spot: Spot) -> None:
        node = spot.node
        name = text_of(node.child_by_field_name("name"))
        number: int | None = 0
        body = node.child_by_field_name("body")
        for variant in body.named_children if body is not None else ():
            here = Spot(variant, spot.text)
            if variant.type != "enum_variant" or self.files.keeps(here) is False:
                continue
            value = variant.child_by_field_name("value")
            known = self.value(value, here, 0) if value is not None else None
            if known is not None:
                is_one = known.complete and len(known.possible) == 1
                number = min(known.possible) if is_one else None
            if number is None:
                continue  # what counts on from a number that is not known is not known either
            self.numbers[name + b"::" + text_of(variant.child_by_field_name("name"))] = number
            number += 1

    def value(self, node: Node | None, place: Spot | None, depth: int) -> Value:
        """What an expression can be."""
        self._left = MAX_STEPS if depth == 0 else self._left - 1
        if node is None or place is None or depth > MAX_DEPTH or self._left < 0:
            return Value.unknown("an expression that is not followed")
        inner = node.named_children
        match node.type:
            case "integer_literal":
                return _literal(text_of(node))
            case "type_cast_expression":
                return self.value(node.child_by_field_name("value"), place, depth + 1)
            case "parenthesized_expression":
                return self.value(inner[0] if inner else None, place, depth + 1)
            case "binary_expression":
                return self._binary(node, place, depth)
            case "identifier" | "scoped_identifier":
                return self._name(text_of(node).replace(b" ", b""), place, depth)
            case "field_expression" if text_of(node).endswith(b".0"):
                return self.value(node.child_by_field_name("value"), place, depth + 1)
            case "if_expression":
                return self._if(node, place, depth)
            case "block" if len(inner) == 1:
                return self.value(inner[0], place, depth + 1)
            case "expression_statement" if inner and not text_of(node).endswith(b";"):
                return self.value(inner[0], place, depth + 1)
            case "else_clause":
                return self.value(inner[0] if inner else None, place, depth + 1)
            case "call_expression":
                return self._wrapped(node, place, depth)
        return Value.unknown(f"{_shown(node)} is not followed")

    def _binary(self, node: Node, place: Spot, depth: int) -> Value:
        left = self.value(node.child_by_field_name("left"), place, depth + 1)
        right = self.value(node.child_by_field_name("right"), place, depth + 1)
        operator = text_of(node.child_by_field_name("operator"))
        apply = {b"|": int.__or__, b"&": int.__and__, b"+": int.__add__, b"<<": int.__lshift__}
        if operator not in apply or not (left.complete and right.complete):
            return Value.unknown(left.reason or right.reason or f"{_shown(node)} is not followed")
        if any(one > 63 for one in right.possible) and operator == b"<<":
            return Value.unknown(f"{_shown(node)} is not followed")
        pairs = (apply[operator](a, b) for a in left.possible for b in right.possible)
        return Value.exactly(*pairs)

    def _wrapped(self, node: Node, place: Spot, depth: int) -> Value:
        """`x.into()`, `T::from(x)` and `T(x)` are x."""
        function = node.child_by_field_name("function")
        listed = node.child_by_field_name("arguments")
        given = given_to(listed, self.files, place.text) if listed is not None else []
        if function is None:
            return Value.unknown(f"{_shown(node)} is not followed")
        name = text_of(function).replace(b" ", b"")
        if function.type == "field_expression" and name.endswith((b".into", b".clone", b".bits")):
            return self.value(function.child_by_field_name("value"), place, depth + 1)
        if len(given) == 1 and (name.endswith(b"::from") or b"POOL_" in name):
            return self.value(given[0], place, depth + 1)
        return Value.unknown(f"{_shown(node)} is not followed")

    def _name(self, name: bytes, place: Spot, depth: int) -> Value:
        """A variable of the function, an item of the crate or a constant of the WDK."""
        if b"::" not in name and (function := function_of(place.node)) is not None:
            found = self._local(name, function, place, depth)
            if found is not None:
                return found
        path = self._expanded(parts_of(name), place.text.source.path)
        found = self.item(path, place, depth)
        if found is not None:
            return found
        guess = constants.named(path[-1]) if path else None
        if guess is None or not guess.complete:
            return Value.unknown(f"{name.decode('utf-8', 'replace')[:60]} is not in the crate")
        return Value.exactly(*(atom.bits for atom in guess.atoms))

    def _expanded(self, path: Parts, file: str) -> Parts:
        """A path with the names at its beginning replaced that `use` gives in a file."""
        for _ in range(MAX_HOPS):
            brought = (
                one.path
                for one in self.items.uses.get(file, ())
                if path
                and one.name == path[0]
                and one.path != path[:1]
                and self.files.keeps(Spot(one.node, one.text)) is not False
            )
            first = next(brought, None)
            if first is None or first[0] == path[0]:
                return (*first, *path[1:]) if first is not None else path
            path = (*first, *path[1:])
        return path

    def item(self, path: Parts, place: Spot | None, depth: int) -> Value | None:
        """What an item is, of this crate or of one that it links; None: there is none."""
        if not path or depth > MAX_DEPTH:
            return None
        other = self.others.get(path[0]) if len(path) > 1 else None
        if other is not None:
            other._left = self._left
            found_there = other.item(path[1:], None, depth + 1)
            self._left = other._left
            return found_there
        if path[-1] in self.items.mutable:
            shown = path[-1].decode("utf-8", "replace")
            return Value.unknown(f"{shown} is a `static mut`, which code may change")
        tail = b"::".join(path[-2:])
        if tail in self.numbers:
            return Value.exactly(self.numbers[tail])
        is_own = len(path) < 2 or path[0].lstrip(b"<") in self.items.scopes
        every = self.items.values.get(path[-1], []) if is_own else []
        own = [one for one in every if place is None or one.node.id != place.node.id]
        own = [one for one in own if self.files.keeps(one) is not False]
        if len(path) > 1:
            own = [one for one in own if path[-2] in _around(one)] or own
        elif place is not None:
            here = [one for one in own if one.text.source.path == place.text.source.path]
            if here:
                return self._joined(here, depth)
        found = [self._joined(own, depth)] if own else []
        found += self._brought(path, place, depth)
        joined = found[0] if found else None
        for one in found[1:]:
            joined = joined.join(one) if joined is not None else one
        return joined

    def _brought(self, path: Parts, place: Spot | None, depth: int) -> list[Value]:
        """What other crates give a name that a file, or any, brings in under it or with "*"."""
        files = self.items.uses if place is None else (place.text.source.path,)
        found: list[Value] = []
        for use in (one for file in files for one in self.items.uses.get(file, ())):
            if use.name not in (EVERYTHING, path[-1]) or use.path == path:
                continue
            if self.files.keeps(Spot(use.node, use.text)) is False:
                continue
            inner = (*use.path, path[-1]) if use.name == EVERYTHING else use.path
            is_other = inner[0] in self.others
            if (is_other or use.renames) and (one := self.item(inner, None, depth + 1)) is not None:
                found.append(one)
        return found

    def _joined(self, every: list[Spot], depth: int) -> Value:
        """What one of some expressions gives; nothing certain where it is not known which."""
        values = [self.value(one.node, one, depth + 1) for one in every]
        joined = values[0]
        for one in values[1:]:
            joined = joined.join(one)
        is_open = any(self.files.keeps(one) is None for one in every)
        if is_open and len(joined.possible) > 1:
            text = text_of(every[0].node)[:40].decode("utf-8", "replace")
            return Value.unknown(f"which `cfg` holds is not known: {text} or another value")
        return joined

    def _if(self, node: Node, place: Spot, depth: int) -> Value:
        """The branches of an `if` that are compiled, or may run."""
        names = ("consequence", "alternative")
        every = [node.child_by_field_name(name) for name in names]
        if None in every:
            return Value.unknown(f"{_shown(node)} is not followed")
        spots = [Spot(one, place.text) for one in every if one is not None]
        kept = [one for one in spots if self.files.keeps(one) is not False]
        return self._joined(kept, depth) if kept else Value.unknown("no branch is compiled")

    def _local(self, name: bytes, function: Node, place: Spot, depth: int) -> Value | None:
        """A `let` that is never assigned again; None when the function has no such name."""
        shown, found = name.decode("utf-8", "replace"), list[Spot]()
        for node in walk(function):
            pattern = node.child_by_field_name("pattern")
            if (why := _is_bound(node, name)) and self.files.keeps(
                Spot(node, place.text)
            ) is not False:
                return Value.unknown(f"{shown} {why}")
            if node.type not in _GIVING or self.files.keeps(Spot(node, place.text)) is False:
                continue
            if node.type == "parameter" and text_of(pattern) == name:
                return Value.unknown(f"{shown} is a parameter")
            if node.type == "let_declaration" and text_of(pattern) == name:
                value = node.child_by_field_name("value")
                if value is None:
                    return Value.unknown(f"{shown} gets its value later")
                found.append(Spot(value, place.text))
            is_change = node.type in ("assignment_expression", "compound_assignment_expr")
            if is_change and text_of(node.child_by_field_name("left")) == name:
                return Value.unknown(f"{shown} is assigned again")
        return self._joined(found, depth) if found else None


def _is_bound(node: Node, name: bytes) -> str:
    """Why a variable may hold something else than a plain `let` gives it; empty: nothing here."""
    if node.type == "reference_expression":
        is_changed = any(one.type == "mutable_specifier" for one in node.children)
        same = text_of(node.child_by_field_name("value")) == name
        return "is given away to be changed" if is_changed and same else ""
    field = _BINDING.get(node.type)
    pattern = node.child_by_field_name(field) if field else None
    if pattern is None or (node.type == "let_declaration" and pattern.type == "identifier"):
        return ""
    names = (text_of(one) for one in walk(pattern) if one.type in ("identifier", _SHORT))
    return "is bound by a pattern as well" if name in names else ""


_SHORT = "shorthand_field_identifier"
_BINDING = {
    "let_declaration": "pattern",
    "let_condition": "pattern",
    "for_expression": "pattern",
    "match_arm": "pattern",
    "closure_expression": "parameters",
}
"""What binds names, and where these stand."""
_SCOPES = ("mod_item", "struct_item", "enum_item", "trait_item", "union_item", "type_item")


def _stems(text: RustText) -> list[bytes]:
    """What a module is called that is a file."""
    folder, _, name = text.source.path.rpartition("/")
    return [name.partition(".")[0].encode(), folder.rpartition("/")[2].encode()]


def _around(item: Spot) -> set[bytes]:
    """The names of the file, modules and types that an item stands in."""
    found = set(_stems(item.text))
    for above in ancestors(item.node):
        if above.type in ("mod_item", "trait_item"):
            found.add(text_of(above.child_by_field_name("name")))
        elif above.type == "impl_item":
            found.add(text_of(above.child_by_field_name("type")).partition(b"<")[0])
    return found


_GIVING = frozenset(
    ("parameter", "let_declaration", "assignment_expression", "compound_assignment_expr")
)


def given_to(listed: Node, files: Files, text: RustText) -> list[Node]:
    """The arguments that are compiled."""
    kinds = ("line_comment", "block_comment", "attribute_item")
    every = (one for one in listed.named_children if one.type not in kinds)
    return [one for one in every if files.keeps(Spot(one, text)) is not False]


def _literal(text: bytes) -> Value:
    bare = re.sub(rb"[iu](?:8|16|32|64|128|size)$", b"", text.replace(b"_", b"")).decode()
    try:
        return Value.exactly(int(bare, 0))
    except ValueError:
        return Value.unknown(f"{bare[:40]} is no number")


def function_of(node: Node) -> Node | None:
    """The function that a node stands in."""
    return next((one for one in ancestors(node) if one.type == "function_item"), None)


def _shown(node: Node) -> str:
    return " ".join(text_of(node).decode("utf-8", "replace").split())[:60]
