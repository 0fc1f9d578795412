"""The child process: limits, crashes and foreign answers become limits, never exceptions."""

import os
import pickle
from pathlib import Path

import pytest

from hvci import verifier
from hvci.errors import NotAnImage
from hvci.verifier import child

BUILT = Path(__file__).parent.parent / "fixtures" / "built"
CLEAN = BUILT / "calls_clean.x64.o2.sys"


def test_a_run_in_the_child_is_the_run_in_this_process():
    from hvci.verifier.session import run_here

    options = verifier.VerifierOptions()
    assert verifier.run(CLEAN.read_bytes(), options) == run_here(CLEAN.read_bytes(), options)


def test_no_image_is_refused_as_everywhere():
    with pytest.raises(NotAnImage):
        verifier.run(b"no image")


def test_too_little_memory_is_a_limit():
    run = verifier.run(CLEAN.read_bytes(), verifier.VerifierOptions(megabytes=200))
    assert run.entry_points == ()
    assert len(run.limits) == 1


def test_a_crash_is_a_limit():
    run = child._read(b"", -11)
    assert "crashed (signal 11)" in run.limits[0].reason
    assert "execute-pool-type" in run.limits[0].rules


def test_a_foreign_object_in_the_answer_is_not_built():
    class Evil:
        def __reduce__(self):
            return os.system, ("exit 1",)

    assert "without an answer" in child._read(pickle.dumps(Evil()), 0).limits[0].reason


def test_a_hang_is_a_limit(monkeypatch):
    monkeypatch.setattr(child, "_PROGRAM", "import time; time.sleep(60)  # {path!r}")
    run = verifier.run(CLEAN.read_bytes(), verifier.VerifierOptions(seconds=1))
    assert "given up after 1 seconds" in run.limits[0].reason


def test_the_child_inherits_no_environment(monkeypatch):
    monkeypatch.setenv("SECRET", "value")
    assert "SECRET" not in child._environment()
