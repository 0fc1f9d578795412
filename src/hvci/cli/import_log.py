"""`hvci import-log`: read logs of Windows, name the check that refused a driver and why."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hvci.cli.settings import evaluated, policy_options, settings
from hvci.errors import InputError, UsageError
from hvci.report.document import Document, worst
from hvci.report.safe import safe

if TYPE_CHECKING:
    from hvci.logs import Gathered
    from hvci.model import Report

DISAGREES, UNDECIDED = 1, 3
MOST_SHOWN = 500


@click.command("import-log", short_help="Which check refused a driver? Ask your logs.")
@click.argument("file")
@click.argument("targets", nargs=-1, metavar="[TARGET]...")
@click.option(
    "--also", multiple=True, metavar="FILE", help="Another log of the same computer; repeatable."
)
@click.option(
    "--base",
    "bases",
    multiple=True,
    metavar="NAME=ADDRESS",
    help="Where a driver was loaded, such as mydriver=fffff80112340000.",
)
@click.option(
    "--compare",
    is_flag=True,
    help="Compare the check of the image (events 3111 and 3087) with what hvci says of the "
    "targets: exit code 1 when they disagree, 3 when nothing could be compared.",
)
@click.option(
    "--bundle", metavar="FILE", help="Write what disagrees to FILE: hashes and facts, no driver."
)
@click.option(
    "-f", "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True
)
@policy_options
def command(
    file: str,
    targets: tuple[str, ...],
    also: tuple[str, ...],
    bases: tuple[str, ...],
    compare: bool,
    bundle: str | None,
    form: str,
    target_os: str | None,
    config: str | None,
    no_config: bool,
    profile: str | None,
    undecided: str | None,
) -> int:
    """Read logs of the real thing: which check refused a driver, and which call sites explain it.

    FILE is what you have; - is standard input:

    \b
    - events (CodeIntegrity, Kernel-PnP, Kernel-XDV, System): .evtx, XML of
      wevtutil or Get-WinEvent, text and CSV of Event Viewer, quoted messages
    - a bug check: !analyze, event 1001, BlueScreenView, WhoCrashed, a forum
      paste, the header of a kernel dump (.dmp)
    - counters: verifier /query, !verifier, DGReadiness, hvciscan
    - with --also: setupapi.dev.log, pnputil /enum-drivers or /enum-devices,
      driverquery /v /fo csv, msinfo32, Get-CimInstance Win32_DeviceGuard

    Each refused driver is a row: the check (see hvci explain gates), the evidence, the package, and
    what to do. With the driver or its saved report as TARGET, counters and addresses are joined
    with its findings, and the row says whether hvci agrees.

    \b
    hvci import-log verifier.txt mydriver.sys
    hvci import-log CodeIntegrity.evtx mydriver.sys --also packages.txt
    hvci import-log crash.txt mydriver.sys --base mydriver=fffff80112340000
    """
    from hvci.logs import gather

    logs = [_read(name) for name in (file, *also)]
    gathered = gather(logs)
    if gathered.is_empty:
        raise InputError(f"{file}: {_nothing(gathered, logs[0])}")
    named = {**gathered.log.bases, **dict(map(_base, bases))}
    gathered = replace(gathered, log=replace(gathered.log, bases=named))
    rules = settings(target_os, config, no_config, profile, undecided)
    document = rules.judged(evaluated(targets, rules.policy)) if targets else Document()
    for error in document.errors:
        click.echo(f"hvci: {safe(error.path)}: {safe(error.message)}", err=True)
    code = _say(gathered, document.reports, compare, bundle, form)
    return worst({document.error_code, code})


def _read(name: str) -> bytes:
    """A log; of a dump, which may be as large as memory, the header only."""
    from hvci.logs.dump import HEADER, is_dump
    from hvci.targets import STDIN, read_bytes

    if name != STDIN and Path(name).is_file():
        with Path(name).open("rb") as stream:
            head = stream.read(HEADER)
        if is_dump(head):
            return head
    return read_bytes(name)


def _say(
    gathered: Gathered, reports: Sequence[Report], compare: bool, bundle: str | None, form: str
) -> int:
    from hvci.logs import as_json, compared, join, refusals, to_lines, to_text
    from hvci.logs.compare import as_bundle

    rows = refusals(gathered.seen, gathered.computer, reports, gathered.signers)
    joined = join(gathered.log, reports)
    comparison = compared(rows, reports)
    if bundle:
        _write(bundle, as_bundle(rows, reports))
    if form == "json":
        shown = {
            "refusals": [as_json(row) for row in rows],
            "computer": list(gathered.computer.facts),
            "entries": [
                {"title": one.title, "facts": one.facts, "causes": one.causes, "sure": one.sure}
                for one in joined
            ],
            "left_out": _left_out(gathered),
        }
        if compare:
            shown["comparison"] = comparison.lines
        click.echo(json.dumps(shown, indent=1))
    else:
        text = "".join(f"{line}\n" for line in to_lines(rows[:MOST_SHOWN]))
        text += to_text(joined[:MOST_SHOWN])
        if more := max(0, len(rows) - MOST_SHOWN) + max(0, len(joined) - MOST_SHOWN):
            text += f"and {more} more; --format json has all\n"
        facts = [*gathered.computer.facts, *_left_out(gathered)]
        if not rows and not joined:
            facts.append("no refused driver, bug check or counter in this log")
        text += "".join(f"{fact}\n" for fact in facts)
        text += "".join(f"{line}\n" for line in comparison.lines) if compare else ""
        click.echo(text, nl=False)
    if not compare:
        return 0
    return DISAGREES if comparison.disagreed else 0 if comparison.agreed else UNDECIDED


def _left_out(gathered: Gathered) -> list[str]:
    """What was not looked at or is not shown."""
    said = []
    if gathered.programs:
        said.append(f"{gathered.programs} events about files that are no drivers were left out")
    if gathered.events_cut:
        said.append("the log may hold more events than are read of one: those behind were not read")
    if gathered.lines_cut:
        said.append(f"{gathered.lines_cut} lines at the end of the log were not read: too many")
    return said


def _write(path: str, content: object) -> None:
    try:
        Path(path).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error


def _nothing(gathered: Gathered, log: bytes) -> str:
    """What the log lacks."""
    if log[:2] == b"PK":
        return (
            "an archive, such as a package of the HLK (.hlkx), and no log: unpack it, or export "
            "the log of the test as text from HLK Studio"
        )
    if gathered.log.others:
        codes = ", ".join(f"{code:#x}" for code in gathered.log.others)
        return f"only bug check {codes} in this log, which memory integrity is not known to cause"
    if gathered.events:
        return (
            f"none of the {gathered.events} events in this log is about a refused driver; export "
            "Microsoft-Windows-CodeIntegrity/Operational and System"
        )
    return "no event, counter, bug check or scan result in this log"


def _base(word: str) -> tuple[str, tuple[int, int]]:
    from hvci.report.bugchecks import number

    name, _, address = word.partition("=")
    try:
        start = number(address)
    except ValueError as error:
        raise UsageError(f"--base {word}: want NAME=ADDRESS, the address hexadecimal") from error
    # The size is not known here; no driver image is larger than this.
    return name.lower().removesuffix(".sys"), (start, start + (1 << 28))
