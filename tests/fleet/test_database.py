"""The results database: what is wrong with it is one sentence, and nothing in it is lost."""

import json
import os
import platform
import shutil
import sqlite3
import subprocess
import sys
import time

import pytest
from sqlalchemy import delete, event, select, update

from build import driver
from hvci.errors import NotAnImage, StoreError
from hvci.evaluate import evaluate
from hvci.fleet import database as databases
from hvci.fleet import packed, rules, running
from hvci.fleet.database import create, opened
from hvci.fleet.packed import pack, shipped, unpack
from hvci.fleet.rows import refused, row_of, stored_fields
from hvci.fleet.rules import Rules
from hvci.fleet.scanning import Scan
from hvci.fleet.schema import about, file, result, scan, seen
from hvci.fleet.store import Met, Store, stored_path
from hvci.fleet.walk import Place, Problem
from hvci.fleet.worker import Answer, Task, answered, decode, encode


@pytest.fixture
def where(tmp_path):
    return str(tmp_path / "a.db")


def met(name, row=None):
    """A file that holds its own name."""
    found = row or refused(NotAnImage(name), name, 1)
    return Met(Place(f"/{name}", 1, 1, 1), sha256=name, settled=True, answer=Answer(found))


def store(where, rules=None):
    one = Store(create(where), rules or Rules(), "host")
    one.begin("targets")
    return one


def count(where, table):
    database = opened(where)
    with database.reading() as connection:
        found = len(connection.execute(select(table)).all())
    database.close()
    return found


def test_another_layout_is_refused_and_left_alone(where):
    database = create(where)
    for layout in ("0", "6", "x" * 1000):
        with database.writing() as connection:
            connection.execute(update(about).where(about.c.name == "layout").values(value=layout))
        for opening in (create, opened):
            with pytest.raises(StoreError, match=r"its layout is '.{1,20}', this hvci reads 5"):
                opening(where)
        with database.reading() as connection:
            assert (
                connection.execute(select(about.c.value).where(about.c.name == "layout")).scalar()
                == layout
            )


@pytest.mark.parametrize("layout", ["3", "4"])
def test_layouts_before_get_the_indexes_of_this_one_and_lose_no_row(tmp_path, where, layout):
    store(where).keep([met("a"), met("b")])
    older = sqlite3.connect(where)
    older.execute("ALTER TABLE file DROP COLUMN touched")
    if layout == "3":
        older.executescript(
            """DROP INDEX result_fate;
            CREATE INDEX result_verdict ON result (verdict, failures);
            CREATE INDEX result_worst ON result (verdict, loads, runs, failures);"""
        )
    older.execute("UPDATE about SET value = ? WHERE name = 'layout'", (layout,))
    older.commit()
    older.close()
    with pytest.raises(StoreError, match="an older layout"):
        opened(where)
    create(where).close()
    create(str(tmp_path / "new.db")).close()
    assert indexes(where) == indexes(tmp_path / "new.db")
    assert count(where, seen) == 2


def indexes(where):
    database = sqlite3.connect(where)
    found = set(database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index'"))
    database.close()
    return found


def test_what_is_no_database_of_ours_is_refused_and_left_alone(tmp_path, where):
    foreign = sqlite3.connect(where)
    foreign.execute("CREATE TABLE mine (x)")
    foreign.commit()
    foreign.close()
    for opening in (create, opened):
        with pytest.raises(StoreError, match="not one of hvci scan"):
            opening(where)
    text = tmp_path / "text.db"
    text.write_bytes(b"this is no database at all" * 100)
    with pytest.raises(StoreError, match="this is no database"):
        create(str(text))
    assert text.read_bytes() == b"this is no database at all" * 100
    with pytest.raises(StoreError, match="no such database"):
        opened(str(tmp_path / "none.db"))
    assert not (tmp_path / "none.db").exists()
    with pytest.raises(StoreError, match="it cannot be opened"):
        create(str(tmp_path / "none" / "a.db"))


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("oddbase://x/y", "the driver of this database is missing"),
        ("://", "this is no URL of a database"),
        ("mysql+none://me:secret@host/db", "the driver of this database is missing"),
    ],
)
def test_a_url_that_leads_nowhere_is_one_sentence_without_its_password(url, sentence):
    with pytest.raises(StoreError, match=sentence) as told:
        create(url)
    assert "secret" not in str(told.value)


