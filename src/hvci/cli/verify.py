"""`hvci verify`: run drivers in the emulated Driver Verifier and print what it saw."""

from __future__ import annotations

import json
from pathlib import Path

import click

from hvci.errors import InputError, UsageError
from hvci.model import NEWEST, Tier, parse_version
from hvci.targets import read_bytes

INCOMPATIBLE, UNDECIDED = 1, 3


@click.command("verify")
@click.argument("drivers", nargs=-1, required=True, metavar="DRIVER...")
@click.option("--entry", default="", metavar="NAME", help="Only entry points named so, such as "
              "IRP_MJ_DEVICE_CONTROL; DriverEntry always runs.")  # fmt: skip
@click.option("--ioctl", "ioctls", multiple=True, metavar="CODE",
              help="Send this control code too; may be given several times.")  # fmt: skip
@click.option("--seconds", type=click.IntRange(1, 3600), default=120, show_default=True,
              help="Give a run up after so long. A run that ends by itself does not depend "
              "on it.")  # fmt: skip
@click.option("--no-force", is_flag=True, help="Only what the driver does by itself.")
@click.option("--target-os", metavar="VERSION", help="Windows version that the driver sees.")
@click.option("--trace", metavar="FILE", help="Write calls and page events to FILE, one JSON "
              "object a line, and the coverage to FILE.drcov (for Lighthouse).")  # fmt: skip
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text",
              show_default=True)  # fmt: skip
def command(
    drivers: tuple[str, ...],
    entry: str,
    ioctls: tuple[str, ...],
    seconds: int,
    no_force: bool,
    target_os: str | None,
    trace: str | None,
    form: str,
) -> int:
    """Run drivers under emulation, with memory that is never both writable and executable.

    The code-integrity checks of Driver Verifier watch every call: violations are printed as
    WinDbg prints a bug check, then the statistics. Nothing of this computer is reachable from
    the emulated driver. Exit code 1 when the driver itself violates a check, 3 when it did not
    run, or came to an instruction that the emulated processor does not know.

    \b
    hvci verify driver.sys
    hvci verify driver.sys --ioctl 0x222004 --trace trace.jsonl
    """
    from hvci.verifier import VerifierOptions

    if trace and len(drivers) > 1:
        raise UsageError("--trace takes one driver")
    options = VerifierOptions(
        target_os=parse_version(target_os) if target_os else NEWEST,
        force=not no_force,
        entry=entry,
        ioctls=tuple(_code(text) for text in ioctls),
        trace=trace is not None,
        seconds=seconds,
    )
    return max(_one(path, options, trace, form) for path in drivers)


def _code(text: str) -> int:
    try:
        return int(text, 0) & 0xFFFF_FFFF
    except ValueError as error:
        raise UsageError(f"--ioctl {text}: want a number such as 0x222004") from error


def _one(path: str, options: object, trace: str | None, form: str) -> int:
    from hvci import verifier
    from hvci.report.analysis import analyses
    from hvci.verifier.block import statistics_lines, to_block
    from hvci.verifier.trace import write_trace

    assert isinstance(options, verifier.VerifierOptions)
    try:
        data = read_bytes(path)
        run = verifier.run(data, options)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    name, block = Path(path).name, to_block(run)
    if trace:
        write_trace(Path(trace), name, len(data), run)
    if form == "json":
        click.echo(json.dumps(block, indent=1))
    else:
        for text in analyses(data, name, run, options.target_os):
            click.echo(text + "\n")
        click.echo("\n".join(statistics_lines(name, block)))
        for limit in run.limits:
            click.echo(f"Limit: {limit.reason}")
    return _exit_code(run)


def _exit_code(run: object) -> int:
    from hvci.verifier import VerifierRun

    assert isinstance(run, VerifierRun)
    if any(event.tier is Tier.NATURAL for event in run.events):
        return INCOMPATIBLE
    was_cut = any(each.tier is Tier.NATURAL for each in run.unsupported)
    return UNDECIDED if was_cut or not run.entry_points else 0
