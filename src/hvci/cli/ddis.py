"""`hvci ddis`: the catalogue, one line each."""

from __future__ import annotations

import click

from hvci.model import NEWEST, parse_version


@click.command("ddis", short_help="List the DDIs whose calls are judged.")
@click.option("--all", "everything", is_flag=True, help="Also list DDIs that no rule judges.")
@click.option("--seed", is_flag=True, help="Only the DDIs that Microsoft lists as impacted.")
@click.option(
    "--target-os",
    default=NEWEST.slug,
    show_default=True,
    metavar="VERSION",
    help="Windows version that the replacement must exist on.",
)
def command(everything: bool, seed: bool, target_os: str) -> None:
    """List the DDIs whose calls are judged, what decides at a call, and what replaces it.

    \b
    hvci ddis --seed
    hvci ddis --target-os 10-1607
    hvci explain ExAllocatePoolWithTag    (one DDI in full)
    """
    from hvci.catalog import ddis
    from hvci.cli.table import table

    version = parse_version(target_os)
    rows = [
        (
            ddi.name,
            ddi.deciding or "-",
            ddi.rule.judged_by or "listed only",
            f"{ddi.subcode:#x}" if ddi.subcode else "-",
            ddi.advice_for(version) or "-",
        )
        for ddi in sorted(ddis().values(), key=lambda ddi: ddi.name)
        if (ddi.seed if seed else everything or ddi.rule.judged_by)
    ]
    click.echo(table(("DDI", "DECIDED BY", "RULE", "0xC4", "INSTEAD"), rows), nl=False)
