"""A picture of an image as SVG: its sections to scale with their rights, and the call sites.

Knows the report's image and places; draws nothing for a source tree.
"""

from __future__ import annotations

from hvci.model import Finding, Image, ImageSite, Outcome, Report, Section
from hvci.report.encode import rights
from hvci.report.markup import Html, element, joined

WIDTH, HEIGHT = 1000, 96
_TOP, _BOTTOM = 26, 70
_NARROW = 1.5
"""Least width of a section, so that a small one can still be seen."""
_LETTER = 9.5
_RANK = {Outcome.NOTE: 0, Outcome.UNDECIDED: 1, Outcome.FAIL: 2}


def picture(report: Report) -> Html:
    """The image from its first byte to its last, as it lies in memory."""
    image = report.image
    if image is None or not image.sections:
        return Html("")
    size = max(image.size_of_image, *(section.end for section in image.sections), 1)
    title = "Sections of the image to scale, with the places of the findings"
    drawing = element(
        "svg",
        element("title", title),
        *(_section(section, size) for section in image.sections),
        *_calls(report, size),
        *_marks(report, size),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=title,
    )
    caption = (
        f"{size:#x} bytes in memory. Red: writable and executable; blue: executable; green: "
        "writable; grey: read-only. Marks above: findings (red fails, amber is undecided); marks "
        "below: every call of a listed DDI."
    )
    return element("figure", drawing, element("figcaption", caption), _sections(image))


def _x(rva: int, size: int) -> float:
    return round(rva * WIDTH / size, 1)


def _section(section: Section, size: int) -> Html:
    left = _x(section.rva, size)
    width = max(_x(section.end, size) - left, _NARROW)
    named = f"{section.name} {rights(section)}"
    tip = f"{named}, {_range(section)}"
    box = element(
        "rect",
        element("title", tip),
        x=left,
        y=_TOP,
        width=width,
        height=_BOTTOM - _TOP,
        class_=f"s {_kind(section)}",
    )
    if width < len(named) * _LETTER:
        return box
    return joined(box, element("text", named, x=left + 4, y=_TOP + 27))


def _range(section: Section) -> str:
    return f"{section.rva:#x} to {section.end:#x}"


def _kind(section: Section) -> str:
    if section.writable and section.executable:
        return "wx"
    if section.executable:
        return "x"
    return "w" if section.writable else "r"


def _calls(report: Report, size: int) -> list[Html]:
    """One line below for each place with a call, the clean ones too."""
    sites = (judged.call.site for judged in report.calls)
    places = {round(_x(site.rva, size)) for site in sites if isinstance(site, ImageSite)}
    return [
        element("line", x1=x, x2=x, y1=_BOTTOM + 4, y2=_BOTTOM + 16, class_="m")
        for x in sorted(places)
    ]


def _marks(report: Report, size: int) -> list[Html]:
    """One line per place and colour; places that fall on one pixel share a line."""
    worst: dict[float, Finding] = {}
    for finding in report.findings:
        if isinstance(finding.site, ImageSite):
            x = round(_x(finding.site.rva, size))
            known = worst.get(x)
            if known is None or _RANK[known.outcome] < _RANK[finding.outcome]:
                worst[x] = finding
    return [_mark(x, worst[x].outcome) for x in sorted(worst)]


def _mark(x: float, outcome: Outcome) -> Html:
    bottom = _TOP + 6 if outcome is Outcome.FAIL else _TOP
    return element("line", x1=x, x2=x, y1=6, y2=bottom, class_=f"m {outcome}")


def _sections(image: Image) -> Html:
    """The same in words, for those who do not see the picture."""
    items = [
        element("li", element("code", section.name), f" {rights(section)}, {_range(section)}")
        for section in image.sections
    ]
    return element("details", element("summary", "Sections in words"), element("ul", *items))
