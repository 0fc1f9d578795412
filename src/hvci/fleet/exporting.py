"""Everything that the scans of a view say, one row a file, for other programs."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Any, TextIO

from sqlalchemy import Connection, Select, select

from hvci.fleet.schema import file, package, result, scan, seen
from hvci.fleet.views import View
from hvci.report.safe import safe

AT_ONCE = 5000
_FORMULA = ("=", "+", "-", "@")
LONGEST = 40_000
"""Characters of a cell; a path can have some 32,000."""
NUMBERS = ("scan", "size", "failures", "doubts", "hardware_ids", "devices")
FLAGS = ("storage", "staged")
PACKAGE = (
    *("inf", "service", "start", "provider", "version", "hardware_ids"),
    *("published", "devices", *FLAGS),
)


def statement(view: View) -> Select[Any]:
    """All rows of a view, in the order in which the database has them."""
    answers = [column for column in result.c if column.name not in ("id", "rules_id", "size")]
    return (
        select(
            scan.c.id.label("scan"),
            scan.c.host.label("machine_name"),
            file.c.path,
            result.c.size,
            *answers,
            *(package.c[name] for name in PACKAGE),
            seen.c.problem,
            seen.c.sentence,
        )
        .select_from(seen.join(scan).join(file).outerjoin(result).outerjoin(package))
        .where(seen.c.scan_id.in_(view.scans))
        .order_by(seen.c.scan_id, seen.c.file_id)
    )


def batches_of(
    connection: Connection, view: View
) -> tuple[tuple[str, ...], Iterator[list[tuple[Any, ...]]]]:
    """The heads, and the rows in batches: a fleet does not fit into memory."""
    view.check(connection)
    answer = connection.execution_options(yield_per=AT_ONCE).execute(statement(view))
    return tuple(answer.keys()), ([tuple(row) for row in some] for some in answer.partitions())


def to_csv(connection: Connection, view: View, stream: TextIO) -> int:
    """Write CSV that no spreadsheet takes for formulas; gives the number of rows."""
    heads, parts = batches_of(connection, view)
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(heads)
    number = 0
    for part in parts:
        writer.writerows([[plain(cell) for cell in row] for row in part])
        number += len(part)
    return number


def plain(cell: object) -> object:
    """A cell that no spreadsheet takes for a formula and no terminal for a command."""
    if not isinstance(cell, str):
        return "" if cell is None else cell
    printable = safe(cell, LONGEST)
    return f"'{printable}" if printable.startswith(_FORMULA) and len(cell) > 1 else printable


def to_parquet(connection: Connection, view: View, path: str) -> int:
    """Write Parquet with zstd; gives the number of rows."""
    import pyarrow
    import pyarrow.parquet

    heads, parts = batches_of(connection, view)
    special = {**dict.fromkeys(NUMBERS, pyarrow.int64()), **dict.fromkeys(FLAGS, pyarrow.bool_())}
    kinds = [(head, special.get(head, pyarrow.string())) for head in heads]
    schema = pyarrow.schema(kinds)
    number = 0
    with pyarrow.parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for part in parts:
            columns = list(zip(*part, strict=True))
            writer.write_table(pyarrow.table(dict(zip(heads, columns, strict=True)), schema=schema))
            number += len(part)
    return number
