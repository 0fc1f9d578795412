"""The table of a text report: one row for each target, the worst first, and the totals.

Lays out the rows of `overview`; on a narrow terminal the counters stand last or on a line below.
"""

from __future__ import annotations

from collections.abc import Sequence

from hvci.model import Verdict
from hvci.report import overview
from hvci.report.document import Document
from hvci.report.ink import Ink, cells
from hvci.report.safe import safe

Cells = tuple[str, ...]
_COLOURS = {
    Verdict.COMPATIBLE: "green",
    Verdict.INCOMPATIBLE: "red",
    Verdict.UNDECIDED: "yellow",
}
_COUNTERS = overview.HEADS.index("counters")
_SOME = 24
"""Columns of counters for which they stay beside the answers; with less they get a line below."""
_LEAST_PATH = 12
"""Columns that the table keeps for a path, however narrow the terminal is."""
_GAP = 2
_BELOW = 4
"""How far in the line below a row begins."""


def write(ink: Ink, document: Document) -> None:
    """One row for each target, the worst first, and the totals."""
    rows = overview.rows(document)
    lines = [tuple(head.upper() for head in overview.HEADS)]
    lines += [tuple(safe(cell, 2000) for cell in row.cells) for row in rows]
    colours = ["bold", *(_row_colour(row) for row in rows)]
    # A reason in the place of the counters may be long, and is no column to align to.
    counters = max(map(cells, ("COUNTERS", *(row.counters for row in rows))))
    if ink.width is None or sum(_widths(lines)) + counters + len(lines[0]) * _GAP <= ink.width:
        _wide(ink, lines, colours, counters)
    else:
        _narrow(ink, lines, colours)
    ink.blank()
    ink.line((overview.totals(document), "bold"))
    ink.blank()


def _widths(lines: Sequence[Cells]) -> list[int]:
    """Columns that each column needs; none for the counters, which can be folded."""
    widths = [max(map(cells, column)) for column in zip(*lines, strict=True)]
    widths[_COUNTERS] = 0
    return widths


def _wide(ink: Ink, lines: Sequence[Cells], colours: Sequence[str], counters: int) -> None:
    widths = _widths(lines)
    widths[_COUNTERS] = counters
    for line, colour in zip(lines, colours, strict=True):
        *padded, last = (_padded(cell, width) for cell, width in zip(line, widths, strict=True))
        path, *others = (*padded, last.rstrip())
        ink.line(path, (" " * _GAP + (" " * _GAP).join(others), colour))


def _narrow(ink: Ink, lines: Sequence[Cells], colours: Sequence[str]) -> None:
    """Counters behind all else, or below it; the folder of all targets is said once."""
    assert ink.width is not None
    folder = _folder([path for path, *_ in lines[1:]])
    if folder:
        ink.line((f"in {folder}", "dim"))
    rows = [(path.removeprefix(folder), *rest) for path, *rest in lines]
    widths = _widths(rows)
    answers = sum(widths[1:]) + (len(widths) - 2) * _GAP
    beside = ink.width - widths[0] - answers - _GAP >= _SOME
    widths[0] = max(min(widths[0], ink.width - answers), _LEAST_PATH)
    indent = widths[0] + answers + _GAP if beside else _BELOW
    for row, colour in zip(rows, colours, strict=True):
        path, *others = (
            _padded(_end(cell, width), width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            if i != _COUNTERS
        )
        first, *more = _folded(row[_COUNTERS], ink.width - indent)
        tail = (" " * _GAP).join(("", *others, *([first] if beside else [])))
        ink.line(path, (tail, colour), hang=indent)
        below = more if beside else [first, *more]
        for text in below if row[_COUNTERS] not in ("-", "COUNTERS") else ():
            ink.line((text, colour), indent=indent)


def _folder(paths: Sequence[str]) -> str:
    """The folder that all paths begin with; empty when there is none."""
    if len(paths) < 2:
        return ""
    first, last = min(paths), max(paths)
    pairs = enumerate(zip(first, last, strict=False))
    common = next((i for i, (one, other) in pairs if one != other), 0)
    return first[: max(first.rfind("/", 0, common), first.rfind("\\", 0, common)) + 1]


def _folded(text: str, room: int) -> list[str]:
    """Counters in lines that fit, where they do: none is parted from its number."""
    made = [""]
    for part in text.split(", "):
        longer = f"{made[-1]}, {part}" if made[-1] else part
        if cells(longer) > room - 1 and made[-1]:
            made[-1] += ","
            made.append(part)
        else:
            made[-1] = longer
    return made


def _padded(text: str, width: int) -> str:
    return text + " " * (width - cells(text))


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
