"""What a fuzzer once found stays mended, and every target still runs (see fuzz/run.py)."""

import random
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).parents[2] / "fuzz"
sys.path[:0] = [str(FUZZ)]

import engine  # noqa: E402  (found by the line above)
import run  # noqa: E402

FEW = 12
"""Changed inputs for each target: enough to see that it runs."""
CORPUS = sorted(path for path in (FUZZ / "corpus").glob("*/*") if path.is_file())


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    state = tmp_path_factory.mktemp("state")
    made = {}

    def of(name):
        if name not in made:
            made[name] = engine.Runner(name, state)
        return made[name]

    return of


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_was_found_is_answered(runner, path):
    assert path.parent.name in run.TARGETS
    runner(path.parent.name).one(path.read_bytes())


@pytest.mark.parametrize("name", run.TARGETS)
def test_every_target_runs(runner, name):
    one = runner(name)
    pool = list(one.seeds())
    rng = random.Random(name)
    for data in [*pool[:4], *(engine.mutated(rng, pool) for _ in range(FEW))]:
        one.one(data)


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """A target with a defect, and a corpus of its own."""
    monkeypatch.setattr(engine, "CORPUS", tmp_path / "corpus")
    one = engine.Runner("sdb", tmp_path)

    def faulty(data):
        if b"!" in data:
            raise KeyError(data)

    one.one = faulty
    return one


def test_a_defect_is_made_small_and_kept_once(planted):
    planted(b"a long way to ! and back")
    planted(b"!!")
    planted(b"nothing")
    assert planted.executions == 3
    assert len(planted.defects) == 1
    assert [path.read_bytes() for path in engine.CORPUS.glob("*/*")] == [b"!"]


def test_slowness_is_a_defect(planted, monkeypatch):
    monkeypatch.setattr(engine, "SLOW", -1.0)
    assert planted.attempt(b"") == "slow: sdb"


def test_random_changes_find_a_planted_defect(planted):
    def faulty(data):
        assert data[:1] != b"\x80"

    planted.one = faulty
    engine.plain(planted, 60, 64, 20_000)
    assert any("AssertionError" in key for key in planted.defects)
