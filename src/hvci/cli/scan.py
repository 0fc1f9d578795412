"""`hvci scan`: evaluate very many drivers into a database that can be asked."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hvci.cli.fleet import DEFAULT, database_option, need_fleet
from hvci.cli.gather import is_watched
from hvci.cli.given import Trusted
from hvci.cli.settings import trust_options
from hvci.cli.watched import Show, span
from hvci.errors import InputError, UsageError
from hvci.model import NEWEST, parse_version
from hvci.report.document import INTERRUPTED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hvci.fleet.crew import Crew
    from hvci.fleet.rules import Rules
    from hvci.fleet.scanning import Progress
    from hvci.fleet.walk import Place, Problem


@click.command("scan", short_help="Evaluate very many drivers into a database.")
@click.argument("targets", nargs=-1, metavar="TARGET...")
@database_option
@click.option(
    "--installed",
    is_flag=True,
    help="Each TARGET is a Windows folder, a disk image or a .wim: the drivers of its services.",
)
@click.option(
    "--from-list",
    "lists",
    multiple=True,
    metavar="FILE",
    help="Read targets from FILE, one a line or separated by NUL; - is standard input.",
)
@click.option(
    "--since",
    metavar="WHEN",
    help="Only files changed since then: an ISO date or time, or a span such as 7d or 12h.",
)
@click.option(
    "--machine",
    metavar="NAME",
    help="Whose files these are. [default: this computer]",
)
@click.option(
    "--target-os",
    default=NEWEST.slug,
    show_default=True,
    metavar="VERSION",
    help="Oldest Windows the drivers must work on.",
)
@trust_options
@click.option("--excerpts", is_flag=True, help="Keep the code of each finding as well.")
@click.option(
    "--jobs",
    type=click.IntRange(1, 256),
    metavar="N",
    help="Processes that evaluate. [default: one a core]",
)
@click.option(
    "--seconds",
    type=click.IntRange(5, 86400),
    default=300,
    show_default=True,
    help="Give a file up after so long; the work on it is bounded besides.",
)
@click.option(
    "--isolate/--no-isolate",
    default=True,
    show_default=True,
    help="Hold the processes that evaluate to bounds: memory, time, files, no network.",
)
@click.option(
    "--scheduler",
    metavar="URL",
    help="Evaluate on this Dask cluster (tcp://host:8786, tls://...), not on this computer.",
)
@click.option("-q", "--quiet", is_flag=True, help="Print no summary and no progress.")
def command(
    targets: tuple[str, ...],
    where: str,
    installed: bool,
    lists: tuple[str, ...],
    since: str | None,
    machine: str | None,
    target_os: str,
    catalogs: tuple[str, ...],
    blocklists: tuple[str, ...],
    databases: tuple[str, ...],
    excerpts: bool,
    jobs: int | None,
    seconds: int,
    isolate: bool,
    scheduler: str | None,
    quiet: bool,
) -> int:
    """Evaluate very many drivers with all cores and keep the reports in a database.

    A TARGET is a driver image, a driver package (.inf), an archive (.zip, .cab, .msi, .7z and
    more), a program that brings drivers along, a folder that is searched for all of these, a
    pattern, or a URL (s3://, https:// and more, with the package fsspec). With --installed it is a
    Windows, of which each driver gets its service, its package (oemN.inf) and its devices; the
    image of a disk always is.

    A file that did not change costs a look-up, equal files are evaluated once. Ctrl-C or even kill
    -9 loses nothing: the same command goes on where it was. A file that cannot be read, or at which
    a process dies, is a row with a sentence; see hvci query problems.

    Exit code 0 when every file has its row, whatever the rows say; 4 when a TARGET of the command
    line is not there, cannot be read or holds no driver; 130 when interrupted.

    \b
    hvci scan C:\\Windows\\System32\\drivers
    hvci scan \\\\server\\share --database fleet.db --machine server
    hvci scan /evidence/desk-17/Windows --installed --machine desk-17
    hvci query installed
    hvci query will-not-load --database fleet.db
    """
    need_fleet()
    words = [*targets, *(line for name in lists for line in _listed(name))]
    if not words:
        raise UsageError("no target: name a driver, a folder or a pattern; see hvci scan --help")
    asked = Asked(
        tuple(words),
        _named(targets, lists, since, installed),
        machine or platform.node() or "unnamed",
        _since(since) if since else 0,
        jobs,
        seconds,
        isolate,
        scheduler,
        installed,
        targets,
    )
    trusted = Trusted(catalogs, blocklists, databases)
    return _scan(asked, _rules(target_os, excerpts, trusted), where, quiet)


def _rules(target_os: str, excerpts: bool, trusted: Trusted) -> Rules:
    from hvci.evaluate import Options
    from hvci.fleet.rules import Rules, given

    trusted.added_to(Options())  # refuses what is no such file
    files = (trusted.catalogs, trusted.blocklists, trusted.databases)
    return Rules(parse_version(target_os), excerpts, *map(given, files))


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line says of a scan."""

    words: tuple[str, ...]
    name: str
    host: str
    since: int
    jobs: int | None
    seconds: int
    isolate: bool
    scheduler: str | None
    installed: bool
    named: tuple[str, ...]
    """The targets that the command line itself names."""

    def places(self) -> Iterator[Place | Problem]:
        """Everything that it is about."""
        from hvci.fleet.elsewhere import places

        return places(self.words, self.since, self.installed)


def _scan(asked: Asked, rules: Rules, where: str, quiet: bool) -> int:
    from hvci.fleet.crew import Crew, scratch_folder, told_to_workers, usual_jobs

    jobs = asked.jobs or usual_jobs()
    with scratch_folder() as scratch:
        fields = told_to_workers(rules, asked.isolate, asked.seconds, scratch)
        crew = Crew(jobs, fields, asked.seconds)
        if not asked.scheduler and "://" not in where and not Path(where).exists():
            crew.hire(2)  # everything will have to be evaluated
        try:
            return _scan_with(crew, scratch, asked, rules, where, quiet)
        finally:
            crew.dismiss()


def _scan_with(
    crew: Crew, scratch: str, asked: Asked, rules: Rules, where: str, quiet: bool
) -> int:
    from hvci.fleet.database import create
    from hvci.fleet.scanning import Scan
    from hvci.fleet.store import Store

    database = create(where)
    show = Show(not quiet and is_watched())
    store = Store(database, rules, asked.host)
    scan = Scan(store, rules, crew.size, asked.seconds, show, asked.isolate, crew, scratch)
    scan.named = frozenset((*asked.named, *map(os.path.abspath, asked.named)))
    if not asked.installed and not asked.since:
        scan.folders = frozenset(filter(os.path.isdir, map(os.path.abspath, asked.named)))
    if asked.scheduler:
        from hvci.fleet.cluster import Cluster

        scan.crew = Cluster(asked.scheduler, rules, asked.seconds)
    if show.watched:
        show.count(asked.places)
    try:
        progress = scan.run(asked.name, asked.places())
    except KeyboardInterrupt:
        show.clear()
        told = f"hvci: interrupted after {scan.progress.files} files"
        click.echo(f"{told}; the same command goes on where it was", err=True)
        return INTERRUPTED
    finally:
        show.clear()
        database.close()
    if not quiet:
        click.echo(_summary(progress, store.scan_id, where))
    if asked.since and not progress.files:
        click.echo("hvci: nothing changed since then, so nothing was looked at", err=True)
    if progress.lost:
        told = f"without an answer: {progress.lost} of the targets named"
        click.echo(f"hvci: {told}: see hvci query problems{_database(where)}", err=True)
    elif progress.found_nothing:
        click.echo(
            f"hvci: nothing has an answer: see hvci query problems{_database(where)}", err=True
        )
    return InputError.exit_code if progress.lost or progress.found_nothing else 0


def _named(
    targets: tuple[str, ...], lists: tuple[str, ...], since: str | None, installed: bool
) -> str:
    """What was asked for: a scan goes on, and takes the place of an older one, by this name."""
    from hvci.fleet.store import stored_path
    from hvci.fleet.walk import is_url

    paths = sorted(
        {word if is_url(word) else stored_path(str(Path(word).absolute())) for word in targets}
    )
    name: dict[str, object] = {"targets": paths, "lists": sorted(lists), "since": since or ""}
    return json.dumps(name | {"installed": True} if installed else name)


def _listed(name: str) -> list[str]:
    """The targets of a list."""
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise UsageError(f"--from-list {name}: {error.strerror or error}") from error
    cut = b"\0" if b"\0" in data else b"\n"
    lines = (line.rstrip(b"\r") for line in data.removeprefix(b"\xef\xbb\xbf").split(cut))
    return [os.fsdecode(line) for line in lines if line.strip()]


def _since(word: str) -> int:
    """A point in time in nanoseconds."""
    spans = {"d": "days", "h": "hours", "m": "minutes"}
    if found := re.fullmatch(r"(\d{1,6})([dhm])", word):
        when = datetime.now(UTC) - timedelta(**{spans[found[2]]: int(found[1])})
    else:
        try:
            when = datetime.fromisoformat(word)
        except ValueError as error:
            raise UsageError(
                f"--since {word}: want a date such as 2026-11-01, or 7d, 12h, 30m"
            ) from error
    return int(when.timestamp()) * 1_000_000_000


def _summary(progress: Progress, number: int, where: str) -> str:
    rate = progress.files / progress.seconds if progress.seconds else 0.0
    return "\n".join(
        (
            f"scan {number}: {progress.files} files in {span(progress.seconds)} ({rate:.0f}/s)",
            f"  evaluated             {progress.evaluated}",
            *([f"  archives, programs    {progress.opened}"] if progress.opened else []),
            f"  known by content      {progress.duplicates}",
            f"  unchanged             {progress.unchanged}",
            f"  damaged or no driver  {progress.unjudged}",
            f"  without an answer     {progress.problems}",
            f"see: hvci stats{_database(where)}",
        )
    )


def _database(where: str) -> str:
    """How to name the database in another command."""
    return "" if where == DEFAULT else f" --database {where}"
