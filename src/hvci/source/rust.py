"""Driver crates: what Rust text asks of the kernel, with no toolchain installed.

Theory of operation: Cargo.toml tells the driver model; every call of a catalogued DDI in a crate's
text is found, written out or in `call_unsafe_wdf_function_binding!`, whatever `cfg` keeps it. A
deciding argument is followed through casts, ORs, `const` and `static` items, enums that the crate
writes itself (their numbers decide, not their names) and `let` in the same function; anything else
is undecided. What Rust code does besides calls is a limit.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from hvci import catalog
from hvci.catalog import Ddi
from hvci.model import DdiCall, Limit, Origin, SourceSite, Value, Via
from hvci.model.judged import BEHAVIOUR_RULES, CALL_RULES, LINK_RULES
from hvci.source import constants
from hvci.source.cargo import below, cargos, image_name, model, owner, tables, workspace_model
from hvci.source.disk import is_folder
from hvci.source.files import tidy
from hvci.source.text import MAX_BYTES, Source
from hvci.source.tree import ancestors, text_of, walk

if TYPE_CHECKING:
    from tree_sitter import Node, Parser

MAX_DEPTH = 12
_KITS = ("wdk", "wdk-sys", "wdk-alloc", "wdk-macros", "windows-kernel-sys", "windows-kernel")
_BINDING = b"call_unsafe_wdf_function_binding"
_BEFORE = b"fn q(){f("
"""Makes an expression of the arguments of a macro."""


@dataclass
class DriverCrate:
    """What one driver crate asks for."""

    path: str
    """Its manifest, or the file where there is none."""
    name: str
    """What its image is called, in lower case."""
    files: frozenset[str]
    calls: list[DdiCall] = field(default_factory=list)
    limits: list[Limit] = field(default_factory=list)


@dataclass
class Crates:
    """What the driver crates of a target ask for."""

    crates: list[DriverCrate] = field(default_factory=list)
    others: list[Limit] = field(default_factory=list)
    """What is to be said of crates that build no driver."""

    @property
    def limits(self) -> list[Limit]:
        """All that was not examined."""
        return [*self.others, *(one for crate in self.crates for one in crate.limits)]


def read_crates(path: Path, texts: Mapping[str, bytes]) -> Crates:
    """Read every driver crate in a folder, or that of one file."""
    found = Crates()
    for cargo in cargos(path):
        _crate(found, cargo, texts)
    if not is_folder(path) and path.suffix.lower() == ".rs" and not found.limits:
        crate = DriverCrate(tidy(path), path.stem.lower(), frozenset((tidy(path),)))
        found.crates.append(crate)
        _text(crate, [path], f"{tidy(path)}: no Cargo.toml above it", texts)
    return found


def _crate(found: Crates, cargo: Path, texts: Mapping[str, bytes]) -> None:
    """One crate: nothing to say of one that builds no driver."""
    if not cargo.is_file():
        why = "this crate could not be read: its manifest is no regular file"
        found.others.append(_limit(cargo, CALL_RULES, why))
        return
    try:
        table = tomllib.loads(cargo.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        found.others.append(_limit(cargo, CALL_RULES, f"this crate could not be read: {error}"))
        return
    if "package" not in table:
        return
    kind = model(table) or workspace_model(cargo)
    kits = any(name in _KITS for one in tables(table) for name in one)
    if kind.upper() == "UMDF":
        reason = "a UMDF driver crate: it runs in user mode, where memory integrity guards nothing"
        found.others.append(_limit(cargo, (), reason))
        return
    own = [one for one in below(cargo.parent) if owner(one) == cargo]
    files = [one for one in own if one.suffix.lower() == ".rs"]
    library = table.get("lib", {})
    is_library = isinstance(library, dict) and "cdylib" in library.get("crate-type", ())
    if kind or kits or (is_library and any(_speaks(one, texts) for one in files)):
        words = f"a Rust {kind} driver crate" if kind else "a Rust driver crate"
        paths = frozenset(map(tidy, (cargo, *files)))
        crate = DriverCrate(tidy(cargo), image_name(table, cargo.parent.name), paths)
        found.crates.append(crate)
        _text(crate, files, f"{tidy(cargo)}: {words}", texts)


def _speaks(path: Path, texts: Mapping[str, bytes]) -> bool:
    source = _source(path, texts)
    return source is not None and _NAMED.search(source.text) is not None


def _limit(path: Path, rules: tuple[str, ...], reason: str) -> Limit:
    site = SourceSite(tidy(path), 1)
    return Limit(Origin.SOURCE, rules, f"{tidy(path)}: {reason}", site)


def _source(path: Path, texts: Mapping[str, bytes]) -> Source | None:
    name = tidy(path)
    try:
        raw = texts.get(name) or (path.read_bytes() if path.is_file() else None)
    except OSError:
        return None
    if raw is None:
        return None
    return Source(name, raw) if len(raw) <= MAX_BYTES else None


def _text(found: DriverCrate, files: list[Path], kind: str, texts: Mapping[str, bytes]) -> None:
    """The calls of one crate, and what was not looked at."""
    sources = []
    for path in files:
        source = _source(path, texts)
        if source is None:
            found.limits.append(_limit(path, CALL_RULES, "this file could not be read"))
        else:
            sources.append(source)
    crate = Crate(sources)
    for source in sources:
        calls, lost = crate.calls(source)
        found.calls += calls
        found.limits += lost
    reason = "what its code does besides calls of the kernel is not read; check the built .sys"
    site = SourceSite(kind.partition(": ")[0], 1)
    rules = (*BEHAVIOUR_RULES, *LINK_RULES)
    found.limits.append(Limit(Origin.SOURCE, rules, f"{kind}; {reason}", site))


@cache
def _parser() -> Parser:
    import tree_sitter
    import tree_sitter_rust

    return tree_sitter.Parser(tree_sitter.Language(tree_sitter_rust.language()))


@cache
def _rows() -> dict[bytes, Ddi]:
    return {
        name.encode(): ddi
        for name, ddi in catalog.ddis().items()
        if name.isidentifier() and ddi.rule.judged_by
    }


_NAMED = re.compile(rb"\b(?:Ex|Mm|Zw|Nt|Wdf|Flt|FsRtl|Io|Ps|Ndis)[A-Z]\w+")


class Crate:
    """The items and calls of one crate."""

    def __init__(self, sources: list[Source]) -> None:
        self.items: dict[bytes, list[Node]] = {}
        """Values of `const` and `static` items, and of enum variants by `Enum::Variant`."""
        self.numbers: dict[bytes, int] = {}
        """Variants that get their number from the one before."""
        self.roots = {source.path: _parser().parse(source.text).root_node for source in sources}
        for root in self.roots.values():
            for node in walk(root):
                if node.type in ("const_item", "static_item"):
                    value = node.child_by_field_name("value")
                    if value is not None:
                        name = text_of(node.child_by_field_name("name"))
                        self.items.setdefault(name, []).append(value)
                elif node.type == "enum_item":
                    self._enum(node)

    def _enum(self, node: Node) -> None:
        name, number = text_of(node.child_by_field_name("name")), 0
        body = node.child_by_field_name("body")
        for variant in body.named_children if body is not None else ():
            if variant.type != "enum_variant":
                continue
            value = variant.child_by_field_name("value")
            known = self.value(value, value, 0) if value is not None else None
            if known is not None and len(known.possible) == 1:
                number = min(known.possible)
            self.numbers[name + b"::" + text_of(variant.child_by_field_name("name"))] = number
            number += 1

    def calls(self, source: Source) -> tuple[list[DdiCall], list[Limit]]:
        """The calls in one file, and the places that name a DDI and were not followed."""
        calls: list[DdiCall] = []
        lost: list[Limit] = []
        for node in walk(self.roots[source.path]):
            if node.type == "call_expression":
                name = text_of(node.child_by_field_name("function")).rpartition(b"::")[2]
                listed = node.child_by_field_name("arguments")
                if name in _rows() and listed is not None:
                    calls.append(self._call(source, node, name, _given(listed), node))
            elif node.type == "macro_invocation":
                calls += self._macro(source, node)
            elif node.type == "identifier" and text_of(node) in _rows() and _is_value(node):
                line, column = source.position(node.start_byte)
                site = SourceSite(source.path, line, column)
                ddi = _rows()[text_of(node)]
                reason = f"{source.path}:{line}: {ddi.name} is used as a value; not followed"
                lost.append(Limit(Origin.SOURCE, (ddi.rule.judged_by,), reason, site))
        return calls, lost

    def _macro(self, source: Source, node: Node) -> Iterator[DdiCall]:
        """Calls in the arguments of a macro, and those that a binding macro makes."""
        body = text_of(next((one for one in node.children if one.type == "token_tree"), None))
        for inner in walk(_parser().parse(_BEFORE + body[1:-1] + b");}").root_node):
            if inner.type != "call_expression":
                continue
            listed = inner.child_by_field_name("arguments")
            given = _given(listed) if listed is not None else []
            name = text_of(inner.child_by_field_name("function")).rpartition(b"::")[2]
            if text_of(node.child_by_field_name("macro")).endswith(_BINDING) and name == b"f":
                name, given = (text_of(given[0]), given[1:]) if given else (b"", [])
            if name in _rows():
                yield self._call(source, node, name, given, node)

    def _call(
        self, source: Source, node: Node, name: bytes, given: list[Node], place: Node
    ) -> DdiCall:
        ddi = _rows()[name]
        arguments: dict[str, Value] = {}
        for parameter in ddi.watched:
            index = ddi.position(parameter)
            if index < len(given):
                arguments[parameter] = self.value(given[index], place, 0)
            else:
                arguments[parameter] = Value.unknown(f"the call has only {len(given)} arguments")
        line, column = source.position(node.start_byte)
        function = _function(node)
        owner = text_of(function.child_by_field_name("name")).decode() if function else None
        site = SourceSite(source.path, line, column, owner)
        via = Via.KMDF if name.startswith(b"Wdf") else Via.SOURCE
        return DdiCall(ddi.name, arguments, site, Origin.SOURCE, via)

    # ------------------------------------------------------------ values

    def value(self, node: Node | None, place: Node | None, depth: int) -> Value:
        """What an expression can be."""
        if node is None or place is None or depth > MAX_DEPTH:
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
            case "call_expression":
                return self._wrapped(node, place, depth)
        return Value.unknown(f"{_shown(node)} is not followed")

    def _binary(self, node: Node, place: Node, depth: int) -> Value:
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

    def _wrapped(self, node: Node, place: Node, depth: int) -> Value:
        """`x.into()`, `T::from(x)` and `T(x)` are x."""
        function = node.child_by_field_name("function")
        listed = node.child_by_field_name("arguments")
        given = _given(listed) if listed is not None else []
        if function is None:
            return Value.unknown(f"{_shown(node)} is not followed")
        name = text_of(function).replace(b" ", b"")
        if function.type == "field_expression" and name.endswith((b".into", b".clone", b".bits")):
            return self.value(function.child_by_field_name("value"), place, depth + 1)
        if len(given) == 1 and (name.endswith(b"::from") or b"POOL_" in name):
            return self.value(given[0], place, depth + 1)
        return Value.unknown(f"{_shown(node)} is not followed")

    def _name(self, name: bytes, place: Node, depth: int) -> Value:
        """A variable of the function, an item of the crate or a constant of the WDK."""
        last = name.rpartition(b"::")[2]
        if b"::" not in name and (function := _function(place)) is not None:
            found = self._local(name, function, place, depth)
            if found is not None:
                return found
        tail = b"::".join(name.split(b"::")[-2:])
        if tail in self.numbers:
            return Value.exactly(self.numbers[tail])
        if items := [item for item in self.items.get(last, ()) if item.id != place.id]:
            values = [self.value(item, item, depth + 1) for item in items[:8]]
            joined = values[0]
            for one in values[1:]:
                joined = joined.join(one)
            return joined
        guess = constants.named(last)
        if guess is None or not guess.complete:
            return Value.unknown(f"{name.decode('utf-8', 'replace')[:60]} is not in the crate")
        return Value.exactly(*(atom.bits for atom in guess.atoms))

    def _local(self, name: bytes, function: Node, place: Node, depth: int) -> Value | None:
        """A `let` that is never assigned again; None when the function has no such name."""
        found: Value | None = None
        for node in walk(function):
            pattern = node.child_by_field_name("pattern")
            if node.type == "parameter" and text_of(pattern) == name:
                return Value.unknown(f"{name.decode('utf-8', 'replace')} is a parameter")
            if node.type == "let_declaration" and text_of(pattern) == name:
                value = self.value(node.child_by_field_name("value"), node, depth + 1)
                found = value if found is None else found.join(value)
            is_change = node.type in ("assignment_expression", "compound_assignment_expr")
            if is_change and text_of(node.child_by_field_name("left")) == name:
                return Value.unknown(f"{name.decode('utf-8', 'replace')} is assigned again")
        return found


def _given(listed: Node) -> list[Node]:
    kinds = ("line_comment", "block_comment", "attribute_item")
    return [one for one in listed.named_children if one.type not in kinds]


def _literal(text: bytes) -> Value:
    bare = re.sub(rb"[iu](?:8|16|32|64|128|size)$", b"", text.replace(b"_", b"")).decode()
    try:
        return Value.exactly(int(bare, 0))
    except ValueError:
        return Value.unknown(f"{bare[:40]} is no number")


def _function(node: Node) -> Node | None:
    return next((one for one in ancestors(node) if one.type == "function_item"), None)


def _is_value(node: Node) -> bool:
    """Whether a name is neither called, declared nor imported."""
    kinds = ("use_declaration", "function_signature_item", "function_item", "macro_invocation")
    for above in ancestors(node):
        if above.type in kinds:
            return above.type == "function_item" and above.child_by_field_name("name") != node
        if above.type == "call_expression":
            function = above.child_by_field_name("function")
            if function is not None and function.end_byte == node.end_byte:
                return False
        if above.type == "source_file":
            return True
    return False


def _shown(node: Node) -> str:
    return " ".join(text_of(node).decode("utf-8", "replace").split())[:60]
