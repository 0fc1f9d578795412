"""What changed between two scans, file by file; equal ones are left to the database.

The answer of a file is its content and what was said of it, so that another version of hvci that
says the same changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    FromClause,
    Select,
    and_,
    case,
    func,
    or_,
    select,
)

from hvci.errors import UnsupportedImage
from hvci.fleet.rows import PACKAGE
from hvci.fleet.schema import file, result, rules, scan, seen
from hvci.fleet.views import View
from hvci.report.safe import safe


class Change(StrEnum):
    """What became of a file, in the order in which they are told."""

    NEW = "new"
    CHANGED = "changed"
    """Other bytes."""
    JUDGED = "judged otherwise"
    """The same bytes, by another hvci or with other options."""
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class State:
    """A file in one scan."""

    said: str
    """The sentence about it."""
    rank: int
    """How bad that is: 0 good, 1 open, 2 bad."""
    sha256: str
    is_judged: bool = False
    """Whether it is a driver with a verdict."""


@dataclass(frozen=True, slots=True)
class Changed:
    """One file whose answer is another one."""

    change: Change
    path: str
    before: State | None
    after: State | None

    @property
    def worse(self) -> bool:
        """Whether it is bad or open now and was better, or not there, before; or no driver now
        and was one.
        """
        if self.before and self.after and self.before.is_judged and not self.after.is_judged:
            return True
        now = self.after.rank if self.after else 0
        return now > (self.before.rank if self.before else 0)


_RANKS = {"compatible": 0, "undecided": 1, "incompatible": 2}
_NO_DRIVERS = (PACKAGE, UnsupportedImage.__name__)
"""Kinds of results without a verdict that are nothing bad; any other is a file that could not be
judged, which is as open as one without an answer."""


def changes(connection: Connection, old: int, new: int) -> Iterator[Changed]:
    """Everything that changed, in the order of `Change` and of paths."""
    hosts = dict(
        connection.execute(select(scan.c.id, scan.c.host).where(scan.c.id.in_((old, new)))).all()
    )
    foreign = hosts[old] if hosts[old] != hosts[new] else None
    judged, added = [], 0
    for row in connection.execute(_new_and_both(old, new, foreign)):
        second = _state(row[8:])
        if row[1] is None:
            added += 1
            yield Changed(Change.NEW, row[0], None, second)
            continue
        first = _state(row[2:8])
        if first.sha256 != second.sha256 or not first.sha256:
            yield Changed(Change.CHANGED, row[0], first, second)
        elif (first.said, first.rank) != (second.said, second.rank):
            judged.append(Changed(Change.JUDGED, row[0], first, second))
    yield from judged
    before, after = (_files(connection, number) for number in (old, new))
    if foreign is None and before == after - added:
        return  # whatever was there before is there now
    for row in connection.execute(_only(old, new, hosts[new] if foreign else None)):
        yield Changed(Change.GONE, row[0], _state(row[1:]), None)


def unlike(connection: Connection, old: int, new: int) -> Iterator[str]:
    """What else than drivers may have made two scans differ, or be equal, in sentences."""
    columns = (scan.c.id, scan.c.targets, scan.c.ended, rules.c.hvci, rules.c.options)
    joined = select(*columns, rules.c.digest).join_from(scan, rules)
    rows = connection.execute(joined.where(scan.c.id.in_((old, new)))).all()
    found = {one.id: one for one in rows}
    first, second = found[old], found[new]
    for one in dict.fromkeys((first, second)):
        if one.ended is None:
            yield f"scan {one.id} did not come to its end: what it did not meet looks gone or new"
    if first.targets != second.targets:
        yield "they are of different targets: what only one was asked for looks gone or new"
    if first.options != second.options:
        options = ", ".join(_differing(json.loads(first.options), json.loads(second.options)))
        yield f"they were judged with other options: {options}"
    elif first.digest != second.digest:
        versions = " and ".join(dict.fromkeys((first.hvci, second.hvci)))
        yield f"they were judged by different code or catalogues of hvci ({versions})"


def _differing(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    for name in sorted({*old, *new}):
        before, after = old.get(name), new.get(name)
        if before != after:
            is_word = isinstance(before, str) and isinstance(after, str)
            yield f"{name} {before} and {after}" if is_word else name


def mixed(connection: Connection, view: View) -> list[str]:
    """The options in which scans of a view were judged differently, each with its values."""
    joined = select(rules.c.options).join_from(scan, rules).where(scan.c.id.in_(view.scans))
    found = [json.loads(text) for text in connection.scalars(joined.distinct())]
    names = sorted({name for one in found for name in one})
    values = {name: {json.dumps(one.get(name)) for one in found} for name in names}
    return [_named(name, some) for name, some in values.items() if len(some) > 1]


def _named(name: str, values: set[str]) -> str:
    words = sorted(one.strip('"') for one in values if one.startswith('"'))
    return f"{name} {' and '.join(words)}" if len(words) == len(values) else name


def _only(there: int, missing: int, host: str | None) -> Select[Any]:
    """The files of one scan that the other does not have."""
    here, other, said = seen.alias("here"), seen.alias("other"), result.alias("said")
    known = select(other.c.file_id).where(
        other.c.scan_id == missing, other.c.file_id == _twin(here.c.file_id, host)
    )
    return (
        select(file.c.path, *_columns(here, said))
        .select_from(here.join(file).outerjoin(said, said.c.id == here.c.result_id))
        .where(here.c.scan_id == there, ~known.exists())
        .order_by(file.c.path)
    )


def _files(connection: Connection, number: int) -> int:
    count: int = connection.execute(
        select(func.count()).select_from(seen).where(seen.c.scan_id == number)
    ).scalar_one()
    return count


def _new_and_both(old: int, new: int, host: str | None) -> Select[Any]:
    """The files of the new scan whose answers are not the same row in the old one, in one pass.

    Those that the old one does not have come first.
    """
    first, second = seen.alias("first"), seen.alias("second")
    said, later = result.alias("said"), result.alias("later")
    twins = and_(first.c.scan_id == old, first.c.file_id == _twin(second.c.file_id, host))
    pairs = second.outerjoin(first, twins)
    differ = or_(
        first.c.file_id.is_(None),
        first.c.result_id.is_distinct_from(second.c.result_id),
        first.c.problem.is_distinct_from(second.c.problem),
    )
    return (
        select(file.c.path, first.c.file_id, *_columns(first, said), *_columns(second, later))
        .select_from(
            pairs.join(file, file.c.id == second.c.file_id)
            .outerjoin(said, said.c.id == first.c.result_id)
            .outerjoin(later, later.c.id == second.c.result_id)
        )
        .where(second.c.scan_id == new, differ)
        .order_by(case((first.c.file_id.is_(None), 0), else_=1), file.c.path)
    )


def _twin(number: Column[int], host: str | None) -> ColumnElement[Any]:
    """The file of the same path on another machine; the file itself on the same one."""
    if host is None:
        return number
    mine, theirs = file.alias("mine"), file.alias("theirs")
    same = select(theirs.c.id).join_from(theirs, mine, mine.c.path == theirs.c.path)
    found = same.where(theirs.c.host == host, mine.c.id == number)
    return found.correlate(number.table).scalar_subquery()


def _columns(met: FromClause, said: FromClause) -> tuple[ColumnElement[Any], ...]:
    told = (said.c[name] for name in ("sha256", "kind", "verdict", "summary"))
    return (met.c.problem, met.c.sentence, *told)


def _state(row: Sequence[Any]) -> State:
    problem, sentence, sha256, kind, verdict, summary = row
    if problem is not None:
        return State(f"{problem}: {sentence}", 1, "")
    rank = _RANKS.get(verdict, int(kind not in _NO_DRIVERS))
    return State(summary, rank, sha256, verdict in _RANKS)


def line(one: Changed) -> str:
    """One line for a terminal."""
    sides = [safe(side.said, 300) for side in (one.before, one.after) if side is not None]
    return f"{one.change:<16} {safe(one.path, 500)}: {' -> '.join(dict.fromkeys(sides))}"
