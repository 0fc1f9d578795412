"""`hvci query`: ask the database of a scan."""

from __future__ import annotations

import csv
import io
import json
from itertools import islice
from typing import TYPE_CHECKING

import click

from hvci.cli.fleet import database_option, machine_option, need_fleet, scan_option, tell_of_scans
from hvci.cli.table import table
from hvci.errors import UsageError
from hvci.report.safe import safe

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from hvci.fleet.questions import Answered
    from hvci.fleet.views import View

LONGEST = 120
"""Characters of a cell in a terminal."""


@click.command("query")
@click.argument("question", required=False)
@click.argument("word", default="")
@database_option
@machine_option
@scan_option
@click.option("--sql", metavar="SELECT", help="Ask this instead; only reading is allowed.")
@click.option(
    "--limit",
    type=click.IntRange(1, 10_000_000),
    default=100,
    show_default=True,
    metavar="N",
    help="Rows at most.",
)
@click.option(
    "-f",
    "--format",
    "form",
    type=click.Choice(["text", "csv", "json"]),
    default="text",
    show_default=True,
)
def command(
    question: str | None,
    word: str,
    where: str,
    machine: str,
    number: int | None,
    sql: str | None,
    limit: int,
    form: str,
) -> int:
    """Ask the database of hvci scan.

    \b
    QUESTION is one of
      will-not-load, breaks, fails-readiness, undecided
                                drivers by what becomes of them
      update-first              the worst and most common first
      vendor, rule, ddi [NAME]  what fails by them, or drivers of one
      package [NAME]            packages, or drivers of one: INF, oemN, service
      installed                 drivers of a Windows that fail, and what to do
      boot                      drivers that start with Windows and may not work
      machine                   machines and what their drivers say
      changed [SCAN]            since the scan before, or since SCAN
      not-judged, problems      no driver, or damaged; no answer and why
      report PATH|NAME|SHA256   the stored report itself
      scans                     the scans in the database

    Asked is what the current scans met: the last one of the same targets on each machine.

    \b
    hvci query update-first
    hvci query ddi ExAllocatePoolWithTag --format csv --limit 100000
    hvci query --sql "SELECT vendor, count(*) FROM result GROUP BY vendor"
    """
    need_fleet()
    if (question is None) == (sql is None):
        raise UsageError("want a question or --sql; see hvci query --help")
    from hvci.fleet.database import opened
    from hvci.fleet.views import View

    database, view = opened(where), View(machine, number)
    try:
        if sql is not None:
            from hvci.fleet.sql import ask_sql

            answered = ask_sql(database, sql, limit)
        elif question == "report":
            with database.reading() as connection:
                return _reports(connection, view, word, form)
        else:
            with database.reading() as connection:
                answered = _answered(connection, str(question), view, word, limit)
                _tell(connection, str(question), view)
    finally:
        database.close()
    click.echo(_shown(answered, form), nl=False)
    if answered.more:
        click.echo(f"hvci: more than {limit} rows; see --limit", err=True)
    return 0


def _answered(connection: Connection, question: str, view: View, word: str, limit: int) -> Answered:
    from hvci.fleet.asides import plain_word, refuse_unknown
    from hvci.fleet.questions import QUESTIONS, ask

    if question == "changed":
        return _changed(connection, view, word, limit)
    if question not in QUESTIONS:
        known = ", ".join([*QUESTIONS, "changed", "report"])
        raise UsageError(f"{safe(question)}: no such question; there are {known}")
    if word and not QUESTIONS[question].word:
        raise UsageError(f"{question} takes no further word")
    found = ask(connection, question, view, plain_word(question, word), limit)
    if word and not found.rows:
        refuse_unknown(connection, question, view, plain_word(question, word))
    return found


def _tell(connection: Connection, question: str, view: View) -> None:
    """Say what the rows do not."""
    from hvci.fleet.asides import asides

    if question != "scans":
        tell_of_scans(connection, view)
        for one in asides(connection, question, view):
            click.echo(f"hvci: {one}", err=True)


def _changed(connection: Connection, view: View, word: str, limit: int) -> Answered:
    from hvci.fleet.comparing import changes
    from hvci.fleet.questions import Answered
    from hvci.fleet.views import before, newest, scan_number

    new = newest(connection, view)
    old = scan_number(connection, word) if word else before(connection, new)
    if old is None:
        raise UsageError(f"there is no earlier scan of the targets of scan {new}")
    found = list(islice(changes(connection, old, new), limit + 1))
    rows = tuple(
        (
            one.change.value,
            one.path,
            one.before.said if one.before else None,
            one.after.said if one.after else None,
        )
        for one in found[:limit]
    )
    return Answered(("change", "path", "before", "after"), rows, len(found) > limit)


def _reports(connection: Connection, view: View, word: str, form: str) -> int:
    from hvci.fleet.stored import reports
    from hvci.report import Document, Format, render

    if not word:
        raise UsageError("report wants a path, a file name or a SHA-256")
    whole = Document()
    for one in reports(connection, view, word):
        version = one.tool_version if one.reports else whole.tool_version
        found, errors = (*whole.reports, *one.reports), (*whole.errors, *one.errors)
        whole = Document(found, errors, tool_version=version)
    if not (whole.reports or whole.errors):
        raise UsageError(f"{safe(word)}: the current scans have no report of this")
    click.echo(render(whole, Format(form)), nl=False)
    return whole.error_code


def _shown(answered: Answered, form: str) -> str:
    from hvci.fleet.exporting import plain

    if form == "json":
        rows = [dict(zip(answered.heads, row, strict=True)) for row in answered.rows]
        return json.dumps(rows, indent=1, default=repr).replace("\x7f", "\\u007f") + "\n"
    if form == "csv":
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerows([answered.heads, *([*map(plain, row)] for row in answered.rows)])
        return stream.getvalue()
    if not answered.rows:
        return "nothing\n"
    cells = [tuple(_cell(cell) for cell in row) for row in answered.rows]
    return table([safe(head).upper() for head in answered.heads], cells)


def _cell(cell: object) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, bytes):
        return f"{len(cell)} bytes"
    return safe(str(cell), LONGEST)
