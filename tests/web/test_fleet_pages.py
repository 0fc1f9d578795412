"""The fleet in the browser: the same rows as the database has, filtered, ordered and counted."""

import re
import time

import pytest

from fleets import EVIL, ROWS, fill, met, row
from hvci.errors import StoreError
from hvci.fleet.database import create, opened
from hvci.fleet.questions import ask
from hvci.fleet.rows import package_row
from hvci.fleet.rules import Rules
from hvci.fleet.scanning import Scan
from hvci.fleet.store import Met, Store
from hvci.fleet.views import View
from hvci.fleet.walk import Place, Problem, places
from hvci.fleet.worker import Answer
from hvci.report.overview import Fate
from hvci.web.app import application
from webs import BAD, GOOD, INF, serving, settings, zipped
from webs import EVIL as EVIL_NAME


def ready(client):
    end = time.monotonic() + 60
    while time.monotonic() < end:
        answer = client.get("/api/fleet/counts")
        if answer.status_code == 200:
            return
        assert answer.json()["error"]["kind"] == "not-ready"
        time.sleep(0.1)
    raise AssertionError("the columns are not made")


def files(client, **asked):
    return client.get("/api/fleet/files", params=asked).json()


def paths(client, **asked):
    return [one["path"] for one in files(client, **asked)["files"]]


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    home = tmp_path_factory.mktemp("fleet")
    fill(home / "a.db", *map(met, ROWS))
    fill(home / "a.db", met("bad", "/other/bad.sys"), host="lap")
    with serving(home / "web", database=str(home / "a.db")) as client:
        ready(client)
        yield client


def test_every_row_is_shown_once(client):
    assert files(client)["total"] == len(ROWS) + 1
    assert sorted(paths(client)) == sorted([*(f"/drivers/{n}.sys" for n in ROWS), "/other/bad.sys"])


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"verdict": "incompatible"}, {"bad", "worse", "breaks"}),
        ({"verdict": "undecided"}, {"open"}),
        ({"fate": "will not load"}, {"worse"}),
        ({"fate": "breaks when it runs"}, {"breaks"}),
        ({"vendor": EVIL}, {"worse"}),
        ({"rule": "execute-pool-type"}, {"bad"}),
        ({"rule": "no-such-rule"}, set()),
        ({"host": "lap"}, {"bad"}),
        ({"host": "desk", "verdict": "incompatible"}, {"bad", "worse", "breaks"}),
        ({"q": "WORSE"}, {"worse"}),
        ({"q": "drop table"}, {"worse"}),
        ({"q": "%"}, set()),
        ({"q": "\\"}, set()),
        ({"q": ".*"}, set()),
        ({"q": "\0"}, set()),
        ({"year": "1999"}, set()),
        ({"cpu": "x64", "signed": "none"}, {"good", "bad", "worse", "breaks", "open"} | {"text"}),
    ],
)
def test_choices_leave_what_fits(client, asked, found):
    if asked.get("cpu"):
        found = found - {"text"} | ({"text"} if ROWS["text"].columns["machine"] == "x64" else set())
    names = {path.rpartition("/")[2].removesuffix(".sys") for path in paths(client, **asked)}
    assert names == found
    page = client.get("/fleet/rows", params=asked)
    assert page.status_code == 200
    assert page.headers["hx-replace-url"].startswith("/fleet?")
    assert "<script>alert" not in page.text


def test_orders_hold(client):
    worst = paths(client, order="worst")
    assert worst[0] == "/drivers/worse.sys"
    assert worst[1] == "/drivers/breaks.sys"
    assert set(worst[2:4]) == {"/drivers/bad.sys", "/other/bad.sys"}
    assert paths(client, order="path") == sorted(paths(client))
    assert set(paths(client, order="failures")[:2]) == {"/drivers/bad.sys", "/other/bad.sys"}
    for wrong in ({"order": "none"}, {"limit": "1001"}, {"first": "x"}, {"limit": "-1"}):
        assert client.get("/api/fleet/files", params=wrong).status_code == 400
    assert client.get("/fleet/rows", params={"order": "none"}).status_code == 200


