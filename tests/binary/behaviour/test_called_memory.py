"""Memory that does not execute and is called: by parameters, variables, in data, on the stack.

The clean twins call a routine of the image on the same way, and only write the memory.
"""

import pytest

from here import FIXTURES
from hvci.evaluate import evaluate
from hvci.model import Outcome

FOLDER = FIXTURES / "called"
BUILDS = sorted(path.name.removesuffix(".bad.sys") for path in FOLDER.glob("*.bad.sys"))
RULE = "dynamic-code"


def _result(name: str):
    report = evaluate((FOLDER / name).read_bytes())
    return next(each for each in report.results if each.rule == RULE)


@pytest.mark.parametrize("build", BUILDS)
def test_memory_that_is_called_is_told(build: str) -> None:
    is_open = build.endswith("field-of-extension")  # of which device is not known
    expected = Outcome.UNDECIDED if is_open else Outcome.FAIL
    assert _result(f"{build}.bad.sys").outcome is expected


@pytest.mark.parametrize("build", BUILDS)
def test_nothing_is_said_where_a_routine_is_called(build: str) -> None:
    assert _result(f"{build}.clean.sys").outcome is Outcome.PASS


def test_each_machine_is_there() -> None:
    assert {name.split(".")[1] for name in BUILDS} == {"x64", "x86", "arm64"}
