"""`hvci diff`: what changed between two drivers, two reports or two folders."""

from __future__ import annotations

import click

from hvci.cli.settings import evaluated, policy_options, settings


@click.command("diff")
@click.argument("old")
@click.argument("new")
@policy_options
@click.option("-v", "--verbose", is_flag=True, help="List what stayed the same as well.")
def command(
    old: str,
    new: str,
    target_os: str | None,
    config: str | None,
    no_config: bool,
    profile: str | None,
    undecided: str | None,
    verbose: bool,
) -> int:
    """Compare OLD and NEW: drivers, folders or saved reports. Findings are matched by function
    and DDI rather than by address.

    Exit code 1 when NEW has a failure or a doubt that OLD has not, else 0.

    \b
    hvci diff v1\\driver.sys v2\\driver.sys
    hvci diff last-week.json build\\Release
    """
    from hvci.report import worst
    from hvci.report.diff import compare, to_diff_text

    rules = settings(target_os, config, no_config, profile, undecided)
    before, after = (rules.judged(evaluated((word,), rules.policy)) for word in (old, new))
    for error in (*before.errors, *after.errors):
        click.echo(f"hvci: {error.path}: {error.message}", err=True)
    differences = compare(before, after)
    click.echo(to_diff_text(differences, verbose=verbose), nl=False)
    code = worst({before.error_code, after.error_code})
    return code or int(any(difference.worse for difference in differences))
