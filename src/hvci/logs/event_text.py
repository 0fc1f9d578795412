"""Events as text: Event Viewer's copy, wevtutil, lists and tables of PowerShell, CSV.

Knows those layouts. What a message says is read in `event_facts.py`.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence

from hvci.logs.events import LONGEST_NAME, LONGEST_TEXT, MAX_EVENTS, Event

_LABEL = re.compile(r"^[ \t]*([^\W\d_][\w .'\u2019-]{1,24}?)[ \t\u00a0]*:(?:[ \t]+(.*)|[ \t]*)$")
_FIELDS = {
    "event id": "id",
    "id": "id",
    "eventid": "id",
    "source": "provider",
    "provider": "provider",
    "providername": "provider",
    "provider name": "provider",
    "date": "time",
    "timecreated": "time",
    "time created": "time",
    "date and time": "time",
    "activityid": "activity",
    "computer": "computer",
    "machinename": "computer",
    "description": "message",
    "message": "message",
    # Event Viewer in German, French and Spanish
    "ereignis-id": "id",
    "quelle": "provider",
    "datum": "time",
    "beschreibung": "message",
    "id de l'\u00e9v\u00e9nement": "id",
    "id de l\u2019\u00e9v\u00e9nement": "id",
    "id. del evento": "id",
    "id del evento": "id",
    "origen": "provider",
    "fecha": "time",
    "descripci\u00f3n": "message",
}
_BEGIN = frozenset(("log name", "protokollname", "nom du journal", "nombre de registro"))
"""Labels that begin an event; elsewhere a label that comes again does."""
_ID = re.compile(r"^\d{1,5}$")
_ROW = re.compile(
    r"^(?:.{0,60}?[\s,;])?(\d{1,5})[\s,;]+(?:\w+[\s,;]+)?\(?"
    r"((?:Code Integrity|Windows is unable|The driver \\|Driver \\|The computer has).*)$"
)
"""A row of a table: time, id, level and the message."""
MAX_CONTINUED = 40


def text_events(lines: Sequence[str]) -> Iterator[Event]:
    """Events with labels, and rows of tables."""
    found: dict[str, str] = {}
    last, more = "", 0
    for line in lines[: MAX_EVENTS * 8]:
        match = _LABEL.match(line)
        label = match[1].strip().lower() if match else ""
        if label == "event xml":
            found, last = {}, ""  # the same event follows with all its fields
        elif match and (label in _FIELDS or label in _BEGIN):
            last, more = _FIELDS.get(label, ""), 0
            if label in _BEGIN or (last and last in found):
                yield from _event(found)
                found = {}
            if last:
                found[last] = (match[2] or "").strip()
        elif row := _ROW.match(line):
            yield Event("", int(row[1]), message=row[2].strip())
            last = ""
        elif last == "message" and more < MAX_CONTINUED and (line.strip() or not found["message"]):
            found["message"] = f"{found['message']} {line.strip()}".strip()
            more += 1
        elif last == "message" and found["message"]:
            last = ""
    yield from _event(found)


def _event(found: Mapping[str, str]) -> Iterator[Event]:
    if _ID.match(found.get("id", "")):
        yield Event(
            found.get("provider", ""),
            int(found["id"]),
            found.get("time", ""),
            found.get("activity", "").strip("{}").lower(),
            {},
            found.get("message", "")[:LONGEST_TEXT],
            found.get("computer", "")[:LONGEST_NAME],
        )


_KEYS = {
    "id": "id",
    "eventid": "id",
    "providername": "provider",
    "timecreated": "time",
    "activityid": "activity",
    "machinename": "computer",
    "message": "message",
}


def json_events(text: str) -> Iterator[Event]:
    """Events that ConvertTo-Json wrote."""
    if text.lstrip("\ufeff \r\n\t")[:1] not in ("[", "{"):
        return
    try:
        content = json.loads(text.lstrip("\ufeff"))
    except (ValueError, RecursionError):
        return
    for row in content if isinstance(content, list) else [content]:
        if isinstance(row, dict):
            cells = ((str(key).lower(), value) for key, value in row.items())
            yield from _event(
                {_KEYS[key]: str(value) for key, value in cells if key in _KEYS and value}
            )


_COLUMNS = {
    "id": "id",
    "event id": "id",
    "eventid": "id",
    "ereignis-id": "id",
    "source": "provider",
    "quelle": "provider",
    "providername": "provider",
    "date and time": "time",
    "datum und uhrzeit": "time",
    "timecreated": "time",
    "message": "message",
    "activityid": "activity",
    "computer": "computer",
    "machinename": "computer",
}


def csv_events(text: str) -> Iterator[Event]:
    """Events of a table: what Event Viewer saves, and Export-Csv."""
    lines = text.lstrip("\ufeff").splitlines()
    start = next((i for i, line in enumerate(lines[:5]) if _delimiter(line)), None)
    if start is None:
        return
    delimiter = _delimiter(lines[start])
    rows = csv.reader(lines[start:], delimiter=delimiter)
    try:
        heads = [_COLUMNS.get(head.strip().lower(), "") for head in next(rows)]
        for _, row in zip(range(MAX_EVENTS), rows, strict=False):
            yield from _row_event(heads, row)
    except csv.Error:
        return


def _row_event(heads: Sequence[str], row: Sequence[str]) -> Iterator[Event]:
    found = {head: cell.strip() for head, cell in zip(heads, row, strict=False) if head}
    if "message" not in found and len(row) > len(heads):
        found["message"] = row[len(heads)].strip()  # Event Viewer gives it no heading
    yield from _event(found)


def _delimiter(line: str) -> str:
    """The delimiter of a heading of events; empty when it is none."""
    for delimiter in (",", ";", "\t"):
        cells = {cell.strip().strip('"').lower() for cell in line.split(delimiter)}
        if len(cells) > 2 and {_COLUMNS.get(cell) for cell in cells} >= {"id", "provider"}:
            return delimiter
    return ""