def test_sqlite_by_url_is_the_same_as_by_path(where):
    create(f"sqlite:///{where}").close()
    assert count(where, about) == 2


def test_a_locked_database_is_one_sentence_and_the_rows_come_later(where, monkeypatch):
    monkeypatch.setattr(databases, "PATIENCE", 0.1)
    one = store(where)
    other = sqlite3.connect(where)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="another program keeps it locked"):
        one.keep([met("a")])
    other.rollback()
    one.keep([met("a")])
    assert count(where, seen) == 1


def test_a_full_disk_is_one_sentence_and_what_was_written_stays(where):
    one = store(where)
    one.keep([met("a")])
    engine = one.database.engine

    @event.listens_for(engine, "begin")
    def shrink(connection):
        connection.exec_driver_sql("PRAGMA max_page_count=1")

    with pytest.raises(StoreError, match="the disk is full; what was done is kept"):
        one.keep([met(f"{number:0900}") for number in range(2000)])
    assert count(where, seen) == 1


def test_a_batch_is_kept_whole_or_not_at_all_and_can_be_written_again(where, monkeypatch):
    one, rows = store(where), [met("a"), met("b")]
    for error in (KeyboardInterrupt, StoreError):

        def interrupt(*_, error=error):
            raise error

        monkeypatch.setattr(one, "_seen", interrupt)
        with pytest.raises(error):
            one.keep(rows)
        assert count(where, result) == count(where, file) == 0
    monkeypatch.undo()
    store(where).keep([met("c")])  # takes the numbers that were given back
    for _ in range(2):
        one.keep(rows)
    database = opened(where)
    with database.reading() as connection:
        joined = select(file.c.path, result.c.sha256).select_from(seen.join(file).join(result))
        found = {tuple(row) for row in connection.execute(joined)}
    assert found == {("/a", "a"), ("/b", "b"), ("/c", "c")}


def test_an_interrupt_while_writing_loses_no_row(where, monkeypatch):
    scan, keep = Scan(store(where), Rules(), 1, 60, lambda _: None), Store.keep
    given = iter([KeyboardInterrupt, None])

    def once(self, rows):
        if error := next(given):
            raise error
        keep(self, rows)

    monkeypatch.setattr(Store, "keep", once)
    scan._rows = [met("a")]
    with pytest.raises(KeyboardInterrupt):
        scan._write()
    scan._write()
    assert count(where, seen) == 1


def test_a_scan_that_is_still_made_is_not_taken_up(where):
    one = store(where)
    one.keep([met("a"), met("b")])
    for node, process, age, is_alive in (
        (platform.node(), os.getppid(), 3600, True),
        (platform.node(), os.getppid(), 90000, False),
        (platform.node(), os.getpid(), 0, False),
        (platform.node(), gone(), 0, False),
        ("elsewhere", gone(), 100, True),
        ("elsewhere", os.getppid(), 1000, False),
    ):
        told = json.dumps([node, process, int(time.time()) - age])
        assert running.is_alive(told) is is_alive
        with one.database.writing() as connection:
            connection.execute(update(about).where(about.c.name == "running 1").values(value=told))
        other = store(where)
        assert (other.scan_id == one.scan_id) is not is_alive
        other.keep([met("a"), met("b")])
        if is_alive:
            one.keep([met("a"), met("b")])
            with other.database.writing() as connection:
                connection.execute(delete(seen).where(seen.c.scan_id == other.scan_id))
                connection.execute(delete(scan).where(scan.c.id == other.scan_id))
        assert count(where, seen) == 2
    one.finish()
    assert count(where, seen) == 2
    with one.database.reading() as connection:
        assert running.name_of(one.scan_id) not in connection.scalars(select(about.c.name)).all()


