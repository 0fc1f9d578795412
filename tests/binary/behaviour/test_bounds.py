"""More calls than are looked at: what is left out is said, and nothing is called compatible."""

import pytest

from here import FIXTURES
from hvci.binary.behaviour import generated
from hvci.binary.behaviour.writes import handed
from hvci.evaluate import evaluate
from hvci.model import Outcome

BUDGET = "the work budget was spent before all code was looked at"
BOUNDS = [
    (handed, "MAX_CALLS", "built/own_helper_bad.{}.o0.sys", "writes-executable-memory"),
    (generated, "MAX_CANDIDATES", "called/called.{}.O0.parameter.bad.sys", "dynamic-code"),
]


def _judged(driver: str, rule: str) -> tuple[Outcome, bool]:
    report = evaluate((FIXTURES / driver).read_bytes())
    outcome = next(each.outcome for each in report.results if each.rule == rule)
    return outcome, any(each.reason == BUDGET for each in report.limits)


@pytest.mark.parametrize("machine", ["x64", "x86", "arm64"])
@pytest.mark.parametrize(("module", "bound", "driver", "rule"), BOUNDS)
def test_what_is_beyond_a_bound_is_said(monkeypatch, machine, module, bound, driver, rule):
    assert _judged(driver.format(machine), rule) == (Outcome.FAIL, False)
    monkeypatch.setattr(module, bound, 0)
    assert _judged(driver.format(machine), rule) == (Outcome.UNDECIDED, True)
