"""The ready questions: each is a name, a sentence, and one statement that reads few rows.

Words of a person and of drivers are parameters of a statement, never a part of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, case, func, or_, select

from hvci.fleet.asked import FATE, MOST, Statement, called, drivers, named, of_packages
from hvci.fleet.schema import file, finding, package, result, scan, seen, tally
from hvci.fleet.unfinished import by_machine, by_name, unfinished
from hvci.fleet.urgent import HIDDEN, boot, installed, update_first
from hvci.fleet.views import View
from hvci.model import Installed, Package
from hvci.report.package import remedy_of


@dataclass(frozen=True, slots=True)
class Question:
    """One ready question."""

    sentence: str
    statement: Callable[[View, str], Statement]
    word: str = ""
    """What a further word means; empty where none is taken."""
    more: tuple[str, ...] = ()
    """Heads of the columns that `finished` adds."""
    finished: Callable[[Mapping[str, Any]], tuple[Any, ...]] | None = None
    """Makes of a row what people read."""
    now: Callable[[Connection, View], Sequence[tuple[Any, ...]]] | None = None
    """The rows where a scan has no end, and so no numbers yet; asked without a word."""


@dataclass(frozen=True, slots=True)
class Answered:
    """Rows under their heads."""

    heads: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    more: bool
    """Whether the limit cut rows off."""


def ask(connection: Connection, name: str, view: View, word: str, limit: int) -> Answered:
    """Ask one of `QUESTIONS`."""
    if name != "scans":
        view.check(connection)
    question = QUESTIONS[name]
    found = rows(connection, question.statement(view, word), limit)
    if question.now is not None and not word and unfinished(connection, view):
        now = question.now(connection, view)
        return Answered(found.heads, tuple(now[:limit]), len(now) > limit)
    if question.finished is None:
        return found
    names = [head.replace(" ", "_") for head in found.heads]
    made = (question.finished(dict(zip(names, row, strict=True))) for row in found.rows)
    heads = tuple(head for head in found.heads if not head.startswith(HIDDEN.replace("_", " ")))
    return Answered((*heads, *question.more), tuple(made), found.more)


def rows(connection: Connection, statement: Statement, limit: int) -> Answered:
    """The rows of a statement, up to a limit."""
    answer = connection.execute(statement.limit(limit + 1), {MOST: limit + 1})
    names = answer.keys()
    heads = tuple(name.replace("_", " ") for name in names)
    found: list[Row[Any]] = list(answer)
    return Answered(heads, tuple(map(tuple, found[:limit])), len(found) > limit)


def _answering(column: str, word: str) -> Callable[[View, str], Statement]:
    def statement(view: View, _: str) -> Statement:
        found = drivers(view).where(result.c[column] == word)
        return found.order_by(result.c.failures.desc(), result.c.id.desc())

    return statement


def _tallied(kind: str, bad: str, doubtful: str) -> Callable[[View], Statement]:
    """What the scans add up to by name, the most failures first."""

    def number(said: str) -> ColumnElement[int]:
        return func.sum(case((tally.c.said == said, tally.c.drivers), else_=0))

    def statement(view: View) -> Statement:
        return (
            select(
                tally.c.name.label(kind),
                number(bad).label(bad),
                number(doubtful).label(doubtful),
                func.sum(tally.c.drivers).label("drivers"),
                func.sum(tally.c.files).label("files"),
            )
            .where(tally.c.kind == kind, tally.c.scan_id.in_(view.scans))
            .group_by(tally.c.name)
            .order_by(number(bad).desc(), number(doubtful).desc(), tally.c.name)
        )

    return statement


_BY_VERDICT, _BY_OUTCOME = ("incompatible", "undecided"), ("fail", "undecided")


def _now(kind: str, said: tuple[str, str]) -> Callable[[Connection, View], list[tuple[Any, ...]]]:
    return lambda connection, view: [*by_name(connection, view, kind, *said)]


def _vendor(view: View, word: str) -> Statement:
    if not word:
        return _tallied("vendor", *_BY_VERDICT)(view)
    found = drivers(view).where(result.c.vendor == word)
    return found.order_by(result.c.failures.desc(), result.c.id.desc())


def _said_by(kind: str) -> Callable[[View, str], Statement]:
    def statement(view: View, word: str) -> Statement:
        if not word:
            return _tallied(kind, *_BY_OUTCOME)(view)
        said = select(finding.c.result_id).where(
            finding.c[kind] == word, finding.c.outcome.in_(("fail", "undecided"))
        )
        return drivers(view).where(result.c.id.in_(said)).order_by(result.c.id)

    return statement


def _machines(view: View, _: str) -> Statement:
    def files(verdict: str) -> ColumnElement[int]:
        return func.sum(case((tally.c.name == verdict, tally.c.files), else_=0))

    return (
        select(
            scan.c.host.label("machine"),
            func.count(scan.c.id.distinct()).label("scans"),
            files("incompatible").label("incompatible"),
            files("undecided").label("undecided"),
            files("compatible").label("compatible"),
            func.max(scan.c.ended).label("last"),
        )
        .join(tally, (tally.c.scan_id == scan.c.id) & (tally.c.kind == "verdict"), isouter=True)
        .where(scan.c.id.in_(view.scans))
        .group_by(scan.c.host)
        .order_by(files("incompatible").desc(), scan.c.host)
    )


def _package(view: View, word: str) -> Statement:
    if not word:
        return _tallied("package", *_BY_VERDICT)(view)
    columns = (package.c.published, package.c.provider, package.c.service)
    which = or_(named(package.c.inf, word), *(called(column, word) for column in columns))
    chosen = seen.c.package_id.in_(select(package.c.id).where(which))
    worst = (FATE, result.c.failures.desc())
    return of_packages(view).where(chosen).order_by(*worst, file.c.path, seen.c.scan_id)


def _with_remedy(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """A row of `installed` as people read it."""
    hidden = {name[len(HIDDEN) :]: cell for name, cell in row.items() if name.startswith(HIDDEN)}
    plain = [cell for name, cell in row.items() if not name.startswith(HIDDEN)]
    where = {name: hidden[name] for name in ("storage", "staged")}
    there = Installed(row["published"], row["devices"], **where)
    one = Package(
        row["inf"],
        row["service"],
        row["start"],
        hardware_ids=hidden["hardware_ids"],
        installed=there,
    )
    loads, runs = hidden["loads"] != "no", hidden["runs"] != "no"
    found = remedy_of(one, row["path"], loads=loads, runs=runs)
    return (*plain, found.command if found else "", found.why if found else "")


def _problems(view: View, _: str) -> Statement:
    return (
        select(scan.c.host.label("machine"), file.c.path, seen.c.problem, seen.c.sentence)
        .join_from(seen, file)
        .join(scan)
        .where(seen.c.problem.is_not(None), seen.c.scan_id.in_(view.scans))
        .order_by(seen.c.problem, seen.c.scan_id, seen.c.file_id)
    )


def _unjudged(view: View, _: str) -> Statement:
    no_driver = (result.c.verdict == "-", result.c.kind != "package")
    return drivers(view).where(*no_driver).order_by(result.c.id)


def _scans(view: View, _: str) -> Statement:
    chosen = select(
        scan.c.id.label("scan"),
        scan.c.host.label("machine"),
        scan.c.began,
        scan.c.ended,
        scan.c.current,
        scan.c.targets,
    ).order_by(scan.c.id.desc())
    if view.number is not None:
        chosen = chosen.where(scan.c.id == view.number)
    return chosen.where(scan.c.host == view.host) if view.host else chosen


QUESTIONS = {
    "will-not-load": Question("drivers that will not load", _answering("loads", "no")),
    "breaks": Question("drivers that break when they run", _answering("runs", "no")),
    "fails-readiness": Question(
        "drivers that fail the readiness test", _answering("readiness", "no")
    ),
    "undecided": Question("drivers that are undecided", _answering("verdict", "undecided")),
    "update-first": Question("incompatible drivers, worst and most common first", update_first),
    "vendor": Question(
        "vendors, or the drivers of one", _vendor, "NAME", now=_now("vendor", _BY_VERDICT)
    ),
    "rule": Question(
        "rules that fail, or the drivers of one",
        _said_by("rule"),
        "ID",
        now=_now("rule", _BY_OUTCOME),
    ),
    "ddi": Question(
        "DDIs that fail, or the drivers of one",
        _said_by("ddi"),
        "NAME",
        now=_now("ddi", _BY_OUTCOME),
    ),
    "package": Question(
        "packages, or the drivers of one", _package, "INF", now=_now("package", _BY_VERDICT)
    ),
    "installed": Question(
        "installed drivers that do not load or break, and what to do",
        installed,
        more=("to do", "why"),
        finished=_with_remedy,
    ),
    "boot": Question("drivers of boot and system services that may not work", boot),
    "machine": Question("machines and what their drivers say", _machines, now=by_machine),
    "not-judged": Question("files that are damaged or no driver", _unjudged),
    "problems": Question("files without an answer, and why", _problems),
    "scans": Question("the scans in the database", _scans),
}
