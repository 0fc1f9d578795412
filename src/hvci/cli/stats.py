"""`hvci stats`: the numbers of a scan, in the terminal and as a page."""

from __future__ import annotations

from pathlib import Path

import click

from hvci.cli.fleet import database_option, machine_option, need_fleet, scan_option, tell_of_scans
from hvci.errors import UsageError


@click.command("stats", short_help="Add up what the scans met.")
@database_option
@machine_option
@scan_option
@click.option("--html", metavar="FILE", help="Write a page with pictures and no script.")
def command(where: str, machine: str, number: int | None, html: str | None) -> int:
    """Add up what the current scans met: verdicts, rules, DDIs, vendors, signatures.

    \b
    hvci stats --database fleet.db
    hvci stats --html fleet.html
    """
    need_fleet()
    from hvci.fleet.database import opened
    from hvci.fleet.statistics import statistics, to_html, to_text
    from hvci.fleet.views import View

    database = opened(where)
    try:
        with database.reading() as connection:
            view = View(machine, number)
            found = statistics(connection, view)
            tell_of_scans(connection, view)
    finally:
        database.close()
    if html is None:
        click.echo(to_text(found), nl=False)
        return 0
    try:
        Path(html).write_text(to_html(found), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {html}: {error.strerror or error}") from error
    return 0
