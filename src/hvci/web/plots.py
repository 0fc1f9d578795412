"""Bars as SVG, made here: each is a link to the rows that it stands for, and says its number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hvci.report.markup import Html, element, joined

WIDTH, ROW, LETTERS = 480, 26, 34


class Bar(NamedTuple):
    """One row: the whole length, and the part of it that is told apart."""

    name: str
    number: int
    part: int
    link: str
    told: str
    """The numbers in words."""


class Column(NamedTuple):
    """One year: bad, open and good."""

    name: str
    bad: int
    open: int
    good: int
    link: str


def bars(title: str, rows: Sequence[Bar]) -> Html:
    """Names with bars below them, the longest first; the part is drawn darker."""
    most = max((row.number for row in rows), default=1) or 1
    return element(
        "svg",
        *(_bar(row, place * ROW * 2, most) for place, row in enumerate(rows)),
        viewBox=f"0 0 {WIDTH} {max(len(rows), 1) * ROW * 2}",
        role="group",
        aria_label=title,
        class_="chart",
    )


def _bar(row: Bar, top: int, most: int) -> Html:
    name = row.name if len(row.name) <= LETTERS else row.name[: LETTERS - 1] + "…"
    return element(
        "a",
        element("title", f"{row.name}: {row.told}"),
        element("text", name, x=0, y=top + 16),
        element("text", row.told, x=WIDTH, y=top + 16, text_anchor="end", class_="told"),
        element("rect", x=0, y=top + 22, width=_length(row.number, most), height=14, class_="bar"),
        element(
            "rect", x=0, y=top + 22, width=_length(row.part, most), height=14, class_="bar bad"
        ),
        href=row.link,
    )


def _length(number: int, most: int) -> float:
    return round(number / most * WIDTH, 1) if number else 0.0


def years(title: str, columns: Sequence[Column]) -> Html:
    """One column a year, bad below, good on top."""
    most = max((one.bad + one.open + one.good for one in columns), default=1) or 1
    wide = WIDTH / max(len(columns), 1)
    return element(
        "svg",
        *(_column(one, place * wide, wide, most) for place, one in enumerate(columns)),
        viewBox=f"0 0 {WIDTH} 170",
        role="group",
        aria_label=title,
        class_="chart",
    )


def _column(one: Column, left: float, wide: float, most: int) -> Html:
    told = f"{one.name}: {one.bad} incompatible, {one.open} open, {one.good} compatible"
    bottom, parts = 145.0, []
    for number, kind in ((one.bad, "bad"), (one.open, "open"), (one.good, "")):
        high = round(number / most * 140, 1)
        bottom -= high
        parts.append(
            element(
                "rect",
                x=round(left + 1, 1),
                y=round(bottom, 1),
                width=round(wide - 2, 1),
                height=high,
                class_=f"bar {kind}".strip(),
            )
        )
    middle = round(left + wide / 2, 1)
    label = one.name if wide > 34 else one.name[-2:]
    text = element("text", label, x=middle, y=162, text_anchor="middle")
    return element("a", element("title", told), joined(*parts), text, href=one.link)
