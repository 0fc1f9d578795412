"""The rows of the current scans as columns on disk, so that a page can filter a million at once.

Made by a process of its own from the results database and read as they lie. Knows the tables and
numpy; knows no pages. A column holds numbers only; what they stand for is a list of names.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from array import array
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Connection, func, select

from hvci.errors import StoreError
from hvci.fleet.database import opened
from hvci.fleet.packed import DICTIONARY
from hvci.fleet.rows import PACKAGE
from hvci.fleet.schema import body, dictionary, file, finding, package, result, scan, seen
from hvci.fleet.views import View
from hvci.report.overview import Fate
from hvci.report.safe import safe

LAYOUT = 2
AT_ONCE = 20_000
MOST_RULES = 64
"""Bits of a set of rules; there are some twenty."""
STARTS = ("boot", "system", "automatic", "on demand", "disabled", "-")
"""When a service starts, the most critical first."""
NAMED = ("host", "verdict", "fate", "vendor", "package", "cpu", "policy", "signed", "start", "year")
"""Columns of which each number stands for a name."""
NUMBERS = {"file": "q", "scan": "q", "result": "q", "failures": "i", "year_number": "h"}
_FATES = list(Fate)
_STAMP = re.compile(rb'"timestamp":"((?:19|20)\d\d)-')
_DATE = re.compile(r"\b((?:19|20)\d\d)\b")


def key_of(connection: Connection) -> str:
    """What the columns depend on: the current scans, and how far they are."""
    view = View()
    scans = connection.execute(
        select(scan.c.id, scan.c.ended).where(scan.c.id.in_(view.scans)).order_by(scan.c.id)
    ).all()
    last = connection.execute(select(func.max(result.c.id))).scalar()
    told = json.dumps([LAYOUT, [list(row) for row in scans], last, DICTIONARY.stat().st_size])
    return hashlib.sha256(told.encode()).hexdigest()[:24]


def build(where: str, folder: str) -> None:
    """Make the columns of a database; `folder` gets one folder named by `key_of`."""
    place = Path(folder)
    database = opened(where)
    try:
        with database.reading() as connection:
            key = key_of(connection)
            part = place / f"part-{key}"
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            _Building(connection, part).run()
    except StoreError as error:
        (place / "problem").write_text(str(error), encoding="utf-8")
        raise
    finally:
        database.close()
    for old in place.iterdir():
        if old.is_dir() and old != part:
            shutil.rmtree(old, ignore_errors=True)
    part.replace(place / key)


@dataclass(slots=True)
class _Names:
    """Numbers for names, in the order in which they are met."""

    numbers: dict[str, int] = field(default_factory=dict)

    def number(self, name: str) -> int:
        return self.numbers.setdefault(name, len(self.numbers))


class _Building:
    """One build: one pass over the rows, one over what rules say, one over time stamps."""

    def __init__(self, connection: Connection, folder: Path) -> None:
        self._connection = connection
        self._folder = folder
        self._names = {name: _Names() for name in NAMED}
        for fate in _FATES:
            self._names["fate"].number(fate.value)
        for start in STARTS:
            self._names["start"].number(start)
        self._columns = {name: array("i") for name in NAMED}
        self._numbers = {name: array(kind) for name, kind in NUMBERS.items()}
        self._paths: list[bytes] = []

    def run(self) -> None:
        years = self._years()
        view = View()
        total = self._connection.execute(
            select(func.count()).select_from(seen).where(seen.c.scan_id.in_(view.scans))
        ).scalar_one()
        done = 0
        for some in self._batches(_rows(view)):
            for row in some:
                self._row(row, years)
            done += len(some)
            self._tell(done, total)
        self._save(*self._rules())

    def _batches(self, query: Any) -> Iterator[list[Any]]:  # noqa: ANN401 (any selectable)
        answer = self._connection.execution_options(yield_per=AT_ONCE).execute(query)
        for some in answer.partitions():
            yield list(some)

    def _tell(self, done: int, total: int) -> None:
        (self._folder.parent / "progress").write_text(json.dumps([done, total]))

    def _row(self, row: Any, years: dict[int, int]) -> None:  # noqa: ANN401 (a row of _rows)
        if row.kind == PACKAGE and row.problem is None:
            return  # its drivers are rows of their own
        year = years.get(row.result_id, 0) or _year(row.version or "")
        vendor = row.vendor or "-"
        words = {
            "host": row.host,
            "verdict": row.verdict or "-",
            "fate": _FATES[_fate(row)].value,
            "vendor": vendor,
            "package": f"{row.provider}: {row.inf}" if row.inf else "-",
            "cpu": row.machine or "-",
            "policy": row.driver_policy or "-",
            "signed": row.signed or "-",
            "start": row.start if row.start in STARTS else "-",
            "year": str(year) if year else "-",
        }
        for name, word in words.items():
            self._columns[name].append(self._names[name].number(word))
        for name, number in (
            ("file", row.file_id),
            ("scan", row.scan_id),
            ("result", row.result_id or 0),
            ("failures", min(row.failures or 0, 1 << 30)),
            ("year_number", year),
        ):
            self._numbers[name].append(number)
        self._paths.append(row.path.lower().encode("utf-8", "replace").replace(b"\n", b" "))

    def _years(self) -> dict[int, int]:
        """The last year of a time stamp in each report; a report is only searched, not read."""
        import zstandard

        known = {
            number: zstandard.ZstdDecompressor(dict_data=zstandard.ZstdCompressionDict(data))
            for number, data in self._connection.execute(select(dictionary.c.id, dictionary.c.data))
        }
        years: dict[int, int] = {}
        query = select(body.c.result_id, body.c.dictionary_id, body.c.data)
        for some in self._batches(query):
            for number, which, blob in some:
                with suppress(zstandard.ZstdError, MemoryError):
                    text = known[which].decompress(blob, max_output_size=1 << 24)
                    if found := _STAMP.findall(text):
                        years[number] = int(max(found))
        return years

    def _rules(self) -> tuple[list[str], dict[int, int]]:
        """The rules that fail, and for each result which do, as bits."""
        names, bits = _Names(), dict[int, int]()
        query = select(finding.c.result_id, finding.c.rule).where(finding.c.outcome == "fail")
        for some in self._batches(query.distinct()):
            for number, rule in some:
                bit = names.number(rule)
                if bit < MOST_RULES:
                    bits[number] = bits.get(number, 0) | 1 << bit
        return list(names.numbers)[:MOST_RULES], bits

    def _save(self, rules: list[str], bits: dict[int, int]) -> None:
        for name, column in (*self._columns.items(), *self._numbers.items()):
            np.save(self._folder / f"{name}.npy", np.asarray(column))
        masks = np.fromiter(
            (bits.get(number, 0) for number in self._numbers["result"]),
            np.uint64,
            len(self._numbers["result"]),
        )
        np.save(self._folder / "rules.npy", masks)
        ends = np.cumsum([len(path) + 1 for path in self._paths], dtype=np.int64)
        np.save(self._folder / "ends.npy", ends)
        (self._folder / "paths").write_bytes(b"\n".join(self._paths) + b"\n")
        names = {name: list(each.numbers) for name, each in self._names.items()}
        self._orders(names)
        text = json.dumps({"names": names, "rules": rules})
        (self._folder / "names.json").write_text(text)

    def _orders(self, names: dict[str, list[str]]) -> None:
        """Each order that rows are shown in, worked out once."""
        fate, start = (np.asarray(self._columns[name]) for name in ("fate", "start"))
        failures = np.asarray(self._numbers["failures"])
        year = np.asarray(self._numbers["year_number"])
        paths = np.argsort(np.array(self._paths, dtype=object), kind="stable")
        place = np.empty(len(paths), np.int64)
        place[paths] = np.arange(len(paths))
        vendors = np.argsort(np.argsort([name.lower() for name in names["vendor"]]))
        vendor = (
            vendors[np.asarray(self._columns["vendor"])] if names["vendor"] else np.zeros(0, int)
        )
        is_good = fate >= _FATES.index(Fate.PASSES)
        orders = {
            "first": (place, -failures, fate, start, is_good),
            "worst": (place, -failures, fate),
            "path": (place,),
            "vendor": (place, -failures, vendor),
            "failures": (place, -failures),
            "newest": (place, -year),
            "oldest": (place, np.where(year == 0, 1 << 14, year)),
        }
        for name, keys in orders.items():
            np.save(self._folder / f"by_{name}.npy", np.lexsort(keys).astype(np.int32))


def _rows(view: View) -> Any:  # noqa: ANN401 (a select with many columns)
    tables = seen.join(file).join(scan, scan.c.id == seen.c.scan_id)
    tables = tables.outerjoin(result, result.c.id == seen.c.result_id)
    tables = tables.outerjoin(package, package.c.id == seen.c.package_id)
    answers = [result.c[name] for name in ("kind", "verdict", "loads", "readiness", "runs")]
    told = [result.c[name] for name in ("machine", "vendor", "driver_policy", "signed", "failures")]
    of_package = [package.c[name] for name in ("inf", "provider", "start", "version")]
    return (
        select(seen.c.file_id, seen.c.scan_id, seen.c.result_id, seen.c.problem, file.c.path)
        .add_columns(scan.c.host, *answers, *told, *of_package)
        .select_from(tables)
        .where(seen.c.scan_id.in_(view.scans))
    )


def _fate(row: Any) -> int:  # noqa: ANN401 (a row of _rows)
    """What becomes of a file, as the overview of a report says it."""
    if row.result_id is None or row.kind == PACKAGE:
        return _FATES.index(Fate.UNREADABLE)
    if row.verdict == "-":
        is_driver = row.kind != "UnsupportedImage"
        return _FATES.index(Fate.UNREADABLE if is_driver else Fate.NOT_A_DRIVER)
    if row.loads == "no":
        return _FATES.index(Fate.WILL_NOT_LOAD)
    if row.runs == "no":
        return _FATES.index(Fate.BREAKS)
    if row.readiness == "no":
        return _FATES.index(Fate.FAILS)
    return _FATES.index(Fate.PASSES if row.verdict == "compatible" else Fate.UNDECIDED)


def _year(version: str) -> int:
    """The year of DriverVer."""
    found = _DATE.search(safe(version.partition(",")[0]))
    return int(found[1]) if found else 0
