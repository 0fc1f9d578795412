"""What one run has to say: reports in the order given, and the targets that could not be read.

Knows nothing of any output format; every output renders a `Document` and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable

from hvci import __version__
from hvci.errors import HvciError, InputError, UnsupportedImage, UsageError
from hvci.model import Gate, Report
from hvci.model.record import record

SCHEMA_VERSION = 1
TOOL_NAME = "hvci"
OUR_FAULT = 70
INTERRUPTED = 130
READER_GONE = 141
"""What a shell shows for a program that SIGPIPE ended: no verdict was given."""

EXIT_OF_GATE = {Gate.PASS: 0, Gate.FAIL: 1, Gate.UNDECIDED: 3}

_NOT_TRIED = "Interrupted"
_WORST_FIRST = (INTERRUPTED, OUR_FAULT, UsageError.exit_code, InputError.exit_code, 1, 3, 0)
"""A run that could not look at a target is worse than one that looked and found something."""


@record
class TargetError:
    """One target that could not be evaluated, and why."""

    path: str
    kind: str
    """Name of the error class, such as "NotAnImage"."""
    message: str
    advice: str = ""
    exit_code: int = InputError.exit_code

    @property
    def applies(self) -> bool:
        """Whether the target is one that memory integrity has to do with, as far as is known."""
        return self.kind != UnsupportedImage.__name__

    @property
    def was_tried(self) -> bool:
        """Whether the run came as far as this target."""
        return self.kind != _NOT_TRIED

    @classmethod
    def interrupted(cls, path: str, done: int, total: int) -> TargetError:
        """A target that an interrupted run did not come to."""
        message = f"interrupted after {done} of {total} targets"
        return cls(path, _NOT_TRIED, message, "Run hvci again for it.", INTERRUPTED)

    @classmethod
    def of(cls, path: str, error: Exception) -> TargetError:
        """Describe what stopped the evaluation; anything but an `HvciError` is our fault."""
        if isinstance(error, HvciError):
            message = str(error).removeprefix(f"{path}: ")
            return cls(path, error.kind, message, error.advice, error.exit_code)
        advice = "This is a fault of hvci; please report it with the driver's SHA-256."
        message = f"{type(error).__name__}: {error}"
        return cls(path, "InternalError", message, advice, OUR_FAULT)


@record
class Document:
    """All reports of one run."""

    reports: tuple[Report, ...] = ()
    errors: tuple[TargetError, ...] = ()
    notices: tuple[str, ...] = ()
    """What the policy has to say, such as a suppression that nothing needs any more."""
    tool_version: str = __version__
    """The version that evaluated, which may be older than the one that renders."""

    @classmethod
    def of(cls, found: Iterable[tuple[str, Report | Exception]]) -> Document:
        """The reports of several targets, and what is wrong with the others, each by its path."""
        pairs = list(found)
        reports = tuple(one for _, one in pairs if isinstance(one, Report))
        failed = [(path, one) for path, one in pairs if not isinstance(one, Report)]
        return cls(reports, tuple(TargetError.of(path, error) for path, error in failed))

    @property
    def exit_code(self) -> int:
        """The exit code of the worst target; see `worst`."""
        return worst({EXIT_OF_GATE[report.gate] for report in self.reports} | {self.error_code})

    @property
    def error_code(self) -> int:
        """The exit code of what could not be evaluated.

        What is no driver for memory integrity is at fault only where there is nothing else.
        """
        codes = {error.exit_code for error in self.errors if error.applies}
        nothing_else = bool(self.errors) and not self.reports
        return worst(codes) or InputError.exit_code * nothing_else


def worst(codes: set[int]) -> int:
    """The exit code that wins: 130, then 70, 2, 4, 1, 3 and 0."""
    return next((code for code in _WORST_FIRST if code in codes), 0)
