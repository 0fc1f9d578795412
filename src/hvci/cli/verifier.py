"""`hvci verifier`: the syntax of verifier.exe over the emulated Driver Verifier."""

from __future__ import annotations

import hashlib
from pathlib import Path

import click

from hvci.errors import InputError, UsageError
from hvci.model import NEWEST
from hvci.report.safe import safe
from hvci.report.verifier_settings import query_lines, settings_lines
from hvci.targets import read_bytes
from hvci.verifier.options import Action, Request, parse
from hvci.verifier.settings import SettingsStore, VerifiedDriver

HELP = """\
hvci verifier /flags FLAGS /driver DRIVER [DRIVER ...]
hvci verifier /ruleclasses CLASS /driver DRIVER [DRIVER ...]
hvci verifier /query | /querysettings | /reset | /?
hvci verifier /log FILE [/interval SECONDS]

Speaks the syntax of verifier.exe; - may stand for /, and case does not matter.

  /flags 0x02000000    Code integrity checks, the one option that hvci
                       implements. 33554432 is the same number in decimal.
  /ruleclasses 26      The same option as a rule class (/rc 26, /dif 26).
  /standard, other flags and rule classes are accepted beside it; what they
                       would check is not emulated, which is a warning.
  /log.code_integrity  Print no bug checks; collect the statistics only.
  /driver DRIVER ...   Verify these driver files. hvci evaluates them at once,
                       in an emulated machine; no reboot is needed and none of
                       these drivers is loaded here.
  /query               Print the current state and the statistics of the last
                       run.
  /querysettings       Print the options that are set and the verified drivers.
  /reset               Forget options, drivers and statistics.
  /log FILE            Append what /query prints to FILE. Runs end at once, so
                       /interval is accepted and has nothing to wait for.
  /?                   Print this.

Options of verifier.exe that hvci does not implement are refused by name.
Exit codes: 0 done and no violation was seen, 1 a driver violates a check,
2 wrong arguments, 3 the run of a driver proves nothing (its DriverEntry failed,
or nothing that counts was reached), 4 a driver cannot be read."""
WORST_FIRST = (1, 3, 0)
LONGEST_LINE = 1000


@click.command(
    "verifier",
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
    short_help="Checks of Driver Verifier, in the syntax of verifier.exe.",
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def command(words: tuple[str, ...]) -> int:
    """Code-integrity checks in the syntax of verifier.exe; see hvci verifier /?."""
    request = parse(words)
    store = SettingsStore()
    match request.action:
        case Action.VERIFY:
            return _verify(request, store)
        case Action.QUERY:
            click.echo("\n".join(query_lines(store.read())))
        case Action.QUERY_SETTINGS:
            click.echo("\n".join(settings_lines(store.read())))
        case Action.RESET:
            had = store.reset()
            click.echo("All settings were removed." if had else "No settings were changed.")
        case Action.LOG:
            _log(request, store)
        case Action.HELP:
            click.echo(HELP)
    return 0


def _verify(request: Request, store: SettingsStore) -> int:
    """Evaluate at once, print the violations, and keep settings and statistics."""
    from hvci import verifier
    from hvci.model.conclusion import conclude
    from hvci.report.analysis import analyses
    from hvci.verifier.block import to_block
    from hvci.verifier.names import with_names

    if request.ignored:
        click.echo(f"Warning: not emulated: {', '.join(request.ignored)}.", err=True)
    drivers, conclusions = [], []
    for path in request.drivers:
        try:
            data = read_bytes(path)
            run = with_names(verifier.run(data), data, path)
        except InputError as error:
            raise InputError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from error
        name = Path(path.replace("\\", "/")).name
        if not request.log_only:
            for text in analyses(data, name, run, NEWEST):
                click.echo(text + "\n")
        block = to_block(run)
        digest = hashlib.sha256(data).hexdigest()
        drivers.append(VerifiedDriver(name, path, digest, block))
        conclusions.append(conclude(block))
    store.write(request.flags, drivers)
    click.echo("\n".join(settings_lines(store.read())))
    click.echo(f"\nEvaluated at once: {len(drivers)} driver(s). No reboot is needed.")
    for driver, conclusion in zip(drivers, conclusions, strict=True):
        click.echo(safe(f"{driver.name}: {conclusion.summary}", LONGEST_LINE))
    return min((conclusion.exit_code for conclusion in conclusions), key=WORST_FIRST.index)


def _log(request: Request, store: SettingsStore) -> None:
    text = "\n".join(query_lines(store.read()))
    try:
        with Path(request.log).open("a", encoding="utf-8") as file:
            file.write(text + "\n")
    except OSError as error:
        raise UsageError(f"{request.log}: {error.strerror or error}") from error
    click.echo(f"Statistics were appended to {request.log}.")
