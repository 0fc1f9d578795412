"""The numbers that a scan leaves at its end, for scans that have none yet: they are counted now.

Knows tables, views and tallies; knows nothing of questions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import Connection, select

from hvci.fleet.schema import scan, tally
from hvci.fleet.tallies import counted
from hvci.fleet.views import View

VERDICTS = ("incompatible", "undecided", "compatible")
Counted = tuple[int, str, str, int, int]
"""Scan, name, what is said, drivers and files."""


def unfinished(connection: Connection, view: View) -> Sequence[int]:
    """The scans of a view that have no end."""
    query = view.scans.where(scan.c.ended.is_(None)).order_by(scan.c.id)
    return connection.scalars(query).all()


def by_name(
    connection: Connection, view: View, kind: str, bad: str, doubtful: str
) -> list[tuple[str, int, int, int, int]]:
    """Names with their bad, doubtful and all drivers, and files; the worst first."""
    found: dict[str, list[int]] = {}
    for _, name, said, drivers, files in numbers(connection, view, kind):
        sums = found.setdefault(name, [0, 0, 0, 0])
        sums[0] += drivers * (said == bad)
        sums[1] += drivers * (said == doubtful)
        sums[2] += drivers
        sums[3] += files
    rows = ((name, bad, open_, all_, files) for name, (bad, open_, all_, files) in found.items())
    return sorted(rows, key=lambda row: (-row[1], -row[2], row[0]))


def by_machine(
    connection: Connection, view: View
) -> list[tuple[str, int, int, int, int, str | None]]:
    """Machines with their scans, files by verdict, and when the last scan ended."""
    query = select(scan.c.id, scan.c.host, scan.c.ended).where(scan.c.id.in_(view.scans))
    scans = {number: (host, ended) for number, host, ended in connection.execute(query)}
    files: dict[str, dict[str, int]] = {host: {} for host, _ in scans.values()}
    for number, verdict, _, _, many in numbers(connection, view, "verdict"):
        said = files[scans[number][0]]
        said[verdict] = said.get(verdict, 0) + many
    rows: list[tuple[str, int, int, int, int, str | None]] = []
    for host, said in files.items():
        ends = [ended for name, ended in scans.values() if name == host]
        bad, open_, good = (said.get(each, 0) for each in VERDICTS)
        last = max((end for end in ends if end), default=None)
        rows.append((host, len(ends), bad, open_, good, last))
    return sorted(rows, key=lambda row: (-row[2], row[0]))


def numbers(connection: Connection, view: View, kind: str) -> Iterator[Counted]:
    """What the scans of a view add up to by names of a kind."""
    names = ("scan_id", "name", "said", "drivers", "files")
    kept = select(*(tally.c[name] for name in names)).where(
        tally.c.kind == kind, tally.c.scan_id.in_(view.scans)
    )
    yield from map(tuple, connection.execute(kept))
    for number in unfinished(connection, view):
        for row in counted(connection, number):
            if row["kind"] == kind:
                yield number, row["name"], row["said"], row["drivers"], row["files"]
