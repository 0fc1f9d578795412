"""Macros of kit headers that hide calls of catalogued routines, from data/macros.toml.

Knows what stands in the headers; looks into no source.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from functools import cache
from types import MappingProxyType

from hvci.catalog.reader import Row, data_text, parse_toml
from hvci.catalog.shipped import ddis
from hvci.model import Confidence
from hvci.model.record import record


@record
class HiddenCall:
    """A macro, and what the call in its body is given."""

    name: str
    header: str
    parameters: tuple[str, ...]
    ddi: str
    gives: tuple[str, ...]
    """Of the macro's parameters, or literals: for the deciding parameter, then for the tag."""
    evidence: frozenset[Confidence]
    source: str


def parse_macros(text: str, known: Container[str]) -> Mapping[str, HiddenCall]:
    """Read the macros; the first bad row raises `CatalogError` with its name."""
    found: dict[str, HiddenCall] = {}
    for fields in parse_toml(text, "macros.toml").get("macro", []):
        name = fields.get("name", "?") if isinstance(fields, dict) else "?"
        row = Row(f"macros.toml: {name}", fields)
        macro = HiddenCall(
            row.take("name", str),
            row.take("header", str),
            tuple(row.take_list("parameters", str)),
            row.take("ddi", str),
            tuple(row.take_list("gives", str)),
            row.take_set("evidence", Confidence),
            row.take("source", str),
        )
        row.finish()
        if macro.ddi not in known:
            raise row.refuse(f"{macro.ddi} is no row of ddis.toml")
        if macro.name in found:
            raise row.refuse("listed twice")
        strange = [one for one in macro.gives if one.isidentifier() and one not in macro.parameters]
        if strange:
            raise row.refuse(f"{strange[0]} is no parameter of it")
        found[macro.name] = macro
    return MappingProxyType(found)


@cache
def hidden_calls() -> Mapping[str, HiddenCall]:
    """The shipped macros by name."""
    return parse_macros(data_text("macros.toml"), ddis())
