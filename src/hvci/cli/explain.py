"""`hvci explain`: what a rule, a DDI, a warning, an event, a status or a bug check means."""

from __future__ import annotations

import click

from hvci.cli.output import page_width


@click.command("explain")
@click.argument("words", nargs=-1, required=True, metavar="WORD...")
def command(words: tuple[str, ...]) -> None:
    """Explain what hvci, Windows or a compiler says.

    A rule, a DDI, a constant, a library, a compiler warning, a counter, a bug check with its
    parameters; an event, an NTSTATUS, a Windows error, a code of Device Manager, the GUID of a
    policy; and the checks of Windows that can refuse a driver (gates), which are often taken for
    memory integrity.

    \b
    hvci explain execute-pool-type
    hvci explain MmMapIoSpace
    hvci explain wdmsec.lib
    hvci explain C30030
    hvci explain "Execute Pool Type"
    hvci explain 0xC4 0x2000 fffff80112345678 0 0x64636261
    hvci explain 0xBE fffff80112345678 8A00000012345021
    hvci explain 3111
    hvci explain code 48
    hvci explain 0xC000036B
    hvci explain gates
    """
    from hvci.report.pages import explain

    click.echo(explain(words).text(page_width()), nl=False)
