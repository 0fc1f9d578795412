"""What verifier.exe would keep in the registry: the options, the drivers, the last statistics.

An embedded SQLite database in the user's own data folder. Knows no emulator.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from hvci.errors import StoreError

FILE = "verifier.sqlite"
PLACE = "HVCI_HOME"
"""Environment variable that names another folder."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS settings (flags INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS drivers (
    position INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    path TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    block TEXT NOT NULL
);
"""


@dataclass(frozen=True, slots=True)
class VerifiedDriver:
    """One driver under verification with the statistics of its last run."""

    name: str
    path: str
    sha256: str
    block: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Settings:
    """The current settings; `flags` is 0 when nothing is set."""

    flags: int = 0
    drivers: tuple[VerifiedDriver, ...] = ()


def default_folder() -> Path:
    """Where the database lies unless the environment says otherwise."""
    if place := os.environ.get(PLACE):
        return Path(place)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", str(Path.home()))) / "hvci"
    base = os.environ.get("XDG_DATA_HOME", str(Path.home() / ".local" / "share"))
    return Path(base) / "hvci"


class SettingsStore:
    """The persistent settings."""

    def __init__(self, folder: Path | None = None) -> None:
        self.path = (folder or default_folder()) / FILE

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.path)) as connection, connection:
                connection.executescript(_SCHEMA)
                yield connection
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"{self.path}: {error}") from error

    def read(self) -> Settings:
        """The current settings; nothing is created by reading."""
        if not self.path.exists():
            return Settings()
        with self._open() as connection:
            flags = connection.execute("SELECT flags FROM settings").fetchone()
            rows = connection.execute(
                "SELECT name, path, sha256, block FROM drivers ORDER BY position"
            ).fetchall()
        drivers = (
            VerifiedDriver(name, path, digest, json.loads(block))
            for name, path, digest, block in rows
        )
        return Settings(flags[0] if flags else 0, tuple(drivers))

    def write(self, flags: int, drivers: Sequence[VerifiedDriver]) -> None:
        """Replace the settings."""
        rows = [
            (number, driver.name, driver.path, driver.sha256, json.dumps(dict(driver.block)))
            for number, driver in enumerate(drivers)
        ]
        with self._open() as connection:
            connection.execute("DELETE FROM settings")
            connection.execute("DELETE FROM drivers")
            connection.execute("INSERT INTO settings VALUES (?)", (flags,))
            connection.executemany("INSERT INTO drivers VALUES (?, ?, ?, ?, ?)", rows)

    def reset(self) -> bool:
        """Forget everything; False when there was nothing to forget."""
        had = self.read() != Settings()
        if had:
            self.write(0, ())
        return had
