"""Code put together by a function of its own, which is handed each instruction and the memory.

The twins write the same into memory that never executes, or call through no pointer.
"""

import pytest

from here import FIXTURES
from hvci.evaluate import evaluate
from hvci.model import Outcome

FOLDER = FIXTURES / "handed"
BUILDS = sorted(path.name.removesuffix(".bad.sys") for path in FOLDER.glob("*.bad.sys"))
RULE = "dynamic-code"


def _outcome(name: str) -> Outcome:
    report = evaluate((FOLDER / name).read_bytes())
    return next(each.outcome for each in report.results if each.rule == RULE)


@pytest.mark.parametrize("build", BUILDS)
def test_an_end_that_is_handed_on_is_not_passed(build: str) -> None:
    assert _outcome(f"{build}.bad.sys") is Outcome.UNDECIDED


@pytest.mark.parametrize("kind", ["never-executes", "not-called"])
@pytest.mark.parametrize("build", BUILDS)
def test_nothing_is_said_of_the_twins(build: str, kind: str) -> None:
    assert _outcome(f"{build}.{kind}.sys") is Outcome.PASS


def test_each_machine_is_there() -> None:
    assert {name.split(".")[1] for name in BUILDS} == {"x64", "x86", "arm64"}
