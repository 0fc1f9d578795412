"""The shipped rows, each read and checked when it is first asked for.

Reading the whole file takes longer than evaluating ten drivers. Knows where a row begins and what
its name is; what a row means is for ddis.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import TypeVar, overload

from hvci.catalog.ddis import Ddi, Gives, parse_ddis
from hvci.catalog.reader import data_text
from hvci.catalog.values import value_rule
from hvci.errors import CatalogError

T = TypeVar("T")
_START, _RULE = "\n[[ddi]]\n", '\nrule = "'
_IMPORTABLE = ('\nbinding = "export"\n', "\nalso_exported = true\n")


class Shipped(Mapping[str, Ddi]):
    """Some of the shipped rows by name, in the order of the file."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = dict.fromkeys(names)

        self._read: dict[str, Ddi] = {}

    def __getitem__(self, name: str) -> Ddi:
        known = self._read.get(name)
        if known is None:
            if name not in self._names:
                raise KeyError(name)
            known = self._read[name] = _row(name)
        return known

    @overload
    def get(self, name: str, /) -> Ddi | None: ...
    @overload
    def get(self, name: str, /, default: Ddi | T) -> Ddi | T: ...
    def get(self, name: str, /, default: object = None) -> object:
        """The row of a name; the rules ask for one at every call."""
        known = self._read.get(name)
        if known is not None:
            return known
        return self[name] if name in self._names else default

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def split_rows(text: str) -> Mapping[str, str]:
    """The text of each row by its name, which stands first."""
    rows: dict[str, str] = {}
    for body in text.split(_START)[1:]:
        key, _, name = body.partition("\n")[0].partition(" = ")
        if key != "name":
            raise CatalogError("ddis.toml: a row does not begin with its name")
        if (name := name.strip('"')) in rows:
            raise CatalogError(f"ddis.toml: {name}: listed twice")
        rows[name] = f"{_START}{body}\n"
    return rows


@cache
def _texts() -> Mapping[str, str]:
    return split_rows(data_text("ddis.toml"))


@cache
def _row(name: str) -> Ddi:
    text = _texts()[name]
    rule = text.partition(_RULE)[2].partition('"')[0]
    try:
        rules = {rule: value_rule(rule)}
    except KeyError:
        rules = {}  # parse_ddis names the row
    return parse_ddis(text, rules)[name]


@cache
def ddis() -> Mapping[str, Ddi]:
    """The shipped catalogue, by DDI name."""
    return Shipped(_texts())


@cache
def exports() -> Mapping[str, Ddi]:
    """The DDIs that an image can import by name."""
    return Shipped(
        name for name, text in _texts().items() if any(line in text for line in _IMPORTABLE)
    )


def giving(kind: Gives) -> frozenset[str]:
    """The DDIs that hand out memory of one kind."""
    line = f'\ngives = "{kind}"\n'
    return frozenset(name for name, text in _texts().items() if line in text)


@cache
def with_line(line: str) -> Mapping[str, Ddi]:
    """The DDIs whose rows have a line that begins so; no other row is read."""
    return Shipped(name for name, text in _texts().items() if f"\n{line}" in text)
