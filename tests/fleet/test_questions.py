"""What is asked of a database: ready questions, SQL that only reads, exports, changes, numbers."""

import csv
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner

from build import driver
from fleets import EVIL, ROWS, fill, met, row
from hvci.cli import main
from hvci.evaluate import evaluate
from hvci.fleet.comparing import Change, changes
from hvci.fleet.database import create, opened
from hvci.fleet.packed import pack
from hvci.fleet.rows import row_of, stored_fields
from hvci.fleet.rules import Rules
from hvci.fleet.store import Met
from hvci.fleet.walk import Place, Problem
from hvci.fleet.worker import Answer
from hvci.model import Installed, Package, parse_version
from hvci.report.safe import safe


def lost(kind="unreadable"):
    return Met(Problem(f"/drivers/{EVIL}.sys", kind, "cannot be read: \x1b]0;x\x07"))


@pytest.fixture
def where(tmp_path):
    """Two machines, one with a second copy of the bad driver and a file without an answer."""
    path = tmp_path / "a.db"
    fill(path, *map(met, ROWS), met("bad", "/drivers/copy.sys"), lost())
    fill(path, met("good"), met("bad"), host="laptop")
    return path


def run(name, where, *args):
    words = [name, "-d", str(where), *map(str, args)]
    return CliRunner().invoke(main, words, color=True)  # else click takes escapes away itself


def asked(where, *args):
    done = run("query", where, *args, "--format", "json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("question", "found"),
    [
        (["will-not-load"], ["c"]),
        (["breaks"], ["d"]),
        (["fails-readiness"], ["b"]),
        (["undecided"], ["e"]),
        (["not-judged"], ["f"]),
        (["update-first"], ["c", "d", "b"]),
        (["vendor", EVIL], ["c"]),
        (["rule", "execute-pool-type"], ["b", "e"]),
        (["ddi", "ExAllocatePoolWithTag"], ["b"]),
        (["rule", "HVCI2000"], ["b", "e"]),
        (["rule", "dynamic-code"], []),
        (["ddi", "ExAllocatePool"], []),
        (["will-not-load", "--machine", "laptop"], []),
        (["update-first", "--scan", "2"], ["b"]),
    ],
)
def test_a_question_names_its_drivers(where, question, found):
    assert [one["sha256"][0] for one in asked(where, *question)] == found


def test_files_and_names_are_counted(where):
    (bad,) = asked(where, "fails-readiness")
    assert (bad["files"], bad["one path"]) == (3, "/drivers/bad.sys")
    (ddi, other) = asked(where, "ddi")
    assert ddi == {
        "ddi": "ExAllocatePoolWithTag",
        "fail": 2,
        "undecided": 0,
        "drivers": 2,
        "files": 3,
    }
    assert (other["ddi"], other["undecided"]) == ("X", 1)
    assert [one["fail"] for one in asked(where, "rule")] == [2]
    desk, laptop = asked(where, "machine")
    assert (desk["machine"], desk["incompatible"], desk["undecided"]) == ("desk", 4, 1)
    assert (laptop["machine"], laptop["incompatible"], laptop["compatible"]) == ("laptop", 1, 1)
    assert [one["scan"] for one in asked(where, "scans")] == [2, 1]
    assert [one["scan"] for one in asked(where, "scans", "--machine", "desk", "--scan", 1)] == [1]
    assert asked(where, "vendor")[0]["vendor"] == "Acme"


def test_a_name_is_no_part_of_another_name(tmp_path):
    infs = (
        "/a/net_x.inf",
        "/a/netzx.inf",
        "/a/mynet_x.inf",
        "/a.zip!NET_X.INF",
        "C:\\b\\net_x.inf",
    )
    rows = [met("bad", f"/drivers/{number}.sys") for number in range(len(infs))]
    for one, inf in zip(rows, infs, strict=True):
        one.package = Package(inf, "svc_a" if "!" in inf else "svcza", provider="Ä")
    fill(tmp_path / "a.db", *rows)

    def told(*word):
        return {one["path"][9] for one in asked(tmp_path / "a.db", "package", *word)}

    assert told("net_x.inf") == told("Net_X.inf") == {"0", "3", "4"}
    assert told("a/net_x.inf") == {"0"}
    assert told("SVC_A") == {"3"}
    assert len(told("Ä")) == 5
    for word in ("%", "inf", "x.inf"):
        assert "no package of this name" in run("query", tmp_path / "a.db", "package", word).output


def test_a_limit_says_that_there_is_more(where):
    done = run("query", where, "update-first", "--limit", 1)
    assert "more than 1 rows" in done.output
    assert len(done.stdout.splitlines()) == 2


