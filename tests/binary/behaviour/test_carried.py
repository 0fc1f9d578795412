"""Writes to functions that are looked up in one function and written in another."""

import pytest

from here import FIXTURES
from hvci.evaluate import evaluate
from hvci.model import Outcome
from reports import failing_functions

FOLDER = FIXTURES / "carried"
BUILDS = sorted(path.name.removesuffix(".bad.sys") for path in FOLDER.glob("*.bad.sys"))
RULE = "writes-executable-memory"


def _writers(name: str) -> set[int]:
    """The functions that hold a finding."""
    return failing_functions(evaluate((FOLDER / name).read_bytes()), RULE)


@pytest.mark.parametrize("build", BUILDS)
def test_each_function_that_writes_is_found(build: str) -> None:
    assert len(_writers(f"{build}.bad.sys")) == 4


@pytest.mark.parametrize("build", BUILDS)
def test_nothing_is_said_where_the_same_goes_to_memory(build: str) -> None:
    assert _writers(f"{build}.clean.sys") == set()


@pytest.mark.parametrize("build", BUILDS)
def test_a_name_that_nothing_shows_leaves_the_rule_open(build: str) -> None:
    report = evaluate((FOLDER / f"{build}.unknown.sys").read_bytes())
    assert next(each for each in report.results if each.rule == RULE).outcome is Outcome.UNDECIDED
    assert any("by a name that the code does not show" in each.reason for each in report.limits)


def test_each_machine_is_there() -> None:
    assert {name.split(".")[1] for name in BUILDS} == {"x64", "x86", "arm64"}


@pytest.mark.parametrize("most", ["carried.MAX_STARTS", "carried.MAX_CALLERS", "kept.MAX_WRITERS"])
def test_what_is_not_followed_is_a_limit(most: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"hvci.binary.behaviour.writes.{most}", 0)
    report = evaluate((FOLDER / "carried.x64.O0.bad.sys").read_bytes())
    assert any(
        RULE in each.rules and "more places than are" in each.reason for each in report.limits
    )
