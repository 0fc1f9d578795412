"""HTML and SVG elements in which every string is text unless it was built here.

Knows nothing of reports; no string of a driver can become an element, an attribute or a script.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from hvci.report.safe import safe

LONGEST = 2000
_EMPTY = frozenset(("meta", "br", "hr", "input"))


class Html(str):
    """Markup that `element` made."""

    __slots__ = ()


def text(words: str) -> Html:
    """Text as markup."""
    return Html(escape(safe(words, LONGEST)))


def element(name: str, /, *children: str, **attributes: str | int | float | bool | None) -> Html:
    """One element; `class_` and `aria_label` become `class` and `aria-label`."""
    listed = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _EMPTY:
        return Html(f"<{name}{listed}>")
    inner = "".join(child if isinstance(child, Html) else text(child) for child in children)
    return Html(f"<{name}{listed}>{inner}</{name}>")


def _attribute(key: str, value: str | int | float | bool | None) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    if value is True:
        return f" {name}"
    shown = f"{value:g}" if isinstance(value, float) else str(value)
    return f' {name}="{escape(safe(shown, LONGEST))}"'


def joined(*parts: Html) -> Html:
    """Elements one after the other."""
    return Html("".join(parts))


def table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]], label: str) -> Html:
    """A table that scrolls by itself where it is wider than the page."""
    head = element("tr", *(element("th", cell, scope="col") for cell in heads))
    body = (element("tr", *(element("td", cell) for cell in row)) for row in rows)
    whole = element("table", element("thead", head), element("tbody", *body))
    return element("div", whole, class_="scroll", tabindex=0, role="group", aria_label=label)
