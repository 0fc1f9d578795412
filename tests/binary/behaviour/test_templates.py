"""Routines kept as bytes, copied into pool and called through a record: never called compatible.

The twins copy the same bytes into memory that never executes, call through no pointer, or copy a
table that is no code; nothing is said of them.
"""

import pytest

from here import FIXTURES
from hvci.binary.behaviour import templates
from hvci.evaluate import evaluate
from hvci.model import Outcome

FOLDER = FIXTURES / "templates"
BUILDS = sorted(path.name.removesuffix(".bad.sys") for path in FOLDER.glob("*.bad.sys"))
RULE = "dynamic-code"


def _outcome(name: str) -> Outcome:
    report = evaluate((FOLDER / name).read_bytes())
    return next(each.outcome for each in report.results if each.rule == RULE)


def _allocations(build: str) -> list[str]:
    """The allocations that limits of the rule name, in order."""
    report = evaluate((FOLDER / f"{build}.bad.sys").read_bytes())
    reasons = [limit.reason for limit in report.limits if RULE in limit.rules]
    return [word.rstrip(",") for reason in reasons for word in reason.split() if "ExAll" in word]


@pytest.mark.parametrize("build", BUILDS)
def test_a_copied_routine_is_not_passed(build: str) -> None:
    assert _outcome(f"{build}.bad.sys") is Outcome.UNDECIDED


@pytest.mark.parametrize("build", BUILDS)
def test_copies_by_the_kernel_and_in_line_are_named(build: str) -> None:
    assert {"ExAllocatePoolWithTag", "ExAllocatePool2"} <= set(_allocations(build))


@pytest.mark.parametrize("build", BUILDS)
def test_a_copy_by_an_own_function_is_named(build: str) -> None:
    assert _allocations(build).count("ExAllocatePoolWithTag") == 2


@pytest.mark.parametrize("kind", ["never-executes", "not-called", "no-code"])
@pytest.mark.parametrize("build", BUILDS)
def test_nothing_is_said_of_the_twins(build: str, kind: str) -> None:
    assert _outcome(f"{build}.{kind}.sys") is Outcome.PASS


def test_each_machine_is_there() -> None:
    assert {name.split(".")[1] for name in BUILDS} == {"x64", "x86", "arm64"}


@pytest.mark.parametrize("bound", ["MAX_PLACES", "MAX_TARGETS"])
@pytest.mark.parametrize("build", BUILDS)
def test_a_bound_that_is_met_is_no_silence(
    build: str, bound: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(templates, bound, 0)
    report = evaluate((FOLDER / f"{build}.bad.sys").read_bytes())
    assert any("were not looked at" in limit.reason for limit in report.limits)
    monkeypatch.undo()
    report = evaluate((FOLDER / f"{build}.bad.sys").read_bytes())
    assert not any("were not looked at" in limit.reason for limit in report.limits)
