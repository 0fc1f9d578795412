"""Writes what a scan meets, and tells what is known already; a batch is kept whole or not at all.

Knows tables and rows; knows nothing of files, processes and terminals.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import Connection, Table, and_, bindparam, delete, func, or_, select, update

from hvci import __version__
from hvci.errors import StoreError
from hvci.fleet import running
from hvci.fleet.batches import batches
from hvci.fleet.database import Database
from hvci.fleet.packed import digest_of, shipped
from hvci.fleet.rows import PACKAGE
from hvci.fleet.rules import Rules, catalogue_digest
from hvci.fleet.schema import (
    about,
    body,
    dictionary,
    file,
    finding,
    member,
    package,
    result,
    rules,
    scan,
    seen,
    tally,
)
from hvci.fleet.tallies import add_up
from hvci.fleet.walk import Place, Problem
from hvci.fleet.worker import Answer
from hvci.model import Installed, Package
from hvci.report.safe import safe

Key = tuple[str, str]
"""The content of a file, and what of its surroundings changes its result."""
_STAMP = ("size", "changed", "inode", "touched")
AT_ONCE = 500
"""Parameters of one IN; databases have a limit."""


class Known(NamedTuple):
    """What the database knows of a place."""

    file_id: int
    size: int
    changed: int | None
    inode: int | None
    touched: int | None
    result_id: int | None
    kind: str | None = None
    """Of the result."""

    def still(self, place: Place) -> bool:
        """Whether the file is the one that the result is about, as far as one sees from outside."""
        key = (place.size, place.changed, place.inode, place.touched)
        mine = (self.size, self.changed, self.inode, self.touched)
        return self.result_id is not None and mine == key


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
    about: str = ""
    package: Package | None = None
    package_id: int | None = None
    """Given when the package is in the database already."""
    told: Problem | None = None
    """What is wrong besides its result."""
    members: list[Met] | None = None
    """Of an archive that was opened, to be known by its content."""

    @property
    def problem(self) -> Problem | None:
        """Why there is no answer, or not a whole one."""
        if isinstance(self.found, Problem):
            return self.found
        lost = self.answer.problem if self.answer is not None else None
        return lost or self.told


class Store:
    """One scan's view of the database."""

    def __init__(self, database: Database, asked: Rules, host: str) -> None:
        if database.engine.dialect.name not in ("sqlite", "postgresql"):
            raise StoreError(f"{database.name}: only SQLite and PostgreSQL are supported")
        self.database = database
        self.host = safe(host)
        self.scan_id = 0
        self._asked = asked
        self._abouts: dict[str, int] = {}
        self._packages: dict[Package, int] = {}
        with database.writing() as connection:
            self._rules = self._named(
                connection, rules, {"digest": asked.digest}, _columns_of(asked)
            )
            name = f"dictionary {digest_of(shipped())}"
            self._dictionary = self._shipped(connection, name)
        self._abouts[""] = self._rules

    def rules_of(self, abouts: Iterable[str]) -> dict[str, int]:
        """The numbers of the rules for files of which `Rules.beside` says these things."""
        new = set(abouts) - self._abouts.keys()
        if new:
            rest = _columns_of(self._asked)
            with self.database.writing() as connection:
                for said in sorted(new):
                    key = {"digest": self._asked.digest_with(said)}
                    columns = {**rest, "options": f"{rest['options']} {said}"}
                    self._abouts[said] = self._named(connection, rules, key, columns)
        return self._abouts

    def begin(self, targets: str) -> None:
        """Start a scan, or take up one of the same targets and rules that was not finished and that
        nobody is about to finish.
        """
        mine = and_(scan.c.host == self.host, scan.c.targets == targets)
        with self.database.writing() as connection:
            open_ones = select(scan.c.id).where(
                mine, scan.c.rules_id == self._rules, scan.c.ended.is_(None)
            )
            for found in connection.scalars(open_ones.order_by(scan.c.id.desc())).all():
                if not self._is_running(connection, found):
                    self.scan_id = found
                    # What was evaluated stays; what is no longer there must not look as if it were.
                    connection.execute(delete(seen).where(seen.c.scan_id == found))
                    self._live(connection)
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
            self._live(connection)

    def _live(self, connection: Connection) -> None:
        """Give a sign of life."""
        told = {"name": running.name_of(self.scan_id), "value": running.sign()}
        self._upsert(connection, about, ("name",), [told])

    def _is_running(self, connection: Connection, scan_id: int) -> bool:
        said = select(about.c.value).where(about.c.name == running.name_of(scan_id))
        return running.is_alive(connection.execute(said).scalar())

    def finish(self) -> int:
        """The scan met everything: it is now what the targets are like. Gives the number of files
        that are damaged, or no drivers.
        """
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
            connection.execute(delete(tally).where(tally.c.scan_id == self.scan_id))
            add_up(connection, self.scan_id, before if before != self.scan_id else None)
            sign = running.name_of(self.scan_id)
            connection.execute(delete(about).where(about.c.name == sign))
            unjudged = select(func.coalesce(func.sum(tally.c.files), 0)).where(
                tally.c.scan_id == self.scan_id, tally.c.kind == "kind", tally.c.name != "report"
            )
            return int(connection.execute(unjudged).scalar_one())

    def known(self, places: Sequence[Place], abouts: Mapping[str, str]) -> dict[str, Known]:
        """What is known of these places, by path; `abouts` has what is said of some of them."""
        found: dict[str, Known] = {}
        groups: dict[int, dict[str, str]] = {}
        numbers = self.rules_of(abouts.values())
        for place in places:
            number = numbers[abouts.get(place.path, "")]
            groups.setdefault(number, {})[stored_path(place.path)] = place.path
        with self.database.reading() as connection:
            for number, paths in groups.items():
                same = and_(result.c.sha256 == file.c.sha256, result.c.rules_id == number)
                columns = [file.c[name] for name in ("path", "id", *_STAMP)]
                query = (
                    select(*columns, result.c.id, result.c.kind)
                    .select_from(file.outerjoin(result, same))
                    .where(
                        file.c.host == self.host, file.c.path.in_(bindparam("some", expanding=True))
                    )
                )
                for some in batches(paths, AT_ONCE):
                    for path, *rest in connection.execute(query, {"some": some}).all():
                        found[paths[path]] = Known(*rest)
        return found

    def has_answer(self, target: str) -> bool:
        """Whether this scan has an answer for a driver at a path or below it."""
        path = stored_path(target)
        places = [path + end for end in ("/", "\\", "!")]
        begins = [func.substr(file.c.path, 1, len(each)) == each for each in places]
        query = (
            select(seen.c.file_id)
            .join(file)
            .join(result)
            .where(seen.c.scan_id == self.scan_id, result.c.kind != PACKAGE)
            .where(or_(file.c.path == path, *begins))
        )
        with self.database.reading() as connection:
            return connection.execute(query.limit(1)).first() is not None

    def results(self, keys: Iterable[Key]) -> dict[Key, tuple[int, str]]:
        """Number and kind of the results that there are for contents."""
        with self.database.reading() as connection:
            return self._results(connection, keys)

    def _results(self, connection: Connection, keys: Iterable[Key]) -> dict[Key, tuple[int, str]]:
        groups: dict[str, dict[str, None]] = {}
        for sha256, said in keys:
            groups.setdefault(said, {})[sha256] = None
        found: dict[Key, tuple[int, str]] = {}
        for said, hashes in groups.items():
            for some in batches(hashes, AT_ONCE):
                query = select(result.c.sha256, result.c.id, result.c.kind).where(
                    result.c.rules_id == self._abouts[said], result.c.sha256.in_(some)
                )
                for sha256, number, kind in connection.execute(query):
                    found[sha256, said] = (number, kind)
        return found

    def inside(self, path: str, number: int) -> list[Met]:
        """The members of an archive that was opened before, now met at this path.

        One at the path of the archive itself says what is wrong with it.
        """
        query = select(
            member.c.name,
            member.c.size,
            member.c.sha256,
            member.c.result_id,
            member.c.package_id,
            member.c.problem,
            member.c.sentence,
        ).where(member.c.archive_id == number)
        with self.database.reading() as connection:
            rows = connection.execute(query.order_by(member.c.number)).all()
        found = []
        for name, size, sha256, result_id, package_id, problem, sentence in rows:
            told = Problem(f"{path}{name}", problem, sentence) if problem else None
            if told is not None and sha256 is None:
                found.append(Met(told))  # as it was met when the archive was opened
                continue
            place = Place(f"{path}{name}", size, 0, 0)
            one = Met(place, sha256=sha256, result_id=result_id, package_id=package_id, told=told)
            found.append(one)
        return found

    def keep(self, met: Sequence[Met]) -> None:
        """Write down what the scan met."""
        if not met:
            return
        with self.database.writing() as connection:
            self._packages.clear()  # numbers of a batch that fails are none
            answers: dict[Key, Answer] = {}
            for one in met:
                if one.answer is not None and one.answer.row is not None and one.sha256:
                    answers.setdefault((one.sha256, one.about), one.answer)
            new = self._kept(connection, answers)
            placed = self._placed(connection, [one for one in met if one.file_id is None])
            # Nothing is noted in what was met: numbers of a batch that fails are none.
            rows = [self._seen(connection, one, placed, new) for one in met]
            self._live(connection)
            self._upsert(connection, seen, ("scan_id", "file_id"), rows)
            for one in met:
                if one.members is not None and one.sha256:
                    self._keep_members(connection, new[one.sha256, one.about], one)

    def _keep_members(self, connection: Connection, number: int, archive: Met) -> None:
        """Write down what an archive holds and what is wrong with it, by its content."""
        members = [*(archive.members or [])]
        if archive.told is not None:
            members.append(Met(archive.told))
        keys = [(one.sha256, one.about) for one in members if one.sha256 and one.result_id is None]
        known, start = self._results(connection, keys), len(archive.found.path)
        rows = []
        for place, one in enumerate(members):
            found = known.get((one.sha256 or "", one.about), (one.result_id, ""))[0]
            rows.append(
                {
                    "archive_id": number,
                    "number": place,
                    "name": one.found.path[start:],
                    "size": one.found.size if isinstance(one.found, Place) else 0,
                    "sha256": one.sha256,
                    "result_id": found,
                    "package_id": self._package(connection, one),
                    "problem": one.problem.kind if one.problem else None,
                    "sentence": safe(one.problem.sentence, 1000) if one.problem else None,
                }
            )
        self._upsert(connection, member, ("archive_id", "number"), rows)

    def _package(self, connection: Connection, met: Met) -> int | None:
        """The number of a package, written down where it is new."""
        if met.package is None:
            return met.package_id
        if met.package not in self._packages:
            columns = package_columns(met.package)
            key = {"digest": columns.pop("digest")}
            self._packages[met.package] = self._named(connection, package, key, columns)
        return self._packages[met.package]

    def _kept(self, connection: Connection, answers: Mapping[Key, Answer]) -> dict[Key, int]:
        """The numbers of results, of which another scan may have written some meanwhile."""
        numbers = {key: number for key, (number, _) in self._results(connection, answers).items()}
        # In one order, so that scans that write at once never wait for each other in a circle.
        fresh = {key: answers[key] for key in sorted(answers) if key not in numbers}
        rows = [
            {**one.row.columns, "sha256": sha256, "rules_id": self._abouts[about]}
            for (sha256, about), one in fresh.items()
            if one.row is not None
        ]
        self._upsert(connection, result, ("sha256", "rules_id"), rows)
        for key, (number, _) in self._results(connection, fresh).items():
            numbers[key] = number
        self._keep_bodies(connection, {numbers[key]: one for key, one in fresh.items()})
        return numbers

    def _keep_bodies(self, connection: Connection, answers: Mapping[int, Answer]) -> None:
        """Write down the reports and findings of new results, by number."""
        rest = {"dictionary_id": self._dictionary}
        bodies = [
            {"result_id": number, **rest, "data": one.blob}
            for number, one in answers.items()
            if one.blob
        ]
        self._upsert(connection, body, ("result_id",), bodies)
        found = [
            {"result_id": number, "rule": rule, "outcome": said, "ddi": ddi, "places": places}
            for number, one in answers.items()
            if one.row is not None
            for rule, said, ddi, places in one.row.findings
        ]
        self._upsert(connection, finding, ("result_id", "rule", "outcome", "ddi"), found)

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
            return row | dict.fromkeys(_STAMP) | {"size": 0, "sha256": None}
        changed = met.found.changed if met.settled else None
        key = {name: getattr(met.found, name) for name in _STAMP} | {"changed": changed}
        return row | key | {"sha256": met.sha256}

    def _seen(
        self, connection: Connection, met: Met, placed: dict[str, int], new: dict[Key, int]
    ) -> dict[str, Any]:
        problem = met.problem
        key = (met.sha256 or "", met.about)
        return {
            "scan_id": self.scan_id,
            "file_id": met.file_id or placed[stored_path(met.found.path)],
            "result_id": new.get(key, met.result_id),
            "package_id": self._package(connection, met),
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
        upsert = statement.on_conflict_do_update(index_elements=list(key), set_=rest)
        if table is not seen:
            connection.execute(upsert, ready)
            return
        # Plain numbers and texts, a row for every file: handed over without a look at each.
        compiled = upsert.compile(dialect=connection.dialect, column_keys=list(ready[0]))
        plain: list[Any] = ready
        if compiled.positiontup is not None:
            pick = itemgetter(*compiled.positiontup)
            plain = [pick(row) for row in ready]
        connection.exec_driver_sql(str(compiled), plain)


def _columns_of(asked: Rules) -> dict[str, Any]:
    return {"hvci": __version__, "catalogue": catalogue_digest(), "options": asked.options}


def package_columns(one: Package) -> dict[str, Any]:
    """A package as it is kept; its digest names it."""
    texts = {
        name: safe(value, 1000) for name, value in one._asdict().items() if isinstance(value, str)
    }
    lists = {
        "catalogs": json.dumps([safe(each) for each in one.catalogs]),
        "ids": json.dumps([safe(each) for each in one.ids]),
    }
    digest = hashlib.sha256(json.dumps([*one], default=list).encode("utf-8", "replace")).hexdigest()
    inf = stored_path(one.inf)
    found = one.installed or Installed()
    there = {
        **found._asdict(),
        "installed": one.installed is not None,
        "published": safe(found.published),
    }
    numbers = {"hardware_ids": one.hardware_ids, "digest": digest}
    return {**texts, **lists, **there, **numbers, "inf": inf}


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
