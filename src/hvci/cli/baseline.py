"""`hvci baseline`: accept what is there today, so that only new findings fail."""

from __future__ import annotations

from pathlib import Path

import click

from hvci.cli.output import Outputs, output_options, write
from hvci.cli.settings import (
    BASELINE_FILE,
    Selection,
    evaluated,
    policy_options,
    selection_options,
    settings,
)
from hvci.errors import InputError, UsageError
from hvci.report.document import INTERRUPTED
from hvci.report.safe import safe


@click.group("baseline")
def command() -> None:
    """Accept the findings of today, so that only new ones fail.

    \b
    hvci baseline write build\\*.sys
    hvci baseline check build\\*.sys
    hvci check build\\*.sys --baseline hvci-baseline.json
    """


_FILE = click.option(
    "--baseline",
    "file",
    default=BASELINE_FILE,
    show_default=True,
    metavar="FILE",
    help="The baseline file.",
)


@command.command("write")
@click.argument("targets", nargs=-1, metavar="TARGET...")
@policy_options
@_FILE
def write_baseline(
    targets: tuple[str, ...],
    target_os: str | None,
    config: str | None,
    no_config: bool,
    profile: str | None,
    undecided: str | None,
    file: str,
) -> int:
    """Evaluate drivers and write their findings as the baseline.

    \b
    hvci baseline write driver.sys
    """
    from hvci.policy import baseline_of, parse_baseline

    rules = settings(target_os, config, no_config, profile, undecided)
    document = evaluated(targets, rules.policy)
    for error in document.errors:
        click.echo(f"hvci: {safe(error.path)}: {safe(error.message, 2000)}", err=True)
    if document.error_code == INTERRUPTED:
        return INTERRUPTED  # half a baseline never takes the place of a whole one
    if not document.reports:
        click.echo(f"hvci: nothing was evaluated, so {safe(file)} was not written", err=True)
        return document.error_code or InputError.exit_code
    text = baseline_of(document, str(Path(file).parent))
    try:
        Path(file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {file}: {error.strerror or error}") from error
    written = parse_baseline(text, file)
    click.echo(f"{safe(file)}: {written.contents}")
    return document.error_code


@command.command("check")
@click.argument("targets", nargs=-1, metavar="TARGET...")
@policy_options
@_FILE
@selection_options
@output_options
def check_baseline(
    targets: tuple[str, ...],
    target_os: str | None,
    config: str | None,
    no_config: bool,
    profile: str | None,
    undecided: str | None,
    file: str,
    selection: Selection,
    places: Outputs,
) -> int:
    """Evaluate drivers and fail on findings that are not in the baseline.

    \b
    hvci baseline check driver.sys --format sarif
    """
    rules = settings(target_os, config, no_config, profile, undecided, file, selection=selection)
    document = rules.judged(evaluated(targets, rules.policy))
    write(document, places)
    return document.exit_code