def test_nothing_of_a_driver_is_trusted(where, tmp_path):
    shown = run("query", where, "vendor").output + run("query", where, "problems").output
    shown += run("query", where, "--sql", "SELECT vendor, x'00' FROM result").output
    shown += run("stats", where).output
    assert "\x1b" not in shown
    assert "\x07" not in shown
    told = list(csv.reader(run("query", where, "vendor", "--format", "csv").output.splitlines()))
    assert [line[0] for line in told if "HYPERLINK" in line[0]] == ["'" + safe(EVIL)]
    run("stats", where, "--html", tmp_path / "a.html")
    page = (tmp_path / "a.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert re.search(r"<svg[^>]*role=.img", page)
    seen = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: seen.append((tag, dict(attributes)))
    parser.feed(page)
    assert not [tag for tag, names in seen if tag == "script" or any(k[:2] == "on" for k in names)]
    assert asked(where, "will-not-load")  # the table is still there


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM seen",
        "DROP TABLE seen",
        "ATTACH 'other.db' AS other",
        "PRAGMA journal_mode=DELETE",
        "PRAGMA query_only=OFF",
        "SELECT 1; DROP TABLE seen",
        "WITH x AS (SELECT 1) INSERT INTO about VALUES ('a', 'b')",
        "CREATE TEMP TABLE t (x)",
        "VACUUM INTO 'copy.db'",
        "COMMIT",
        "SELECT load_extension('x')",
        "nonsense",
        "",
    ],
)
def test_sql_only_reads(where, sql, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = where.read_bytes()
    done = run("query", where, "--sql", sql)
    assert done.exit_code not in (0, 1)
    assert "Traceback" not in done.output
    assert len(asked(where, "--sql", "SELECT path FROM file WHERE path LIKE '%bad%'")) == 2
    assert where.read_bytes() == before
    assert not (tmp_path / "copy.db").exists()
    assert not (tmp_path / "other.db").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "want a question or --sql"),
        (["scans", "--sql", "SELECT 1"], "want a question or --sql"),
        (["why"], "no such question"),
        (["scans", "x"], "takes no further word"),
        (["breaks", "--scan", "9"], "there is no scan 9"),
        (["breaks", "--machine", "x"], "there is no scan of x"),
        (["changed"], "no earlier scan"),
        (["changed", "x"], "want the number of a scan"),
        (["changed", "9"], "there is no scan 9"),
        (["changed", "previous"], "there is no previous scan"),
        (["report"], "report wants a path"),
        (["report", "x.sys"], "no report of this"),
        (
            ["vendor", "Acne"],
            "no vendor of this name in the current scans; did you mean Acme?",
        ),
        (["ddi", "ExAllocatePoolWithTg"], "did you mean ExAllocatePoolWithTag"),
        (["rule", "HVCI1"], "no rule of this name"),
        (["package", "x.inf"], "no package of this name in the current scans (all of them:"),
    ],
)
def test_what_cannot_be_asked_is_said(where, arguments, sentence):
    done = run("query", where, *arguments)
    assert done.exit_code == 2
    assert sentence in done.output


def test_what_may_be_among_the_answers_is_told_beside_them(where, tmp_path):
    open_ = "not listed, 1 without an answer (hvci query problems) and 1 undecided (hvci"
    for question in ("will-not-load", "update-first"):
        assert open_ in run("query", where, question).stderr
    for question in (["undecided"], ["will-not-load", "--machine", "laptop"]):
        assert run("query", where, *question).stderr == ""
    for question, why in (("installed", "looked at a Windows"), ("boot", "knows when a driver")):
        assert why in run("query", where, question).stderr
    there = replace(
        met("good"), package=Package("a.inf", "A", "boot", installed=Installed("oem1.inf", 1))
    )
    fill(tmp_path / "b.db", there)
    for question in ("installed", "boot"):
        assert run("query", tmp_path / "b.db", question).stderr == ""


def test_scans_that_were_judged_otherwise_are_told(tmp_path):
    """Their answers stand beside each other in one table."""
    where, listed = tmp_path / "a.db", Rules(blocklists=(("a.xml", "0" * 64),))
    fill(where, met("good"))
    fill(where, met("good"), targets="others")
    for command in (("query", where, "undecided"), ("stats", where)):
        assert run(*command).stderr == ""
    older = fill(where, met("good"), targets="more", rules=Rules(parse_version("10-1607")))
    fill(where, met("good"), targets="all", rules=listed)
    says = "judged with other options: blocklists, target_os 10-1607 and 11-26h1; --scan asks"
    for command in (("query", where, "undecided"), ("stats", where)):
        assert says in run(*command).stderr
        assert says not in run(*command, "--scan", older).stderr


