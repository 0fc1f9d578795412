"""`hvci import-log`: read a log of Windows and say which findings explain it."""

from __future__ import annotations

import click

from hvci.cli.settings import evaluated, policy_options, settings
from hvci.errors import InputError, UsageError


@click.command("import-log")
@click.argument("file")
@click.argument("targets", nargs=-1, metavar="[TARGET]...")
@click.option(
    "--base",
    "bases",
    multiple=True,
    metavar="NAME=ADDRESS",
    help="Where a driver was loaded, such as mydriver=fffff80112340000.",
)
@policy_options
def command(
    file: str,
    targets: tuple[str, ...],
    bases: tuple[str, ...],
    target_os: str | None,
    config: str | None,
    no_config: bool,
    profile: str | None,
    undecided: str | None,
) -> int:
    """Read a log of the real thing and name the call sites that explain it.

    FILE holds what !verifier, the readiness tool (DGReadiness), WinDbg's !analyze of bug check
    0xC4, 0xBE or 0xFC, or hvciscan printed; - is standard input. With the driver or its saved
    report as TARGET, counters and addresses are joined with its findings.

    \b
    hvci import-log verifier.txt mydriver.sys
    hvci import-log crash.txt mydriver.sys --base mydriver=fffff80112340000
    """
    from dataclasses import replace

    from hvci.logs import decode_text, join, parse_log, to_text
    from hvci.targets import read_bytes

    log = parse_log(decode_text(read_bytes(file)))
    if not log.entries:
        raise InputError(f"{file}: {_nothing(log.others)}")
    log = replace(log, bases={**log.bases, **dict(map(_base, bases))})
    rules = settings(target_os, config, no_config, profile, undecided)
    reports = rules.judged(evaluated(targets, rules.policy)).reports if targets else ()
    click.echo(to_text(join(log, reports)), nl=False)
    return 0


def _nothing(others: tuple[int, ...]) -> str:
    """What the log lacks."""
    if not others:
        return "no counter, bug check or scan result in this log"
    codes = ", ".join(f"{code:#x}" for code in others)
    return f"only bug check {codes} in this log, which memory integrity does not cause"


def _base(word: str) -> tuple[str, tuple[int, int]]:
    from hvci.report.bugchecks import number

    name, _, address = word.partition("=")
    try:
        start = number(address)
    except ValueError as error:
        raise UsageError(f"--base {word}: want NAME=ADDRESS, the address hexadecimal") from error
    # The size is not known here; no driver image is larger than this.
    return name.lower().removesuffix(".sys"), (start, start + (1 << 28))
