"""The fleet's pages: which rows, what to update first, one driver, and what changed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any
from urllib.parse import urlencode

from sqlalchemy import Connection, select
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hvci.errors import UsageError
from hvci.fleet.comparing import changes
from hvci.fleet.questions import ask
from hvci.fleet.schema import file, package, result, scan, seen
from hvci.fleet.stored import report_of
from hvci.fleet.views import View, before, newest, scan_number
from hvci.report import Document, Format
from hvci.report.overview import Fate
from hvci.web.answers import page
from hvci.web.errors import NotFound, Refused
from hvci.web.evaluate import KINDS, as_file
from hvci.web.fleet import Fleet
from hvci.web.fleet_index import ORDERS, Asked, Count, Found, Index
from hvci.web.parts_of import parts_of
from hvci.web.plots import Bar, Column, bars, years
from hvci.web.shown import target_words

ROWS = 50
BARS = 8
CHOICES = 40
MOST_CHANGES = 400
FACETS = {
    "fate": "What becomes of it",
    "verdict": "Verdict",
    "policy": "Gate: Windows Driver Policy",
    "signed": "Gate: signature",
    "start": "Starts",
    "rule": "Rule that fails",
    "vendor": "Vendor",
    "package": "Package",
    "host": "Machine",
    "year": "Year",
    "cpu": "Processor",
}
_BAD = (Fate.WILL_NOT_LOAD.value, Fate.BREAKS.value, Fate.FAILS.value)
_UNKNOWN = {"-": "not known"}


def fleet_of(request: Request) -> Fleet:
    """The fleet of the server; said plainly where it has none."""
    fleet = parts_of(request).fleet
    if fleet is None:
        raise NotFound(
            "no scans to show: start with hvci serve --database FILE, after hvci scan made FILE"
        )
    return fleet


def start(request: Request) -> Response:
    """The whole page."""
    if parts_of(request).fleet is None:
        return page(request, "fleet_none.html")
    fleet = fleet_of(request)
    index = fleet.index()
    if index is None:
        done, total = fleet.progress()
        return page(request, "fleet_wait.html", done=done, total=total)
    return page(request, "fleet.html", **_words(request, fleet, index))


def wait(request: Request) -> Response:
    """How far the columns are; loads the page anew when they are there."""
    fleet = fleet_of(request)
    if fleet.index() is not None:
        return Response(headers={"hx-refresh": "true"})
    done, total = fleet.progress()
    return page(request, "fleet_waiting.html", done=done, total=total)


def rows(request: Request) -> Response:
    """The part of the page that a choice changes."""
    fleet = fleet_of(request)
    index = fleet.index()
    if index is None:
        return Response(headers={"hx-refresh": "true"})
    response = page(request, "fleet_rows.html", **_words(request, fleet, index))
    asked = [(name, word) for name, word in request.query_params.multi_items() if word]
    response.headers["hx-replace-url"] = f"/fleet?{urlencode(asked)}"
    return response


def asked_of(request: Request) -> Asked:
    """What the address asks for."""
    query = request.query_params
    choices = tuple((name, query[name]) for name in FACETS if query.get(name))
    return Asked(choices, query.get("q", ""), query.get("order", "first"))


def number_of(request: Request, name: str, most: int) -> int:
    """A number in the address; 0 where there is none."""
    word = request.query_params.get(name, "")
    return min(int(word), most) if word.isascii() and word.isdigit() and len(word) < 12 else 0


def _words(request: Request, fleet: Fleet, index: Index) -> dict[str, Any]:
    asked = asked_of(request)
    found = index.find(asked)
    first = number_of(request, "first", max(found.total - 1, 0)) // ROWS * ROWS
    with fleet.database().reading() as connection:
        shown = rows_of(connection, index.page(found, first, ROWS))
    link = _Links(asked)
    return {
        "asked": dict(asked.choices),
        "word": asked.word,
        "order": found.order,
        "orders": ORDERS.items(),
        "facets": [(name, label, _choices(index, name, asked)) for name, label in FACETS.items()],
        "active": [
            (FACETS[name], _UNKNOWN.get(word, word), link.without(name))
            for name, word in asked.choices
        ],
        "total": found.total,
        "of": index.total,
        "fates": [
            (_told(one), one.number, KINDS.get(one.name, "open"), link.having("fate", one.name))
            for one in index.counts(found, "fate")
        ],
        "plots": _plots(index, found, link),
        "rows": shown,
        "first": first,
        "last": first + len(shown),
        "earlier": link.at(first - ROWS) if first else "",
        "later": link.at(first + ROWS) if first + ROWS < found.total else "",
        "building": index.total and fleet.problem,
    }


def _told(one: Count) -> str:
    fate = Fate(one.name)
    return fate.value if one.number == 1 else fate.of_many


class _Links:
    """Addresses of this page with something else chosen."""

    def __init__(self, asked: Asked) -> None:
        self._words = dict(asked.choices)
        if asked.word:
            self._words["q"] = asked.word
        if asked.order != "first":
            self._words["order"] = asked.order

    def having(self, name: str, word: str) -> str:
        return f"/fleet?{urlencode({**self._words, name: word})}"

    def without(self, name: str) -> str:
        left = {key: word for key, word in self._words.items() if key != name}
        return f"/fleet?{urlencode(left)}"

    def at(self, first: int) -> str:
        return self.having("first", str(max(first, 0)))


def _choices(index: Index, name: str, asked: Asked) -> list[tuple[str, str, bool]]:
    """Name, label and whether it is chosen; the most frequent ones, and the chosen one."""
    chosen = dict(asked.choices).get(name, "")
    found = index.counted(name)[:CHOICES]
    options = [(one.name, f"{_UNKNOWN.get(one.name, one.name)} ({one.number:,})") for one in found]
    if chosen and chosen not in {one.name for one in found}:
        options.insert(0, (chosen, chosen))
    return [(word, label, word == chosen) for word, label in options]


def _plots(index: Index, found: Found, link: _Links) -> list[tuple[str, str, Any]]:
    bad = index.among(found, "fate", _BAD)
    plots = []
    vendors = [
        Bar(one.name, one.number, one.number, link.having("vendor", one.name), f"{one.number:,}")
        for one in index.counts(bad, "vendor", BARS)
    ]
    if vendors:
        title = "Vendors to ask for an update"
        plots.append((title, "Files of theirs that are incompatible.", bars(title, vendors)))
    alone = {one.name: one.number for one in index.only(found, 0)}
    ruled = [
        Bar(
            one.name,
            one.number,
            alone.get(one.name, 0),
            link.having("rule", one.name),
            f"{one.number:,}, {alone.get(one.name, 0):,} by it alone",
        )
        for one in index.counts(found, "rule", BARS)
    ]
    if ruled:
        title = "What to mend first"
        told = "Files in which a rule fails; red: it is the only one that does."
        plots.append((title, told, bars(title, ruled)))
    critical = index.among(bad, "start", ("boot", "system"))
    packages = [
        Bar(one.name, one.number, one.number, link.having("package", one.name), f"{one.number:,}")
        for one in index.counts(critical, "package", BARS)
    ]
    if packages:
        title = "Packages whose drivers start with Windows"
        told = "Boot and system drivers that are incompatible: with these Windows may not start."
        plots.append((title, told, bars(title, packages)))
    if columns := _years(index, found, link):
        title = "By year"
        told = "Of the last signature's time stamp, else of DriverVer; red: incompatible."
        plots.append((title, told, years(title, columns)))
    return plots


def _years(index: Index, found: Found, link: _Links) -> list[Column]:
    numbers: dict[str, list[int]] = {}
    kinds = (_BAD, (Fate.UNDECIDED.value, Fate.UNREADABLE.value), (Fate.PASSES.value,))
    for place, names in enumerate(kinds):
        for one in index.counts(index.among(found, "fate", names), "year"):
            numbers.setdefault(one.name, [0, 0, 0])[place] = one.number
    if set(numbers) <= {"-"}:
        return []
    return [
        Column(name, bad, open_, good, link.having("year", name))
        for name, (bad, open_, good) in sorted(numbers.items(), key=lambda one: one[0])
    ][-24:]


def rows_of(connection: Connection, ids: Sequence[tuple[int, int, int]]) -> list[dict[str, Any]]:
    """What a table shows of some files."""
    wanted = (
        select(
            *(seen.c.file_id, seen.c.scan_id, seen.c.problem, seen.c.sentence, file.c.path),
            *(scan.c.host, result.c.summary, result.c.verdict, result.c.vendor, result.c.machine),
            *(result.c.failures, result.c.sha256, result.c.kind),
            *(package.c.inf, package.c.service, package.c.start, package.c.version),
        )
        .select_from(
            seen.join(file)
            .join(scan, scan.c.id == seen.c.scan_id)
            .outerjoin(result, result.c.id == seen.c.result_id)
            .outerjoin(package, package.c.id == seen.c.package_id)
        )
        .where(seen.c.scan_id.in_({scan_id for _, scan_id, _ in ids}))
        .where(seen.c.file_id.in_({file_id for file_id, _, _ in ids}))
    )
    found = {(row.file_id, row.scan_id): row for row in connection.execute(wanted)}
    shown = []
    for file_id, scan_id, _ in ids:
        row = found.get((file_id, scan_id))
        if row is None:
            continue  # a scan took it away since the columns were made
        said = row.summary if row.sentence is None else f"{row.problem}: {row.sentence}"
        start = f" starts {row.start}" if row.start else ""
        shown.append(
            {
                "scan": scan_id,
                "file": file_id,
                "path": row.path,
                "machine": row.host,
                "says": said or "",
                "verdict": row.verdict if row.verdict not in (None, "-") else None,
                "vendor": row.vendor if row.vendor not in (None, "-") else "",
                "cpu": row.machine if row.machine not in (None, "-") else "",
                "failures": row.failures or 0,
                "sha256": row.sha256,
                "package": f"{row.inf}: {row.service}{start}" if row.inf else "",
                "has_report": row.kind == "report",
            }
        )
    return shown


def _document(request: Request) -> Document:
    fleet = fleet_of(request)
    numbers = (int(request.path_params["scan"]), int(request.path_params["file"]))
    if max(numbers) >= 1 << 62:
        raise NotFound("there is no report of this file in that scan")
    with fleet.database().reading() as connection:
        found = report_of(connection, *numbers)
    if found is None:
        raise NotFound("there is no report of this file in that scan")
    return found


def driver(request: Request) -> Response:
    """The stored report of one file."""
    (report,) = _document(request).reports
    kinds = {"compatible": "good", "incompatible": "bad", "undecided": "open"}
    here = request.scope["path"]
    return page(
        request,
        "target.html",
        kind=kinds[report.verdict.value],
        several=False,
        id="",
        base=f"{here}/download",
        link=f"{request.url.scheme}://{request.headers['host']}{here}",
        formats=[form.value for form in Format],
        **target_words(report),
    )


def download(request: Request) -> Response:
    """The stored report of one file in one of the formats."""
    return as_file(_document(request), str(request.path_params["form"]), "hvci-driver")


def compare(request: Request) -> Response:
    """What changed between two scans."""
    fleet = fleet_of(request)
    with fleet.database().reading() as connection:
        scans = ask(connection, "scans", View(), "", 500).rows
        try:
            old, new = pair_of(connection, request)
        except UsageError as error:
            return page(
                request, "fleet_compare.html", scans=scans, old=0, new=0, told=str(error), found=[]
            )
        found = list(islice(changes(connection, old, new), MOST_CHANGES + 1))
    more = len(found) > MOST_CHANGES
    told = f"Only the first {MOST_CHANGES} changes: hvci diff {old} {new} has all" if more else ""
    return page(
        request,
        "fleet_compare.html",
        scans=scans,
        old=old,
        new=new,
        told=told or ("" if found else "Nothing changed"),
        found=found[:MOST_CHANGES],
    )


def pair_of(connection: Connection, request: Request) -> tuple[int, int]:
    """The two scans of an address; without words the newest and the one before it."""
    words = (request.query_params.get("old", ""), request.query_params.get("new", ""))
    new = scan_number(connection, words[1]) if words[1] else newest(connection, View())
    old = scan_number(connection, words[0]) if words[0] else before(connection, new)
    if old is None:
        raise UsageError(f"there is no earlier scan of the targets of scan {new}: choose two")
    if old == new:
        raise Refused("choose two different scans")
    return old, new


ROUTES = [
    Route("/fleet", start),
    Route("/fleet/rows", rows),
    Route("/fleet/wait", wait),
    Route("/fleet/compare", compare),
    Route("/fleet/driver/{scan:number}/{file:number}", driver),
    Route("/fleet/driver/{scan:number}/{file:number}/download/{form}", download),
]
