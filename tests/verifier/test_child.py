"""The child process: limits, crashes and foreign answers become limits, never exceptions."""

import dataclasses
import json
from pathlib import Path

import pytest

from hvci import verifier
from hvci.errors import NotAnImage
from hvci.verifier import child
from hvci.verifier.plain import to_plain

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


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"{}",
        b"[]",
        b"nonsense",
        b'["run", []]',
        b'["run"]',
        b'["run", {"calls": []}]',
        b'["NotAnImage", 1, 2]',
        b"[" * 100_000,
        b'["run", ' + b"[" * 100_000,
        b"\xff\xfe",
        b"cos\nsystem\n(S'exit 1'\ntR.",
    ],
)
def test_nonsense_is_a_limit(answer):
    run = child._read(answer, 0)
    assert "without an answer" in run.limits[0].reason
    assert "execute-pool-type" in run.limits[0].rules


@pytest.mark.parametrize(
    "name", ["calls_bad.x64.o2", "generated_code_bad.x86.o2", "processor_state_bad.x64.o2",
             "kmdf_bad.arm64.v15_o2"]
)  # fmt: skip
def test_every_fact_survives_the_way(name):
    from hvci.verifier.session import run_here

    run = run_here((BUILT / f"{name}.sys").read_bytes(), verifier.VerifierOptions(trace=True))
    assert run.calls or run.events or run.behaviours
    answer = json.dumps([child.RUN, to_plain(run)]).encode()
    assert child._read(answer, 0) == run


def test_a_fact_of_another_type_is_refused():
    from hvci.verifier.session import run_here

    run = run_here(CLEAN.read_bytes(), verifier.VerifierOptions(force=False))
    for index, field in enumerate(dataclasses.fields(run)):
        wrong = to_plain(run)
        wrong[index] = {"os": "system"}
        answer = json.dumps([child.RUN, wrong]).encode()
        assert "without an answer" in child._read(answer, 0).limits[0].reason, field.name


def test_no_enumeration_member_is_pickled():
    """Python 3.11.2 cannot load what it pickles of them."""
    source = Path(child.__file__).read_text("utf-8")
    assert "pickle" not in source


def test_a_hang_is_a_limit(monkeypatch):
    monkeypatch.setattr(child, "_PROGRAM", "import time; time.sleep(60)  # {path!r}")
    run = verifier.run(CLEAN.read_bytes(), verifier.VerifierOptions(seconds=1))
    assert "given up after 1 seconds" in run.limits[0].reason


def test_the_child_inherits_no_environment(monkeypatch):
    monkeypatch.setenv("SECRET", "value")
    assert "SECRET" not in child._environment()
