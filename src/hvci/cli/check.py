"""`hvci check`: evaluate drivers and print the report."""

from __future__ import annotations

import click

from hvci.cli.output import output_options, parse_outputs, write
from hvci.model import NEWEST, parse_version


@click.command("check")
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...")
@click.option(
    "--target-os",
    default=NEWEST.slug,
    show_default=True,
    metavar="VERSION",
    help='Oldest Windows the driver must work on, such as 10-1607, "Windows 11 22H2" or a build.',
)
@click.option("--exit-zero", is_flag=True, help="Exit with 0 whatever the report says.")
@output_options
def command(
    targets: tuple[str, ...],
    target_os: str,
    exit_zero: bool,
    form: str,
    outputs: tuple[str, ...],
    verbose: bool,
) -> int:
    """Evaluate drivers: do they load, pass the readiness test and run under memory integrity?

    A TARGET is a driver image, a folder (searched for .sys files and other native images), a
    pattern, a saved JSON report, or - for an image on standard input.

    \b
    hvci check driver.sys
    hvci check build\\Release "*.sys" --target-os 10-1607
    hvci check driver.sys --format json --output report.json
    hvci check driver.sys --output json=report.json    (and text on the screen)
    """
    places = parse_outputs(form, outputs, verbose)
    version = parse_version(target_os)
    from hvci.cli.gather import gather
    from hvci.evaluate import Options

    document = gather(targets, Options(target_os=version))
    write(document, places)
    return 0 if exit_zero else document.exit_code
