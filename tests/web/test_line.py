"""The waiting line: it has an end, it outlives workers and servers, and it forgets no answer."""

import os
import sys
import time

import pytest

from crews import stillborn
from hvci.errors import StoreError
from hvci.web import line as lines
from hvci.web.asking import job_for, targets_of
from hvci.web.errors import Full
from hvci.web.jobs import DONE, INTERRUPTED, RUNNING, Jobs
from hvci.web.line import Line
from hvci.web.parts import Part, joined, packed, split, unpacked
from hvci.web.settings import Limits
from hvci.web.uploads import Kept, Uploads
from linehands import hang, rude, work
from webs import BAD, evaluated, send, serving


def kept(uploads, name, data):
    with uploads.begin() as writing:
        writing.write(data)
        return writing.kept(name)


def job(uploads, *names, kind="evaluate"):
    files = [kept(uploads, name, name.encode()) for name in names]
    return job_for(kind, {"target_os": "", "verify": False}, targets_of(files))


@pytest.fixture
def home(tmp_path):
    return tmp_path


def opened(home, limits=None, work=work):
    limits = limits or Limits()
    uploads = Uploads(home / "uploads", limits)
    line = Line(Jobs(home / "web.sqlite"), uploads, home / "scratch", 1, limits, work=work)
    return line, uploads


