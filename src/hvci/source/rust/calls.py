"""The calls of one crate: where they are, which configurations compile them, and with which values.

Knows Rust text and configurations; knows no manifests.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hvci import catalog
from hvci.catalog import Ddi
from hvci.model import DdiCall, Limit, Origin, SourceSite, Value, Via
from hvci.source.preprocess.tree import ancestors, text_of, walk
from hvci.source.rust.cfg import RustText, parser
from hvci.source.rust.configs import Asking, Atom, Configuration, distinct
from hvci.source.rust.modules import compiled, edges
from hvci.source.rust.values import Files, Items, Spot, Values, function_of, given_to
from hvci.source.text.text import Source

if TYPE_CHECKING:
    from tree_sitter import Node

_BINDING = b"call_unsafe_wdf_function_binding"
_BEFORE = b"fn q(){f("
"""Makes an expression of the arguments of a macro."""
NOTHING = "no configuration of this crate compiles it"
TESTS = "only tests compile it"


@cache
def _rows() -> dict[bytes, Ddi]:
    return {
        name.encode(): ddi
        for name, ddi in catalog.ddis().items()
        if name.isidentifier() and ddi.rule.judged_by
    }


@dataclass(frozen=True)
class Written:
    """One call in the text."""

    name: bytes
    given: Node | None
    """The list of its arguments."""
    skipped: int
    """Arguments before the first of the DDI."""
    place: Spot


@dataclass
class Found:
    """What one crate asks for in the configurations of a driver."""

    calls: list[DdiCall] = field(default_factory=list)
    told: list[tuple[str, DdiCall]] = field(default_factory=list)
    """Calls that only a configuration that is not judged makes so, with its name."""
    lost: list[Limit] = field(default_factory=list)


class Crate:
    """The items and calls of one crate."""

    def __init__(self, sources: list[Source], roots: list[str]) -> None:
        self.texts = [RustText(source) for source in sources]
        self.items = Items(self.texts)
        self.edges = edges(self.texts, roots)
        self._written: dict[frozenset[tuple[bytes, bytes]], list[Written]] = {}

    @property
    def renamed(self) -> dict[bytes, bytes]:
        """Other names that it gives routines, as `use routine as name` does."""
        every = (one for many in self.items.uses.values() for one in many)
        return {one.name: one.path[-1] for one in every if one.renames and one.path[-1] in _rows()}

    def written(self, names: Mapping[bytes, bytes]) -> list[Written]:
        """Its calls; of routines by other names as well, where no function of it has that name."""
        own = {name: routine for name, routine in names.items() if name not in self.items.functions}
        key = frozenset(own.items())
        if key not in self._written:
            self._written[key] = [one for text in self.texts for one in _written(text, own)]
        return self._written[key]

    @property
    def atoms(self) -> frozenset[Atom]:
        """All that its conditions ask."""
        return frozenset(
            atom
            for text in self.texts
            for region in text.regions
            for atom in region.condition.atoms()
        )

    def found(
        self,
        path: Path,
        asking: Asking,
        every: list[Configuration],
        others: Sequence[Other] = (),
    ) -> Found:
        """Its calls in all configurations of a driver that links it with others."""
        views = []
        asked = [(path, self.atoms), *((one.path, one.crate.atoms) for one in others)]
        for on in distinct(every, asking, asked):
            view = self._view(path, asking, on)
            made = [(one, one.crate._view(one.path, asking, on)) for one in others]
            named = {name: values for one, values in made for name in one.names}
            for values in (view, *(values for _, values in made)):
                values.others = {name: one for name, one in named.items() if one is not values}
            views.append((on, view))
        names = self.renamed
        for one in others:
            names = {**one.crate.renamed, **names}
        return self._seen(views, names)

    def _view(self, path: Path, asking: Asking, on: Configuration) -> Values:
        ask = asking.of(path, on)
        return Values(
            self.items, Files(ask, compiled(self.edges, ask, is_linked=path in on.linked))
        )

    def everything(self) -> Found:
        """Its calls where no manifest says what is compiled: all but tests may be."""
        files = Files(lambda key, value: False if key == "test" else None, {})
        views = [(Configuration("", debug=False, linked={}), Values(self.items, files))]
        return self._seen(views, self.renamed)

    def _seen(self, views: list[View], names: Mapping[bytes, bytes]) -> Found:
        found = Found()
        for one in self.written(names):
            _judge(one, views, found)
        for text in self.texts:
            found.lost += _as_values(text, [view for on, view in views if not on.told])
        return found


class Other(NamedTuple):
    """A crate that a driver links as well, and what it is called in text."""

    path: Path
    names: frozenset[bytes]
    crate: Crate


View = tuple[Configuration, Values]


def _judge(one: Written, views: list[View], found: Found) -> None:
    """One call: as it is judged, and what other configurations make of it."""
    made = [(on, view.files.keeps(one.place), view) for on, view in views]
    running = [(on, kept, _arguments(one, view)) for on, kept, view in made if kept is not False]
    judged = [each for each in running if not each[0].told]
    told = [each for each in running if each[0].told]
    arguments: dict[str, Value] = {}
    for _, _, values in judged or told[:1]:
        for name, value in values.items():
            arguments[name] = arguments[name].join(value) if name in arguments else value
    call = _call(one, arguments or _arguments(one, views[0][1]))
    deciding = _rows()[one.name].deciding or ""
    if judged:
        is_part = len(judged) < sum(not on.told for on, _ in views)
        found.calls.append(_labelled(call, judged, deciding, is_part))
        if all(kept is None for _, kept, _ in judged):
            found.calls[-1] = replace(found.calls[-1], doubt=_doubt(one))
    else:
        dead = f"compiled only {told[0][0].told}" if told else _never(one)
        found.calls.append(replace(call, dead=dead))
    for on, _, values in told:
        if not judged or _is_more(values.get(deciding), arguments.get(deciding)):
            found.told.append((on.told, replace(call, arguments=values)))


def _labelled(
    call: DdiCall,
    judged: Sequence[tuple[Configuration, bool | None, dict[str, Value]]],
    deciding: str,
    is_part: bool,
) -> DdiCall:
    """A call with its values by configuration, where these differ or not all compile it."""
    builds = tuple(
        (label, values[deciding])
        for on, _, values in judged
        for label in on.labels
        if deciding in values
    )
    if not is_part and len({(one.possible, one.complete) for _, one in builds}) <= 1:
        return call
    names = ", ".join(label for on, _, _ in judged for label in on.labels)
    note = f"compiled in {names} only" if is_part and names else ""
    value = call.arguments.get(deciding)
    return replace(call, builds=builds, note="" if value and value.complete else note)


def _is_more(value: Value | None, than: Value | None) -> bool:
    if value is None or than is None:
        return value is not than
    return not value.possible <= than.possible or than.complete > value.complete


def _doubt(one: Written) -> str:
    conditions = one.place.text.conditions(one.place.node.start_byte)
    shown = ", ".join(f"cfg({each})"[:80] for each in conditions[:3]) or "the `mod` of its file"
    return f"whether {shown} holds is not known"


def _never(one: Written) -> str:
    conditions = one.place.text.conditions(one.place.node.start_byte)
    is_test = any(atom == ("test", None) for each in conditions for atom in each.atoms())
    return TESTS if is_test else NOTHING


def _arguments(one: Written, view: Values) -> dict[str, Value]:
    """The arguments that matter, in one configuration."""
    files, text = view.files, one.place.text
    given = given_to(one.given, files, text) if one.given is not None else []
    given = given[one.skipped :]
    ddi = _rows()[one.name]
    found: dict[str, Value] = {}
    for parameter in ddi.watched:
        index = ddi.position(parameter)
        if index < len(given):
            found[parameter] = view.value(given[index], one.place, 0)
        else:
            found[parameter] = Value.unknown(f"the call has only {len(given)} arguments")
    return found


def _call(one: Written, arguments: dict[str, Value]) -> DdiCall:
    node, source = one.place.node, one.place.text.source
    line, column = source.position(node.start_byte)
    function = function_of(node)
    owner = text_of(function.child_by_field_name("name")).decode() if function else None
    site = SourceSite(source.path, line, column, owner)
    via = Via.KMDF if one.name.startswith(b"Wdf") else Via.SOURCE
    return DdiCall(_rows()[one.name].name, arguments, site, Origin.SOURCE, via)


def _written(text: RustText, names: Mapping[bytes, bytes]) -> Iterator[Written]:
    """The calls in one file, those in the arguments of macros as well."""
    for node in walk(text.root):
        if node.type == "call_expression":
            name = text_of(node.child_by_field_name("function")).rpartition(b"::")[2]
            name = names.get(name, name)
            listed = node.child_by_field_name("arguments")
            if name in _rows() and listed is not None:
                yield Written(name, listed, 0, Spot(node, text))
        elif node.type == "macro_invocation":
            yield from _of_macro(text, node, names)


def _of_macro(text: RustText, node: Node, names: Mapping[bytes, bytes]) -> Iterator[Written]:
    """Calls in the arguments of a macro, and those that a binding macro makes."""
    body = text_of(next((one for one in node.children if one.type == "token_tree"), None))
    for inner in walk(parser().parse(_BEFORE + body[1:-1] + b");}").root_node):
        if inner.type != "call_expression":
            continue
        listed, skipped = inner.child_by_field_name("arguments"), 0
        name = text_of(inner.child_by_field_name("function")).rpartition(b"::")[2]
        if text_of(node.child_by_field_name("macro")).endswith(_BINDING) and name == b"f":
            given = (
                [one for one in listed.named_children if "comment" not in one.type]
                if listed
                else []
            )
            name, skipped = (text_of(given[0]), 1) if given else (b"", 0)
        name = names.get(name, name)
        if name in _rows():
            yield Written(name, listed, skipped, Spot(node, text))


def _as_values(text: RustText, views: list[Values]) -> Iterator[Limit]:
    """The places that name a DDI, are compiled, and were not followed."""
    for node in walk(text.root):
        if node.type != "identifier" or text_of(node) not in _rows() or not _is_value(node):
            continue
        if all(view.files.keeps(Spot(node, text)) is False for view in views):
            continue
        line, column = text.source.position(node.start_byte)
        path, ddi = text.source.path, _rows()[text_of(node)]
        reason = f"{path}:{line}: {ddi.name} is used as a value; not followed"
        site = SourceSite(path, line, column)
        yield Limit(Origin.SOURCE, ddi.weakens, reason, site)


def _is_handed_on(macro: Node, node: Node) -> bool:
    """Whether a macro gets a routine by its name alone, and may call it."""
    name = text_of(macro.child_by_field_name("macro")).rpartition(b"::")[2]
    if name == _BINDING or name in _OF_TEXT or node.parent is None:
        return False
    behind = node.next_sibling
    return behind is None or behind.type != "token_tree" or not text_of(behind).startswith(b"(")


_OF_TEXT = frozenset((b"stringify", b"concat", b"doc", b"matches", b"assert", b"debug_assert"))
"""Macros that make text of what they get, or only ask about it."""


def _is_value(node: Node) -> bool:
    """Whether a name is neither called, declared nor imported."""
    kinds = ("use_declaration", "function_signature_item", "function_item", "macro_invocation")
    for above in ancestors(node):
        if above.type == "macro_invocation":
            return _is_handed_on(above, node)
        if above.type in kinds:
            return above.type == "function_item" and above.child_by_field_name("name") != node
        if above.type == "call_expression":
            function = above.child_by_field_name("function")
            if function is not None and function.end_byte == node.end_byte:
                return False
        if above.type == "source_file":
            return True
    return False
