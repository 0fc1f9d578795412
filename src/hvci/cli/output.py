"""Options that say what the report looks like and where it goes, and the writing itself.

Knows formats and files; knows nothing of how a report came to be.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path

import click

from hvci.errors import UsageError
from hvci.model.record import record
from hvci.report import Document, Format, render

Command = Callable[..., int]
Decorator = Callable[[Command], Command]

USUAL_WIDTH = 100
"""Columns of a terminal that does not say how many it has."""


@record
class Outputs:
    """What goes to standard output and what goes to files."""

    form: Format
    files: tuple[tuple[Format, str], ...]
    on_stdout: bool
    verbose: bool = False
    quiet: bool = False


_VERBOSE: Decorator = click.option(
    "-v", "--verbose", is_flag=True, help="Text: every target, finding and limit in full."
)
_QUIET: Decorator = click.option(
    "-q", "--quiet", is_flag=True, help="Text: only the table, one row for each target."
)
_OUTPUT: Decorator = click.option(
    "-o",
    "--output",
    "outputs",
    multiple=True,
    metavar="[FORMAT=]FILE",
    help="Write to FILE instead of standard output; with FORMAT= in that format, besides "
    "standard output. May be given several times.",
)
_FORMAT: Decorator = click.option(
    "-f",
    "--format",
    "form",
    type=click.Choice([form.value for form in Format]),
    default=Format.TEXT.value,
    show_default=True,
    metavar="FORMAT",
    help=f"One of {', '.join(Format)}.",
)


def output_options(command: Command) -> Command:
    """Add --format, --output, --verbose and --quiet; the command gets them as `places`."""

    @wraps(command)
    def with_outputs(
        *args: object,
        form: str,
        outputs: tuple[str, ...],
        verbose: bool,
        quiet: bool,
        **rest: object,
    ) -> int:
        return command(*args, places=parse_outputs(form, outputs, verbose, quiet), **rest)

    return _FORMAT(_OUTPUT(_VERBOSE(_QUIET(with_outputs))))


_FORMAT_LIKE = re.compile(r"[\w-]*")
"""What may be meant as a format: no path has so few signs."""


def parse_outputs(form: str, outputs: tuple[str, ...], verbose: bool, quiet: bool) -> Outputs:
    """Make sense of --format and --output; a bare FILE takes the place of standard output."""
    if verbose and quiet:
        raise UsageError("--verbose and --quiet contradict each other")
    files = []
    on_stdout = True
    for word in outputs:
        name, equals, path = word.partition("=")
        if equals and name not in set(Format) and _FORMAT_LIKE.fullmatch(name):
            raise UsageError(
                f"--output {word}: there is no format {name!r} (see --format); for a file of that "
                f"name write ./{word}"
            )
        if equals and name in set(Format):
            files.append((Format(name), path))
        else:
            files.append((Format(form), word))
            on_stdout = False
        if not files[-1][1]:
            raise UsageError(f"--output {word}: the file name is missing")
    places = [os.path.abspath(path) for _, path in files if _is_kept(path)]  # noqa: PTH100 (text)
    if twice := next((one for one in places if places.count(one) > 1), None):
        raise UsageError(f"--output: two outputs go to {twice}, and one would be lost")
    return Outputs(Format(form), tuple(files), on_stdout, verbose, quiet)


def _is_kept(path: str) -> bool:
    """Whether what is written last is all that is left: not of a pipe or a device."""
    return path != "-" and (Path(path).is_file() or not Path(path).exists())


def write(document: Document, outputs: Outputs) -> None:
    """Write every file, then standard output."""
    for form, path in outputs.files:
        _write_file(path, _render(document, form, outputs, tty=False))
    if outputs.on_stdout:
        tty = sys.stdout.isatty()
        click.echo(_render(document, outputs.form, outputs, tty=tty), nl=False, color=tty)


def _write_file(path: str, text: str) -> None:
    try:
        data = text.encode("utf-8", "backslashreplace")
        if path == "-":
            sys.stdout.buffer.write(data)
        else:
            Path(path).write_bytes(data)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error


def _render(document: Document, form: Format, outputs: Outputs, *, tty: bool) -> str:
    if form is not Format.TEXT:
        return render(document, form)
    from hvci.report.text import Style

    width = page_width() if tty else None
    style = Style(width, tty and wants_colour(), outputs.verbose, outputs.quiet)
    return render(document, form, style)


def page_width() -> int | None:
    """Columns of a terminal; None for a file or a pipe, whose lines stay whole."""
    if not sys.stdout.isatty():
        return None
    try:
        # Not shutil.get_terminal_size: importing shutil costs more than the whole report.
        return int(os.environ.get("COLUMNS", "")) or USUAL_WIDTH
    except ValueError:
        return os.get_terminal_size(sys.stdout.fileno()).columns or USUAL_WIDTH


def wants_colour() -> bool:
    """Whether the environment allows colour on a terminal (https://no-color.org)."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
