"""`hvci checklist`: Microsoft's driver security checklist, answered as far as evidence goes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from hvci.cli.given import Trusted
from hvci.cli.settings import evaluated, policy_options, settings, trust_options

if TYPE_CHECKING:
    from hvci.model import Report


@click.command("checklist", short_help="Go through Microsoft's driver security checklist.")
@click.argument("targets", nargs=-1, metavar="TARGET...")
@policy_options
@trust_options
@click.option("--verify", is_flag=True, help="Run each driver in the emulated Driver Verifier too.")
@click.option(
    "-f", "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True
)
def command(
    targets: tuple[str, ...],
    target_os: str | None,
    config: str | None,
    no_config: bool,
    profile: str | None,
    undecided: str | None,
    catalogs: tuple[str, ...],
    blocklists: tuple[str, ...],
    databases: tuple[str, ...],
    verify: bool,
    form: str,
) -> int:
    """Go through Microsoft's driver security checklist: 19 items for each driver.

    Items are answered with evidence, answered in part, or named as "not by this tool": nine of
    them are matters of design and of people. Exit code 1 when an item is answered with no, 3 when
    one is undecided, 4 when a driver cannot be read.

    \b
    hvci checklist driver.sys
    hvci checklist driver.sys --verify --format json
    """
    from hvci.report.checklist import Status, checklist, to_text

    rules = settings(target_os, config, no_config, profile, undecided)
    document = rules.judged(
        evaluated(targets, rules.policy, verify, Trusted(catalogs, blocklists, databases))
    )
    found = [(report, checklist(report, _imports(report))) for report in document.reports]
    if form == "json":
        rows = [
            {
                "path": report.target.path,
                "items": [
                    {
                        "number": item.number,
                        "title": item.title,
                        "status": item.status.value,
                        "evidence": item.evidence,
                    }
                    for item in items
                ],
            }
            for report, items in found
        ]
        click.echo(json.dumps(rows, indent=1))
    else:
        click.echo(
            "\n".join(to_text(report.target.path, items) for report, items in found), nl=False
        )
    for error in document.errors:
        click.echo(f"hvci: {error.path}: {error.message}", err=True)
    said = {item.status for _, items in found for item in items}
    if document.errors:
        return 4
    return 1 if Status.NO in said else 3 if Status.UNDECIDED in said else 0


def _imports(report: Report) -> frozenset[str]:
    """The names that an image imports; none where the file is not at hand."""
    from hvci.binary import PeImage
    from hvci.errors import InputError
    from hvci.targets import read_bytes

    if report.image is None or report.target.path == "-":
        return frozenset()
    try:
        return frozenset(
            one.name for one in PeImage(read_bytes(report.target.path)).imports.values()
        )
    except InputError:
        return frozenset()
