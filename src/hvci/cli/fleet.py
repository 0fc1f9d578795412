"""What the commands of the fleet have in common: the database, and the packages they need."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING

import click

from hvci.errors import UsageError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from hvci.fleet.views import View

Command = Callable[..., int]

DEFAULT = "hvci.db"
_MOST = 5
"""Scans that are named one by one."""

database_option: Callable[[Command], Command] = click.option(
    "--database",
    "-d",
    "where",
    default=DEFAULT,
    show_default=True,
    envvar="HVCI_DATABASE",
    metavar="FILE|URL",
    help="SQLite file, or URL of a PostgreSQL database (postgresql://user@host/name).",
)

machine_option: Callable[[Command], Command] = click.option(
    "--machine", default="", metavar="NAME", help="Only the scans of this machine."
)
scan_option: Callable[[Command], Command] = click.option(
    "--scan", "number", type=click.IntRange(1), metavar="N", help="Only this scan."
)


def tell_of_scans(connection: Connection, view: View) -> None:
    """Say what scans of a view have not met everything yet, and that some were judged otherwise."""
    from hvci.fleet.comparing import mixed
    from hvci.fleet.unfinished import unfinished

    numbers = unfinished(connection, view)
    for number in numbers[:_MOST]:
        told = f"scan {number} is not finished: what it has not met is missing"
        click.echo(f"hvci: {told}", err=True)
    if len(numbers) > _MOST:
        click.echo(f"hvci: nor are {len(numbers) - _MOST} more scans", err=True)
    if options := mixed(connection, view):
        told = f"these scans were judged with other options: {', '.join(options)}"
        click.echo(f"hvci: {told}; --scan asks about one (hvci query scans)", err=True)


def needs(extra: str, missing: list[str]) -> str:
    """What to install for an extra of which packages are missing; right in a checkout too."""
    return (
        f"this needs more packages ({', '.join(missing)}): pip install 'hvci[{extra}]', in a "
        f"checkout pip install '.[{extra}]'"
    )


def need_fleet() -> None:
    """Say what to install where the extra is missing."""
    missing = [name for name in ("sqlalchemy", "zstandard") if find_spec(name) is None]
    if missing:
        raise UsageError(needs("fleet", missing))