@pytest.mark.parametrize("ends", [True, False])
@pytest.mark.parametrize("question", ["fails-readiness", "undecided", "ddi", "boot"])
def test_where_no_driver_was_judged_no_rows_are_no_answer(tmp_path, question, ends):
    for number, found in enumerate([(), (lost(),), (met("text"), lost())]):
        where = tmp_path / f"{number}.db"
        fill(where, *found, ends=ends)
        assert "no driver was judged in these scans" in run("query", where, question).stderr
    fill(tmp_path / "good.db", met("good"), met("text"), ends=ends)
    assert "no driver was judged" not in run("query", tmp_path / "good.db", question).stderr


def test_an_empty_database_and_an_unfinished_scan(tmp_path):
    create(str(tmp_path / "a.db")).close()
    assert "there is no scan in this" in run("query", tmp_path / "a.db", "breaks").output
    assert "there is no last scan" in run("diff", tmp_path / "a.db", "last", "last").output
    assert run("query", tmp_path / "a.db", "scans").output == "nothing\n"
    fill(tmp_path / "a.db", *map(met, ROWS), ends=False)
    assert [one["sha256"][0] for one in asked(tmp_path / "a.db", "breaks")] == ["d"]
    assert "6 files, 6 drivers, 1 scan(s)" in run("stats", tmp_path / "a.db").stdout


def test_questions_about_a_scan_without_an_end_have_the_same_answers(tmp_path):
    """Its numbers are added up at its end; until then they are counted."""
    where = tmp_path / "a.db"
    packed = replace(met("worse"), package=Package("a.inf", "A", provider="Maker"))
    everything = [*map(met, ROWS), met("bad", "/drivers/copy.sys"), packed, lost()]
    fill(where, met("good"), met("bad"), host="laptop")
    fill(where, *everything, ends=False)
    names = ("vendor", "rule", "ddi", "package", "machine")
    before = {name: asked(where, name) for name in names}
    told = run("query", where, "rule")
    assert "hvci: scan 2 is not finished: what it has not met is missing" in told.stderr
    fill(where, *everything)
    assert "not finished" not in run("query", where, "rule").stderr
    after = {name: asked(where, name) for name in names}
    for rows in (before, after):
        rows["machine"] = [one | {"last": None} for one in rows["machine"]]
    assert before == after
    assert all(before.values())
    assert len(asked(where, "vendor", "--limit", 1)) == 1


def test_the_current_scan_is_the_last_finished_one(where):
    again = fill(where, met("good"), ends=False)
    assert len(asked(where, "update-first")) == 3
    assert fill(where, met("good")) == again, "a scan that was not finished is taken up"
    assert [one["sha256"][0] for one in asked(where, "update-first")] == ["b"]


def test_numbers_hold_where_nothing_changed_and_only_there(where, monkeypatch):
    everything = [*map(met, ROWS), met("bad", "/drivers/copy.sys"), lost()]
    told = run("stats", where).output
    fill(where, *everything)
    assert run("stats", where).output == told
    for rows in (
        everything[:-1],
        [*everything[:-1], lost("vanished")],
        [*everything[1:], met("good", found=ROWS["bad"])],
        [*everything[1:], met("good", "/drivers/moved.sys")],
        [replace(everything[0], package=Package("a.inf", "A", provider="Maker")), *everything[1:]],
    ):
        kept = fill(where, *rows)
        numbers = asked(where, "--sql", f"SELECT * FROM tally WHERE scan_id={kept}")
        monkeypatch.setattr("hvci.fleet.tallies._met_the_same", lambda *_: False)
        again = fill(where, *rows)
        monkeypatch.undo()
        fresh = asked(where, "--sql", f"SELECT * FROM tally WHERE scan_id={again}")
        assert [one | {"scan_id": 0} for one in numbers] == [one | {"scan_id": 0} for one in fresh]
        fill(where, *everything)
    assert run("stats", where).output == told


