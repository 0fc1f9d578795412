"""Plain data for a child process: dataclasses to JSON and back, by their declared types.

Theory of operation. The answer of a process that ran hostile code is text, and nothing in it names
what is built: the declared type of each field does. A value of another type is refused.

Knows no field of any fact.
"""

from __future__ import annotations

import dataclasses
import sys
import types
import typing
from collections.abc import Mapping
from enum import Enum
from functools import cache
from typing import Any, TypeVar, cast

from hvci import model

Made = TypeVar("Made")
Kind = Any
"""A declared type, of which the type checker cannot know enough."""
_UNIONS: tuple[Kind, ...] = (typing.Union, types.UnionType)


class NotPlain(ValueError):
    """Data that is not what the type declares."""


def to_plain(value: object) -> object:
    """A value as JSON has it: dataclasses as lists of their fields, in order."""
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)]
    if isinstance(value, Mapping):
        return [[to_plain(key), to_plain(item)] for key, item in value.items()]
    if isinstance(value, (frozenset, set)):
        return [to_plain(item) for item in sorted(value)]
    if isinstance(value, (tuple, list)):
        return [to_plain(item) for item in value]
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    raise NotPlain(f"{type(value).__name__} has no plain form")


def from_plain(kind: type[Made], data: object) -> Made:
    """The value of a declared type; `NotPlain` when the data is something else."""
    return cast(Made, _made(kind, data))


@cache
def _fields(kind: type) -> tuple[tuple[str, object], ...]:
    names = {**vars(model), **vars(sys.modules[kind.__module__])}
    hints = typing.get_type_hints(kind, names)
    return tuple((field.name, hints[field.name]) for field in dataclasses.fields(kind))


def _made(kind: Kind, data: object) -> object:
    origin: Kind = typing.get_origin(kind)
    parts = typing.get_args(kind)
    if origin in _UNIONS:
        return _one_of(parts, data)
    if origin is not None:
        return _container(origin, parts, data)
    if kind is type(None):
        return _checked(kind, data)
    if hasattr(kind, "__supertype__"):
        return _made(kind.__supertype__, data)
    if dataclasses.is_dataclass(kind):
        fields = _fields(cast(type, kind))
        rows = _list(data, len(fields))
        make: Kind = kind
        return make(*(_made(hint, row) for (_, hint), row in zip(fields, rows, strict=True)))
    if issubclass(kind, Enum):
        return _member(kind, data)
    return _checked(kind, data)


def _member(kind: type[Enum], data: object) -> Enum:
    try:
        return kind(data)
    except ValueError as error:
        raise NotPlain(f"no {kind.__name__}") from error


def _checked(kind: type, data: object) -> object:
    """A value of exactly this type; a number may be whole where fractions are allowed."""
    if type(data) is kind or (kind is float and type(data) is int):
        return data
    raise NotPlain(f"{type(data).__name__} where {kind.__name__} is declared")


def _list(data: object, size: int = -1) -> list[object]:
    if not isinstance(data, list) or (size >= 0 and len(data) != size):
        raise NotPlain("a list of another length")
    return data


def _container(origin: Kind, parts: tuple[Kind, ...], data: object) -> object:
    if issubclass(origin, Mapping):
        pairs = (_list(pair, 2) for pair in _list(data))
        return {_made(parts[0], key): _made(parts[1], item) for key, item in pairs}
    if origin is tuple and not (len(parts) == 2 and parts[1] is Ellipsis):
        rows = _list(data, len(parts))
        return tuple(_made(part, row) for part, row in zip(parts, rows, strict=True))
    made = [_made(parts[0], row) for row in _list(data)]
    return origin(made)


def _one_of(kinds: tuple[Kind, ...], data: object) -> object:
    """The first of the kinds that the data fits."""
    for kind in kinds:
        try:
            return _made(kind, data)
        except NotPlain:
            continue
    raise NotPlain("none of the declared types")