def gone():
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_two_scans_at_once_share_their_results(where):
    one, other = store(where), store(where, Rules())
    one.keep([met("a"), met("b")])
    other.keep([met("b"), met("c")])
    one.finish()
    other.finish()
    assert count(where, result) == 3


def test_an_error_of_ours_is_a_row(tmp_path, monkeypatch):
    path = tmp_path / "a.sys"
    path.write_bytes(driver())
    sha256 = evaluate(path).target.sha256

    def fail(error):
        def evaluate(data, options, name):
            raise error

        return evaluate

    monkeypatch.setattr("hvci.evaluate.evaluate", fail(KeyError("surprise")))
    told = decode(encode(answered(Task(str(path), sha256, 1), Rules())))
    assert told.row.columns["kind"] == "InternalError"
    assert told.row.columns["summary"] == "KeyError: 'surprise'"
    monkeypatch.setattr("hvci.evaluate.evaluate", fail(MemoryError()))
    told = decode(encode(answered(Task(str(path), sha256, 1), Rules())))
    assert (told.row, told.problem.kind) == (None, "memory")
    told = decode(encode(answered(Task(str(path), "0" * 64, 1), Rules())))
    assert (told.row, told.problem.kind) == (None, "changed")


def test_an_answer_travels_as_plain_bytes():
    report = evaluate(driver(pool_type=0))
    row = row_of(report, "ab")
    answer = Answer(row, pack(stored_fields(report)), None, 7)
    again = decode(encode(answer))
    assert again.blob == answer.blob
    assert again.row.findings == row.findings
    assert dict(again.row.columns) == dict(row.columns)
    lost = Answer(None, problem=Problem("/a", "died", "why"))
    assert decode(encode(lost)) == lost


def test_a_stored_report_is_small_and_a_damaged_one_is_refused(monkeypatch):
    fields = stored_fields(evaluate(driver(pool_type=0)))
    blob = pack(fields)
    assert len(blob) < 700
    for damaged in (blob[:-3], b"", b"text", blob[:20] + b"\xff" * 30):
        with pytest.raises(StoreError, match="a stored report is damaged"):
            unpack(damaged, shipped())
    with pytest.raises(StoreError, match="no object"):
        unpack(pack([1]), shipped())
    monkeypatch.setattr(packed, "LONGEST", 1000)
    with pytest.raises(StoreError, match="claims to have 1008 bytes"):
        unpack(pack({"a": "0" * 1000}), shipped())


def test_paths_that_are_no_text_are_told_apart():
    plain, escaped, raw = "/a/%FF", "bytes:/a/%FF", "/a/\udcff"
    assert stored_path(plain) == plain
    assert stored_path(raw) == escaped
    assert len({stored_path("/a/%FF\udcff"), stored_path("/a/\udcff\udcff")}) == 2


def test_rules_are_what_results_depend_on():
    from hvci.model import parse_version

    one, other = Rules(), Rules(parse_version("7"))
    assert one.digest == Rules().digest != other.digest != Rules(excerpts=True).digest
    assert Rules.of(other.fields()) == other


@pytest.mark.parametrize(
    ("name", "matters"),
    [("fleet/rows.py", True), ("installed/hive.py", True), ("fleet/sql.py", False)],
)
def test_code_that_makes_a_row_is_part_of_its_rules(tmp_path, monkeypatch, name, matters):
    """An older row must not stand where other code would say something else."""
    copy = tmp_path / "hvci"
    shutil.copytree(rules._HOUSE, copy, ignore=shutil.ignore_patterns("__pycache__", "data"))
    monkeypatch.setattr(rules, "_HOUSE", copy)
    before = rules.code_digest.__wrapped__()
    (copy / name).write_text("# other\n")
    assert (rules.code_digest.__wrapped__() != before) is matters
