"""`hvci serve`: the local web application."""

from __future__ import annotations

import secrets
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hvci.cli.fleet import needs
from hvci.errors import UsageError

if TYPE_CHECKING:
    from hvci.web.settings import Settings

_NEEDED = {
    "starlette": "starlette",
    "jinja2": "jinja2",
    "uvicorn": "uvicorn",
    "python_multipart": "python-multipart",
    "sqlalchemy": "sqlalchemy",
    "zstandard": "zstandard",
}


@click.command("serve", short_help="Serve pages on this computer, to drop drivers on.")
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS",
              help="Address to listen on. Any other than loopback asks for a token.")  # fmt: skip
@click.option("--port", type=click.IntRange(1, 65535), default=8642, show_default=True)
@click.option("--name", "names", multiple=True, metavar="HOST[:PORT]",
              help="Another name that browsers ask under; may be repeated.")  # fmt: skip
@click.option("--data", metavar="DIR",
              help="Folder of uploads and reports. [default: in hvci's data folder]")  # fmt: skip
@click.option("--database", "-d", default="", envvar="HVCI_DATABASE", metavar="FILE|URL",
              help="Results of hvci scan, for the pages about the fleet.")  # fmt: skip
@click.option("--jobs", type=click.IntRange(1, 64), metavar="N",
              help="Processes that evaluate. [default: one a core]")  # fmt: skip
@click.option("--days", type=click.FloatRange(0.01, 3650), default=7, show_default=True,
              help="Delete uploads after so long; their reports stay.")  # fmt: skip
@click.option("--waiting", type=click.IntRange(1, 10_000), default=64, show_default=True,
              help="Evaluations that may wait before the server says that it is full.")  # fmt: skip
def command(
    host: str,
    port: int,
    names: tuple[str, ...],
    data: str | None,
    database: str,
    jobs: int | None,
    days: float,
    waiting: int,
) -> int:
    """Serve pages on this computer: drop a driver and see why, Driver Verifier, the fleet.

    Everything stays on this computer; nothing is fetched. See docs/web.md for curl.

    \b
    hvci serve                     then open http://127.0.0.1:8642/
    hvci serve --database fleet.db
    hvci serve --host 192.0.2.7    for others, who need the printed token
    """
    missing = [package for name, package in _NEEDED.items() if find_spec(name) is None]
    if missing:
        raise UsageError(needs("web", missing))
    from hvci.fleet.crew import usual_jobs
    from hvci.verifier.settings import default_folder
    from hvci.web.running import run
    from hvci.web.settings import DAY, Limits, Settings, is_loopback

    settings = Settings(
        host,
        port,
        Path(data).absolute() if data else default_folder().absolute() / "web",
        "" if is_loopback(host) else secrets.token_urlsafe(24),
        names,
        database,
        jobs or usual_jobs(),
        Limits(age=days * DAY, waiting=waiting),
    )
    if host in ("0.0.0.0", "::") and not names:  # noqa: S104 (asked about, not bound)
        raise UsageError(f"--host {host} has no name of its own: say --name HOST, once for each")
    run(settings, lambda: _tell(settings))
    return 0


def _tell(settings: Settings) -> None:
    click.echo(f"hvci: {settings.url}  (Ctrl-C ends it)", err=True)
    if settings.token:
        warning = "others on the network can reach this; the connection is not encrypted"
        click.echo(f"hvci: {warning}", err=True)
        click.echo(f"hvci: token, shown once: {settings.token}", err=True)
