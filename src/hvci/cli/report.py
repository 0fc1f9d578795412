"""`hvci report`: show saved reports in any format."""

from __future__ import annotations

from dataclasses import replace

import click

from hvci.cli.output import Outputs, output_options, write


@click.command("report", short_help="Show saved JSON reports in another format.")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@output_options
def command(files: tuple[str, ...], places: Outputs) -> int:
    """Show saved JSON reports in another format, without the drivers.

    \b
    hvci report report.json
    hvci report report.json --format html --output report.html
    hvci report *.json --format readiness
    """
    from hvci.cli.gather import saved
    from hvci.report import Document

    whole = Document()
    for file in files:
        one = saved(file)
        whole = replace(
            one,
            reports=(*whole.reports, *one.reports),
            errors=(*whole.errors, *one.errors),
            notices=(*whole.notices, *one.notices),
        )
    write(whole, places)
    return whole.exit_code
