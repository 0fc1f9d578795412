"""`hvci scan`: the same reports as one by one, what is known costs a look-up, nothing is silent."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from sqlalchemy import select

from build import driver, user_program
from hvci.cli import main, watched
from hvci.evaluate import Options, evaluate
from hvci.fleet import content, walk
from hvci.fleet.crew import Crew
from hvci.fleet.database import opened
from hvci.fleet.packed import unpack
from hvci.fleet.rows import stored_fields
from hvci.fleet.rules import Rules
from hvci.fleet.schema import body, dictionary, file, finding, result, scan, seen
from hvci.fleet.worker import Task, answered
from hvci.packages import images

OLD = 1_600_000_000


def run(*args, **extra):
    return CliRunner().invoke(main, ["scan", *map(str, args)], **extra)


def rows(where, *columns):
    """What the last scan met, by file name."""
    last = select(scan.c.id).order_by(scan.c.id.desc()).limit(1).scalar_subquery()
    joined = seen.join(file).outerjoin(result).outerjoin(body).outerjoin(dictionary)
    query = select(file.c.path, *columns).select_from(joined).where(seen.c.scan_id == last)
    database = opened(str(where))
    with database.reading() as connection:
        found = {
            path.rpartition(os.sep)[2]: tuple(rest) for path, *rest in connection.execute(query)
        }
    database.close()
    return found


@pytest.fixture
def folder(tmp_path):
    """Drivers good and bad, a copy, what is none, and what cannot be read."""
    top = tmp_path / "drivers"
    (top / "below").mkdir(parents=True)
    for name, data in {
        "good.sys": driver(),
        "below/copy.SYS": driver(),
        "bad.sys": driver(pool_type=0),
        "arm.dll": driver("arm64"),
        "user.exe": user_program(subsystem=3),
        "user.sys": user_program(subsystem=3),
        "text.sys": b"no driver",
        "empty.sys": b"",
        "note.txt": b"no driver either",
    }.items():
        (top / name).write_bytes(data)
        os.utime(top / name, (OLD, OLD))
    (top / "gone.sys").symlink_to("nowhere")
    (top / "loop").symlink_to(top)
    return top


def test_every_file_has_its_row_and_a_second_scan_only_looks(folder, tmp_path):
    where = tmp_path / "a.db"
    done = run(folder, "-d", where, "--jobs", 1)
    assert done.exit_code == 0, done.output
    assert "evaluated             6" in done.output
    assert "known by content      1" in done.output
    assert "damaged or no driver  3" in done.output
    found = rows(where, result.c.kind, result.c.verdict, seen.c.problem)
    assert found == {
        "good.sys": ("report", "compatible", None),
        "copy.SYS": ("report", "compatible", None),
        "bad.sys": ("report", "incompatible", None),
        "arm.dll": ("report", "compatible", None),
        "user.exe": ("package", "-", None),
        "user.sys": ("UnsupportedImage", "-", None),
        "text.sys": ("NotAnImage", "-", None),
        "empty.sys": ("NotAnImage", "-", None),
        "gone.sys": (None, None, "vanished"),
    }
    again = run(folder, "-d", where, "--jobs", 1)
    assert "evaluated             0" in again.output
    assert "unchanged             8" in again.output
    assert "without an answer     1" in again.output
    assert "damaged or no driver  3" in again.output
    assert rows(where, result.c.kind, result.c.verdict, seen.c.problem) == found
    os.utime(folder / "good.sys", (OLD + 1, OLD + 1))
    third = run(folder, "-d", where, "--jobs", 1)
    assert "known by content      1" in third.output
    assert "evaluated             0" in third.output


def test_the_reports_are_those_of_one_by_one(folder, tmp_path):
    where = tmp_path / "a.db"
    run(folder / "good.sys", folder / "bad.sys", folder / "arm.dll", "-d", where, "--excerpts")
    found = rows(where, body.c.data, dictionary.c.data, result.c.sha256)
    assert len(found) == 3
    for name, (blob, known, sha256) in found.items():
        data = (folder / name).read_bytes()
        report = evaluate(data, Options(excerpts=True))
        assert unpack(blob, known) == json.loads(json.dumps(stored_fields(report)))
        assert report.target.sha256 == sha256


def test_findings_are_counted_by_rule_and_ddi(folder, tmp_path):
    where = tmp_path / "a.db"
    run(folder / "bad.sys", "-d", where)
    database = opened(str(where))
    with database.reading() as connection:
        found = connection.execute(
            select(finding.c.rule, finding.c.outcome, finding.c.ddi, finding.c.places)
        ).all()
        counted = connection.execute(select(result.c.failures)).scalar()
    assert ("execute-pool-type", "fail", "ExAllocatePoolWithTag", 1) in found
    assert counted == 1


def test_other_options_are_other_results(folder, tmp_path):
    where = tmp_path / "a.db"
    run(folder / "good.sys", "-d", where)
    assert (
        "evaluated             1"
        in run(folder / "good.sys", "-d", where, "--target-os", "7").output
    )
    assert "unchanged             1" in run(folder / "good.sys", "-d", where).output


def test_a_file_of_a_moment_ago_is_hashed_again(tmp_path):
    """Another change within the same tick of the clock would not show."""
    path = tmp_path / "new.sys"
    path.write_bytes(driver())
    soon = time.time() + 60  # however long the first scan takes to begin
    os.utime(path, (soon, soon))
    run(path, "-d", tmp_path / "a.db")
    assert "known by content      1" in run(path, "-d", tmp_path / "a.db").output


def test_another_driver_with_the_size_the_time_and_the_inode_of_the_one_before(tmp_path):
    path, where = tmp_path / "a.sys", tmp_path / "a.db"
    before, after = driver(pool_type=0x200), driver(pool_type=0)
    assert len(before) == len(after)
    for data in (before, after):
        path.write_bytes(data)  # in place, as unzip -o does
        os.utime(path, (OLD, OLD))
        run(path, "-d", where)
    told = CliRunner().invoke(main, ["query", "fails-readiness", "-d", str(where)])
    assert "a.sys" in told.output


def test_lists_and_catalogs_that_change_meanwhile_are_nobodys_answer(tmp_path):
    path, catalog = tmp_path / "a.sys", tmp_path / "a.cat"
    path.write_bytes(driver())
    catalog.write_bytes(b"one")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    given = ((str(catalog), hashlib.sha256(b"one").hexdigest()),)
    rules = Rules()
    about = rules.beside("a.sys", [given[0][1]])
    task = Task(str(path), sha256, 1, about=about, catalogs=(("a.cat", str(catalog)),))
    assert answered(task, rules).row is not None
    catalog.write_bytes(b"two")
    for asked, under in ((task, rules), (Task(str(path), sha256, 1), Rules(catalogs=given))):
        told = answered(asked, under)
        assert (told.row, told.problem.kind) == (None, "changed")
        assert "a.cat" in told.problem.sentence or "a catalog" in told.problem.sentence
    catalog.unlink()
    assert answered(task, rules).problem.kind == "changed"
    nothing = rules.beside("a.sys", [""])
    assert answered(task._replace(about=nothing), rules).row is not None


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\0"])
def test_targets_come_from_a_list(folder, tmp_path, end):
    text = end.join([os.fsencode(folder / "text.sys"), b"", os.fsencode(folder / "below")])
    done = run("--from-list", "-", "-d", tmp_path / "a.db", input=text)
    assert done.exit_code == 0, done.output
    assert set(rows(tmp_path / "a.db")) == {"text.sys", "copy.SYS"}


def test_since_leaves_out_what_did_not_change(folder, tmp_path):
    now = time.time()
    os.utime(folder / "text.sys", (now, now))
    for word in ("2026-01-01" if now > 1_767_300_000 else "2022-01-01", "2h", "1d"):
        done = run(folder, "--since", word, "-d", tmp_path / "a.db")
        assert done.exit_code == 0
        assert set(rows(tmp_path / "a.db")) == {"text.sys", "gone.sys"}
        assert "nothing changed" not in done.output
    done = run(folder / "text.sys", "--since", "2130-01-01", "-q", "-d", tmp_path / "b.db")
    assert (done.exit_code, "nothing changed since then" in done.output) == (0, True)
    refused = run(folder, "--since", "yesterday", "-d", tmp_path / "a.db")
    assert (refused.exit_code, "want a date" in refused.output) == (2, True)


def test_what_cannot_be_a_scan_is_said(tmp_path):
    assert "no target" in run("-d", tmp_path / "a.db").output
    lost = run("--from-list", tmp_path / "lost", "-d", tmp_path / "a.db")
    assert (lost.exit_code, "No such file" in lost.output) == (2, True)
    nothing = run(tmp_path / "*.sys", tmp_path / "none", "-q", "-d", tmp_path / "a.db")
    told = "hvci: without an answer: 2 of the targets named: see hvci query problems --database"
    assert (nothing.exit_code, nothing.output) == (4, f"{told} {tmp_path / 'a.db'}\n")
    found = rows(tmp_path / "a.db", seen.c.sentence)
    assert found == {"*.sys": ("no file matches this pattern",), "none": ("no such file",)}


def test_a_target_without_an_answer_is_no_success(tmp_path, monkeypatch):
    def code(*words, **more):
        return run(*words, "-d", tmp_path / "a.db", "-q", "--jobs", 1, **more).exit_code

    top = tmp_path / "drivers"
    (top / "empty").mkdir(parents=True)
    (top / "good.sys").write_bytes(driver())
    (top / "gone.sys").symlink_to("nowhere")
    (top / "bad.zip").write_bytes(b"PK\3\4")
    monkeypatch.chdir(top)
    assert code(".") == 0
    assert code("good.sys", "--since", "2030-01-01") == 0
    assert code("empty") == 4
    assert rows(tmp_path / "a.db", seen.c.sentence) == {"empty": ("no driver in this folder",)}
    assert code("good.sys", "gone.sys") == 4
    assert code(top / "bad.zip") == code("bad.zip") == 4
    with zipfile.ZipFile("half.zip", "w") as archive:
        archive.writestr("a.sys", driver())
        archive.writestr("c.cab", b"MSCF")
    assert code("half.zip") == code("half.zip") == 0
    with zipfile.ZipFile("none.zip", "w") as archive:
        archive.writestr("a.txt", b"text")
    assert code("none.zip") == code("none.zip") == 4
    Path("archives").mkdir()
    Path("none.zip").rename("archives/none.zip")
    assert code("archives") == code("archives") == 4
    assert code("archives", ".") == 4
    assert code("archives", "--since", "2030-01-01") == 0
    assert code("--from-list", "-", input=b"archives\n") == 0
    assert code("--from-list", "-", input=b"gone.sys\ngood.sys\n") == 0
    assert code("--from-list", "-", input=b"gone.sys\n") == 4


def test_a_name_that_is_no_text_and_one_that_is_hostile_are_rows(tmp_path):
    if os.name != "posix" or sys.platform == "darwin":
        pytest.skip("file names are text here")
    odd = os.fsencode(tmp_path) + b"/a\xff%\x1b.sys"
    hostile = tmp_path / "x'); DROP TABLE file;--\x1b[31m.sys"
    for path in (odd, os.fsencode(hostile)):
        Path(os.fsdecode(path)).write_bytes(b"no driver")
    run(tmp_path, "-d", tmp_path / "a.db")
    found = rows(tmp_path / "a.db", result.c.kind)
    assert set(found) == {"a%FF%25%1B.sys", hostile.name}


def test_a_file_that_changes_while_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "a.sys"
    path.write_bytes(b"x" * 100)
    (place,) = walk.places([str(path)])
    assert content.hashed(place).sha256
    told = walk.Problem(str(path), "changed", "changed while it was read; scan it again")
    for sizes in ([100, 200], [50, 50], [150, 150]):
        states = iter([SimpleNamespace(st_size=size, st_mtime_ns=1) for size in sizes])
        monkeypatch.setattr(content, "_status", lambda _, states=states: next(states))
        assert content.hashed(place) == told
    assert content.read(str(path), "0" * 64) == told
    path.unlink()
    assert content.read(str(path), "0" * 64).kind == "vanished"
    assert content.hashed(place).kind == "vanished"


def test_no_file_is_read_that_no_driver_can_be(tmp_path, monkeypatch):
    (tmp_path / "pagefile.sys").write_bytes(b"x" * 100)
    monkeypatch.setattr(walk, "MAX_BYTES", 99)
    assert [one.kind for one in walk.places([str(tmp_path)])] == ["too-large"]
    os.mkfifo(tmp_path / "pipe.sys") if hasattr(os, "mkfifo") else None
    assert [one.kind for one in walk.places([str(tmp_path / "pipe.sys")])] in (["no-file"], [])


def test_what_cannot_be_read_in_a_folder_is_named(tmp_path, monkeypatch):
    for name in ("good.sys", "pack.zip", "notes.txt", "gone.txt", "pipe", "pipe.sys"):
        (tmp_path / name).write_bytes(driver())
    for name in ("gone.txt", "gone.sys", "self"):
        (tmp_path / name).unlink(missing_ok=True)
        (tmp_path / name).symlink_to(name if name == "self" else "nowhere")
    for name in ("pipe", "pipe.sys"):
        (tmp_path / name).unlink()
        os.mkfifo(tmp_path / name)

    def refuse(path, *rest, **more):
        if path.endswith((".zip", ".txt")):
            raise PermissionError(13, "Permission denied")
        return Path(path).open(*rest, **more)

    monkeypatch.setattr(images, "open", refuse, raising=False)
    found = {Path(one.path).name: one.kind for one in walk.places([str(tmp_path)])}
    shut = {"pack.zip": "unreadable", "notes.txt": "unreadable"}
    assert found == {"good.sys": "image", "gone.sys": "vanished", "pipe.sys": "no-file", **shut}


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    def refuse(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(walk.os, "scandir", refuse)
    told = walk.Problem(str(tmp_path), "unreadable", "cannot be read: Permission denied")
    assert list(walk.places([str(tmp_path)])) == [told]


def test_an_interrupt_keeps_what_was_done(folder, tmp_path, monkeypatch):
    def interrupt(self, progress):
        raise KeyboardInterrupt

    monkeypatch.setattr(watched.Show, "__call__", interrupt)
    done = run(folder / "text.sys", folder / "bad.sys", "-d", tmp_path / "a.db")
    assert done.exit_code == 130
    assert "goes on where it was" in done.output
    monkeypatch.undo()
    assert run(folder / "text.sys", folder / "bad.sys", "-d", tmp_path / "a.db").exit_code == 0
    assert set(rows(tmp_path / "a.db")) == {"text.sys", "bad.sys"}
    database = opened(str(tmp_path / "a.db"))
    with database.reading() as connection:
        assert len(connection.execute(select(scan.c.id)).all()) == 1


def test_the_line_that_a_person_watches(monkeypatch, capsys):
    from hvci.fleet.scanning import Progress

    show = watched.Show(True)
    clock = iter([10.0, 10.1, 12.0])
    monkeypatch.setattr(watched.time, "monotonic", lambda: next(clock))
    show.count(lambda: range(1000))
    while show._total is None:
        pass
    show(Progress(files=100))
    show(Progress(files=150))
    show(Progress(files=200, problems=3))
    show.clear()
    told = capsys.readouterr().err
    assert "200 of 1000 files, 50/s, 16 s left, 3 without an answer" in told
    assert [watched.span(number) for number in (3, 600, 9000)] == ["3 s", "10 min", "2.5 h"]


def test_without_its_packages_a_scan_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr("hvci.cli.fleet.find_spec", lambda name: None)
    done = run(tmp_path, "-d", tmp_path / "a.db")
    assert done.exit_code == 2
    assert "(sqlalchemy, zstandard): pip install 'hvci[fleet]'" in done.output


def kept(where):
    """Every result, and what the last scan met, without the numbers of rows."""
    found = rows(
        where, result.c.sha256, result.c.summary, seen.c.problem, body.c.data, file.c.changed
    )
    database = opened(str(where))
    with database.reading() as connection:
        words = [column for column in result.c if column.name not in ("id", "rules_id")]
        results = sorted(map(tuple, connection.execute(select(*words))))
        counted = sorted(
            map(tuple, connection.execute(select(result.c.sha256, *finding.c[1:]).join(finding)))
        )
        ended = connection.execute(select(scan.c.ended)).all()
    database.close()
    assert all(one for (one,) in ended)
    return found, results, counted


def test_killed_and_taken_up_again_it_equals_an_undisturbed_run(tmp_path):
    top = tmp_path / "drivers"
    top.mkdir()
    for number in range(60):
        path = top / f"{number}.sys"
        path.write_bytes(driver(pool_type=number % 3 * 0x100) + bytes(number // 2))
        os.utime(path, (OLD, OLD))
    arguments = ["-m", "hvci", "scan", str(top), "--jobs", "1", "-d"]
    subprocess.run([sys.executable, *arguments, str(tmp_path / "calm.db")], check=True)
    killed = [sys.executable, *arguments, str(tmp_path / "killed.db")]
    for seconds in (0.7, 1.6):
        process = subprocess.Popen(killed, stdout=subprocess.DEVNULL)
        time.sleep(seconds)
        process.kill()
        process.wait()
    subprocess.run(killed, check=True)
    assert kept(tmp_path / "killed.db") == kept(tmp_path / "calm.db")
    shutil.rmtree(top)


def test_workers_of_a_first_scan_begin_before_the_database_does(tmp_path, monkeypatch):
    """They and this program load what they need at the same time; later scans may need none."""
    hired, where = [], tmp_path / "a.db"
    hire = Crew.hire

    def noted(crew, number):
        hired.append((number, where.exists()))
        hire(crew, number)

    monkeypatch.setattr(Crew, "hire", noted)
    (tmp_path / "good.sys").write_bytes(driver())
    assert "evaluated             1" in run(tmp_path / "good.sys", "-d", where).output
    assert "unchanged" in run(tmp_path / "good.sys", "-d", where).output
    assert hired == [(2, False)]
