"""What comes first is what comes first of everything, however little is read for it."""

import random
from itertools import count

import pytest
from sqlalchemy import select

from fleets import fill, met, row
from hvci.fleet.database import opened
from hvci.fleet.questions import ask
from hvci.fleet.schema import file, package, result, scan, seen
from hvci.fleet.store import Met
from hvci.fleet.views import View
from hvci.fleet.walk import Place, Problem
from hvci.fleet.worker import Answer
from hvci.model import Installed, Package

STARTS = ("boot", "system", "on demand", "")
BAD = ("incompatible", "incompatible", "undecided", "compatible")


def drawn(chance, number):
    """A driver with few different numbers, so that many are alike but for one."""
    verdict = chance.choice(BAD)
    bad = verdict == "incompatible"
    answers = {name: chance.choice(("yes", "no")) if bad else "yes" for name in ("loads", "runs")}
    failures = chance.randrange(3) if bad else 0
    return row(f"{number:064x}", verdict, readiness="no", failures=failures, **answers)


def packaged(chance):
    if chance.random() < 0.6:
        return None
    number = chance.randrange(6)
    there = Installed(f"oem{number}.inf", chance.randrange(2)) if chance.random() < 0.5 else None
    return Package(f"a{number}.inf", f"s{number}", chance.choice(STARTS), installed=there)


@pytest.fixture(scope="module", params=range(6))
def where(request, tmp_path_factory):
    """Three current scans of two machines, two of which met the same files, and an old one."""
    chance, names = random.Random(request.param), count()
    drivers = [drawn(chance, number) for number in range(60)]
    found = {"old": [], "a": [], "b": [], "other": []}
    for one in drivers:
        for rows in found.values():
            for _ in range(chance.choice((0, 0, 1, 1, 2))):
                rows.append(met("", f"/drivers/{next(names)}.sys", one))
    found["b"] += found["a"][:20]
    for rows in found.values():
        for one in rows:
            one.package = packaged(chance)
    path = tmp_path_factory.mktemp("urgent") / "a.db"
    fill(path, *found["old"], targets="a")
    for targets in ("a", "b"):
        fill(path, *found[targets], targets=targets)
    fill(path, *found["other"], host="laptop")
    return path


VIEWS = (View(), View(host="laptop"), View(host="desk"), View(number=1))


def everything(connection, view):
    """Every file of a view with its result and package, joined without any skill."""
    tables = seen.join(result).join(file).join(scan).outerjoin(package)
    columns = (seen.c.scan_id, seen.c.file_id, file.c.path, scan.c.host)
    query = select(*columns, *result.c, *package.c[2:]).select_from(tables)
    return connection.execute(query.where(seen.c.scan_id.in_(view.scans))).mappings().all()


def fate(one):
    return 0 if one["loads"] == "no" else 1 if one["runs"] == "no" else 2


def worst_first(rows):
    drivers = {}
    for one in rows:
        if one["verdict"] == "incompatible":
            drivers.setdefault(one["sha256"], []).append(one)

    def order(same):
        one = same[0]
        boot = any(each["start"] == "boot" for each in same)
        return fate(one), not boot, -len(same), -one["failures"], -one["id"]

    return [same[0]["sha256"] for same in sorted(drivers.values(), key=order)]


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("most", [1, 3, 10, 1000])
def test_the_worst_and_most_common_drivers_come_first(where, view, most):
    database = opened(str(where))
    with database.reading() as connection:
        found = ask(connection, "update-first", view, "", most)
        wanted = worst_first(everything(connection, view))
    assert [line[found.heads.index("sha256")] for line in found.rows] == wanted[:most]
    assert found.more == (len(wanted) > most)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("most", [1, 5, 1000])
def test_what_starts_with_windows_comes_first(where, view, most):
    database = opened(str(where))
    with database.reading() as connection:
        boot = ask(connection, "boot", view, "", most)
        installed = ask(connection, "installed", view, "", most)
        rows = everything(connection, view)

    def starting(one):
        return (one["start"] != "boot", fate(one))

    def at_boot(one):
        return *starting(one), one["verdict"], -one["failures"], one["path"], one["scan_id"]

    def to_remove(one):
        return *starting(one), one["path"], one["scan_id"]

    wanted = [one for one in rows if one["start"] in STARTS[:2] and one["verdict"] != "compatible"]
    assert places(boot) == paths(sorted(wanted, key=at_boot))[:most]
    wanted = [one for one in rows if one["installed"] and "no" in (one["loads"], one["runs"])]
    assert places(installed) == paths(sorted(wanted, key=to_remove))[:most]


def test_a_file_is_named_with_its_own_package(where):
    database = opened(str(where))
    with database.reading() as connection:
        found = ask(connection, "update-first", View(), "", 1000)
        rows = everything(connection, View())
    names = ("sha256", "one path", "inf", "published")
    told = [tuple(line[found.heads.index(name)] for name in names) for line in found.rows]
    assert set(told) <= {(one["sha256"], one["path"], one["inf"], one["published"]) for one in rows}
    starts = found.heads.index("starts")
    for line, (sha256, path, *_) in zip(found.rows, told, strict=True):
        mine = [one for one in rows if one["sha256"] == sha256]
        (this,) = {one["start"] for one in mine if one["path"] == path}
        assert (line[starts] == "boot") == (this == "boot")


def places(found):
    machine, path = (found.heads.index(name) for name in ("machine", "path"))
    return [(line[machine], line[path]) for line in found.rows]


def paths(rows):
    return [(one["host"], one["path"]) for one in rows]


def test_a_boot_driver_without_an_answer_may_not_work(tmp_path):
    """The process died at it: it is no less urgent than one that is undecided."""
    place = Place("/drivers/dies.sys", 1, 1, 1)
    lost = Answer(None, problem=Problem(place.path, "died", "2 processes died at it"))
    died = Met(place, sha256="d" * 64, answer=lost, package=Package("d.inf", "D", "boot"))
    good = met("", "/drivers/good.sys", row("a" * 64))
    good.package = Package("a.inf", "A", "boot")
    fill(tmp_path / "a.db", died, good)
    database = opened(str(tmp_path / "a.db"))
    with database.reading() as connection:
        for question, word in (("boot", ""), ("package", "d.inf")):
            found = ask(connection, question, View(), word, 10)
            (one,) = [dict(zip(found.heads, line, strict=True)) for line in found.rows]
            assert (one["path"], one["summary"]) == (place.path, "2 processes died at it")
    database.close()
