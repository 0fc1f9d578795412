"""Frozen classes of named fields: `@record` does what `@dataclass(frozen=True, slots=True)` does.

The standard library compiles six functions for each class when it is imported, a millisecond that
most classes never give back. Here an initialiser is compiled when the first object is made, and
the other methods are the same for all. Knows no class.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, FrozenInstanceError, dataclass, fields
from functools import total_ordering
from operator import attrgetter
from typing import Any, TypeVar, dataclass_transform

T = TypeVar("T")
_set = object.__setattr__


@dataclass_transform(frozen_default=True)
def record(cls: type[T]) -> type[T]:
    """Make a class with annotated fields frozen: equal where all fields are."""
    made: Any = dataclass(init=False, repr=False, eq=False, slots=True)(cls)
    names = tuple(field.name for field in fields(made))
    values = attrgetter(*names) if len(names) > 1 else lambda one: (getattr(one, names[0]),)

    def initialise(self: object, *given: object, **named: object) -> None:
        made.__init__ = _initialiser(made)
        made.__init__(self, *given, **named)

    def equals(self: object, other: object) -> object:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return values(self) == values(other)

    def shown(self: object) -> str:
        held = (f"{name}={value!r}" for name, value in zip(names, values(self), strict=True))
        return f"{made.__qualname__}({', '.join(held)})"

    def state(self: object) -> list[object]:
        return list(values(self))

    def restore(self: object, kept: list[object]) -> None:
        for name, value in zip(names, kept, strict=True):
            _set(self, name, value)

    made.__init__, made.__eq__ = initialise, equals
    made.__hash__ = lambda self: hash(values(self))
    made.__repr__ = shown
    made.__setattr__ = made.__delattr__ = _refuse
    made.__getstate__, made.__setstate__ = state, restore
    found: type[T] = made
    return found


@dataclass_transform(frozen_default=True, order_default=True)
def ordered_record(cls: type[T]) -> type[T]:
    """The same, and less than another where the first field that differs is."""
    made: Any = record(cls)
    names = tuple(field.name for field in fields(made))

    def is_less(self: object, other: object) -> object:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return [getattr(self, name) for name in names] < [getattr(other, name) for name in names]

    made.__lt__ = is_less
    found: type[T] = total_ordering(made)
    return found


@dataclass_transform(frozen_default=True, eq_default=False)
def unlike_others(cls: type[T]) -> type[T]:
    """The same, and equal to itself alone."""
    made: Any = record(cls)
    made.__eq__, made.__hash__ = object.__eq__, object.__hash__
    found: type[T] = made
    return found


def _initialiser(cls: type[Any]) -> Callable[..., None]:
    """What sets the fields of a class, compiled."""
    known: dict[str, Any] = {"_set": _set}
    parameters, lines = [], []
    for field in fields(cls):
        name = value = field.name
        if field.default_factory is not MISSING:
            known[f"_make_{name}"] = field.default_factory
            known["_missing"] = MISSING
            parameters.append(f"{name}=_missing")
            value = f"_make_{name}() if {name} is _missing else {name}"
        elif field.default is not MISSING:
            known[f"_default_{name}"] = field.default
            parameters.append(f"{name}=_default_{name}")
        else:
            parameters.append(name)
        lines.append(f" _set(self, {name!r}, {value})\n")
    exec(f"def __init__(self, {', '.join(parameters)}):\n{''.join(lines)}", known)  # noqa: S102
    made: Callable[..., None] = known["__init__"]
    made.__qualname__ = f"{cls.__qualname__}.__init__"
    return made


def _refuse(self: object, name: str, value: object = None) -> None:
    raise FrozenInstanceError(f"cannot change field {name!r}")
