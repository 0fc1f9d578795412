"""The overview of an HTML page: totals, filters and one row for each target, without a script.

Filters are radio buttons that the style sheet follows; every string goes through `markup`. On a
narrow page the style sheet lays a row out as lines, by the order of its cells.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterator

from hvci.report import overview
from hvci.report.document import Document
from hvci.report.markup import Html, element, joined

_CLASSES = {
    overview.Fate.WILL_NOT_LOAD: "f0",
    overview.Fate.BREAKS: "f1",
    overview.Fate.FAILS: "f2",
    overview.Fate.UNREADABLE: "f3",
    overview.Fate.UNDECIDED: "f4",
    overview.Fate.NOT_TRIED: "f5",
    overview.Fate.PASSES: "f6",
    overview.Fate.NOT_A_DRIVER: "f7",
}
_KINDS = {
    overview.Fate.UNDECIDED: "undecided",
    overview.Fate.NOT_TRIED: "undecided",
    overview.Fate.NOT_A_DRIVER: "",
    overview.Fate.PASSES: "compatible",
}
"""Colours; what is not named here is bad."""


def glance(document: Document) -> Iterator[Html]:
    """The parts of the overview; none where there is one target only."""
    if not overview.is_wanted(document):
        return
    rows = overview.rows(document)
    yield element("p", overview.totals(document), class_="totals")
    fates = Tally(row.fate for row in rows)
    yield _filter("all", f"all {len(rows)}", checked=True)
    for fate in overview.Fate:
        if fates[fate]:
            yield _filter(
                _CLASSES[fate],
                f"{fate if fates[fate] == 1 else fate.of_many} {fates[fate]}",
                checked=False,
            )
    head = element("tr", *(element("th", head, scope="col") for head in overview.HEADS))
    body = (_row(row) for row in rows)
    table = element("table", element("thead", head), element("tbody", *body))
    yield element("nav", table, class_="scroll glance", tabindex=0, aria_label="Targets")


def _filter(name: str, label: str, *, checked: bool) -> Html:
    """A radio button that shows the rows of one fate; the style sheet does the work."""
    button = element("input", type="radio", name="fate", id=f"show-{name}", checked=checked)
    return joined(button, element("label", label, for_=f"show-{name}"), Html(" "))


def _row(row: overview.Row) -> Html:
    path, *rest = row.cells
    name = element("a", path, href=f"#t{row.index}") if row.report else path
    kind = _KINDS.get(row.fate, "incompatible")
    cells = [element("td", name), *(element("td", cell) for cell in rest)]
    return element("tr", *cells, class_=f"{_CLASSES[row.fate]} {kind}".strip())
