"""Rows of drivers and scans, made by hand."""

from sqlalchemy import select

from hvci.fleet.database import create, opened
from hvci.fleet.rows import Row
from hvci.fleet.rules import Rules
from hvci.fleet.schema import file, package, result, scan, seen
from hvci.fleet.store import Met, Store
from hvci.fleet.walk import Place
from hvci.fleet.worker import Answer

EVIL = "=HYPERLINK(1)'); DROP TABLE seen;--<script>alert(1)</script>\x1b[31m"


def row(sha256, verdict="compatible", **rest):
    columns = {
        "sha256": sha256,
        "kind": "report",
        "verdict": verdict,
        "loads": "yes",
        "readiness": "yes",
        "runs": "yes",
        "summary": f"{verdict} it is",
        "machine": "x64",
        "size": 1,
        "signed": "none",
        "driver_policy": "refused-when-enforced",
        "vendor": "Acme",
        "failures": 0,
        "doubts": 0,
    }
    findings = rest.pop("findings", ())
    return Row({**columns, **rest}, findings)


POOL = ("execute-pool-type", "fail", "ExAllocatePoolWithTag", 3)
ROWS = {
    "good": row("a" * 64),
    "bad": row("b" * 64, "incompatible", readiness="no", failures=3, findings=(POOL,)),
    "worse": row("c" * 64, "incompatible", loads="no", failures=1, vendor=EVIL),
    "breaks": row("d" * 64, "incompatible", runs="no", failures=1),
    "open": row("e" * 64, "undecided", doubts=1, findings=((*POOL[:1], "undecided", "X", 1),)),
    "text": row("f" * 64, "-", kind="NotAnImage", loads="-", readiness="-", runs="-", summary="no"),
}


def met(name, path=None, found=None):
    place = Place(path or f"/drivers/{name}.sys", 1, 1, 1)
    one = found or ROWS[name]
    return Met(place, sha256=one.columns["sha256"], settled=True, answer=Answer(one))


def fill(where, *rows, host="desk", targets="drivers", rules=None, ends=True):
    store = Store(create(str(where)), rules or Rules(), host)
    store.begin(targets)
    store.keep(rows)
    if ends:
        store.finish()
    store.database.close()
    return store.scan_id


def rows_below(where, top):
    """What the last scan met, by path below the folder."""
    last = select(scan.c.id).order_by(scan.c.id.desc()).limit(1).scalar_subquery()
    columns = (result.c.kind, result.c.verdict, result.c.signed, package.c.service, seen.c.sentence)
    tables = seen.join(file).outerjoin(result).outerjoin(package)
    query = select(file.c.path, *columns).select_from(tables).where(seen.c.scan_id == last)
    database = opened(str(where))
    with database.reading() as connection:
        found = {
            path.removeprefix(f"{top}/"): tuple(rest) for path, *rest in connection.execute(query)
        }
    database.close()
    return found
