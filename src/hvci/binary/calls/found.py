"""What finders of calls answer, one type for every way to call, and what they share.

A finder is one class with `find`. It may teach the data flow when it is made: all finders are made
before the first is asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from hvci.binary.analysis.wiring import Analysis
from hvci.binary.calls.imports.direct import ImportCalls
from hvci.binary.calls.indirect import PointerCalls
from hvci.binary.form.code import Function
from hvci.model import Via


class Found(NamedTuple):
    """A call, or a jump at the end of a function."""

    function: Function
    i: int
    name: str
    via: Via
    hidden: int = 0
    """Arguments before the documented ones."""
    doubt: str = ""
    """Why the call may be of something else."""


class Plain(NamedTuple):
    """A call whose function nobody has decoded."""

    rva: int
    start: int
    """RVA of the function that holds it."""
    name: str
    via: Via
    hidden: int = 0


class Inbound(NamedTuple):
    """A routine of the image that Windows calls as it would be called itself."""

    start: int
    name: str
    argument: str
    """The parameter that decides."""
    reason: str
    """Why its value is not known."""


class Fallback(NamedTuple):
    """A function that looks a routine up by name, and calls another where Windows lacks it."""

    function: Function
    name: str


class Open(NamedTuple):
    """A use that is followed no further: a limit of the rule on a routine, or on all calls."""

    reason: str
    place: int | None = None
    name: str = ""
    """The routine; empty where it may be any."""


class Bound(NamedTuple):
    """The version of the framework that the image binds to, such as "1.15.0"."""

    version: str


Answer = Found | Plain | Inbound | Fallback | Open | Bound


class Shared(NamedTuple):
    """What several finders of one image use."""

    analysis: Analysis
    imports: ImportCalls
    pointers: PointerCalls


class Finder(Protocol):
    """One way to call."""

    def __init__(self, shared: Shared) -> None:
        """May teach the data flow."""

    def find(self) -> Iterator[Answer]:
        """Every call, and every use that may lead to one."""
