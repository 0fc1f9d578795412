"""Reads our own data files and refuses a bad row by its name.

Knows nothing of DDIs or values: only how to take typed fields from a TOML table.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from enum import EnumType
from pathlib import Path
from typing import Any, TypeVar

from hvci.errors import CatalogError
from hvci.model import WindowsVersion

T = TypeVar("T")
_DATA = Path(__file__).parents[1] / "data"
"""Not by importlib.resources, whose import takes longer than reading all of it."""


def data_text(name: str) -> str:
    """The text of a shipped data file."""
    return (_DATA / name).read_text(encoding="utf-8")


def parse_toml(text: str, label: str) -> dict[str, Any]:
    """Read TOML text; `CatalogError` names the file and the line."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CatalogError(f"{label}: {error}") from error


class Row:
    """One TOML table whose fields are taken one by one; `finish` refuses what is left over."""

    def __init__(self, label: str, fields: object) -> None:
        if not isinstance(fields, dict):
            raise CatalogError(f"{label}: want a table")
        self.label = label
        self._left: dict[str, Any] = dict(fields)

    def refuse(self, why: str) -> CatalogError:
        """An error that names this row."""
        return CatalogError(f"{self.label}: {why}")

    def take(self, field: str, type_: type[T], default: T | None = None) -> T:
        """Take a field of that type; without a default it is required."""
        value = self._left.pop(field, default)
        if value is None:
            raise self.refuse(f"{field} is missing")
        if type(value) is not type_:
            raise self.refuse(f"{field} must be of type {type_.__name__}")
        return value

    def take_list(self, field: str, item: type[T], default: list[T] | None = None) -> list[T]:
        """Take a list whose items all have that type."""
        items = self.take(field, list, default)
        if any(type(value) is not item for value in items):
            raise self.refuse(f"{field} must hold {item.__name__} only")
        return items

    def take_as(self, field: str, make: Callable[[str], T], default: str | None = None) -> T:
        """Take a word and make it a member of an enumeration or the like."""
        return self.read(field, self.take(field, str, default), make)

    def take_set(self, field: str, make: Callable[[str], T]) -> frozenset[T]:
        """Take a list of words and make each a member of an enumeration."""
        return frozenset(self.read(field, word, make) for word in self.take_list(field, str))

    def read(self, field: str, word: str, make: Callable[[str], T]) -> T:
        """Make something of one word of a field."""
        try:
            return make(word)
        except (ValueError, KeyError) as error:
            known = f" ({', '.join(make)})" if isinstance(make, EnumType) else ""
            raise self.refuse(f"{field}: {word!r} is not known{known}") from error

    def finish(self) -> None:
        """Refuse fields that nobody took."""
        if self._left:
            raise self.refuse(f"unknown field {', '.join(sorted(self._left))}")


def tables(document: Mapping[str, Any], key: str, label: str) -> Mapping[str, Any]:
    """The named tables `[key.NAME]` of a document."""
    found = document.get(key, {})
    if not isinstance(found, dict):
        raise CatalogError(f"{label}: want [{key}.NAME] tables")
    return found


_LABELS = {version.label: version for version in WindowsVersion}


def version_of(label: str) -> WindowsVersion:
    """The Windows version with that label; `KeyError` when there is none."""
    return _LABELS[label]
