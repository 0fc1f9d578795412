"""Opens a results database, SQLite by path or another by URL; what is wrong is one sentence.

A database of another layout is refused and never touched.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    Table,
    create_engine,
    event,
    insert,
    inspect,
    select,
    update,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from hvci import __version__
from hvci.errors import StoreError
from hvci.fleet.schema import TEXT, VERSION, about, metadata, package, result, seen

OLDER = ("1", "2", "3", "4")
"""Layouts that the next scan brings up to date."""
PATIENCE = 60
"""Seconds to wait for somebody else's lock."""


class Database:
    """An open database; every access goes through `reading` or `writing`."""

    def __init__(self, engine: Engine, name: str) -> None:
        self.engine = engine
        self.name = name

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that changes nothing."""
        reader = self.engine.execution_options(reads=True)
        with plainly(self.name), reader.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A connection whose changes are kept together or not at all."""
        with plainly(self.name), self.engine.begin() as connection:
            yield connection

    def close(self) -> None:
        """Let go of the database."""
        self.engine.dispose()


def create(where: str) -> Database:
    """Open a database to write to; make it when there is none."""
    database = _opened(where, exists=False)
    with database.writing() as connection:
        names = set(inspect(connection).get_table_names())
        if not names:
            metadata.create_all(connection)
            told = {"layout": str(VERSION), "by": __version__}
            rows = [{"name": name, "value": value} for name, value in told.items()]
            connection.execute(insert(about), rows)
            return database
        if "about" in names:
            _brought_up(connection)
        _check(connection, names, database.name)
    return database


def opened(where: str) -> Database:
    """Open a database that is there, to ask it."""
    database = _opened(where, exists=True)
    with database.reading() as connection:
        _check(connection, set(inspect(connection).get_table_names()), database.name)
    return database


def _opened(where: str, exists: bool) -> Database:
    if "://" not in where:
        path = Path(where)
        if exists and not path.is_file():
            raise StoreError(f"{where}: no such database; hvci scan makes one")
        return Database(_sqlite(URL.create("sqlite", database=str(path))), where)
    with plainly("the database"):
        url = make_url(where)
        if url.drivername == "postgresql":
            url = url.set(drivername="postgresql+psycopg")
        name = url.render_as_string(hide_password=True)
        with plainly(name):
            sqlite = url.get_backend_name() == "sqlite"
            return Database(_sqlite(url) if sqlite else _server(url), name)


def _server(url: URL) -> Engine:
    """PostgreSQL compiles a question over many rows by itself, which takes longer than to answer
    any of ours.
    """
    engine = create_engine(url)

    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, _record: object) -> None:  # noqa: ANN401 (of any driver)
        if url.get_backend_name() == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT set_config('jit', 'off', false) FROM pg_settings WHERE name = 'jit'"
                )
            connection.commit()

    return engine


def _sqlite(url: URL) -> Engine:
    engine = create_engine(url, connect_args={"timeout": PATIENCE})

    @event.listens_for(engine, "connect")
    def on_connect(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # transactions begin below, not by the driver's guess
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA trusted_schema=OFF")

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        # A reader that turns writer cannot wait for another writer, so a writer says it first.
        reads = connection.get_execution_options().get("reads", False)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


def _layout(connection: Connection) -> str | None:
    return connection.execute(select(about.c.value).where(about.c.name == "layout")).scalar()


def _brought_up(connection: Connection) -> None:
    """Bring an older layout up to date; nothing that is there changes."""
    before = _layout(connection)
    if before not in OLDER:
        return
    if before == "1":
        _from_1_to_2(connection)
    elif before == "2":
        _from_2_to_3(connection)
    if before != "4":
        _from_3_to_4(connection)
    connection.exec_driver_sql("ALTER TABLE file ADD COLUMN touched BIGINT")
    connection.execute(update(about).where(about.c.name == "layout").values(value=str(VERSION)))


def _from_1_to_2(connection: Connection) -> None:
    """Make room for packages and archives, in tables as they are now."""
    kind = "INTEGER" if connection.dialect.name == "sqlite" else "BIGINT"
    column = f"package_id {kind} REFERENCES package(id)"
    connection.exec_driver_sql(f"ALTER TABLE seen ADD COLUMN {column}")
    metadata.create_all(connection)
    _index(connection, seen)


def _from_2_to_3(connection: Connection) -> None:
    """Make room for what a Windows says of a package."""
    for column in (
        "installed BOOLEAN NOT NULL DEFAULT false",
        "published TEXT NOT NULL DEFAULT ''",
        "devices INTEGER",
        "storage BOOLEAN NOT NULL DEFAULT false",
        "staged BOOLEAN NOT NULL DEFAULT false",
    ):
        connection.exec_driver_sql(f"ALTER TABLE package ADD COLUMN {column}")
    _index(connection, seen, package)


def _from_3_to_4(connection: Connection) -> None:
    """Index results by their fate, and order texts by their bytes."""
    if connection.dialect.name == "postgresql":
        for table in metadata.sorted_tables:
            for column in table.columns:
                if column.type is TEXT:
                    change = f'ALTER COLUMN {column.name} TYPE TEXT COLLATE "C"'
                    connection.exec_driver_sql(f"ALTER TABLE {table.name} {change}")
    for name in ("result_verdict", "result_worst"):
        connection.exec_driver_sql(f"DROP INDEX IF EXISTS {name}")
    _index(connection, result)


def _index(connection: Connection, *tables: Table) -> None:
    for table in tables:
        for index in table.indexes:
            index.create(connection, checkfirst=True)


def _check(connection: Connection, names: set[str], where: str) -> None:
    """Refuse what is no database of hvci, or has another layout."""
    if "about" not in names:
        raise StoreError(f"{where}: a database, but not one of hvci scan; nothing was changed")
    found = _layout(connection)
    if found in OLDER:
        raise StoreError(
            f"{where}: an older layout; the next hvci scan into it brings it up to date"
        )
    if found != str(VERSION):
        told = str(found)[:20] if found else "none"
        raise StoreError(
            f"{where}: its layout is {told!r}, this hvci reads {VERSION}; use the hvci that made "
            "it, or scan into a new file"
        )


@contextmanager
def plainly(where: str) -> Iterator[None]:
    """Turn what the database says into one sentence."""
    try:
        yield
    except DBAPIError as error:
        raise StoreError(f"{where}: {_sentence(str(error.orig))}") from error
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise StoreError(f"{where}: the driver of this database is missing: {error}") from error
    except ArgumentError as error:
        raise StoreError(f"{where}: this is no URL of a database") from error
    except SQLAlchemyError as error:
        raise StoreError(f"{where}: {_sentence(str(error))}") from error


def _sentence(said: str) -> str:
    first = " ".join(said.split())
    for mark, sentence in _SENTENCES.items():
        if mark in first:
            return sentence
    return first[:300]


_SENTENCES = {
    "database is locked": "another program keeps it locked; run the same command again to go on",
    "disk is full": "the disk is full; what was done is kept, run the same command again to go on",
    "unable to open database file": "it cannot be opened; is there its folder, and may you write?",
    "readonly database": "it cannot be written to",
    "file is not a database": "this is no database",
    "disk image is malformed": "the database is damaged",
}
