"""Events of Windows, whatever file they come in: one record for each, with its fields.

Knows how events are written as XML, text and tables, and that `.evtx` holds XML; judges nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from xml.etree import ElementTree

LONGEST_EVENT = 1 << 20
"""Characters of one event; the longest real ones have some thousands."""
LONGEST_TEXT, MAX_FIELDS, LONGEST_NAME = 4096, 100, 256
"""Characters of one field or message, fields of one event, and characters of a computer's name."""
MAX_EVENTS = 500_000
_START = re.compile(r"<Event[\s>]")
_FOLDED = re.compile(r"^[ \t]*-[ \t]*(?=<)", re.MULTILINE)
"""What Event Viewer puts before an element that can be folded."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event."""

    provider: str
    id: int
    time: str = ""
    activity: str = ""
    """Correlation: events of one decision share it."""
    data: Mapping[str, str] = field(default_factory=dict)
    """Named fields; unnamed ones by their position."""
    message: str = ""
    """The text that Windows made of it, where the file has that."""
    computer: str = ""
    """The name of the computer that logged it."""

    def get(self, *names: str) -> str:
        """The first of these fields that is there; names are compared without blanks and case."""
        folded = {_fold(name): value for name, value in self.data.items()}
        return next((folded[name] for name in map(_fold, names) if folded.get(name)), "")


def _fold(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).lower()


def xml_events(text: str) -> Iterator[Event]:
    """Events in XML, alone, in a list, or in the middle of other text."""
    for start, end in _elements(text):
        if end - start <= LONGEST_EVENT and (event := _parsed(text[start:end])) is not None:
            yield event


def without_xml(text: str) -> str:
    """The text around the events in XML."""
    place, parts = 0, []
    for start, end in _elements(text):
        parts.append(text[place:start])
        place = end
    return "\n".join((*parts, text[place:]))


def _elements(text: str) -> Iterator[tuple[int, int]]:
    place = 0
    for _ in range(MAX_EVENTS):
        match = _START.search(text, place)
        end = text.find("</Event>", match.start()) if match else -1
        if match is None or end < 0:
            return
        place = end + len("</Event>")
        yield match.start(), place


def _parsed(text: str) -> Event | None:
    """One element. It holds no declaration of a document type, so nothing in it expands."""
    try:
        root = ElementTree.fromstring(_FOLDED.sub("", text))  # noqa: S314 (see above)
    except ElementTree.ParseError:
        return None
    parts = {_tag(item): item for item in root}
    system = {_tag(item): item for item in parts.get("System", ())}
    id_ = _text(system.get("EventID"))
    if not id_.isdigit() or len(id_) > 5:
        return None
    rendered = {_tag(item): item for item in parts.get("RenderingInfo", ())}
    return Event(
        _attribute(system.get("Provider"), "Name"),
        int(id_),
        _attribute(system.get("TimeCreated"), "SystemTime"),
        _attribute(system.get("Correlation"), "ActivityID").strip("{}").lower(),
        dict(islice(_data(parts), MAX_FIELDS)),
        _text(rendered.get("Message"))[:LONGEST_TEXT],
        _text(system.get("Computer"))[:LONGEST_NAME],
    )


def _data(parts: Mapping[str, ElementTree.Element]) -> Iterator[tuple[str, str]]:
    for number, item in enumerate(parts.get("EventData", ())):
        yield item.get("Name") or str(number), _text(item)[:LONGEST_TEXT]
    for item in parts.get("UserData", ()):
        for inner in item:
            yield _tag(inner), _text(inner)[:LONGEST_TEXT]


def _tag(item: ElementTree.Element) -> str:
    return item.tag.rpartition("}")[2]


def _text(item: ElementTree.Element | None) -> str:
    return (item.text or "").strip() if item is not None else ""


def _attribute(item: ElementTree.Element | None, name: str) -> str:
    return item.get(name, "") if item is not None else ""