def test_what_changed_between_two_scans(where, tmp_path, monkeypatch):
    other = Rules(parse_version("7"))
    problem = Met(Problem("/drivers/text.sys", "vanished", "no such file"))
    new = row("9" * 64, "undecided")
    judged = row("e" * 64, "incompatible")
    rows = [
        met("good"),
        met("bad", found=row("8" * 64)),
        met("open", found=judged),
        problem,
        met("new", found=new),
    ]
    number = fill(where, *rows, rules=other)
    database = opened(str(where))
    with database.reading() as connection:
        found = list(changes(connection, 1, number))
        assert list(changes(connection, 1, 1)) == []
        foreign = [(one.change, one.path) for one in changes(connection, 1, 2)]
    database.close()
    told = {(one.change, one.path.rpartition("/")[2], one.worse) for one in found}
    assert {one for one in told if "script" not in one[1]} == {
        (Change.NEW, "new.sys", True),
        (Change.CHANGED, "bad.sys", False),
        (Change.CHANGED, "text.sys", False),
        (Change.JUDGED, "open.sys", True),
        (Change.GONE, "copy.sys", False),
        (Change.GONE, "breaks.sys", False),
        (Change.GONE, "worse.sys", False),
    }
    assert {change for change, _ in foreign} == {Change.GONE}
    assert "/drivers/good.sys" not in {path for _, path in foreign}
    done = run("diff", where, 1, number)
    assert done.exit_code == 1
    assert (
        "judged otherwise /drivers/open.sys: undecided it is -> incompatible it is" in done.output
    )
    assert "\x1b" not in done.output
    assert run("diff", where, 1, 1).output == "scan 1 to scan 1: 0 files changed\n"
    changed = asked(where, "changed", "--scan", number)
    assert {one["change"] for one in changed} == set(Change)
    assert run("diff", where, "previous", "last").exit_code == 1
    monkeypatch.chdir(where.parent)
    assert CliRunner().invoke(main, ["diff", "previous", "last"]).exit_code == 4
    where.rename("hvci.db")
    done = CliRunner().invoke(main, ["diff", "previous", "last"])
    assert (done.exit_code, "files changed" in done.output) == (1, True)
    Path("last").write_bytes(b"a file")
    assert "files changed" not in CliRunner().invoke(main, ["diff", "1", "last"]).output


def test_what_else_may_make_two_scans_differ_is_told(tmp_path, monkeypatch):
    where, everything = tmp_path / "a.db", tuple(map(met, ROWS))
    first = fill(where, *everything)
    again = fill(where, *everything, host="laptop")
    other = fill(where, *everything, rules=Rules(parse_version("7"), blocklists=(("a", "00"),)))
    sub = fill(where, met("good"), targets="drivers/x")
    cut = fill(where, met("good"), ends=False)
    monkeypatch.setattr("hvci.fleet.rules.code_digest", lambda: "new")
    later = fill(where, *everything)
    for numbers, told in (
        ((first, again), ""),
        ((first, other), "judged with other options: blocklists, target_os 11-26h1 and 7"),
        ((first, sub), "of different targets"),
        ((first, cut), f"scan {cut} did not come to its end"),
        ((first, later), "different code or catalogues of hvci"),
        ((later, later), ""),
    ):
        said = run("diff", where, *numbers).stderr
        assert (told in said, bool(said)) == (True, bool(told))


@pytest.mark.parametrize(
    ("kind", "worse"),
    [("NotAnImage", True), ("InternalError", True), ("UnsupportedImage", True)],
)
def test_a_driver_that_cannot_be_judged_any_more_is_worse(tmp_path, kind, worse):
    where = tmp_path / "a.db"
    first = fill(where, met("good"))
    told = row("f" * 64, "-", kind=kind, loads="-", readiness="-", runs="-")
    second = fill(where, met("good", found=told))
    assert run("diff", where, first, second).exit_code == worse
    assert run("diff", where, second, first).exit_code == 0


def test_everything_is_exported(where, tmp_path, monkeypatch):
    run("export", where, "--csv", tmp_path / "a.csv")
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    assert len(rows) == 10
    assert rows[0]["path"] == "/drivers/good.sys"
    assert {one["machine_name"] for one in rows} == {"desk", "laptop"}
    assert [one["problem"] for one in rows if one["problem"]] == ["unreadable"]
    assert all(not one["vendor"].startswith("=") for one in rows)
    alone = run("export", where, "--machine", "laptop", "--csv", "-").output
    assert len(alone.splitlines()) == 3
    assert "want --csv" in run("export", where).output
    assert "cannot write" in run("export", where, "--csv", tmp_path).output
    assert "cannot write" in run("stats", where, "--html", tmp_path).output
    monkeypatch.setattr("hvci.cli.export.find_spec", lambda name: None)
    done = run("export", where, "--parquet", tmp_path / "a.parquet")
    assert (done.exit_code, "pip install pyarrow" in done.output) == (2, True)


