"""SQL that a person wrote, held to reading: one statement, no other file, no change.

For SQLite its authorizer decides about every action; PostgreSQL gets a transaction that only reads.
"""

from __future__ import annotations

import sqlite3
from typing import cast

from sqlalchemy import Connection

from hvci.errors import UsageError
from hvci.fleet.database import Database
from hvci.fleet.questions import Answered

_ALLOWED = {
    sqlite3.SQLITE_SELECT,
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_FUNCTION,
    sqlite3.SQLITE_RECURSIVE,
}


def ask_sql(database: Database, sql: str, limit: int) -> Answered:
    """The rows of one statement."""
    with database.reading() as connection:
        connection.begin()
        _hold_to_reading(connection)
        try:
            answer = connection.execution_options(no_parameters=True).exec_driver_sql(sql)
            if not answer.returns_rows:
                raise UsageError("--sql: this statement has no rows; only questions are allowed")
            found = answer.fetchmany(limit + 1)
            names = answer.keys()
            return Answered(tuple(names), tuple(map(tuple, found[:limit])), len(found) > limit)
        finally:
            connection.invalidate()  # what holds it to reading must not outlive the question


def _hold_to_reading(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        held = cast("sqlite3.Connection", connection.connection.dbapi_connection)
        held.execute("PRAGMA query_only=ON")
        held.set_authorizer(_allows)
    else:
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")


def _allows(action: int, *_: object) -> int:
    return sqlite3.SQLITE_OK if action in _ALLOWED else sqlite3.SQLITE_DENY
