"""`hvci explain`: what a rule, a DDI, a library, a warning or a bug check means."""

from __future__ import annotations

import click

from hvci.cli.output import page_width


@click.command("explain")
@click.argument("words", nargs=-1, required=True, metavar="WORD...")
def command(words: tuple[str, ...]) -> None:
    """Explain a rule, a DDI, a library, a compiler warning, a counter or a bug check.

    \b
    hvci explain execute-pool-type
    hvci explain MmMapIoSpace
    hvci explain wdmsec.lib
    hvci explain C30030
    hvci explain "Execute Pool Type"
    hvci explain 0xC4 0x2000 fffff80112345678 0 0x64636261
    hvci explain 0xBE fffff80112345678 8A00000012345021
    """
    from hvci.report.pages import explain

    click.echo(explain(words).text(page_width()), nl=False)
