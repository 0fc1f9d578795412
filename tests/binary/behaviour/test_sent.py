"""Writes to a function of the driver whose address goes on before: to callees, locals, results."""

import pytest

from here import FIXTURES
from hvci.evaluate import evaluate
from hvci.model import Outcome
from reports import failing_functions

FOLDER = FIXTURES / "sent"
BUILDS, JUMPING = (
    sorted(path.name.removesuffix(".bad.sys") for path in FOLDER.glob(f"{name}.*.bad.sys"))
    for name in ("sent", "leaf")
)
RULE = "writes-executable-memory"


def _writers(name: str) -> set[int]:
    """The functions that hold a finding."""
    report = evaluate((FOLDER / name).read_bytes())
    assert not report.limits
    return failing_functions(report, RULE)


@pytest.mark.parametrize("build", BUILDS)
def test_each_function_that_writes_is_found(build: str) -> None:
    assert len(_writers(f"{build}.bad.sys")) == 7


@pytest.mark.parametrize("build", BUILDS)
def test_nothing_is_said_where_the_same_goes_to_data(build: str) -> None:
    assert _writers(f"{build}.clean.sys") == set()


def test_each_machine_is_there() -> None:
    assert {name.split(".")[1] for name in BUILDS} == {"x64", "x86", "arm64"}


def _outcomes(name: str) -> set[Outcome]:
    results = evaluate((FOLDER / name).read_bytes()).results
    return {each.outcome for each in results if each.rule in (RULE, "dynamic-code")}


@pytest.mark.parametrize("build", JUMPING)
def test_leaf_functions_that_jump_to_one_another_are_followed(build: str) -> None:
    """The jumps are short ones, and on x86 nothing else tells where such functions begin."""
    assert _outcomes(f"{build}.bad.sys") == {Outcome.FAIL}
    assert _outcomes(f"{build}.clean.sys") == {Outcome.PASS}


def test_more_than_are_followed_are_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hvci.binary.behaviour.writes.sent.MAX_PLACES", 1)
    report = evaluate((FOLDER / "sent.x64.O0.bad.sys").read_bytes())
    assert any(RULE in each.rules and "budget" in each.reason for each in report.limits)
