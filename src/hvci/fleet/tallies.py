"""Adds up what a scan met, once, so that questions about all of it read a few rows."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Select, case, func, literal, literal_column, select

from hvci.fleet.rows import PACKAGE
from hvci.fleet.schema import finding, package, result, seen, tally

KINDS = (
    *("kind", "verdict", "loads", "readiness", "runs"),
    *("machine", "signed", "driver_policy", "vendor"),
)
Key = tuple[str, str, str]


def add_up(connection: Connection, scan_id: int, before: int | None) -> None:
    """Keep the tally of a scan; that of the scan before holds where nothing changed since."""
    if before is not None and _met_the_same(connection, before, scan_id):
        rest = [column for column in tally.c if column.name != "scan_id"]
        same = select(literal(scan_id), *rest).where(tally.c.scan_id == before)
        names = ["scan_id", *(column.name for column in rest)]
        connection.execute(tally.insert().from_select(names, same))
    elif rows := [{"scan_id": scan_id, **row} for row in counted(connection, scan_id)]:
        connection.execute(tally.insert(), rows)


def _met_the_same(connection: Connection, before: int, scan_id: int) -> bool:
    """Whether two scans met the same files with the same results, of the same packages."""
    old, new = seen.alias("old"), seen.alias("new")
    sizes = [
        connection.execute(select(func.count()).where(seen.c.scan_id == one)).scalar()
        for one in (before, scan_id)
    ]
    alike = (
        select(func.count())
        .select_from(new.join(old, new.c.file_id == old.c.file_id))
        .where(old.c.scan_id == before, new.c.scan_id == scan_id)
        .where(new.c.result_id.is_not_distinct_from(old.c.result_id))
        .where(new.c.problem.is_not_distinct_from(old.c.problem))
        .where(new.c.package_id.is_not_distinct_from(old.c.package_id))
    )
    return sizes[0] == sizes[1] == connection.execute(alike).scalar()


def counted(connection: Connection, scan_id: int) -> Iterator[dict[str, Any]]:
    """The rows of the tally of one scan."""
    drivers: Tally[Key] = Tally()
    files: Tally[Key] = Tally()
    for key, one, many in _counts(connection, scan_id):
        drivers[key] += one
        files[key] += many
    for kind, name, said in drivers:
        key = (kind, name, said)
        row = {"kind": kind, "name": name, "said": said}
        yield {**row, "drivers": drivers[key], "files": files[key]}


def _counts(connection: Connection, scan_id: int) -> Iterator[tuple[Key, int, int]]:
    present = (
        select(seen.c.result_id, func.count().label("files"))
        .join_from(seen, result)
        .where(seen.c.scan_id == scan_id, result.c.kind != PACKAGE)
        .group_by(seen.c.result_id)
        .cte("present")
    )
    numbers = (func.count(), func.sum(present.c.files))
    columns = [result.c[name] for name in KINDS]
    by_answers = select(*columns, *numbers).join(present).group_by(*columns)
    for *words, one, many in connection.execute(by_answers):
        verdict = words[KINDS.index("verdict")]
        for kind, word in zip(KINDS, words, strict=True):
            yield (kind, word, verdict), one, int(many)
    by_ddi = (finding.c.ddi, finding.c.outcome)
    each = select(finding.c.result_id, *by_ddi, finding.c.rule).subquery("each")
    for kind, name in (("ddi", each.c.ddi), ("rule", each.c.rule)):
        once = (
            select(name.label("name"), each.c.outcome, each.c.result_id, present.c.files)
            .join(present, present.c.result_id == each.c.result_id)
            .distinct()
            .subquery("once")
        )
        yield from _named(
            connection,
            kind,
            select(once.c.name, once.c.outcome, func.count(), func.sum(once.c.files)).group_by(
                once.c.name, once.c.outcome
            ),
        )
    # Two versions of a package in one Windows have one name but for the one it gave them.
    given = case(
        (package.c.published == "", literal_column("''")),
        else_=literal_column("' ('") + package.c.published + literal_column("')'"),
    )
    named = (package.c.provider + literal_column("': '") + package.c.inf + given).label("name")
    by_package = (
        select(named, result.c.verdict, func.count(result.c.id.distinct()), func.count())
        .select_from(seen.join(package).join(result))
        .where(seen.c.scan_id == scan_id)
        .group_by(named, result.c.verdict)
    )
    yield from _named(connection, "package", by_package)
    problems = (
        select(seen.c.problem, func.count())
        .where(seen.c.scan_id == scan_id, seen.c.problem.is_not(None))
        .group_by(seen.c.problem)
    )
    for problem, many in connection.execute(problems):
        yield ("problem", problem, "-"), 0, many


def _named(connection: Connection, kind: str, query: Select[Any]) -> Iterator[tuple[Key, int, int]]:
    for name, said, one, many in connection.execute(query):
        if name != "-":
            yield (kind, name, said), one, int(many)
