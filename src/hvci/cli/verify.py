"""`hvci verify`: run drivers in the emulated Driver Verifier and print what it saw."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hvci.cli.given import symbol_folders
from hvci.cli.output import page_width
from hvci.errors import InputError, UsageError
from hvci.model import NEWEST, parse_version
from hvci.model.conclusion import FIRST_FAILURE
from hvci.report.document import INTERRUPTED
from hvci.report.ink import Ink
from hvci.report.safe import safe
from hvci.targets import read_bytes

if TYPE_CHECKING:
    from hvci.verifier import VerifierOptions, VerifierRun

UNREADABLE = 4
WRONG = 2
"""Exit code of arguments that ask for what a driver does not have."""
WORST_FIRST = (UNREADABLE, WRONG, 1, 3, 0)
LONGEST_LINE = 1000
_LABEL = re.compile(r"[^:]+: {2,}")
"""What stands before a value in a column."""


@click.command("verify", short_help="Run drivers in an emulated Driver Verifier.")
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
@click.option("--symbols", multiple=True, metavar="DIR", help="Folder with PDBs, besides that of "
              "the driver; may be given several times.")  # fmt: skip
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
    symbols: tuple[str, ...],
    trace: str | None,
    form: str,
) -> int:
    """Run drivers under emulation, with memory that is never both writable and executable.

    The code-integrity checks of Driver Verifier watch every call: violations are printed as
    WinDbg prints a bug check, then a verdict and the statistics. Nothing of this computer is
    reachable from the emulated driver.

    Exit code 0 only when DriverEntry succeeded and no violation was seen, 1 when the driver itself
    violates a check, 3 when the run proves nothing: DriverEntry failed, no call that could count
    was reached by the driver itself, violations were seen on forced paths only, or the emulator
    gave no answer; 2 when --entry names no entry point of the driver; 4 when a driver cannot be
    read. With several drivers the worst wins: 4, 2, 1, 3, 0.

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
    symbols = symbol_folders(symbols)
    results: list[_Result] = []
    try:
        for path in drivers:
            results.append(_one(path, options, symbols, trace, form))  # noqa: PERF401 (interrupts)
    except KeyboardInterrupt:
        said = f"hvci: interrupted after {len(results)} of {len(drivers)} drivers"
        click.echo(f"\n{said}", err=True)
    if form == "json":
        blocks = [result.block for result in results]
        click.echo(json.dumps(blocks[0] if len(drivers) == len(blocks) == 1 else blocks, indent=1))
    elif len(results) > 1:
        _print_overview(results)
    if len(results) < len(drivers):
        return INTERRUPTED
    return min((result.code for result in results), key=WORST_FIRST.index)


@dataclass(frozen=True, slots=True)
class _Result:
    """One driver's line, exit code and JSON."""

    path: str
    code: int
    summary: str
    block: dict[str, object]


def _code(text: str) -> int:
    try:
        return int(text, 0) & 0xFFFF_FFFF
    except ValueError as error:
        raise UsageError(f"--ioctl {text}: want a number such as 0x222004") from error


def _one(
    path: str, options: VerifierOptions, symbols: tuple[str, ...], trace: str | None, form: str
) -> _Result:
    from hvci import verifier
    from hvci.model.conclusion import conclude
    from hvci.verifier.block import to_block
    from hvci.verifier.names import with_names
    from hvci.verifier.trace import write_trace

    try:
        if Path(path).is_dir():
            raise InputError("is a folder; name the drivers, such as folder/*.sys")
        data = read_bytes(path)
        run = with_names(verifier.run(data, options), data, path, symbols)
    except InputError as error:
        why = str(error).removeprefix(f"{path}: ")
        click.echo(safe(f"hvci: {path}: {why}", LONGEST_LINE), err=True)
        return _Result(path, UNREADABLE, f"not run: {why}", {"path": path, "error": why})
    if lacks_entry(run, options.entry):
        why = f"--entry {options.entry}: it has no entry point whose name begins so"
        click.echo(safe(f"hvci: {path}: {why}", LONGEST_LINE), err=True)
        return _Result(path, WRONG, f"not run: {why}", {"path": path, "error": why})
    block = to_block(run)
    if trace:
        write_trace(Path(trace), Path(path).name, len(data), run)
    if form == "text":
        _print(data, path, run, options, block)
    conclusion = conclude(block)
    return _Result(path, conclusion.exit_code, conclusion.summary, {"path": path} | block)


def lacks_entry(run: VerifierRun, wanted: str) -> bool:
    """Whether a driver that started well showed no entry point of a wanted name."""
    from hvci.verifier.outcome import Ending

    entries = run.entry_points
    if not wanted or not entries or any(one.name.startswith(wanted) for one in entries):
        return False
    first = entries[0].outcome
    return first.ending is Ending.RETURNED and first.status < FIRST_FAILURE


def _print(
    data: bytes, path: str, run: VerifierRun, options: VerifierOptions, block: dict[str, object]
) -> None:
    from hvci.report.analysis import analyses
    from hvci.verifier.block import statistics_lines

    name = Path(path).name
    for text in analyses(data, name, run, options.target_os):
        click.echo(text + "\n")
    for line in statistics_lines(name, block):
        _echo(line)
    click.echo()


def _print_overview(results: list[_Result]) -> None:
    """One line a driver, the worst first."""
    for result in sorted(results, key=lambda result: WORST_FIRST.index(result.code)):
        _echo(f"{result.path}: {result.summary}")


def _echo(line: str) -> None:
    """A line, folded on a terminal: behind the label where it has one, as statistics do."""
    text = safe(line, LONGEST_LINE)
    told = text.lstrip()
    indent, label = len(text) - len(told), _LABEL.match(told)
    ink = Ink(page_width(), colour=False)
    ink.line(told, indent=indent, hang=label.end() if label else 2)
    click.echo(ink.text or "\n", nl=False)
