"""Every evaluation and its answers, on disk before anyone hears of them.

A job is finished, or said to be interrupted, whatever befell the server. Knows no drivers: an
answer is what somebody will want to see of it, and a compressed document.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hvci.errors import StoreError
from hvci.web.parts import Part, unpacked
from hvci.web.uploads import Kept

TRIES = 3
"""After so many starts of the server a job is given up: it may be the one that ends it."""
WAITING, RUNNING, DONE, INTERRUPTED = "waiting", "running", "done", "interrupted"
OPEN = (WAITING, RUNNING)
_SCHEMA = """
CREATE TABLE IF NOT EXISTS job (
    id TEXT PRIMARY KEY, made REAL NOT NULL, ended REAL, state TEXT NOT NULL, kind TEXT NOT NULL,
    options TEXT NOT NULL, targets TEXT NOT NULL, told TEXT NOT NULL, tries INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS job_made ON job (made);
CREATE TABLE IF NOT EXISTS answer (
    job TEXT NOT NULL, target INTEGER NOT NULL, part INTEGER NOT NULL, glance TEXT NOT NULL,
    document BLOB NOT NULL, PRIMARY KEY (job, target, part)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Target:
    """One thing to evaluate: a file, or several that belong together."""

    name: str
    files: tuple[Kept, ...]
    is_folder: bool = False


@dataclass(frozen=True, slots=True)
class Job:
    """What somebody asked for."""

    id: str
    made: float
    ended: float | None
    state: str
    kind: str
    """"evaluate" or "verify"."""
    options: Mapping[str, Any]
    targets: tuple[Target, ...]
    told: str
    """Why it was interrupted."""

    @property
    def is_open(self) -> bool:
        """Whether answers are still to come."""
        return self.state in OPEN


def job_id(kind: str, options: Mapping[str, Any], targets: Sequence[Target], rules: str) -> str:
    """The same question has the same name for ever: a permanent link."""
    asked = [kind, dict(options), [_fields(target) for target in targets], rules]
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).digest()
    return base64.b32encode(digest[:15]).decode().lower()


class Jobs:
    """The jobs on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=30, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"{path}: {error}") from error

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._lock, self._connection:
                yield self._connection
        except sqlite3.Error as error:
            raise StoreError(f"{self.path}: {error}") from error

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._connection.close()

    def add(self, job: Job) -> Job:
        """Keep a job; one of the same name that is there and not interrupted stays as it is."""
        with self._open() as connection:
            known = _one(connection, job.id)
            if known is not None and known.state != INTERRUPTED:
                return known
            row = (job.id, job.made, None, WAITING, job.kind, json.dumps(dict(job.options)))
            targets = json.dumps([_fields(target) for target in job.targets])
            connection.execute(
                "INSERT OR REPLACE INTO job VALUES (?, ?, ?, ?, ?, ?, ?, '', 0)", (*row, targets)
            )
            return job

    def find(self, name: str) -> Job | None:
        """The job of that name."""
        with self._open() as connection:
            return _one(connection, name)

    def newest(self, kind: str, most: int) -> list[Job]:
        """The last jobs, the newest first."""
        with self._open() as connection:
            rows = connection.execute(
                _NEWEST,
                (kind, most),
            )
            return [_job(row) for row in rows]

    def unfinished(self) -> list[Job]:
        """What a server that ended left behind, in order; what ended several is given up."""
        with self._open() as connection:
            connection.execute("UPDATE job SET tries = tries + 1 WHERE state IN (?, ?)", OPEN)
            told = f"the server ended {TRIES} times before this was done; ask for it again"
            connection.execute(
                "UPDATE job SET state = ?, told = ?, ended = ? "
                "WHERE state IN (?, ?) AND tries >= ?",
                (INTERRUPTED, told, time.time(), *OPEN, TRIES),
            )
            rows = connection.execute(_UNFINISHED, OPEN)
            return [_job(row) for row in rows]

    def set_state(self, name: str, state: str, told: str = "") -> None:
        """What became of a job."""
        ended = None if state in OPEN else time.time()
        with self._open() as connection:
            connection.execute(
                "UPDATE job SET state = ?, told = ?, ended = ? WHERE id = ?",
                (state, told, ended, name),
            )

    def keep(self, name: str, target: int, parts: Sequence[Part]) -> None:
        """Keep the answers about one target."""
        rows = [
            (name, target, number, json.dumps(dict(part.glance)), part.data)
            for number, part in enumerate(parts)
        ]
        with self._open() as connection:
            connection.executemany("INSERT OR REPLACE INTO answer VALUES (?, ?, ?, ?, ?)", rows)

    def answered(self, name: str) -> set[int]:
        """The targets that have their answers."""
        with self._open() as connection:
            rows = connection.execute("SELECT DISTINCT target FROM answer WHERE job = ?", (name,))
            return {number for (number,) in rows}

    def glances(self, name: str) -> list[dict[str, Any]]:
        """What an overview shows, in the order of the targets."""
        with self._open() as connection:
            rows = connection.execute(
                "SELECT glance FROM answer WHERE job = ? ORDER BY target, part", (name,)
            )
            return [json.loads(text) for (text,) in rows]

    def documents(self, name: str, number: int | None = None) -> list[dict[str, Any]]:
        """The answers themselves, all or the one with that number."""
        some = (-1, 0) if number is None else (1, number)
        with self._open() as connection:
            rows = connection.execute(
                "SELECT document FROM answer WHERE job = ? ORDER BY target, part LIMIT ? OFFSET ?",
                (name, *some),
            ).fetchall()
        return [unpacked(blob) for (blob,) in rows]

    def delete(self, name: str) -> bool:
        """Forget a job and its answers; False where there is none."""
        with self._open() as connection:
            connection.execute("DELETE FROM answer WHERE job = ?", (name,))
            return connection.execute("DELETE FROM job WHERE id = ?", (name,)).rowcount > 0


_SELECT = "SELECT id, made, ended, state, kind, options, targets, told FROM job "
_NEWEST = _SELECT + "WHERE kind = ? ORDER BY made DESC LIMIT ?"
_UNFINISHED = _SELECT + "WHERE state IN (?, ?) ORDER BY made"
_ONE = _SELECT + "WHERE id = ?"


def _one(connection: sqlite3.Connection, name: str) -> Job | None:
    row = connection.execute(_ONE, (name,)).fetchone()
    return None if row is None else _job(row)


def _job(row: Sequence[Any]) -> Job:
    name, made, ended, state, kind, options, targets, told = row
    read = tuple(
        Target(one["name"], tuple(Kept(*file) for file in one["files"]), one["is_folder"])
        for one in json.loads(targets)
    )
    return Job(name, made, ended, state, kind, json.loads(options), read, told)


def _fields(target: Target) -> dict[str, Any]:
    files = [list(file) for file in target.files]
    return {"name": target.name, "files": files, "is_folder": target.is_folder}
