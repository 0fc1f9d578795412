"""`hvci export`: the rows of a scan for other programs."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import click

from hvci.cli.fleet import database_option, machine_option, need_fleet, scan_option, tell_of_scans
from hvci.errors import UsageError


@click.command("export")
@database_option
@machine_option
@scan_option
@click.option("--csv", "csv_file", metavar="FILE", help="Write CSV; - is standard output.")
@click.option("--parquet", metavar="FILE", help="Write Parquet (pip install pyarrow).")
def command(
    where: str, machine: str, number: int | None, csv_file: str | None, parquet: str | None
) -> int:
    """Write one row for each file that the current scans met.

    \b
    hvci export --csv fleet.csv
    hvci export --parquet fleet.parquet --database fleet.db --machine desk-17
    """
    need_fleet()
    if csv_file is None and parquet is None:
        raise UsageError("want --csv FILE or --parquet FILE")
    if parquet is not None and find_spec("pyarrow") is None:
        raise UsageError("--parquet needs pyarrow: pip install pyarrow")
    from hvci.fleet.database import opened
    from hvci.fleet.exporting import to_csv, to_parquet
    from hvci.fleet.views import View

    database, view = opened(where), View(machine, number)
    try:
        with database.reading() as connection:
            tell_of_scans(connection, view)
            if csv_file == "-":
                to_csv(connection, view, sys.stdout)
            elif csv_file is not None:
                with Path(csv_file).open("w", encoding="utf-8", newline="") as stream:
                    _told(csv_file, to_csv(connection, view, stream))
            if parquet is not None:
                _told(parquet, to_parquet(connection, view, parquet))
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UsageError(f"cannot write: {error.strerror or error}") from error
    finally:
        database.close()
    return 0


def _told(file: str, rows: int) -> None:
    click.echo(f"{file}: {rows} rows", err=True)