def test_counts_are_those_of_the_rows(client):
    found = client.get("/api/fleet/counts").json()
    by = {name: {one["name"]: one["files"] for one in rows} for name, rows in found["by"].items()}
    assert by["verdict"]["incompatible"] == 4
    assert by["host"] == {"desk": 6, "lap": 1}
    assert by["rule"] == {"execute-pool-type": 2}
    assert found["only_rule"] == [{"name": "execute-pool-type", "files": 2}]
    for name, counted in by.items():
        if name != "rule":
            assert sum(counted.values()) == found["total"], name


def test_pages_follow_one_another(client):
    whole = paths(client, order="path")
    parts = [paths(client, order="path", limit="3", first=str(first)) for first in (0, 3, 6, 9)]
    assert [path for some in parts for path in some] == whole
    assert client.get("/fleet/rows", params={"first": "999999999999999999"}).status_code == 200
    assert client.get("/fleet/rows", params={"first": "-1"}).status_code == 200


def test_the_page_can_be_read_without_script_and_names_are_text(client):
    text = client.get("/fleet").text
    assert "What to mend first" in text
    assert "Vendors to ask for an update" in text
    assert "7 of 7 files" in text
    assert "<script>alert" not in text
    assert "\x1b" not in text


def test_boot_drivers_come_first_and_reports_are_those_of_the_scan(tmp_path):
    top = tmp_path / "drivers"
    (top / "pack").mkdir(parents=True)
    (top / "pack/bad.sys").write_bytes(BAD)
    (top / "pack/bad.inf").write_bytes(INF)
    (top / "a_much_worse.sys").write_bytes(BAD[:0x3C] + BAD[0x3C:] + b"x")
    (top / "good.sys").write_bytes(GOOD)
    (top / "pack.zip").write_bytes(zipped(**{"in/good.sys": GOOD + b"z"}))
    (top / EVIL_NAME.replace("/", "_")).write_bytes(b"no driver")
    store = Store(create(str(tmp_path / "a.db")), Rules(), "desk")
    Scan(store, Rules(), 1, 60, lambda _: None).run("all", places([str(top)]))
    store.database.close()
    with serving(tmp_path / "web", database=str(tmp_path / "a.db")) as client:
        ready(client)
        found = files(client)["files"]
        assert found[0]["path"].endswith("pack/bad.sys"), [one["path"] for one in found]
        assert "Bad starts boot" in found[0]["package"]
        assert any("pack.zip!" in one["path"] for one in found)
        assert files(client, start="boot")["total"] == 1
        assert files(client, year="2026")["total"] == 1
        link = re.search(r'href="(/fleet/driver/\d+/\d+)"', client.get("/fleet").text)[1]
        page = client.get(link)
        assert page.status_code == 200
        assert "PoolType is NonPagedPool" in page.text
        assert "Judge again" not in page.text
        saved = client.get(f"{link}/download/json")
        assert saved.json()["reports"][0]["package"]["service"] == "Bad"
        assert client.get(f"{link}/download/exe").status_code == 404
        assert "<script>alert" not in client.get("/fleet").text
    for wrong in ("/fleet/driver/1/999", "/fleet/driver/99999999999999999999/1"):
        with serving(tmp_path / "web", database=str(tmp_path / "a.db")) as client:
            assert client.get(wrong).status_code == 404


