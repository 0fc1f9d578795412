"""A process that reads hostile files touches nothing but its own folder, and can be lost."""

import sys

import pytest

from crews import bounded
from hvci.fleet.bounds import Bounds
from hvci.fleet.crew import Crew
from hvci.fleet.worker import Task

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")


def told(tmp_path, *deeds, about="", seconds=2):
    """What became of each deed: a word, or the problem that the process left."""
    bounds = Bounds(str(tmp_path), seconds, 1 << 20)
    crew = Crew(1, {"bounds": bounds.fields()}, 60.0, bounded)
    tasks = iter([Task(deed, about, 1) for deed in deeds])
    heard = {task.path: answer for some in crew.run(tasks) for task, answer in some}
    return {
        deed: answer.row.columns["told"] if answer.row else answer.problem.sentence
        for deed, answer in heard.items()
    }


def test_nothing_outside_is_touched(tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("held")
    folder = tmp_path / "inside"
    folder.mkdir()
    deeds = ("connect", "program", "fork", "write", "remove", "follow", "from folder")
    assert told(folder, *deeds, about=str(outside)) == dict.fromkeys(deeds, "PermissionError")
    assert outside.read_text() == "held"


def test_what_a_reader_needs_is_there(tmp_path):
    target = tmp_path / "target"
    target.write_text("held")
    assert told(tmp_path, "read", "own", about=str(target)) == {"read": "4", "own": "True"}


def test_a_folder_of_its_own_can_be_emptied_and_links_are_not_followed(tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("held")
    folder = tmp_path / "inside"
    folder.mkdir()
    assert told(folder, "tidy", about=str(outside)) == {"tidy": "False"}
    assert outside.read_text() == "held"


@LINUX
def test_memory_and_the_size_of_files_end_at_their_bounds(tmp_path):
    assert told(tmp_path, "hoard", "large") == {"hoard": "MemoryError", "large": "OSError"}


@LINUX
def test_a_native_fault_costs_one_target_and_says_so(tmp_path):
    found = told(tmp_path, "own", "crash", "read", about=str(tmp_path / "none"))
    assert found["crash"] == "2 processes died at it (the last with signal 11)"
    assert found["own"] == "True"
    assert found["read"] == "FileNotFoundError"


@LINUX
def test_a_target_that_never_ends_is_ended_by_the_kernel(tmp_path):
    found = told(tmp_path, "spin", "own", seconds=1)
    assert found == {"spin": "takes more processor time than a worker may have", "own": "True"}


@LINUX
def test_native_code_has_no_network_where_the_system_grants_that(tmp_path):
    bounds = Bounds(str(tmp_path), 2, 0)
    crew = Crew(1, {"bounds": bounds.fields()}, 60.0, bounded)
    ((_, answer),) = [one for some in crew.run(iter([Task("raw", "", 1)])) for one in some]
    if not answer.row.columns["cut off"]:
        pytest.skip("this system grants no network of one's own")
    assert answer.row.columns["told"] == "unreachable"
