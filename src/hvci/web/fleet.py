"""The fleet's columns in the life of a server: made anew by a process of its own when they are old.

While they are made the older ones answer, and without any a page can say how far it is.
"""

from __future__ import annotations

import json
import multiprocessing
import threading
import time
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from hvci.errors import HvciError
from hvci.fleet.database import Database, opened
from hvci.web.fleet_columns import build, key_of
from hvci.web.fleet_index import Index

LOOK = 5.0
"""Seconds between two looks whether a scan has changed something."""
APART = 60.0
"""Seconds between two builds, while a scan goes on."""


class Fleet:
    """The columns of one database."""

    def __init__(self, where: str, home: Path) -> None:
        self.where = where
        self._folder = home / "fleet" / sha256(where.encode()).hexdigest()[:16]
        self._lock = threading.Lock()
        self._database: Database | None = None
        self._index: Index | None = None
        self._key = ""
        self._looked = 0.0
        self._built = -APART
        self._process: multiprocessing.process.BaseProcess | None = None
        self.problem = ""

    def database(self) -> Database:
        """The results themselves."""
        with self._lock:
            if self._database is None:
                self._database = opened(self.where)
            return self._database

    def close(self) -> None:
        """Let go of the database and of a build that goes on."""
        with self._lock:
            if self._process is not None:
                self._process.kill()
                self._process.join()
            if self._database is not None:
                self._database.close()
            self._database = None

    def index(self) -> Index | None:
        """The newest columns there are; None where the first ones are still made."""
        database = self.database()
        with self._lock:
            now = time.monotonic()
            if self._index is None or now - self._looked > LOOK:
                self._look(database, now)
            return self._index

    def progress(self) -> tuple[int, int]:
        """Rows that are read, and all of them."""
        with suppress(OSError, ValueError, TypeError):
            done, total = json.loads((self._folder / "progress").read_text())
            return int(done), int(total)
        return 0, 0

    def _look(self, database: Database, now: float) -> None:
        self._looked = now
        with database.reading() as connection:
            key = key_of(connection)
        if key == self._key:
            return
        if self._process is not None:
            if self._process.is_alive():
                return
            self._process.join()
            code, self._process = self._process.exitcode, None
            self.problem = f"the scans could not be read (exit code {code})" if code else ""
        if (self._folder / key / "names.json").is_file():
            self._index, self._key, self.problem = Index(self._folder / key), key, ""
        elif now - self._built >= APART:
            self._built = now
            self._begin()

    def _begin(self) -> None:
        if self.problem:
            told, self.problem = self.problem, ""
            raise HvciError(told)
        self._folder.mkdir(parents=True, exist_ok=True)
        context = multiprocessing.get_context("spawn")
        process = context.Process(target=build, args=(self.where, str(self._folder)), daemon=True)
        process.start()
        self._process = process
