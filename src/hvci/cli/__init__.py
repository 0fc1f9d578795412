"""The command line: arguments in, one library call, one rendered value out, an exit code.

The only room that prints or exits. A command is imported when it is asked for, not before.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import NoReturn

import click

from hvci import __version__
from hvci.errors import HvciError, UsageError
from hvci.report.document import INTERRUPTED, OUR_FAULT, READER_GONE
from hvci.report.safe import safe

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
"""numpy's linear algebra, which nothing here uses, else starts a thread for each core: a fifth of
the time that one small driver takes."""

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
_COMMANDS = {
    "baseline": "hvci.cli.baseline",
    "check": "hvci.cli.check",
    "checklist": "hvci.cli.checklist",
    "ddis": "hvci.cli.ddis",
    "diff": "hvci.cli.diff",
    "explain": "hvci.cli.explain",
    "export": "hvci.cli.export",
    "fix": "hvci.cli.fix",
    "import-log": "hvci.cli.import_log",
    "query": "hvci.cli.query",
    "report": "hvci.cli.report",
    "rules": "hvci.cli.rules",
    "scan": "hvci.cli.scan",
    "serve": "hvci.cli.serve",
    "stats": "hvci.cli.stats",
    "verifier": "hvci.cli.verifier",
    "verify": "hvci.cli.verify",
}


class _Hvci(click.Group):
    """Imports a command when it is used, and turns every error into an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = _COMMANDS.get(cmd_name)
        if module is None:
            return None
        command: click.Command = import_module(module).command
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Only our own --help and --version print something here."""
        try:
            return super().parse_args(ctx, args)
        except OSError as error:
            ctx.exit(_unwritten(error))

    def invoke(self, ctx: click.Context) -> NoReturn:
        _never_fail_to_encode()
        ctx.exit(_exit_code(lambda: super(_Hvci, self).invoke(ctx)))


def _never_fail_to_encode() -> None:
    """Let no file name break a terminal that cannot show it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _exit_code(call: Callable[[], object]) -> int:
    """Run a command and give its exit code; errors become one line on stderr."""
    try:
        result = call()
        return result if isinstance(result, int) else 0
    except (click.exceptions.Exit, click.UsageError):
        raise
    except HvciError as error:
        _complain(str(error), error.advice)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        if isinstance(error, BrokenPipeError) or error.errno in _NO_ROOM:
            return _unwritten(error)
        return _our_fault(error)
    except Exception as error:
        return _our_fault(error)


def _unwritten(error: OSError) -> int:
    """The exit code where standard output took nothing more."""
    # A second failure while Python flushes would print a traceback.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):
        return READER_GONE  # nobody is there to be told
    _complain(f"cannot write: {error.strerror or error}", "")
    return UsageError.exit_code


def _our_fault(error: Exception) -> int:
    advice = "This is a fault of hvci; please report it."
    _complain(f"internal error: {type(error).__name__}: {error}", advice)
    return OUR_FAULT


def _complain(message: str, advice: str) -> None:
    click.echo(f"hvci: {safe(message, 2000)}", err=True)
    if advice:
        click.echo(advice, err=True)


@click.group(
    cls=_Hvci,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 compatible, 1 incompatible, 2 wrong arguments, 3 undecided, "
    "4 target unreadable, 70 our fault, 130 interrupted. With several targets the worst wins: 130, "
    "70, 2, 4, 1, 3, 0.",
)
@click.version_option(__version__, prog_name="hvci", message="%(prog)s %(version)s")
def main() -> None:
    """Will this Windows kernel driver work with memory integrity (HVCI) on?

    And if not: which call site or section is at fault, and what replaces it.

    \b
    hvci check driver.sys             evaluate one driver
    hvci check out\\ --format json     every driver below a folder, for programs
    hvci explain 0xC4 0x2000          what a bug check says
    """
