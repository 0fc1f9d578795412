"""Code that is put together in memory and called through a record: found where it ends.

The clean twins write the same bytes into memory that never executes; nothing is said of them.
"""

from pathlib import Path

import pytest

from here import FIXTURES
from hvci.evaluate import evaluate
from hvci.model import Outcome

FOLDER = FIXTURES / "emitted"
DRIVERS = sorted(path.name.removesuffix(".bad.sys") for path in FOLDER.glob("*.bad.sys"))
ENDS = FIXTURES / "ends"
OTHER_ENDS = sorted(path.name.removesuffix(".bad.sys") for path in ENDS.glob("*.bad.sys"))
RULE = "dynamic-code"


@pytest.mark.parametrize("driver", DRIVERS)
def test_both_ends_of_routines_are_found(driver: str) -> None:
    report = evaluate((FOLDER / f"{driver}.bad.sys").read_bytes())
    found = next(each.findings for each in report.results if each.rule == RULE)
    words = " ".join(each.message for each in found).replace(":", " ").split()
    allocated = {word for word in words if word.startswith("ExAllocate")}
    assert allocated == {"ExAllocatePoolWithTag", "ExAllocatePool2"}


@pytest.mark.parametrize("driver", DRIVERS)
def test_bytes_in_memory_that_never_executes_are_no_code(driver: str) -> None:
    report = evaluate((FOLDER / f"{driver}.clean.sys").read_bytes())
    outcome = next(each.outcome for each in report.results if each.rule == RULE)
    assert outcome is Outcome.PASS


def test_each_machine_is_there() -> None:
    assert {name.split(".")[1] for name in DRIVERS} == {"x64", "x86", "arm64"}


def _outcome(path: Path) -> Outcome:
    report = evaluate(path.read_bytes())
    return next(each.outcome for each in report.results if each.rule == RULE)


@pytest.mark.parametrize("driver", OTHER_ENDS)
def test_code_with_any_end_is_not_passed(driver: str) -> None:
    assert _outcome(ENDS / f"{driver}.bad.sys") in (Outcome.FAIL, Outcome.UNDECIDED)


@pytest.mark.parametrize("driver", OTHER_ENDS)
def test_any_end_in_memory_that_never_executes_is_no_code(driver: str) -> None:
    assert _outcome(ENDS / f"{driver}.clean.sys") is Outcome.PASS


def test_each_end_is_there_for_each_machine() -> None:
    found = {tuple(name.split(".")[1:]) for name in OTHER_ENDS}
    kinds = ("through", "pops", "distance", "constant", "whole")
    assert found == {(machine, kind) for machine in ("x64", "x86", "arm64") for kind in kinds}
