"""Typed fields taken from parsed JSON, one by one; whatever is wrong is named by its place.

Knows nothing of reports: only how to take a field of a type from an object.
"""

from __future__ import annotations

from collections.abc import Callable
from json import JSONDecodeError
from typing import Any, TypeVar

from hvci.errors import InputError

T = TypeVar("T")


def no_json(error: Exception) -> str:
    """Why a text could not be parsed, for those who do not know the parser."""
    line = f" (line {error.lineno})" if isinstance(error, JSONDecodeError) else ""
    return f"it is no JSON{line}"


class Fields:
    """One JSON object whose fields are taken one by one; `finish` refuses what is left over."""

    def __init__(self, place: str, fields: object) -> None:
        self.place = place
        if not isinstance(fields, dict):
            raise self.refuse("is not an object")
        self._left: dict[str, Any] = dict(fields)

    def refuse(self, why: str) -> InputError:
        """An error that names this place."""
        return InputError(f"{self.place} {why}")

    def take(self, name: str, type_: type[T]) -> T:
        """Take a field of that type; it is required."""
        value = self._left.pop(name, None)
        if type_ is float and type(value) is int:
            value = float(value)
        if type(value) is not type_:
            raise self.refuse(f"needs {name} of type {type_.__name__}")
        return value

    def maybe(self, name: str, type_: type[T]) -> T | None:
        """Take a field that may be null."""
        if self._left.get(name) is None:
            self._left.pop(name, None)
            return None
        return self.take(name, type_)

    def word(self, name: str, make: Callable[[str], T]) -> T:
        """Take a word and make it a member of an enumeration or the like."""
        return self.made(name, self.take(name, str), make)

    def maybe_word(self, name: str, make: Callable[[str], T]) -> T | None:
        """Take a word that may be null."""
        text = self.maybe(name, str)
        return None if text is None else self.made(name, text, make)

    def items(self, name: str, make: Callable[[Fields], T]) -> tuple[T, ...]:
        """Take a list of objects."""
        return tuple(
            read(Fields(f"{self.place}.{name}[{i}]", item), make)
            for i, item in enumerate(self.take(name, list))
        )

    def nested(self, name: str, make: Callable[[Fields], T]) -> T:
        """Take an object."""
        return read(Fields(f"{self.place}.{name}", self.take(name, dict)), make)

    def maybe_nested(self, name: str, make: Callable[[Fields], T]) -> T | None:
        """Take an object that may be null."""
        inner = self.maybe(name, dict)
        return None if inner is None else read(Fields(f"{self.place}.{name}", inner), make)

    def plain(self, name: str, type_: type[T]) -> tuple[T, ...]:
        """Take a list whose items all have that type."""
        values = self.take(name, list)
        if any(type(value) is not type_ for value in values):
            raise self.refuse(f"needs {name} to hold {type_.__name__} only")
        return tuple(values)

    def mapping(self, name: str, make: Callable[[Fields, str], T]) -> dict[str, T]:
        """Take an object with free keys."""
        inner = Fields(f"{self.place}.{name}", self.take(name, dict))
        return {key: make(inner, key) for key in inner.left()}

    def left(self) -> tuple[str, ...]:
        """Names of the fields that nobody took yet."""
        return tuple(self._left)

    def drop(self, *names: str) -> None:
        """Set aside fields that follow from the others."""
        for name in names:
            self._left.pop(name, None)

    def finish(self) -> None:
        """Refuse what nobody took."""
        if self._left:
            raise self.refuse(f"has fields that this version does not know: {sorted(self._left)}")

    def made(self, name: str, text: str, make: Callable[[str], T]) -> T:
        """Make something of one word."""
        try:
            return make(text)
        except (ValueError, KeyError) as error:
            raise self.refuse(f"has an unknown {name} {text!r}") from error


def read(fields: Fields, make: Callable[[Fields], T]) -> T:
    """Make something of an object and refuse fields that it did not need."""
    made = make(fields)
    fields.finish()
    return made
