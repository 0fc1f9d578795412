"""Routines that a program looks for in the export table of a module, with code of its own.

Theory of operation: who goes from names to functions reads both arrays of the table. What it finds
stands in no text that could be followed: names may be hashes. Knows words of the text only.
"""

from __future__ import annotations

from collections.abc import Iterator

from hvci.model import Limit, Origin, SourceSite
from hvci.model.judged import CALL_RULES
from hvci.source.program.program import Program

_FUNCTIONS = b"AddressOfFunctions"
_NAMES = (b"AddressOfNames", b"AddressOfNameOrdinals")


def walks(program: Program) -> Iterator[Limit]:
    """A limit for the first place of each file that reads the functions of an export table."""
    if not any(program.names(name) for name in _NAMES):
        return
    told: set[str] = set()
    for unit in program.naming(_FUNCTIONS):
        source = unit.source
        for at in source.places(_FUNCTIONS):
            is_read = source.code[:at].rstrip().endswith((b".", b"->"))
            if not is_read or unit.live(at) is False or source.path in told:
                continue
            told.add(source.path)
            line, column = source.position(at)
            reason = (
                f"{source.path}:{line}: routines are looked up in the exports of a module by code "
                "of the driver's own, and calls of what is found are not followed: check the built "
                ".sys"
            )
            site = SourceSite(source.path, line, column)
            yield Limit(Origin.SOURCE, CALL_RULES, reason, site)