def test_a_new_scan_is_seen_and_two_are_compared(tmp_path, monkeypatch):
    monkeypatch.setattr("hvci.web.fleet.LOOK", 0.0)
    monkeypatch.setattr("hvci.web.fleet.APART", 0.0)
    fill(tmp_path / "a.db", met("good"), met("bad"))
    with serving(tmp_path / "web", database=str(tmp_path / "a.db")) as client:
        ready(client)
        assert files(client)["total"] == 2
        assert "no earlier scan" in client.get("/fleet/compare").text
        assert client.get("/api/fleet/changes").status_code == 404
        fill(tmp_path / "a.db", met("good"), met("worse", found=row("9" * 64, "undecided")))
        end = time.monotonic() + 60
        while paths(client, order="path") != ["/drivers/good.sys", "/drivers/worse.sys"]:
            assert time.monotonic() < end
            time.sleep(0.1)
        text = client.get("/fleet/compare").text
        assert "gone" in text
        assert "new" in text
        changes = client.get("/api/fleet/changes", params={"old": "1", "new": "2"}).json()[
            "changes"
        ]
        assert [(one["change"], one["worse"]) for one in changes] == [
            ("new", True),
            ("gone", False),
        ]
        assert len(client.get("/api/fleet/scans").json()["scans"]) == 2
        assert client.get("/fleet/compare", params={"old": "1", "new": "1"}).status_code == 400
        for word in ("x", "99", "-1", "9" * 40):
            assert client.get("/api/fleet/changes", params={"old": word}).status_code in (400, 404)
            assert client.get("/fleet/compare", params={"old": word}).status_code == 200


def test_an_empty_database_has_no_rows_and_a_foreign_one_is_refused(tmp_path):
    create(str(tmp_path / "a.db")).close()
    with serving(tmp_path / "web", database=str(tmp_path / "a.db")) as client:
        ready(client)
        assert "0 of 0 files" in client.get("/fleet").text
        assert "No file fits" in client.get("/fleet").text
        assert client.get("/fleet/compare").status_code == 200
    (tmp_path / "b.db").write_bytes(b"nothing of hvci's" * 100)
    with pytest.raises(StoreError):
        application(settings(tmp_path / "web", database=str(tmp_path / "b.db")))


def test_without_a_database_the_page_says_how_to_get_one(tmp_path):
    with serving(tmp_path) as client:
        assert "hvci scan drivers/" in client.get("/fleet").text
        assert client.get("/api/fleet/files").status_code == 404
        assert client.get("/fleet/rows").status_code == 404


def test_an_archive_that_is_not_whole_is_a_row(tmp_path):
    """Its drivers are rows; so is what of it was not looked at, as the command says."""
    where = tmp_path / "a.db"
    told = package_row("1" * 64, 1, "an archive with 1 driver")
    torn = Met(Place("/x.zip", 1, 1, 1), sha256="1" * 64, answer=Answer(told))
    torn.told = Problem("/x.zip", "package", "it is encrypted")
    whole = Met(Place("/y.zip", 1, 1, 1), sha256="2" * 64, answer=Answer(told))
    whole.answer = Answer(package_row("2" * 64, 1, "an archive with 1 driver"))
    fill(where, torn, whole, met("good", "/x.zip!good.sys"), met("good", "/y.zip!good.sys"))
    with serving(tmp_path / "web", database=str(where)) as client:
        ready(client)
        assert sorted(paths(client)) == ["/x.zip", "/x.zip!good.sys", "/y.zip!good.sys"]
        (one,) = files(client, fate=Fate.UNREADABLE.value)["files"]
        assert (one["path"], one["says"]) == ("/x.zip", "package: it is encrypted")


def test_the_rows_agree_with_the_questions_of_the_command(client):
    database = opened(str(client.app.state.parts.settings.database))
    with database.reading() as connection:
        for name, asked in (
            ("will-not-load", {"fate": "will not load"}),
            ("undecided", {"verdict": "undecided"}),
        ):
            answered = ask(connection, name, View(), "", 100)
            where = answered.heads.index("sha256")
            found = {one["sha256"] for one in files(client, **asked)["files"]}
            assert found == {one[where] for one in answered.rows}
    database.close()
