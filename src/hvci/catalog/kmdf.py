"""The KMDF function table: which entry is which function, the same in every version."""

from __future__ import annotations

import json
from functools import cache

from hvci.catalog.reader import data_text
from hvci.errors import CatalogError


def parse_kmdf_functions(text: str) -> tuple[str, ...]:
    """Read a JSON list of names; `CatalogError` when it is none."""
    try:
        names = json.loads(text)
    except ValueError as error:
        raise CatalogError(f"kmdf_functions.json: {error}") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise CatalogError("kmdf_functions.json: want a list of names")
    return tuple(names)


@cache
def kmdf_functions() -> tuple[str, ...]:
    """Names of the KMDF function table, by index."""
    return parse_kmdf_functions(data_text("kmdf_functions.json"))
