"""Lists that the user gives: block lists and compatibility databases. No list is shipped.

They say what somebody decided about a driver, whatever its code does; no verdict changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from hvci.errors import InputError, UsageError
from hvci.lists.subject import Subject
from hvci.model import Answer, WindowsVersion
from hvci.model.signature import ListAnswer
from hvci.signing import Signatures

MAX_BYTES = 128 << 20


class DriverList(Protocol):
    """Anything that can be asked about drivers."""

    def ask(self, subject: Subject) -> ListAnswer:
        """What the list says of a driver."""


def load_block_list(path: str) -> DriverList:
    """A policy of App Control as XML or in its binary form, or LOLDrivers' JSON."""
    data = read_list(path)
    start = data[:64].lstrip(b"\xef\xbb\xbf \t\r\n")
    try:
        if start[:1] in (b"[", b"{"):
            from hvci.lists.loldrivers import LolDrivers

            return LolDrivers(path, data)
        from hvci.lists.app_control import AppControl

        if start[:1] == b"<" or data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            from hvci.lists.sipolicy_xml import read_xml

            return AppControl(path, read_xml(data))
        from hvci.lists.sipolicy_binary import read_binary

        return AppControl(path, read_binary(data))
    except InputError as error:
        raise UsageError(f"{path}: {error}") from error


def load_database(path: str) -> DriverList:
    """A driver compatibility database (.sdb)."""
    from hvci.lists.compatibility import Compatibility

    try:
        return Compatibility(path, read_list(path))
    except InputError as error:
        raise UsageError(f"{path}: {error}") from error


def read_list(path: str) -> bytes:
    """The bytes of a list, bounded."""
    try:
        if Path(path).stat().st_size > MAX_BYTES:
            raise UsageError(f"{path}: too large for a list of drivers")
        return Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from error


def ask(
    lists: Sequence[DriverList], signatures: Signatures, path: str, target_os: WindowsVersion
) -> tuple[ListAnswer, ...]:
    """What each list says of a driver for that Windows."""
    subject = Subject(signatures, path, target_os)
    return tuple(each.ask(subject) for each in lists)


def blocklisted(answers: Iterable[ListAnswer]) -> Answer | None:
    """Whether a block list names the driver; None when no block list was given."""
    lists = [answer for answer in answers if answer.blocks]
    if any(answer.matches for answer in lists):
        return Answer.YES
    if any(answer.doubt for answer in lists):
        return Answer.UNDECIDED
    return Answer.NO if lists else None


__all__ = [
    "DriverList",
    "Subject",
    "ask",
    "blocklisted",
    "load_block_list",
    "load_database",
    "read_list",
]
