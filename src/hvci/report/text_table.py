"""The table of a text report: one row for each target, the worst first, and the totals.

Lays out the rows of `overview`; on a narrow terminal the counters stand last, where they may fold.
"""

from __future__ import annotations

from collections.abc import Sequence

from hvci.model import Verdict
from hvci.report import overview
from hvci.report.document import Document
from hvci.report.ink import Ink, cells
from hvci.report.safe import safe

_COLOURS = {
    Verdict.COMPATIBLE: "green",
    Verdict.INCOMPATIBLE: "red",
    Verdict.UNDECIDED: "yellow",
}
_COUNTERS = overview.HEADS.index("counters")
_SOME = 24
"""Columns of counters that a path makes room for."""
_LEAST_PATH = 12
"""Columns that the table keeps for a path, however narrow the terminal is."""


def write(ink: Ink, document: Document) -> None:
    """One row for each target, the worst first, and the totals."""
    lines = [tuple(head.upper() for head in overview.HEADS)]
    rows = overview.rows(document)
    lines += [tuple(safe(cell, 2000) for cell in row.cells) for row in rows]
    # A reason in the place of the counters may be long, and is no column to align to.
    widths = [max(map(cells, column)) for column in zip(*lines, strict=True)]
    widths[_COUNTERS] = max(map(cells, ("COUNTERS", *(row.counters for row in rows))))
    order = list(range(len(widths)))
    if ink.width is not None and sum(widths) + 2 * len(order) > ink.width:
        order.append(order.pop(_COUNTERS))  # what is folded stands last
        room = ink.width - sum(widths) - 2 * len(order) + widths[0] + widths[_COUNTERS]
        widths[0] = max(min(widths[0], room - min(widths[_COUNTERS], _SOME)), _LEAST_PATH)
    colours = ["bold", *(_row_colour(row) for row in rows)]
    for line, colour in zip(lines, colours, strict=True):
        _row(ink, [(line[i], widths[i]) for i in order], colour)
    ink.blank()
    ink.line((overview.totals(document), "bold"))
    ink.blank()


def _row(ink: Ink, columns: Sequence[tuple[str, int]], colour: str) -> None:
    (path, width), *others = columns
    others[-1] = (others[-1][0], 0)
    padded = [(_end(path, width), width), *others]
    shown = [cell + " " * (room - cells(cell)) for cell, room in padded]
    fixed = sum(room + 2 for _, room in columns[:-1])
    ink.line(shown[0], ("  " + "  ".join(shown[1:]), colour), hang=fixed)


def _end(path: str, width: int) -> str:
    """A path cut at its front to the columns that there are."""
    kept = path
    while cells(kept) > width:
        kept = "..." + kept.removeprefix("...")[1:]
    return kept


def _row_colour(row: overview.Row) -> str:
    if row.report is not None:
        return _COLOURS[row.report.verdict]
    return "dim" if row.fate is overview.Fate.NOT_A_DRIVER else "red"
