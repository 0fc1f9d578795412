"""Processes that die or hang: the file at hand is named, every other file is answered once."""

from collections import Counter

import pytest

from crews import obey, stillborn
from hvci.errors import HvciError
from hvci.fleet.crew import Crew
from hvci.fleet.walk import Problem
from hvci.fleet.worker import Task


def run(paths, seconds=60.0, size=2, work=obey):
    tasks = iter([path if isinstance(path, Task) else Task(path, path, 1) for path in paths])
    crew = Crew(size, {}, seconds, work)
    return [heard for some in crew.run(tasks) for heard in some]


def test_a_dying_and_a_hanging_worker_cost_one_file_each(tmp_path):
    once = Task("die once", str(tmp_path / "died"), 1)
    names = [f"{number}" for number in range(40)]
    heard = run([*names[:9], "die", *names[9:20], once, "hang", *names[20:]], seconds=4.0)
    assert Counter(task.path for task, _ in heard) == Counter([*names, "die", "die once", "hang"])
    lost = {task.path: answer.problem for task, answer in heard if answer.row is None}
    assert lost == {
        "die": Problem("die", "died", "2 processes died at it (the last with exit code 9)"),
        "hang": Problem("hang", "time", "given up after 4 seconds"),
    }
    assert all(answer.blob == b"\0blob" for _, answer in heard if answer.row)


def test_a_worker_that_grew_is_replaced_and_its_tasks_are_answered():
    heard = run(["1", "large", "2", "3"], size=1)
    assert sorted(task.path for task, _ in heard) == ["1", "2", "3", "large"]
    assert len({answer.row.columns["pid"] for _, answer in heard}) == 2


def test_workers_that_never_begin_end_the_scan_instead_of_blaming_files():
    with pytest.raises(HvciError, match=r"end before they begin \(exit code 3\)"):
        run(["1", "2"], size=1, work=stillborn)


def test_without_tasks_no_process_is_started():
    assert run([]) == []


def test_a_worker_is_not_blamed_for_the_memory_of_its_parent():
    large = bytearray(300 << 20)
    ((_, answer),) = run(["memory"], size=1)
    assert answer.row.columns["memory"] < 200
    del large
