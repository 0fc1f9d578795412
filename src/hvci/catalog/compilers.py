"""Which macros each compiler of drivers defines by itself.

Knows the table; knows nothing of sources or builds.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from hvci.catalog.reader import Row, data_text, parse_toml

Macros = Mapping[str, int]
"""Names with their numbers."""
MACHINES = ("x64", "x86", "arm64", "arm")


@cache
def compiler_macros() -> Mapping[str, Mapping[str, Macros]]:
    """For each compiler and machine: what is defined before the first line (compilers.toml)."""
    return parse_compilers(data_text("compilers.toml"))


def parse_compilers(text: str) -> dict[str, dict[str, Macros]]:
    """Read the table; `CatalogError` names a bad row."""
    found: dict[str, dict[str, Macros]] = {}
    for name, fields in parse_toml(text, "compilers.toml").items():
        row = Row(f"compilers.toml: {name}", fields)
        row.take("source", str)
        every = _macros(row, "every")
        of = {machine: _macros(row, machine) for machine in MACHINES}
        row.finish()
        found[name] = {machine: {**every, **own} for machine, own in of.items() if own}
    return found


def _macros(row: Row, field: str) -> Macros:
    given: dict[str, int] = row.take(field, dict, {})
    strange = [name for name, value in given.items() if type(value) is not int]
    if strange:
        raise row.refuse(f"{field}: {strange[0]} must be a number")
    return given
