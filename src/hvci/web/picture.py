"""The picture of an image: sections to scale with their rights, calls and findings as links.

Knows a report and the names of the findings on its page; the same is told in words beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hvci.model import ImageSite, Outcome, Report, Section
from hvci.report.encode import rights
from hvci.report.markup import Html, element, joined

WIDTH, HEIGHT = 1000, 150
TOP, BOTTOM = 52, 112
NARROW = 3.0
"""Least width of a section, so that a small one can still be seen."""
LETTER = 8.6
MOST_STOPS = 24
"""Links that the keyboard stops at; with more of them the list below is the better way."""
_RANK = {Outcome.NOTE: 0, Outcome.UNDECIDED: 1, Outcome.FAIL: 2}


class Mark(NamedTuple):
    """A finding on the picture."""

    rva: int
    outcome: Outcome
    link: str
    """Where the finding stands on the page."""
    label: str


def picture(report: Report, marks: Sequence[Mark]) -> Html:
    """The image from its first byte to its last, as it lies in memory; empty for sources."""
    image = report.image
    if image is None or not image.sections:
        return Html("")
    size = max(image.size_of_image, *(section.end for section in image.sections), 1)
    return element(
        "svg",
        *(_section(section, size) for section in image.sections),
        *_calls(report, size),
        *_findings(marks, size),
        _scale(size),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="group",
        aria_label="Sections of the image to scale, with the places of the findings",
        class_="picture",
    )


def _x(rva: int, size: int) -> float:
    return round(min(max(rva, 0), size) * WIDTH / size, 1)


def _section(section: Section, size: int) -> Html:
    left = _x(section.rva, size)
    width = min(max(_x(section.end, size) - left, NARROW), WIDTH - left)
    where = f"{section.name} {rights(section)}, {section.rva:#x} to {section.end:#x}"
    box = element(
        "rect",
        element("title", where),
        x=left,
        y=TOP,
        width=max(width, 1.0),
        height=BOTTOM - TOP,
        class_=f"sec {kind(section)}",
    )
    names = []
    if width > len(section.name) * LETTER + 8:
        names.append(element("text", section.name, x=left + 6, y=TOP + 32, class_="name"))
    if width > len(rights(section)) * LETTER + 8:
        names.append(element("text", rights(section), x=left + 6, y=TOP + 50, class_="rights"))
    return joined(box, *names)


def kind(section: Section) -> str:
    """The class of a section by its rights."""
    if section.writable and section.executable:
        return "wx"
    if section.executable:
        return "x"
    return "w" if section.writable else "r"


def _calls(report: Report, size: int) -> list[Html]:
    """A tick below for each place with a call, the clean ones too."""
    sites = (judged.call.site for judged in report.calls)
    places = {round(_x(site.rva, size)) for site in sites if isinstance(site, ImageSite)}
    return [
        element("line", x1=x, x2=x, y1=BOTTOM + 4, y2=BOTTOM + 14, class_="call")
        for x in sorted(places)
    ]


def _findings(marks: Sequence[Mark], size: int) -> list[Html]:
    """A flag above for each place; those that fall on one spot share it."""
    worst: dict[int, Mark] = {}
    for mark in marks:
        spot = round(_x(mark.rva, size) / 3)
        known = worst.get(spot)
        if known is None or _RANK[known.outcome] < _RANK[mark.outcome]:
            worst[spot] = mark
    stops = None if len(worst) <= MOST_STOPS else -1
    return [_flag(worst[spot], size, stops) for spot in sorted(worst)]


def _flag(mark: Mark, size: int, stop: int | None) -> Html:
    x = _x(mark.rva, size)
    if mark.outcome is Outcome.FAIL:
        head = element("path", d=f"M{x:g} 40 l-7 -12 a8 8 0 1 1 14 0 z", class_="head")
    else:
        head = element("circle", cx=x, cy=24, r=7, class_="head")
    return element(
        "a",
        element("title", mark.label),
        element("rect", x=x - 9, y=8, width=18, height=BOTTOM - 8, class_="reach"),
        element("line", x1=x, x2=x, y1=38, y2=TOP + 10, class_="pole"),
        head,
        href=f"#{mark.link}",
        tabindex=stop,
        aria_label=mark.label,
        class_=f"flag {mark.outcome}",
    )


def _scale(size: int) -> Html:
    return joined(
        element("text", "0x0", x=0, y=HEIGHT - 6, class_="scale"),
        element("text", f"{size:#x}", x=WIDTH, y=HEIGHT - 6, text_anchor="end", class_="scale"),
    )
