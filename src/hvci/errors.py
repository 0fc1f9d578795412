"""Every way hvci can refuse to give a report.

    HvciError
      InputError            the target is at fault
        NotAnImage          no PE headers
        DamagedImage        PE headers that contradict the file
        NeedsMore           a library is missing here that the target needs
        UnsupportedImage    a PE that hvci does not judge (machine, user mode, managed code)
      UsageError            the request is at fault
      CatalogError          our own data files are at fault; names the row
      StoreError            the report database is at fault

A thing that could not be examined is *not* an error: it is a `model.Limit` inside the report.
"""

from __future__ import annotations


class HvciError(Exception):
    """Base of all hvci errors; `exit_code` is what the command line returns."""

    exit_code = 70

    @property
    def advice(self) -> str:
        """One sentence that says what the reader can do; empty when there is nothing to do."""
        return ""

    @property
    def kind(self) -> str:
        """The name under which a report lists this error."""
        return type(self).__name__


class InputError(HvciError):
    """The target is at fault."""

    exit_code = 4


class NotAnImage(InputError):
    """The file has no PE headers."""

    @property
    def advice(self) -> str:
        """Say what a target is."""
        return "Give a driver (.sys), a folder of drivers, or a C/C++ driver project."


class DamagedImage(InputError):
    """The PE headers contradict the file; `offset` is the file offset in bytes."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(f"{message} (at file offset {offset:#x})")
        self.offset = offset

    @property
    def advice(self) -> str:
        """Say what usually helps."""
        return "Copy the driver again from its package; the file is truncated or altered."


class UnsupportedImage(InputError):
    """A PE image that hvci does not judge: another machine, user mode, or managed code."""

    @property
    def advice(self) -> str:
        """Say what hvci reads."""
        return "hvci evaluates kernel-mode PE images for x64, x86 and ARM64."


class NeedsMore(InputError):
    """A library is missing here; the target is not at fault."""

    @property
    def kind(self) -> str:
        """Known as what it always was."""
        return InputError.__name__


class UsageError(HvciError):
    """The request itself is at fault."""

    exit_code = 2


class CatalogError(HvciError):
    """Our own data files are at fault; the message names the row."""


class StoreError(HvciError):
    """The report database is at fault."""

    exit_code = 4
