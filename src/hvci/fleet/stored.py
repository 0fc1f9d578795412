"""Gives stored reports back, as `hvci check` would have made them at the place of the file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, or_, select

from hvci.fleet.asked import named
from hvci.fleet.packed import unpack
from hvci.fleet.rows import PACKAGE
from hvci.fleet.schema import body, dictionary, file, package, result, rules, scan, seen
from hvci.fleet.views import View
from hvci.model import Installed, Package
from hvci.report.decode import document_from
from hvci.report.document import SCHEMA_VERSION, TOOL_NAME, Document, TargetError


def reports(connection: Connection, view: View, word: str) -> Iterator[Document]:
    """The reports about a path, a file name or (the start of) a SHA-256 in a view, and why there
    is none.

    Where they are of several machines, each path says of which.
    """
    view.check(connection)
    which = [named(file.c.path, word)]
    if len(word) >= 8 and set(word.lower()) <= set("0123456789abcdef"):
        which.append(result.c.sha256.like(f"{word.lower()}%"))
    yield from _documents(connection, seen.c.scan_id.in_(view.scans), or_(*which))
    yield from _without(connection, seen.c.scan_id.in_(view.scans), or_(*which))


def _without(connection: Connection, *which: ColumnElement[bool]) -> Iterator[Document]:
    """What was met and has no report, with the reason."""
    tables = seen.join(file).outerjoin(result).outerjoin(body, body.c.result_id == result.c.id)
    lacks = (body.c.result_id.is_(None), func.coalesce(result.c.kind, "") != PACKAGE)
    kind = func.coalesce(seen.c.problem, result.c.kind)
    why = func.coalesce(seen.c.sentence, result.c.summary)
    query = select(file.c.path, kind, why).select_from(tables).where(*which, *lacks)
    for path, kind_, sentence in connection.execute(query.order_by(file.c.path, seen.c.scan_id)):
        yield Document(errors=(TargetError(path, kind_, sentence),))


def report_of(connection: Connection, scan_id: int, file_id: int) -> Document | None:
    """The report about one file as one scan met it; None where there is none."""
    here = (seen.c.scan_id == scan_id, seen.c.file_id == file_id)
    return next(_documents(connection, *here), None)


def _documents(connection: Connection, *which: ColumnElement[bool]) -> Iterator[Document]:
    tables = seen.join(file).join(result).join(rules).join(body).join(dictionary)
    tables = tables.join(scan, scan.c.id == seen.c.scan_id)
    hosts = select(scan.c.host).select_from(tables).where(*which).distinct().limit(2)
    of_many = len(connection.execute(hosts).all()) > 1
    query = (
        select(
            scan.c.host,
            file.c.path,
            result.c.sha256,
            body.c.data,
            dictionary.c.data,
            rules.c.hvci,
            *package.c[2:],
        )
        .select_from(tables.outerjoin(package, package.c.id == seen.c.package_id))
        .where(*which)
        .order_by(file.c.path, scan.c.host, scan.c.id)
    )
    for host, path, sha256, blob, known, version, *told in connection.execute(query):
        fields = {
            "schema_version": SCHEMA_VERSION,
            "tool": {"name": TOOL_NAME, "version": version},
            "reports": [unpack(blob, known)],
            "errors": [],
            "notices": [],
        }
        document = document_from(fields)
        (report,) = document.reports
        name = f"{host}: {path}" if of_many else path
        target = replace(report.target, path=name, sha256=sha256)
        named_report = replace(report, target=target)
        named_report = replace(named_report, package=_package(told))
        yield replace(document, reports=(named_report,))


def _package(told: list[Any]) -> Package | None:
    """The package of a driver, from the columns of its row."""
    if told[0] is None:
        return None
    facts = dict(zip(Package._fields, told[:9], strict=False))
    lists = {name: tuple(json.loads(facts[name])) for name in ("catalogs", "ids")}
    installed = Installed(*told[10:]) if told[9] else None
    return Package(**{**facts, **lists, "installed": installed})