def test_parquet_holds_the_same(where, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    assert run("export", where, "--parquet", tmp_path / "a.parquet").exit_code == 0
    table = parquet.read_table(tmp_path / "a.parquet")
    assert table.num_rows == 10
    assert table.column("failures").to_pylist()[:2] == [0, 3]


def test_a_stored_report_is_given_back(tmp_path):
    report = evaluate(driver(pool_type=0))
    sha256 = report.target.sha256
    blob = pack(stored_fields(report))
    one = Met(Place("/drivers/50%_a.sys", 1, 1, 1), sha256=sha256, settled=True)
    one.answer = Answer(row_of(report, sha256), blob)
    fill(tmp_path / "a.db", one, met("good"))
    for word in ("/drivers/50%_a.sys", "50%_a.sys", sha256, sha256[:12].upper()):
        (again,) = asked(tmp_path / "a.db", "report", word)["reports"]
        assert again["target"]["path"] == "/drivers/50%_a.sys"
        assert again["rules"] == json.loads(json.dumps(stored_fields(report)))["rules"]
    assert "no report of this" in run("query", tmp_path / "a.db", "report", "%").output
    assert asked(tmp_path / "a.db", "report", "50%_A.SYS")["reports"] == [again]
    assert "ExAllocatePoolWithTag" in run("query", tmp_path / "a.db", "report", "50%_a.sys").output


def test_what_has_no_report_is_given_back_with_the_reason(where, tmp_path):
    (tmp_path / "drivers" / "b").mkdir(parents=True)
    (tmp_path / "drivers" / "d.sys").write_bytes(driver())
    (tmp_path / "drivers" / "b" / "d.sys").write_bytes(b"text")
    (tmp_path / "drivers" / "gone.sys").symlink_to("nowhere")
    here = tmp_path / "c.db"
    words = ["scan", "-q", "-d", str(here), str(tmp_path / "drivers"), "--jobs", "1"]
    assert CliRunner().invoke(main, words).exit_code == 0
    done = run("query", here, "report", "d.sys", "-f", "json")
    found = json.loads(done.stdout)
    assert [len(found[key]) for key in ("reports", "errors")] == [1, 1]
    assert found["errors"][0]["path"].endswith("b/d.sys")
    assert done.exit_code == 4
    assert "does not start with MZ" in run("query", here, "report", "b/d.sys").stdout
    assert "no such file" in run("query", here, "report", "gone.sys").stdout


def test_a_damaged_blob_is_one_sentence(tmp_path):
    one = met("good")
    one.answer = Answer(ROWS["good"], b"damaged")
    fill(tmp_path / "a.db", one)
    done = run("query", tmp_path / "a.db", "report", "good.sys")
    assert "a stored report is damaged" in done.output


def test_numbers_of_all_scans_add_up(where):
    told = run("stats", where).output
    assert told.startswith("10 files, 8 drivers, 2 scan(s)\n")
    assert re.search(r"incompatible\s+4\s+####", told)
    fill(
        where,
        *(met(f"{n}", found=row(f"{n:064}", "incompatible", vendor=f"v{n}")) for n in range(1, 20)),
        targets="many",
    )
    assert "and 9 more" in run("stats", where).output


def test_the_same_file_on_many_machines_comes_in_one_order(tmp_path):
    """Databases read them in orders of their own, and a limit cuts off the rest."""
    where = tmp_path / "a.db"
    for number, host in enumerate(("m", "z", "c", "a")):
        one = met("bad", "/drivers/a.sys")
        one.package = Package("y.inf", "s", "boot", provider=f"maker {number % 2}")
        fill(where, one, host=host)
    asked = ["query", "package", "y.inf", "-d", str(where), "--format", "json"]
    found = json.loads(CliRunner().invoke(main, asked).output)
    assert [row["machine"] for row in found] == ["m", "z", "c", "a"]


def test_reports_of_one_path_say_on_which_machine(tmp_path):
    where = tmp_path / "a.db"
    for host, pool_type in (("z", 0), ("a", 0x200)):
        path = tmp_path / "d.sys"
        path.write_bytes(driver(pool_type=pool_type))
        words = ["scan", str(path), "-d", str(where), "--machine", host, "--jobs", "1", "-q"]
        assert CliRunner().invoke(main, words).exit_code == 0
    asked = ["query", "report", "d.sys", "-d", str(where), "--format", "json"]
    reports = json.loads(CliRunner().invoke(main, asked).output)["reports"]
    told = [(one["target"]["path"], one["verdict"]) for one in reports]
    assert told == [(f"a: {path}", "compatible"), (f"z: {path}", "incompatible")]
    (one,) = json.loads(CliRunner().invoke(main, [*asked, "--machine", "z"]).output)["reports"]
    assert (one["target"]["path"], one["verdict"]) == (str(path), "incompatible")
