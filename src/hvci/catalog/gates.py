"""The gates and their signs, from data/gates.toml.

Knows what the rows mean; looks into no log.
"""

from __future__ import annotations

import re
from functools import cache
from types import MappingProxyType
from typing import Any

from hvci.catalog.reader import Row, data_text, parse_toml
from hvci.errors import CatalogError
from hvci.model import Confidence
from hvci.model.gates import Effect, Gate, GateInfo, Gates, Kind, Sign

FILE = "gates.toml"
_GUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def parse_gates(text: str) -> Gates:
    """Read all rows; the first bad one raises `CatalogError` with its name."""
    document = parse_toml(text, FILE)
    gates = dict(_gate(fields) for fields in document.get("gate", []))
    if missing := set(Gate) - set(gates):
        raise CatalogError(f"{FILE}: no row for {', '.join(sorted(missing))}")
    signs = tuple(_sign(fields) for fields in document.get("sign", []))
    keys = [(sign.kind, sign.id, sign.provider) for sign in signs]
    if twice := next((key for key in keys if keys.count(key) > 1), None):
        raise CatalogError(f"{FILE}: {twice[0]} {twice[1]}: listed twice")
    layouts = dict(_layout(fields) for fields in document.get("layout", []))
    return Gates(MappingProxyType(gates), signs, MappingProxyType(layouts))


def _row(fields: Any, key: str) -> Row:  # noqa: ANN401 (TOML holds anything)
    name = fields.get(key, "?") if isinstance(fields, dict) else "?"
    return Row(f"{FILE}: {name}", fields)


def _gate(fields: object) -> tuple[Gate, GateInfo]:
    row = _row(fields, "id")
    info = GateInfo(
        row.take_as("id", Gate),
        row.take("title", str),
        row.take("means", str),
        row.take("todo", str),
        row.take_set("evidence", Confidence),
        row.take("source", str),
    )
    row.finish()
    return info.gate, info


def _sign(fields: object) -> Sign:
    row = _row(fields, "id")
    kind = row.take_as("kind", Kind)
    provider = row.take("provider", str, "")
    if bool(provider) != (kind is Kind.EVENT):
        raise row.refuse("events have a provider, and nothing else has")
    sign = Sign(
        kind,
        row.read("id", row.take("id", str), _guid if kind is Kind.POLICY else _number),
        row.take_as("gate", lambda word: Gate(word) if word else None),
        row.take_as("effect", Effect),
        row.take("title", str),
        row.take("means", str),
        row.take_set("evidence", Confidence),
        row.take("source", str),
        provider,
        row.take("when", str, ""),
    )
    row.finish()
    return sign


def _number(text: str) -> int | str:
    return int(text, 0)


def _guid(text: str) -> int | str:
    if not _GUID.fullmatch(text):
        raise ValueError(text)
    return text


def _layout(fields: object) -> tuple[str, str]:
    row = _row(fields, "name")
    name, rule = row.take("name", str), row.take("rule", str)
    row.finish()
    return name, rule


@cache
def gates() -> Gates:
    """The shipped gates and signs."""
    return parse_gates(data_text(FILE))
