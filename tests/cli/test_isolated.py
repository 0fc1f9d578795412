"""`hvci check --isolate` says what it says without; who ends a process costs itself alone."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from hvci.cli import isolated, main
from isolatedhands import rude

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
BUILT = Path(__file__).parent.parent / "fixtures" / "built"
BAD = BUILT / "sample_bad.x64.o2.sys"
SOURCE = "#include <ntddk.h>\nvoid f(void) { ExAllocatePool(NonPagedPool, 8); }\n"


def check(*args, **rest):
    return CliRunner().invoke(main, ["check", *map(str, args)], **rest)


def without_seconds(text):
    document = json.loads(text)
    for report in document["reports"]:
        report["seconds"] = {}
    return document


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A driver, a part of it, its sources, an archive, a file that is none, and a saved report."""
    shutil.copy(BAD, tmp_path / "bad.sys")
    (tmp_path / "cut.sys").write_bytes(BAD.read_bytes()[:3000])  # leaves several limits
    (tmp_path / "driver.c").write_text(SOURCE)
    shutil.make_archive(str(tmp_path / "archive"), "zip", BUILT, BAD.name)
    (tmp_path / "text.sys").write_text("text")
    (tmp_path / "saved.json").write_text(check(BAD, "-f", "json").stdout)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("form", ["json", "sarif", "text"])
def test_it_says_what_it_says_without(folder, form):
    words = [*(each.name for each in sorted(folder.iterdir())), "missing.sys", "-f", form]
    here, apart = check(*words), check(*words, "--isolate", "--jobs", "2")
    assert apart.exit_code == here.exit_code == 4
    assert apart.stderr == here.stderr
    if form == "json":
        assert without_seconds(apart.stdout) == without_seconds(here.stdout)
        assert list(json.loads(apart.stdout)) == list(json.loads(here.stdout))
    else:
        assert apart.stdout == here.stdout


def test_standard_input_is_read_once_and_evaluated_apart():
    given = BAD.read_bytes()
    here = check("-", "-f", "json", input=given)
    apart = check("-", "-f", "json", "--isolate", input=given)
    assert without_seconds(apart.stdout) == without_seconds(here.stdout)
    assert apart.exit_code == here.exit_code == 1


@pytest.fixture
def taken(tmp_path, monkeypatch):
    """Files that take the process over which reads them, before a good one."""
    monkeypatch.setattr(isolated, "serve", rude)
    monkeypatch.chdir(tmp_path)

    def checked(*names, seconds=60):
        for name in (*names, "good"):
            shutil.copy(BAD, tmp_path / f"{name}.sys")
        words = [*(f"{name}.sys" for name in names), "good.sys"]
        result = check(*words, "--isolate", "--seconds", seconds, "-f", "json")
        document = json.loads(result.stdout)
        assert [each["target"]["path"] for each in document["reports"]] == ["good.sys"]
        return result.exit_code, {each["path"]: each["message"] for each in document["errors"]}

    return checked


@LINUX
def test_a_native_fault_and_spent_memory_cost_one_target(taken):
    code, told = taken("crash", "hoard")
    assert code == 4
    assert told == {
        "crash.sys": "2 processes died at it (the last with signal 11)",
        "hoard.sys": "takes more memory than a process may have",
    }


@LINUX
@pytest.mark.parametrize("deed", ["hang", "spin"])
def test_a_target_that_hangs_or_spins_is_given_up(taken, deed):
    begin = time.monotonic()  # a busy machine needs more for a good one
    taken()
    seconds = max(5, int(10 * (time.monotonic() - begin)))
    code, told = taken(deed, seconds=seconds)
    assert (code, told) == (4, {f"{deed}.sys": f"given up after {seconds} seconds"})


def test_a_target_writes_nowhere(taken, tmp_path):
    _, told = taken("write")
    assert told["write.sys"].startswith("PermissionError: a reader may not write")
    assert not (tmp_path / "outside").exists()


def test_jobs_need_processes():
    result = check(BAD, "--jobs", "2")
    assert result.exit_code == 2
    assert "add --isolate" in result.output


def test_the_extra_of_the_fleet_is_not_needed():
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('sqlalchemy', 'zstandard')))\n"
        "import hvci.cli.isolated"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
