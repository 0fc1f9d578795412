"""Static libraries and entry routines that a kit puts into drivers, from data/libraries.toml.

Knows what is characteristic of them; never looks into an image.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from enum import StrEnum
from functools import cache
from types import MappingProxyType

from hvci.catalog.reader import Row, data_text, parse_toml
from hvci.catalog.shipped import ddis
from hvci.errors import CatalogError
from hvci.model import Confidence
from hvci.model.record import record

TAG_BYTES = 4
SHORTEST_STRING = 8
"""Characters; a shorter text stands in images by chance."""


@record
class Library:
    """Code whose calls are recognised, and what to do about them."""

    name: str
    gives: str
    note: str
    """Where its calls come from, as a finding says it."""
    fix: str
    text: str
    ddis: frozenset[str]
    tags: frozenset[int]
    """Pool tags as they lie in an argument."""
    imports: frozenset[str]
    strings: tuple[str, ...]
    modules: frozenset[str]
    """Lower case; one of them is imported."""
    functions: frozenset[str]
    """Its functions that make the calls, as symbols name them; empty where nothing is known."""
    evidence: frozenset[Confidence]
    source: str

    @property
    def signs(self) -> tuple[str, ...]:
        """What a call of it is known by, in words."""
        tags = sorted(tag.to_bytes(TAG_BYTES, "little").decode() for tag in self.tags)
        said = {
            f"the pool tag {' or '.join(tags)}": True,
            f"{' and '.join(sorted(self.imports))} in the same function": self.imports,
            f"the texts {' and '.join(self.strings)} in the image": self.strings,
            f"an import from {' or '.join(sorted(self.modules))}": self.modules,
        }
        return tuple(words for words, there in said.items() if there)


class Place(StrEnum):
    """Where an entry routine stands."""

    ENTRY = "entry"
    CALLED = "called"


@record
class Routine:
    """A function around the driver's own code, and what it is known by."""

    name: str
    library: str
    """Empty for the driver's own."""
    place: Place
    cookie: bool
    imports: frozenset[str]
    calls: frozenset[str]
    called_by: frozenset[str]
    source: str


def _rows(text: str, kind: str) -> list[Row]:
    """The rows of one kind, each labelled by its name."""
    found = parse_toml(text, "libraries.toml").get(kind, [])
    if not isinstance(found, list) or not all(isinstance(fields, dict) for fields in found):
        raise CatalogError(f"libraries.toml: want [[{kind}]] tables")
    labels = [fields.get("name", f"{kind} {number}") for number, fields in enumerate(found, 1)]
    return [
        Row(f"libraries.toml: {label}", fields) for label, fields in zip(labels, found, strict=True)
    ]


def _refuse_first(row: Row, reasons: Mapping[str, object]) -> None:
    for reason, wrong in reasons.items():
        if wrong:
            raise row.refuse(reason)


def _words(row: Row, field: str) -> frozenset[str]:
    return frozenset(row.take_list(field, str, []))


def _tag(word: str) -> int:
    if len(word) != TAG_BYTES or not word.isascii():
        raise ValueError
    return int.from_bytes(word.encode(), "little")


def _library(row: Row, known: Container[str]) -> Library:
    library = Library(
        name=row.take("name", str),
        gives=row.take("gives", str),
        note=row.take("note", str),
        fix=row.take("fix", str),
        text=row.take("text", str),
        ddis=frozenset(row.take_list("ddis", str)),
        tags=row.take_set("tags", _tag),
        imports=_words(row, "imports"),
        strings=tuple(row.take_list("strings", str, [])),
        modules=_words(row, "modules"),
        functions=_words(row, "functions"),
        evidence=row.take_set("evidence", Confidence),
        source=row.take("source", str),
    )
    row.finish()
    strangers = ", ".join(sorted(name for name in library.ddis if name not in known))
    reasons = {
        "ddis is empty": not library.ddis,
        f"ddis: {strangers} is no DDI of the catalogue": strangers,
        "tags is empty": not library.tags,
        "a tag alone proves nothing: name imports, strings or modules": not (
            library.imports or library.strings or library.modules
        ),
        f"a string needs {SHORTEST_STRING} characters": any(
            len(text) < SHORTEST_STRING for text in library.strings
        ),
        "modules are written in lower case": any(name != name.lower() for name in library.modules),
        'note begins with "from"': not library.note.startswith("from "),
        "fix is empty": not library.fix,
        "evidence is empty": not library.evidence,
        "source must be an address": not library.source.startswith("https://"),
    }
    _refuse_first(row, reasons)
    return library


def _routine(row: Row) -> Routine:
    routine = Routine(
        name=row.take("name", str),
        library=row.take("library", str),
        place=row.take_as("place", Place),
        cookie=row.take("cookie", bool, False),
        imports=_words(row, "imports"),
        calls=_words(row, "calls"),
        called_by=_words(row, "called_by"),
        source=row.take("source", str),
    )
    row.finish()
    is_entry = routine.place is Place.ENTRY
    reasons = {
        "nothing tells it": not (
            routine.cookie or routine.imports or routine.calls or routine.called_by
        ),
        "calls is for the entry": routine.calls and not is_entry,
        "called_by is for what the entry calls": routine.called_by and is_entry,
        "source must be an address": not routine.source.startswith("https://"),
    }
    _refuse_first(row, reasons)
    return routine


def parse_libraries(text: str, known: Container[str]) -> Mapping[str, Library]:
    """Read the libraries; the first bad row raises `CatalogError` with its name."""
    libraries: dict[str, Library] = {}
    for row in _rows(text, "library"):
        library = _library(row, known)
        if library.name in libraries:
            raise row.refuse("listed twice")
        libraries[library.name] = library
    return MappingProxyType(libraries)


def parse_routines(text: str) -> tuple[Routine, ...]:
    """Read the entry routines; the first bad row raises `CatalogError` with its name."""
    rows = _rows(text, "routine")
    routines = tuple(_routine(row) for row in rows)
    names = {routine.name for routine in routines}
    for row, routine in zip(rows, routines, strict=True):
        strangers = ", ".join(sorted((routine.calls | routine.called_by) - names))
        _refuse_first(row, {f"{strangers} is no routine of this table": strangers})
    return routines


@cache
def libraries() -> Mapping[str, Library]:
    """The shipped libraries, by name."""
    return parse_libraries(data_text("libraries.toml"), ddis())


@cache
def routines() -> tuple[Routine, ...]:
    """The shipped entry routines, in the order in which they are tried."""
    return parse_routines(data_text("libraries.toml"))
