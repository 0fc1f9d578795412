"""The KMDF function table: which entry is which function, the same in every version."""

from __future__ import annotations

import json
from functools import cache

from hvci.catalog.reader import data_text
from hvci.errors import CatalogError


@cache
def kmdf_functions() -> tuple[str, ...]:
    """Names of the KMDF function table, by index."""
    names = json.loads(data_text("kmdf_functions.json"))
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise CatalogError("kmdf_functions.json: want a list of names")
    return tuple(names)
