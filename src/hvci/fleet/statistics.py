"""The numbers of a view, and how they look in a terminal and as a page without a script."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

from sqlalchemy import Connection, and_, func, or_, select

from hvci import __version__
from hvci.fleet.schema import tally
from hvci.fleet.tallies import counted
from hvci.fleet.unfinished import unfinished
from hvci.fleet.views import View
from hvci.report.markup import Html, element, table
from hvci.report.page import POLICY
from hvci.report.safe import safe

WIDTH = 40
"""Characters of the longest bar."""
MOST = 12
"""Rows of one chart; there can be thousands of vendors."""

TITLES = {
    "verdict": "Verdict",
    "loads": "Loads with memory integrity on",
    "readiness": "Passes the readiness test",
    "runs": "Runs when no page is writable and executable",
    "machine": "Processor",
    "signed": "Signed",
    "driver_policy": "Windows Driver Policy",
    "rule": "Rules that fail",
    "ddi": "DDIs that fail",
    "vendor": "Vendors of incompatible drivers",
    "kind": "Judged, or why not",
    "problem": "Files without an answer",
}
_ONLY = {"rule": "fail", "ddi": "fail", "vendor": "incompatible"}
"""Of these only what is bad is worth a bar."""
_WORDS = {"-": "not asked", "report": "judged"}


@dataclass(frozen=True, slots=True)
class Chart:
    """Names with their numbers, the largest first."""

    title: str
    bars: tuple[tuple[str, int], ...]
    left: int = 0
    """Names that found no room."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """What there is to say of a view."""

    scans: int
    files: int
    drivers: int
    charts: tuple[Chart, ...]


def statistics(connection: Connection, view: View) -> Statistics:
    """Add up the scans of a view."""
    view.check(connection)
    numbers: dict[str, dict[str, int]] = {}
    files = drivers = 0
    for kind, name, said, one, many in _rows(connection, view):
        if kind in TITLES and said == _ONLY.get(kind, said):
            bars = numbers.setdefault(kind, {})
            bars[name] = bars.get(name, 0) + (one or many)
        if kind in ("verdict", "problem"):
            files += many
            drivers += one
    charts = tuple(_chart(kind, numbers[kind]) for kind in TITLES if numbers.get(kind))
    count = connection.execute(select(func.count()).select_from(view.scans.subquery())).scalar_one()
    return Statistics(count, files, drivers, charts)


def _rows(connection: Connection, view: View) -> list[tuple[str, str, str, int, int]]:
    """The tallies; a scan that never ended has none, and is counted now."""
    wanted = or_(
        tally.c.kind.in_([kind for kind in TITLES if kind not in _ONLY]),
        *(and_(tally.c.kind == kind, tally.c.said == said) for kind, said in _ONLY.items()),
    )
    key, sums = (tally.c.kind, tally.c.name, tally.c.said), (tally.c.drivers, tally.c.files)
    kept = connection.execute(
        select(*key, *map(func.sum, sums))
        .where(tally.c.scan_id.in_(view.scans), wanted)
        .group_by(*key)
    )
    found = [(kind, name, said, int(one), int(many)) for kind, name, said, one, many in kept]
    for number in unfinished(connection, view):
        found += [tuple(row.values()) for row in counted(connection, number)]
    return found


def _chart(kind: str, numbers: dict[str, int]) -> Chart:
    ranked = sorted(numbers.items(), key=lambda each: (-each[1], each[0]))
    shown = tuple((_WORDS.get(name, name), number) for name, number in ranked[:MOST])
    return Chart(TITLES[kind], shown, len(ranked) - len(shown))


def to_text(found: Statistics) -> str:
    """Bars of characters."""
    lines = [_head(found)]
    for chart in found.charts:
        lines += ["", chart.title]
        most = max(number for _, number in chart.bars)
        names = [safe(name, 40) for name, _ in chart.bars]
        wide = max(map(len, names))
        for name, (_, number) in zip(names, chart.bars, strict=True):
            bar = "#" * max(1, round(number / most * WIDTH)) if number else ""
            lines.append(f"  {name:<{wide}}  {number:>9}  {bar}".rstrip())
        lines += [f"  and {chart.left} more"] if chart.left else []
    return "\n".join(lines) + "\n"


def _head(found: Statistics) -> str:
    return f"{found.files} files, {found.drivers} drivers, {found.scans} scan(s)"


def to_html(found: Statistics) -> str:
    """One self-contained page; its pictures are inline SVG, and each has its numbers as a table."""
    style = (files("hvci") / "data" / "report.css").read_text(encoding="utf-8")
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", "Memory integrity: statistics"),
        Html(f"<style>{style}</style>"),
    )
    body = element(
        "body",
        element("h1", "Memory integrity: statistics"),
        element("p", _head(found)),
        element("main", *(_figure(chart) for chart in found.charts)),
        element("footer", f"hvci {__version__}"),
    )
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _figure(chart: Chart) -> Html:
    rows = tuple((name, str(number)) for name, number in chart.bars)
    return element(
        "section",
        element("h2", chart.title),
        _picture(chart),
        table(("", "drivers"), rows, chart.title),
        *((element("p", f"and {chart.left} more"),) if chart.left else ()),
    )


def _picture(chart: Chart) -> Html:
    most = max(number for _, number in chart.bars) or 1
    bars = [
        element(
            "rect",
            element("title", f"{name}: {number}"),
            x=0,
            y=row * 20 + 2,
            width=round(number / most * 600, 1),
            height=16,
            fill="var(--x)",
        )
        for row, (name, number) in enumerate(chart.bars)
    ]
    names = [
        element("text", f"{name} {number}", x=6, y=row * 20 + 14, font_size=12, fill="var(--ink)")
        for row, (name, number) in enumerate(chart.bars)
    ]
    height = len(chart.bars) * 20
    return element(
        "svg",
        *bars,
        *names,
        viewBox=f"0 0 600 {height}",
        role="img",
        aria_label=chart.title,
        xmlns="http://www.w3.org/2000/svg",
    )
