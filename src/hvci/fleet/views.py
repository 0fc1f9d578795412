"""Which scans a question is about: the current ones, those of one machine, or one by its number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, select

from hvci.errors import UsageError
from hvci.fleet.schema import scan
from hvci.report.safe import safe


@dataclass(frozen=True, slots=True)
class View:
    """A choice of scans; nothing said means the current one of all targets of all machines."""

    host: str = ""
    number: int | None = None

    @property
    def scans(self) -> Select[Any]:
        """The numbers of the scans."""
        chosen: Select[Any] = select(scan.c.id)
        if self.number is not None:
            chosen = chosen.where(scan.c.id == self.number)
        else:
            chosen = chosen.where(scan.c.current)
        return chosen.where(scan.c.host == safe(self.host)) if self.host else chosen

    def check(self, connection: Connection) -> None:
        """Refuse a choice that no scan fits."""
        if connection.execute(self.scans.limit(1)).first() is None:
            told = f"no scan {self.number}" if self.number is not None else "no scan"
            of = f" of {self.host}" if self.host else ""
            raise UsageError(f"there is {told}{of} in this database; see hvci query scans")


def scan_number(connection: Connection, word: str) -> int:
    """The number that "last", "previous" or a number means."""
    if word in ("last", "previous"):
        done = select(scan.c.id).where(scan.c.ended.is_not(None)).order_by(scan.c.id.desc())
        number: int | None = connection.execute(done.limit(1)).scalar()
        if number is not None and word == "previous":
            number = before(connection, number)
        if number is None:
            raise UsageError(f"there is no {word} scan in this database")
        return number
    if not word.isascii() or not word.isdigit() or len(word) > 18:
        raise UsageError(f"{word}: want the number of a scan, last or previous")
    View(number=int(word)).check(connection)
    return int(word)


def newest(connection: Connection, view: View) -> int:
    """The last scan of a view."""
    view.check(connection)
    number: int = max(connection.scalars(view.scans))
    return number


def before(connection: Connection, number: int) -> int | None:
    """The finished scan of the same targets before another one; None where there is none."""
    this = connection.execute(select(scan.c.host, scan.c.targets).where(scan.c.id == number)).one()
    earlier = (
        select(scan.c.id)
        .where(scan.c.host == this.host, scan.c.targets == this.targets, scan.c.id < number)
        .where(scan.c.ended.is_not(None))
        .order_by(scan.c.id.desc())
    )
    found: int | None = connection.execute(earlier.limit(1)).scalar()
    return found
