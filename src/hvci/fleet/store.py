"""Writes what a scan meets, and tells what is known already; a batch is kept whole or not at all.

Knows tables and rows; knows nothing of files, processes and terminals.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Table, and_, delete, func, select, update

from hvci import __version__
from hvci.errors import StoreError
from hvci.fleet.batches import batches
from hvci.fleet.database import Database
from hvci.fleet.packed import digest_of, shipped
from hvci.fleet.rules import Rules, catalogue_digest
from hvci.fleet.schema import (
    about,
    body,
    dictionary,
    file,
    finding,
    result,
    rules,
    scan,
    seen,
)
from hvci.fleet.tallies import add_up
from hvci.fleet.walk import Place, Problem
from hvci.fleet.worker import Answer
from hvci.report.safe import safe

AT_ONCE = 500
"""Parameters of one IN; databases have a limit."""


class Known(NamedTuple):
    """What the database knows of a place."""

    file_id: int
    size: int
    changed: int | None
    inode: int | None
    result_id: int | None

    def still(self, place: Place) -> bool:
        """Whether the file is the one that the result is about, as far as one sees from outside."""
        key = (place.size, place.changed, place.inode)
        return self.result_id is not None and (self.size, self.changed, self.inode) == key


@dataclass(slots=True)
class Met:
    """One file as the scan met it, in what is to be written."""

    found: Place | Problem
    file_id: int | None = None
    """Given when nothing about the file is new."""
    sha256: str | None = None
    settled: bool = False
    result_id: int | None = None
    answer: Answer | None = None
    """A result that is not in the database yet."""


class Store:
    """One scan's view of the database."""

    def __init__(self, database: Database, asked: Rules, host: str) -> None:
        if database.engine.dialect.name not in ("sqlite", "postgresql"):
            raise StoreError(f"{database.name}: only SQLite and PostgreSQL are supported")
        self.database = database
        self.host = safe(host)
        self.scan_id = 0
        with database.writing() as connection:
            self._rules = self._named(
                connection, rules, {"digest": asked.digest}, _columns_of(asked)
            )
            name = f"dictionary {digest_of(shipped())}"
            self._dictionary = self._shipped(connection, name)

    def begin(self, targets: str) -> None:
        """Start a scan, or take up one of the same targets and rules that was not finished."""
        mine = and_(scan.c.host == self.host, scan.c.targets == targets)
        with self.database.writing() as connection:
            open_ones = select(scan.c.id).where(
                mine, scan.c.rules_id == self._rules, scan.c.ended.is_(None)
            )
            found = connection.execute(open_ones.order_by(scan.c.id.desc())).scalar()
            if found is not None:
                self.scan_id = found
                # What was evaluated stays; what is no longer there must not look as if it were.
                connection.execute(delete(seen).where(seen.c.scan_id == found))
                return
            others = select(func.count()).where(mine, scan.c.current)
            row = {
                "host": self.host,
                "targets": targets,
                "rules_id": self._rules,
                "began": _now(),
                "current": not connection.execute(others).scalar(),
            }
            made = connection.execute(scan.insert().values(row).returning(scan.c.id))
            self.scan_id = made.scalar_one()

    def finish(self) -> None:
        """The scan met everything: it is now what the targets are like."""
        with self.database.writing() as connection:
            mine = connection.execute(
                select(scan.c.host, scan.c.targets).where(scan.c.id == self.scan_id)
            ).one()
            same = and_(scan.c.host == mine.host, scan.c.targets == mine.targets)
            before = connection.execute(
                select(scan.c.id).where(same, scan.c.current, scan.c.ended.is_not(None))
            ).scalar()
            connection.execute(update(scan).where(same).values(current=False))
            done = {"ended": _now(), "current": True}
            connection.execute(update(scan).where(scan.c.id == self.scan_id).values(done))
            if before != self.scan_id:
                add_up(connection, self.scan_id, before)

    def known(self, places: Sequence[Place]) -> dict[str, Known]:
        """What is known of these places, by path."""
        paths = {stored_path(place.path): place.path for place in places}
        joined = file.outerjoin(
            result, and_(result.c.sha256 == file.c.sha256, result.c.rules_id == self._rules)
        )
        columns = (file.c.path, file.c.id, file.c.size, file.c.changed, file.c.inode, result.c.id)
        with self.database.reading() as connection:
            return {
                paths[path]: Known(*rest)
                for some in batches(paths, AT_ONCE)
                for path, *rest in connection.execute(
                    select(*columns)
                    .select_from(joined)
                    .where(file.c.host == self.host, file.c.path.in_(some))
                )
            }

    def results(self, hashes: Iterable[str]) -> dict[str, int]:
        """The results that there are for contents, by hash."""
        with self.database.reading() as connection:
            return {
                sha256: number
                for some in batches(dict.fromkeys(hashes), AT_ONCE)
                for sha256, number in connection.execute(
                    select(result.c.sha256, result.c.id).where(
                        result.c.rules_id == self._rules, result.c.sha256.in_(some)
                    )
                )
            }

    def keep(self, met: Sequence[Met]) -> None:
        """Write down what the scan met."""
        if not met:
            return
        with self.database.writing() as connection:
            new: dict[str, int] = {}
            for one in met:
                row = one.answer.row if one.answer is not None else None
                if row is not None and one.answer and one.sha256 and one.sha256 not in new:
                    new[one.sha256] = self._kept(connection, one.answer)
            placed = self._placed(connection, [one for one in met if one.file_id is None])
            # Nothing is noted in what was met: numbers of a batch that fails are none.
            rows = [self._seen(one, placed, new) for one in met]
            self._upsert(connection, seen, ("scan_id", "file_id"), rows)

    def _kept(self, connection: Connection, answer: Answer) -> int:
        """The number of a result, which another scan may have written meanwhile."""
        assert answer.row is not None
        columns = {**answer.row.columns, "rules_id": self._rules}
        key = {name: columns.pop(name) for name in ("sha256", "rules_id")}
        before = self._find(connection, result, key)
        if before is not None:
            return before
        number = self._named(connection, result, key, columns)
        packed = {"result_id": number, "dictionary_id": self._dictionary, "data": answer.blob}
        if answer.blob:
            self._upsert(connection, body, ("result_id",), [packed])
        rows = [
            {"result_id": number, "rule": rule, "outcome": said, "ddi": ddi, "places": places}
            for rule, said, ddi, places in answer.row.findings
        ]
        self._upsert(connection, finding, ("result_id", "rule", "outcome", "ddi"), rows)
        return number

    def _placed(self, connection: Connection, met: list[Met]) -> dict[str, int]:
        """Write the places that are new or changed; gives their numbers by path."""
        by_path = {stored_path(one.found.path): self._file(one) for one in met}
        self._upsert(connection, file, ("host", "path"), by_path.values())
        numbers: dict[str, int] = {}
        for some in batches(by_path, AT_ONCE):
            rows = select(file.c.path, file.c.id).where(
                file.c.host == self.host, file.c.path.in_(some)
            )
            numbers.update((path, number) for path, number in connection.execute(rows))
        return numbers

    def _file(self, met: Met) -> dict[str, Any]:
        row: dict[str, Any] = {"host": self.host, "path": stored_path(met.found.path)}
        if isinstance(met.found, Problem):
            return row | {"size": 0, "changed": None, "inode": None, "sha256": None}
        changed = met.found.changed if met.settled else None
        key = {"size": met.found.size, "changed": changed, "inode": met.found.inode}
        return row | key | {"sha256": met.sha256}

    def _seen(self, met: Met, placed: dict[str, int], new: dict[str, int]) -> dict[str, Any]:
        problem = met.found if isinstance(met.found, Problem) else None
        if met.answer is not None and met.answer.problem is not None:
            problem = met.answer.problem
        return {
            "scan_id": self.scan_id,
            "file_id": met.file_id or placed[stored_path(met.found.path)],
            "result_id": new.get(met.sha256, met.result_id) if met.sha256 else met.result_id,
            "problem": problem.kind if problem else None,
            "sentence": safe(problem.sentence, 1000) if problem else None,
        }

    def _shipped(self, connection: Connection, name: str) -> int:
        """The number of our dictionary in this database."""
        found = connection.execute(select(about.c.value).where(about.c.name == name)).scalar()
        if found is not None:
            return int(found)
        fresh = dictionary.insert().values(data=shipped()).returning(dictionary.c.id)
        number: int = connection.execute(fresh).scalar_one()
        told = {"name": name, "value": str(number)}
        self._upsert(connection, about, ("name",), [told])
        return number

    def _named(
        self, connection: Connection, table: Table, key: dict[str, Any], rest: dict[str, Any]
    ) -> int:
        """The number of the row with a key, which is made when there is none."""
        self._upsert(connection, table, tuple(key), [key | rest])
        number = self._find(connection, table, key)
        assert number is not None
        return number

    def _find(self, connection: Connection, table: Table, key: dict[str, Any]) -> int | None:
        same = and_(*(table.c[name] == value for name, value in key.items()))
        number: int | None = connection.execute(select(table.c.id).where(same)).scalar()
        return number

    def _upsert(
        self,
        connection: Connection,
        table: Table,
        key: tuple[str, ...],
        rows: Iterable[dict[str, Any]],
    ) -> None:
        """Write rows; where there is one with the same key, its other columns are overwritten."""
        ready = list(rows)
        if not ready:
            return
        if connection.dialect.name == "postgresql":
            from sqlalchemy.dialects.postgresql import insert
        else:
            from sqlalchemy.dialects.sqlite import insert  # type: ignore[assignment]
        statement = insert(table)
        rest = {name: statement.excluded[name] for name in ready[0] if name not in key}
        connection.execute(
            statement.on_conflict_do_update(index_elements=list(key), set_=rest), ready
        )


def _columns_of(asked: Rules) -> dict[str, Any]:
    return {"hvci": __version__, "catalogue": catalogue_digest(), "options": asked.options}


def stored_path(path: str) -> str:
    """A path as text that every database takes; a name that is no text is told apart by its bytes.

    Paths are absolute, so that no other one begins with the mark.
    """
    try:
        path.encode()
        return path
    except UnicodeEncodeError:
        raw = os.fsencode(path) if os.name == "posix" else path.encode("utf-16-le", "surrogatepass")
        return "bytes:" + "".join(
            chr(byte) if 0x20 < byte < 0x7F and byte != 0x25 else f"%{byte:02X}" for byte in raw
        )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
