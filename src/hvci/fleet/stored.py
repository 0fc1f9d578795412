"""Gives stored reports back, as `hvci check` would have made them at the place of the file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from sqlalchemy import Connection, or_, select

from hvci.fleet.packed import unpack
from hvci.fleet.schema import body, dictionary, file, result, rules, seen
from hvci.fleet.views import View
from hvci.report.decode import document_from
from hvci.report.document import SCHEMA_VERSION, TOOL_NAME, Document


def reports(connection: Connection, view: View, word: str) -> Iterator[Document]:
    """The reports about a path, a file name or (the start of) a SHA-256 in a view."""
    view.check(connection)
    plain = word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    named = [file.c.path == word]
    named += [file.c.path.like(f"%{cut}{plain}", escape="\\") for cut in ("/", "\\\\")]
    if len(word) >= 8 and set(word.lower()) <= set("0123456789abcdef"):
        named.append(result.c.sha256.like(f"{word.lower()}%"))
    query = (
        select(file.c.path, body.c.data, dictionary.c.data, rules.c.hvci)
        .select_from(seen.join(file).join(result).join(rules).join(body).join(dictionary))
        .where(seen.c.scan_id.in_(view.scans), or_(*named))
        .order_by(file.c.path)
    )
    for path, blob, known, version in connection.execute(query):
        fields = {
            "schema_version": SCHEMA_VERSION,
            "tool": {"name": TOOL_NAME, "version": version},
            "reports": [unpack(blob, known)],
            "errors": [],
            "notices": [],
        }
        document = document_from(fields)
        (report,) = document.reports
        named_report = replace(report, target=replace(report.target, path=path))
        yield replace(document, reports=(named_report,))
