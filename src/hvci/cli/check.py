"""`hvci check`: evaluate drivers and print the report."""

from __future__ import annotations

import click

from hvci.cli.given import Apart, Trusted
from hvci.cli.output import Outputs, output_options, write
from hvci.cli.settings import (
    Selection,
    evaluated,
    policy_options,
    selection_options,
    settings,
    trust_options,
)
from hvci.errors import UsageError
from hvci.report.document import INTERRUPTED

SECONDS = 300


@click.command("check", short_help="Do drivers load, pass the readiness test and run?")
@click.argument("targets", nargs=-1, metavar="TARGET...")
@policy_options
@click.option(
    "--symbols",
    multiple=True,
    metavar="DIR",
    help="Folder with PDBs, besides that of the driver; may be given several times.",
)
@trust_options
@click.option("--baseline", metavar="FILE", help="Accept the findings of this baseline.")
@click.option("--exit-zero", is_flag=True, help="Exit with 0 whatever the report says.")
@click.option(
    "--installed",
    is_flag=True,
    help="TARGET is a Windows folder, here, mounted or copied: the drivers of its services.",
)
@click.option("--verify", is_flag=True, help="Run each driver in the emulated Driver Verifier too.")
@click.option(
    "--isolate/--no-isolate",
    default=False,
    show_default=True,
    help="Evaluate each target in a process held to bounds: a crash or hang costs that one.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1, 256),
    metavar="N",
    help="With --isolate: targets at once. [default: 1]",
)
@click.option(
    "--seconds",
    type=click.IntRange(5, 86400),
    metavar="N",
    help=f"With --isolate: give a target up after so long. [default: {SECONDS}]",
)
@selection_options
@output_options
def command(
    targets: tuple[str, ...],
    target_os: str | None,
    config: str | None,
    no_config: bool,
    profile: str | None,
    undecided: str | None,
    symbols: tuple[str, ...],
    catalogs: tuple[str, ...],
    blocklists: tuple[str, ...],
    databases: tuple[str, ...],
    baseline: str | None,
    exit_zero: bool,
    installed: bool,
    verify: bool,
    isolate: bool,
    jobs: int | None,
    seconds: int | None,
    selection: Selection,
    places: Outputs,
) -> int:
    """Evaluate drivers: do they load, pass the readiness test and run under memory integrity?

    A TARGET is a driver image; sources: a C, C++ or MASM file, a project (.vcxproj, sources,
    CMakeLists.txt, Cargo.toml) or a solution (.sln, .slnx, .slnf); a folder, searched for
    drivers, other native images and sources; a pattern; a driver package (.inf), an archive (.zip,
    .cab, .msi, .7z, .tar and more) or a program that brings drivers along; the image of a disk with
    a Windows (.vhdx, .vmdk, .raw and more); a saved JSON report; or - for an image on standard
    input. Without one, the targets are the paths of the policy file.

    \b
    hvci check driver.sys
    hvci check driver.vcxproj
    hvci check out\\ --quiet
    hvci check out\\ --select execute-pool-type --format concise
    hvci check build\\Release "*.sys" --target-os 10-1607
    hvci check C:\\Windows --installed
    hvci check malware\\ --isolate --jobs 4
    hvci check driver.sys --format json --output report.json
    hvci check driver.sys --output json=report.json --output html=report.html
    """
    if (jobs or seconds) and not isolate:
        raise UsageError("--jobs and --seconds are about processes of their own: add --isolate")
    apart = Apart(jobs or 1, seconds or SECONDS) if isolate else None
    rules = settings(target_os, config, no_config, profile, undecided, baseline, symbols, selection)
    trusted = Trusted(catalogs, blocklists, databases)
    document = rules.judged(evaluated(targets, rules.policy, verify, trusted, installed, apart))
    write(document, places)
    wanted = exit_zero and document.exit_code != INTERRUPTED
    return 0 if wanted else document.exit_code
