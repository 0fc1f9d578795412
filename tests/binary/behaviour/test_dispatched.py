"""Memory that Windows calls, because the driver puts it into its driver object."""

import pytest

from here import FIXTURES
from hvci.evaluate import evaluate
from hvci.model import Finding, Outcome

FOLDER = FIXTURES / "dispatched"
BUILDS = sorted(path.name.removesuffix(".bad.sys") for path in FOLDER.glob("*.bad.sys"))


def _findings(name: str) -> tuple[Finding, ...]:
    report = evaluate((FOLDER / name).read_bytes())
    assert not report.limits
    return next(each.findings for each in report.results if each.rule == "dynamic-code")


@pytest.mark.parametrize("build", BUILDS)
def test_memory_in_the_driver_object_is_called(build: str) -> None:
    """By the entry point, and by a function that gets the object from it."""
    found = _findings(f"{build}.bad.sys")
    assert [each.outcome for each in found] == [Outcome.FAIL] * 2


@pytest.mark.parametrize("build", BUILDS)
def test_functions_there_and_memory_elsewhere_are_silent(build: str) -> None:
    assert not _findings(f"{build}.clean.sys")


def test_each_machine_is_there() -> None:
    assert {name.split(".")[1] for name in BUILDS} == {"x64", "x86", "arm64"}
