"""`hvci fix`: show or make the edits that a source needs."""

from __future__ import annotations

import sys

import click

from hvci.model import NEWEST, Level, parse_version
from hvci.report.safe import safe


@click.command("fix")
@click.argument("path")
@click.option(
    "--level",
    type=click.Choice([level.value for level in Level]),
    default=Level.SAFE.value,
    show_default=True,
    help="How far to go: safe edits, those to review, or mere suggestions too.",
)
@click.option("--apply", "write", is_flag=True, help="Write the files instead of showing a diff.")
@click.option(
    "--target-os",
    default=NEWEST.slug,
    show_default=True,
    metavar="VERSION",
    help="Oldest Windows the driver must work on.",
)
def command(path: str, level: str, write: bool, target_os: str) -> int:
    """Rewrite sources so that they ask for no executable memory.

    PATH is a source file, a project, a solution or a folder. Without --apply nothing is written
    and a unified diff is printed. Every edit is checked by a second evaluation: the finding must
    be gone and no new one there, else the edit is withdrawn and named. An edit takes away the right
    to execute and changes nothing else: it writes NonPagedPoolNx where hvci check names
    ExAllocatePool2, which zeroes the memory as well and returns NULL instead of raising.

    \b
    hvci fix src\\                      show the safe edits
    hvci fix src\\ --apply              make them
    hvci fix driver.c --level review   show those too that need a look
    """
    version = parse_version(target_os)
    from hvci.evaluate import Options
    from hvci.fix import fix
    from hvci.source.text.apply import diff, write_text

    outcomes = fix(path, Options(target_os=version), Level(level))
    for file in outcomes.files:
        if write:
            write_text(file.path, file.before, file.after)
        else:
            sys.stdout.buffer.write(diff(file.path, file.before, file.after))
    sys.stdout.flush()
    for one in outcomes.withdrawn:
        click.echo(
            f"{safe(one.site.path, 500)}({one.site.line}): withdrawn: {one.reason}", err=True
        )
    for left in outcomes.remaining:
        place = f"{safe(left.site.path, 500)}({left.site.line})"
        click.echo(f"{place}: left: {safe(left.what, 1000)}", err=True)
        click.echo(f"    {safe(left.how, 1000)}", err=True)
    edits = sum(len(file.edits) for file in outcomes.files)
    done, fixed = ("made", "fixed") if write else ("shown", "would be fixed")
    click.echo(
        f"{_number(edits, 'edit')} in {_number(len(outcomes.files), 'file')} {done}; "
        f"{_number(outcomes.fixed, 'finding')} {fixed}, {outcomes.left} left",
        err=True,
    )
    return 0


def _number(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