def until(check, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := check():
            return found
        time.sleep(0.02)
    raise AssertionError("it did not come to that")


def state(line, name):
    return line._jobs.find(name).state


def test_every_target_gets_its_answer_in_its_place(home):
    line, uploads = opened(home)
    line.start()
    asked = line.offer(job(uploads, "a", "b", "c"))
    until(lambda: state(line, asked.id) == DONE)
    assert [one["name"] for one in line._jobs.glances(asked.id)] == ["a", "b", "c"]
    assert line.progress(asked.id) is None
    line.stop()


def test_a_full_line_says_so_and_loses_nothing(home):
    line, uploads = opened(home, Limits(waiting=2, seconds=30), work=hang)
    line.start()
    first, second = line.offer(job(uploads, "a")), line.offer(job(uploads, "b"))
    with pytest.raises(Full, match="2 evaluations wait"):
        line.offer(job(uploads, "c"))
    assert line.offer(job(uploads, "a")).id == first.id
    assert line.progress(second.id).ahead == 1
    assert line._jobs.find(job(uploads, "c").id) is None
    line.stop()
    assert {state(line, one.id) for one in (first, second)} <= {"waiting", RUNNING}


def test_a_restart_finishes_what_was_begun(home):
    line, uploads = opened(home, work=hang)
    line.start()
    asked = line.offer(job(uploads, "a", "b"))
    until(lambda: state(line, asked.id) == RUNNING)
    line._jobs.keep(asked.id, 0, [packed({"name": "kept before"}, {})])
    line.stop()
    line, uploads = opened(home)
    line.start()
    until(lambda: state(line, asked.id) == DONE)
    assert [one["name"] for one in line._jobs.glances(asked.id)] == ["kept before", "b"]
    line.stop()


def test_a_restart_without_the_files_says_interrupted(home):
    line, uploads = opened(home, work=hang)
    line.start()
    asked = line.offer(job(uploads, "a"))
    line.stop()
    uploads.forget(asked.targets[0].files[0].sha256)
    line, uploads = opened(home)
    line.start()
    found = line._jobs.find(asked.id)
    assert found.state == INTERRUPTED
    assert "deleted" in found.told
    again = line.offer(job(uploads, "a"))
    until(lambda: state(line, again.id) == DONE)
    line.stop()


def test_what_ends_the_server_again_and_again_is_given_up(home):
    line, uploads = opened(home)
    asked = line.offer(job(uploads, "a"))
    for _ in range(3):
        left = line._jobs.unfinished()
    assert left == []
    assert line._jobs.find(asked.id).state == INTERRUPTED


def test_a_target_at_which_workers_die_costs_itself_only(home):
    line, uploads = opened(home)
    line.start()
    asked = line.offer(job(uploads, "a", "die", "c"))
    until(lambda: state(line, asked.id) == DONE)
    names = [one.get("name") or one["sentence"] for one in line._jobs.glances(asked.id)]
    assert names[0] == "a"
    assert "processes died" in names[1]
    assert names[2] == "c"
    line.stop()


def test_a_target_that_takes_too_long_is_given_up(home):
    line, uploads = opened(home, Limits(seconds=0.5), work=hang)
    line.start()
    asked = line.offer(job(uploads, "a"))
    until(lambda: state(line, asked.id) == DONE)
    assert "given up after 0.5 seconds" in line._jobs.glances(asked.id)[0]["sentence"]
    line.stop()


def test_one_large_job_does_not_keep_the_next_waiting(home):
    line, uploads = opened(home)
    large = line.offer(job(uploads, *(f"{number}" for number in range(60))))
    small = line.offer(job(uploads, "small"))
    line.start()
    until(lambda: state(line, small.id) == DONE)
    assert line.progress(large.id) is not None
    until(lambda: state(line, large.id) == DONE)
    line.stop()


def test_no_worker_at_all_is_said(home, monkeypatch):
    monkeypatch.setattr(lines, "PAUSE", 0.1)
    line, uploads = opened(home, work=stillborn)
    line.start()
    asked = line.offer(job(uploads, "a"))
    until(lambda: state(line, asked.id) == INTERRUPTED)
    assert "no worker could be started" in line._jobs.find(asked.id).told
    line.stop()


def test_a_server_that_is_ended_in_the_middle_loses_no_report(tmp_path):
    files = [(f"{number}.sys", BAD + bytes([number])) for number in range(30)]
    with serving(tmp_path) as client:
        asked = send(client, *files).json()
        until(lambda: client.app.state.parts.line.progress(asked["id"]).done >= 2)
    with serving(tmp_path) as client:
        found = evaluated(client, *files)
        assert found["id"] == asked["id"]
        assert found["state"] == "done"
        assert [one["path"] for one in found["results"]] == [name for name, _ in files]


def test_uploads_are_deleted_by_age_and_not_while_they_are_needed(tmp_path):
    uploads = Uploads(tmp_path, Limits(age=100))
    old, needed, fresh = (kept(uploads, name, name.encode()) for name in ("old", "needed", "fresh"))
    for one in (old, needed):
        os.utime(uploads.place(one.sha256), (1, 1))
    assert uploads.forget_old(frozenset({needed.sha256})) == 1
    assert [uploads.has(one.sha256) for one in (old, needed, fresh)] == [False, True, True]


def test_a_file_that_comes_twice_lies_there_once(tmp_path):
    uploads = Uploads(tmp_path, Limits())
    one, two = kept(uploads, "a", b"same"), kept(uploads, "b", b"same")
    assert one.sha256 == two.sha256
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1


def test_no_name_is_a_path(tmp_path):
    uploads = Uploads(tmp_path, Limits())
    for word in ("../../x", "a" * 63, "A" * 64, "", "/etc/passwd"):
        with pytest.raises(ValueError):
            uploads.place(word)


def test_a_damaged_answer_is_one_sentence(tmp_path):
    jobs = Jobs(tmp_path / "web.sqlite")
    asked = jobs.add(job_for("evaluate", {}, targets_of([Kept("a", "b" * 64, 1)])))
    jobs.keep(asked.id, 0, [Part({}, b"nonsense")])
    with pytest.raises(StoreError, match="damaged"):
        jobs.documents(asked.id)
    jobs.close()
    (tmp_path / "none.sqlite").write_bytes(b"this is no database at all" * 50)
    with pytest.raises(StoreError):
        Jobs(tmp_path / "none.sqlite")


def test_parts_come_back_as_they_went():
    parts = [packed({"name": "\0 é"}, {"a": [1]}), packed({}, {})]
    assert [unpacked(one.data) for one in split(joined(parts))] == [{"a": [1]}, {}]
    assert [one.glance for one in split(joined(parts))] == [{"name": "\0 é"}, {}]


def deeds(home, *names, kind="evaluate"):
    """What became of each deed of a worker that a file took over."""
    line, uploads = opened(home, work=rude)
    line.start()
    one = line.offer(job(uploads, *names, kind=kind))
    until(lambda: state(line, one.id) == DONE)
    told = {each["name"]: each.get("told") for each in line._jobs.glances(one.id) if "name" in each}
    sentences = [each["sentence"] for each in line._jobs.glances(one.id) if "sentence" in each]
    line.stop()
    return told, sentences


def test_a_worker_of_the_server_touches_nothing_outside_of_its_folder(home):
    told, _ = deeds(home, "connect", "program", "write", "own")
    refused = dict.fromkeys(("connect", "program", "write"), "PermissionError")
    assert told == {**refused, "own": "True"}
    assert not (home / "outside").exists()


def test_only_an_order_that_emulates_may_start_a_program(home):
    told, _ = deeds(home, "program", "connect", kind="verify")
    assert told == {"program": "0", "connect": "PermissionError"}


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
def test_a_native_fault_and_spent_memory_cost_one_target_of_the_server(home):
    told, sentences = deeds(home, "crash", "hoard", "own")
    assert told == {"hoard": "MemoryError", "own": "True"}
    assert [each for each in sentences if "signal 11" in each] == sentences != []
