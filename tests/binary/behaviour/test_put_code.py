"""Templates that a compiler turned into constants of the function that copies them.

The twins: the memory never executes; nothing calls through a pointer; the constants are numbers.
"""

import pytest

from here import FIXTURES
from hvci.binary.behaviour import emitted
from hvci.evaluate import evaluate
from hvci.model import Outcome

FOLDER = FIXTURES / "put"
BUILDS = sorted(path.name.removesuffix(".bad.sys") for path in FOLDER.glob("*.bad.sys"))
RULE = "dynamic-code"


def _outcome(name: str) -> Outcome:
    report = evaluate((FOLDER / name).read_bytes())
    return next(each.outcome for each in report.results if each.rule == RULE)


@pytest.mark.parametrize("build", BUILDS)
def test_code_that_is_stored_is_not_passed(build: str) -> None:
    assert _outcome(f"{build}.bad.sys") in (Outcome.FAIL, Outcome.UNDECIDED)


@pytest.mark.parametrize("kind", ["never-executes", "numbers"])
@pytest.mark.parametrize("build", BUILDS)
def test_nothing_is_said_of_the_twins(build: str, kind: str) -> None:
    assert _outcome(f"{build}.{kind}.sys") is Outcome.PASS


def test_each_machine_is_there() -> None:
    assert {name.split(".")[1] for name in BUILDS} == {"x64", "x86", "arm64"}


@pytest.mark.parametrize("build", ["put.x64.O2-8", "put.x86.O2-6", "put.arm64.O2-6"])
def test_a_bound_that_is_met_is_no_silence(build: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emitted, "MAX_CANDIDATES", 0)
    report = evaluate((FOLDER / f"{build}.bad.sys").read_bytes())
    assert any("were not looked at" in limit.reason for limit in report.limits)
