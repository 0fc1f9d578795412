"""What the ready questions about drivers have in common: which rows, and what is said of each.

Knows tables and views; knows no question.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, ColumnElement, Select, case, func, or_, select

from hvci.fleet.schema import file, package, result, scan, seen
from hvci.fleet.views import View

Statement = Select[Any]
MOST = "most"
"""What a statement calls the number of rows that are wanted, where it depends on that."""
FAILS = 2
FATE = case((result.c.loads == "no", 0), (result.c.runs == "no", 1), else_=FAILS)
"""The worst first: does not load, breaks, at worst fails the readiness test."""
_OF_PACKAGE = (
    *(package.c.inf, package.c.published, package.c.service, package.c.start),
    *(package.c.devices, package.c.provider, package.c.version),
)


def present(view: View) -> ColumnElement[bool]:
    """Whether a scan of the view met the result."""
    return (
        select(seen.c.file_id)
        .where(seen.c.result_id == result.c.id, seen.c.scan_id.in_(view.scans))
        .exists()
    )


def in_view(view: View) -> ColumnElement[bool]:
    """Whether a row of `seen` is of the view, for rows that something else chooses.

    The sum keeps SQLite from a search for each scan of the view: there can be thousands.
    """
    return (seen.c.scan_id + 0).in_(view.scans)


def drivers(view: View) -> Statement:
    """Drivers with what there is to say of each; the caller chooses which, and the order."""
    files = select(func.count()).where(seen.c.result_id == result.c.id, in_view(view))
    return select(
        result.c.summary,
        result.c.machine,
        result.c.vendor,
        files.scalar_subquery().label("files"),
        of_one_file(view, file.c.path, file.c.id, "file_id").label("one_path"),
        result.c.sha256,
    ).where(present(view))


def of_one_file(
    view: View, column: ColumnElement[Any], key: ColumnElement[Any], name: str
) -> ColumnElement[Any]:
    """A column of one file of a driver, or of its package: of the same file for all columns, and
    of one that starts at boot, or has a package, before the rest.
    """
    at_boot = select(package.c.id).where(package.c.start == "boot")
    rank = case((seen.c.package_id.in_(at_boot), 0), (seen.c.package_id.is_not(None), 1), else_=2)
    chosen = (
        select(seen.c[name])
        .where(seen.c.result_id == result.c.id, in_view(view))
        .order_by(rank, seen.c.scan_id, seen.c.file_id)
        .limit(1)
        .correlate(result)
        .scalar_subquery()
    )
    return select(column).where(key == chosen).scalar_subquery()


def of_packages(view: View) -> Statement:
    """Files with what an INF and a Windows say of them; read from the side of the packages. What
    has no answer says why.
    """
    tables = seen.join(package).join(file).join(scan).outerjoin(result)
    said = func.coalesce(result.c.summary, seen.c.sentence).label("summary")
    columns = (scan.c.host.label("machine"), *_OF_PACKAGE, said, file.c.path)
    return select(*columns).select_from(tables).where(seen.c.scan_id.in_(view.scans))


def named(column: Column[Any], word: str) -> ColumnElement[bool]:
    """Whether a path is the word or ends in it as a whole name, in capitals or not."""
    plain = word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    ends = (column.ilike(f"%{cut}{plain}", escape="\\") for cut in ("/", "\\\\", "!"))
    return or_(called(column, word), *ends)


def called(column: Column[Any], word: str) -> ColumnElement[bool]:
    """Whether a name is the word, in capitals or not."""
    return func.lower(column) == func.lower(word)
