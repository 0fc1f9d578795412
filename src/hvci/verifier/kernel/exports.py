"""What is known of a kernel export by name: a variable, a fastcall function, its stack bytes.

Reads data/kernel_exports.toml and the prototypes; knows nothing of what a DDI does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from hvci import catalog
from hvci.catalog.prototypes import prototype, x86_bytes
from hvci.catalog.reader import data_text, parse_toml, tables, version_of
from hvci.errors import CatalogError
from hvci.model import WindowsVersion
from hvci.verifier.arch import Convention

_FILE = "kernel_exports.toml"
SYMBOLIC = frozenset(
    ("object", "build", "highest_user", "system_start", "user_probe", "process", "list")
)


@dataclass(frozen=True, slots=True)
class Exports:
    """The tables of the data file."""

    fastcall: frozenset[str]
    x86_stack: Mapping[str, int]
    variables: Mapping[str, int | str]


def parse_exports(text: str) -> Exports:
    """Read the data file; raise `CatalogError` with the bad row's name."""
    document = parse_toml(text, _FILE)
    stack = tables(document, "x86_stack", _FILE)
    variables = tables(document, "variables", _FILE)
    for name, size in stack.items():
        if type(size) is not int or size < 0 or size % 4:
            raise CatalogError(f"{_FILE}: x86_stack.{name}: want a multiple of 4")
    for name, value in variables.items():
        if type(value) is not int and value not in SYMBOLIC:
            raise CatalogError(f"{_FILE}: variables.{name}: {value!r} is not known")
    return Exports(frozenset(str(document.get("fastcall", "")).split()), stack, variables)


@cache
def exports() -> Exports:
    """The shipped tables."""
    return parse_exports(data_text(_FILE))


def convention(name: str, pointer_size: int, hidden: int) -> Convention:
    """How a stand-in takes its arguments; `hidden` ones come before the documented ones."""
    if pointer_size == 8:
        return Convention()
    known = exports()
    size = x86_bytes(name)
    if size is None:
        shape = prototype(name)
        size = known.x86_stack.get(name, 4 * shape.arguments if shape else -1)
    if size < 0:
        return Convention(is_known=False)
    return Convention(size + 4 * hidden, name in known.fastcall)


def is_newer(name: str, version: WindowsVersion) -> bool:
    """Whether a catalogued DDI came after a Windows version, so that no look-up there finds it."""
    ddi = catalog.ddis().get(name)
    try:
        return ddi is not None and version_of(ddi.since) > version
    except KeyError:  # the row names no single release
        return False
