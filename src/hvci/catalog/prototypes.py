"""What is known of any documented DDI: its arguments, its outputs, and its x86 stack.

Reads two data files, each only when first asked; knows nothing of memory integrity.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from types import MappingProxyType

from hvci.catalog.reader import data_text
from hvci.errors import CatalogError
from hvci.model.record import record

_DECORATED = re.compile(r"([_@])[A-Za-z_]\w*@(\d+)")
NEVER_RETURN = frozenset(
    (
        "ExRaiseAccessViolation",
        "ExRaiseDatatypeMisalignment",
        "ExRaiseStatus",
        "KeBugCheck",
        "KeBugCheckEx",
        "RtlRaiseStatus",
    )
)
"""What the kit's headers declare DECLSPEC_NORETURN."""
_REGISTER_BYTES = 8
"""A fastcall function takes its first two arguments in registers."""
_ROWS = [[int, list, str, *[list] * more] for more in range(3)]


class Returns(StrEnum):
    """What kind of value a DDI returns; the value is the letter in the data file."""

    STATUS = "s"
    POINTER = "p"
    NOTHING = "v"
    BOOLEAN = "b"
    OTHER = "u"


@record
class Prototype:
    """The shape of one DDI."""

    arguments: int
    outputs: tuple[int, ...]
    """Indices of the pointers that it writes through, from 0."""
    returns: Returns
    inputs: tuple[int, ...] = ()
    """Those of the outputs through which it may read as well: not `[out]` in the reference."""
    extents: tuple[int, ...] = ()
    """For each output how many bytes it writes at most, where these are more than one variable.

    Below 0 that is what the argument of that number says; 0 where it is not known.
    """

    @property
    def only_written(self) -> frozenset[int]:
        """Indices of the pointers through which it writes, and reads nothing."""
        return frozenset(self.outputs) - frozenset(self.inputs)

    def extent(self, index: int) -> int:
        """How many bytes it writes through an argument, as `extents` has it."""
        return dict(zip(self.outputs, self.extents, strict=False)).get(index, 0)


def _table(text: str, label: str) -> dict[str, object]:
    try:
        table = json.loads(text)
    except ValueError as error:
        raise CatalogError(f"{label}: {error}") from error
    if not isinstance(table, dict):
        raise CatalogError(f"{label}: want an object")
    return table


def _prototype(name: str, row: object) -> Prototype:
    found = _read(row)
    if found is None:
        want = "want [count, [output indices], kind], [those that it reads], [bytes that it writes]"
        raise CatalogError(f"prototypes.json: {name}: {want}")
    return found


def _read(row: object) -> Prototype | None:
    if not isinstance(row, list) or list(map(type, row)) not in _ROWS:
        return None
    arguments, outputs, letter, inputs, extents = [*row, [], []][: len(_ROWS[-1])]
    is_sound = all(type(index) is int and 0 <= index < arguments for index in outputs)
    is_sound &= all(type(index) is int and index in outputs for index in inputs)
    is_sound &= all(type(extent) is int and -arguments < extent for extent in extents)
    if not is_sound or letter not in set(Returns) or len(extents) not in (0, len(outputs)):
        return None
    return Prototype(arguments, tuple(outputs), Returns(letter), tuple(inputs), tuple(extents))


def parse_prototypes(text: str) -> Mapping[str, Prototype]:
    """Read prototypes; the first bad row raises `CatalogError` with its name."""
    table = _table(text, "prototypes.json")
    return MappingProxyType({name: _prototype(name, row) for name, row in table.items()})


def parse_x86_stack(text: str) -> Mapping[str, int]:
    """Read the bytes of stack arguments by name; a bad group raises `CatalogError`."""
    found: dict[str, int] = {}
    for size, names in _table(text, "x86_stack.json").items():
        if not (size.isascii() and size.isdigit() and int(size) % 4 == 0):
            raise CatalogError(f"x86_stack.json: {size}: want a multiple of 4")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise CatalogError(f"x86_stack.json: {size}: want a list of names")
        found.update(dict.fromkeys(names, int(size)))
    return MappingProxyType(found)


@cache
def prototypes() -> Mapping[str, Prototype]:
    """All documented DDIs."""
    return parse_prototypes(data_text("prototypes.json"))


@cache
def _x86_stack() -> Mapping[str, int]:
    return parse_x86_stack(data_text("x86_stack.json"))


@cache
def _rows() -> Mapping[str, object]:
    return _table(data_text("prototypes.json"), "prototypes.json")


@cache
def prototype(name: str) -> Prototype | None:
    """The shape of a DDI; None when it is not documented. Reads its row and no other."""
    row = _rows().get(name)
    return None if row is None else _prototype(name, row)


def x86_bytes(name: str) -> int | None:
    """How many bytes of arguments an import removes from the x86 stack when it returns.

    Arguments of eight bytes take two slots; cdecl functions remove nothing and fastcall functions
    nothing for their first two arguments. A name with a decoration, such as "_Name@8", says it
    itself. None when the name is not known.
    """
    known = _x86_stack().get(name)
    if known is not None:
        return known
    decorated = _DECORATED.fullmatch(name)
    if decorated is None:
        return None
    size = int(decorated[2])
    return max(0, size - _REGISTER_BYTES) if decorated[1] == "@" else size
