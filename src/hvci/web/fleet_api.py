"""The fleet's rows, counts, scans and changes as HTTP endpoints."""

from __future__ import annotations

import re
from itertools import islice
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hvci.errors import UsageError
from hvci.fleet.comparing import Changed, State, changes
from hvci.fleet.questions import ask
from hvci.fleet.views import View
from hvci.web.answers import answer
from hvci.web.errors import Full, NotFound, Refused
from hvci.web.fleet import Fleet
from hvci.web.fleet_index import ORDERS, Index
from hvci.web.fleet_pages import FACETS, asked_of, fleet_of, number_of, pair_of, rows_of

MOST = 1000
SCAN = re.compile("^(last|previous|[1-9][0-9]{0,8})$", re.ASCII)
NAMES = 100


def _ready(request: Request) -> tuple[Fleet, Index]:
    fleet = fleet_of(request)
    index = fleet.index()
    if index is None:
        done, total = fleet.progress()
        refused = Full(f"the scans are still read: {done} of {total} files")
        refused.kind = "not-ready"
        raise refused
    return fleet, index


def files(request: Request) -> Response:
    """The files that fit, in order."""
    fleet, index = _ready(request)
    query = request.query_params
    if query.get("order", "first") not in ORDERS:
        raise Refused(f"there is no such order; there are {', '.join(ORDERS)}")
    for name in ("first", "limit"):
        if not re.fullmatch(r"[0-9]{1,18}", query.get(name, "0")):
            raise Refused(f"{name} is a number")
    if int(query.get("limit", "0")) > MOST:
        raise Refused(f"limit is {MOST} at most")
    found = index.find(asked_of(request))
    first = number_of(request, "first", found.total)
    most = number_of(request, "limit", MOST) if "limit" in query else 100
    with fleet.database().reading() as connection:
        rows = rows_of(connection, index.page(found, first, most))
    return answer({"total": found.total, "first": first, "files": rows})


def counts(request: Request) -> Response:
    """How the files that fit fall apart by each name, the most frequent names first."""
    _, index = _ready(request)
    found = index.find(asked_of(request))
    by = {
        name: [{"name": one.name, "files": one.number} for one in index.counts(found, name, NAMES)]
        for name in FACETS
    }
    alone = [{"name": one.name, "files": one.number} for one in index.only(found, NAMES)]
    return answer({"total": found.total, "by": by, "only_rule": alone})


def scans(request: Request) -> Response:
    """The scans in the database, the newest first."""
    with fleet_of(request).database().reading() as connection:
        rows = ask(connection, "scans", View(), "", MOST).rows
    names = ("scan", "machine", "began", "ended", "current", "targets")
    return answer({"scans": [dict(zip(names, row, strict=True)) for row in rows]})


def changed(request: Request) -> Response:
    """What changed between two scans; without words, since the one before the newest."""
    for name in ("old", "new"):
        if not SCAN.search(request.query_params.get(name, "last")):
            raise Refused(f"{name} is the number of a scan, last or previous")
    with fleet_of(request).database().reading() as connection:
        try:
            old, new = pair_of(connection, request)
        except (UsageError, Refused) as error:
            raise NotFound(str(error)) from error
        found = list(islice(changes(connection, old, new), MOST + 1))
    told = [_change(one) for one in found[:MOST]]
    return answer({"old": old, "new": new, "changes": told, "more": len(found) > MOST})


def _change(one: Changed) -> dict[str, Any]:
    states = {"before": _state(one.before), "after": _state(one.after)}
    return {"change": one.change.value, "path": one.path, "worse": one.worse, **states}


def _state(state: State | None) -> dict[str, Any] | None:
    return None if state is None else {"says": state.said, "sha256": state.sha256}


ROUTES = [
    Route("/api/fleet/files", files),
    Route("/api/fleet/counts", counts),
    Route("/api/fleet/scans", scans),
    Route("/api/fleet/changes", changed),
]
