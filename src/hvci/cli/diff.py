"""`hvci diff`: what changed between two drivers, two reports, two folders or two scans."""

from __future__ import annotations

from pathlib import Path

import click

from hvci.cli.fleet import DEFAULT, need_fleet
from hvci.cli.settings import evaluated, policy_options, settings


@click.command("diff", short_help="Compare two versions of drivers, reports or scans.")
@click.argument("old")
@click.argument("new")
@policy_options
@click.option("-v", "--verbose", is_flag=True, help="List what stayed the same as well.")
@click.option(
    "--database",
    "-d",
    "where",
    metavar="FILE|URL",
    help="OLD and NEW are scans of this database: their numbers, previous or last. "
    f"[default: {DEFAULT} for previous and last]",
)
def command(
    old: str,
    new: str,
    target_os: str | None,
    config: str | None,
    no_config: bool,
    profile: str | None,
    undecided: str | None,
    verbose: bool,
    where: str | None,
) -> int:
    """Compare OLD and NEW: drivers, folders, saved reports or scans. Findings are matched by
    function and DDI rather than by address, the files of scans by their path.

    Exit code 1 when NEW has a failure or a doubt that OLD has not, or no driver where OLD has one,
    4 when something cannot be read, else 0.

    \b
    hvci diff v1\\driver.sys v2\\driver.sys
    hvci diff last-week.json build\\Release
    hvci diff previous last --database fleet.db
    """
    if where is None and _are_scans(old, new):
        where = DEFAULT
    if where is not None:
        return _scans(where, old, new)
    from hvci.report import worst
    from hvci.report.diff import compare, to_diff_text

    rules = settings(target_os, config, no_config, profile, undecided)
    before, after = (rules.judged(evaluated((word,), rules.policy)) for word in (old, new))
    for error in (*before.errors, *after.errors):
        click.echo(f"hvci: {error.path}: {error.message}", err=True)
    if any(_is_number(word) for word in (old, new)):
        click.echo("hvci: for scans by their numbers name the database: --database FILE", err=True)
    differences = compare(before, after)
    click.echo(to_diff_text(differences, verbose=verbose), nl=False)
    code = worst({before.error_code, after.error_code})
    return code or int(any(difference.worse for difference in differences))


def _are_scans(old: str, new: str) -> bool:
    """Whether two words can only mean scans: one is a name that only scans have, none is a file."""
    words = {old, new}
    is_scan = all(word in _SCANS or word.isdigit() for word in words) and bool(words & _SCANS)
    return is_scan and Path(DEFAULT).is_file() and not any(Path(word).exists() for word in words)


def _is_number(word: str) -> bool:
    return word.isdigit() and not Path(word).exists()


_SCANS = frozenset(("previous", "last"))


def _scans(where: str, old: str, new: str) -> int:
    """Compare two scans, file by file."""
    need_fleet()
    from hvci.fleet.comparing import changes, line, unlike
    from hvci.fleet.database import opened
    from hvci.fleet.views import scan_number

    database, worse, number = opened(where), False, 0
    try:
        with database.reading() as connection:
            first, second = (scan_number(connection, word) for word in (old, new))
            for told in unlike(connection, first, second):
                click.echo(f"hvci: {told}", err=True)
            for one in changes(connection, first, second):
                click.echo(line(one))
                number += 1
                worse = worse or one.worse
    finally:
        database.close()
    click.echo(f"scan {first} to scan {second}: {number} files changed")
    return int(worse)
