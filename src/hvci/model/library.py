"""Which library a piece of code came from: what a reader recognised, and how sure it is.

Knows no library: their rows are in the catalogue.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hvci.model.record import record

if TYPE_CHECKING:
    from hvci.model.facts import Confidence


@record
class FromLibrary:
    """The library that a call was linked in with."""

    name: str
    """The row of the catalogue, such as "wdmsec.lib"."""
    confidence: Confidence
    """PROVEN where symbols name the function, LIKELY where its features do."""
    why: str
    """What was recognised, one clause."""
