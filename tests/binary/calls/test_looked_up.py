"""A routine that is looked up by name, whose address goes through other functions before a call."""

import pytest

from here import FIXTURES
from hvci.evaluate import evaluate
from hvci.model import Outcome, Via

FOLDER = FIXTURES / "lookedup"
FOLLOWED = ("argument", "argument-twice", "stack", "setter", "result", "result-handed-on")
LENT = ("frame-windows", "frame-table", "frame-nested", "frame-before", "frame", "called-windows")
SHARED = (
    *("global", "global-pointer", "global-table", "global-windows", "global-before"),
    "global-context",
)
KEPT = ("kept-elsewhere", "kept-windows", "kept-copied", "kept-number")
READ = ("kept-argument", "kept-result", "kept-again", "kept-chosen")
OPEN = ("windows", "exported", "elsewhere", *LENT, *SHARED, *KEPT)
GOOD = (
    "good-argument",
    "good-asked",
    "good-beside",
    "good-callback",
    "good-context",
    "good-printed",
)
BUILDS = [f"{machine}.{level}" for machine in ("x64", "x86", "arm64") for level in ("O0", "O2")]


def judged(build, kind):
    report = evaluate((FOLDER / f"lookedup.{build}.{kind}.sys").read_bytes())
    (pool,) = (one for one in report.results if one.rule == "execute-pool-type")
    return report, pool.outcome


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("kind", FOLLOWED)
def test_a_call_in_another_function_is_found(build, kind):
    report, outcome = judged(build, kind)
    assert outcome is Outcome.FAIL
    calls = [judged.call for judged in report.calls]
    (call,) = (one for one in calls if one.ddi == "ExAllocatePoolWithTag")
    assert call.via is Via.BY_NAME


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("kind", OPEN)
def test_where_it_is_not_followed_the_address_is_a_limit(build, kind):
    report, outcome = judged(build, kind)
    assert outcome is Outcome.UNDECIDED
    (reason,) = {limit.reason for limit in report.limits}
    assert reason.startswith("the address of ExAllocatePoolWithTag is stored or passed on")
    assert all(limit.site is not None for limit in report.limits)


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("kind", [*LENT, *SHARED, *KEPT])
def test_where_an_import_is_not_followed_its_address_is_a_limit(build, kind):
    report, outcome = judged(build, f"{kind}.imported")
    assert outcome is Outcome.UNDECIDED
    (reason,) = {limit.reason for limit in report.limits}
    assert reason.startswith("the address of ExAllocatePoolWithTag is stored or passed on")


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("kind", READ)
@pytest.mark.parametrize("of", ["", ".imported"])
def test_a_call_of_what_a_variable_holds_is_found_elsewhere(build, kind, of):
    report, outcome = judged(build, f"{kind}{of}")
    assert outcome is Outcome.FAIL
    assert of or not report.limits
    calls = [judged.call for judged in report.calls]
    asked = [one for one in calls if one.ddi == "ExAllocatePoolWithTag"]
    assert sorted(min(one.arguments["PoolType"].possible) for one in asked) == [0, 512]


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("of", ["", ".imported"])
def test_an_exchanged_pointer_is_found_or_a_limit(build, of):
    _, outcome = judged(build, f"kept-exchanged{of}")
    assert outcome in (Outcome.FAIL, Outcome.UNDECIDED)


@pytest.mark.parametrize("build", BUILDS)
def test_what_windows_only_writes_holds_no_import(build):
    report, outcome = judged(build, "good-beside.imported")
    assert outcome is Outcome.PASS
    assert not report.limits


@pytest.mark.parametrize("build", BUILDS)
def test_a_function_that_is_called_through_a_pointer_is_found_or_a_limit(build):
    _, outcome = judged(build, "pointer")
    assert outcome in (Outcome.FAIL, Outcome.UNDECIDED)


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("kind", GOOD)
def test_what_asks_for_no_executable_memory_passes(build, kind):
    report, outcome = judged(build, kind)
    assert outcome is Outcome.PASS
    assert not report.limits
