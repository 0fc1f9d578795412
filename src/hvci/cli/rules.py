"""`hvci rules`: the rules, one line each."""

from __future__ import annotations

import click


@click.command("rules", short_help="List the rules.")
def command() -> None:
    """List the rules with the counter and the sub-code of bug check 0xC4 that each stands for.

    \b
    hvci rules
    hvci explain section-alignment    (one rule in full)
    """
    from hvci.cli.table import table
    from hvci.rules import RULES

    rows = [
        (
            rule.id,
            f"{rule.subcode:#x}" if rule.subcode else "-",
            ", ".join(sorted(rule.questions)) or "note only",
            rule.title,
        )
        for rule in RULES.values()
    ]
    click.echo(table(("RULE", "0xC4", "DECIDES", "FINDING"), rows), nl=False)
