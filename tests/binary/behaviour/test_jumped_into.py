"""Memory that a driver allocated and jumps to, as the last call of a function is compiled."""

import pytest

from here import FIXTURES
from hvci.evaluate import evaluate
from hvci.model import Outcome

FOLDER = FIXTURES / "jumped"
BUILDS = [
    f"{machine}.{level}" for machine in ("x64", "x86", "arm64") for level in ("O1", "O2", "Oz")
]


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize(("kind", "expected"), [("bad", Outcome.FAIL), ("clean", Outcome.PASS)])
def test_a_jump_to_memory_is_a_call_of_it(build, kind, expected):
    report = evaluate((FOLDER / f"jumped.{build}.{kind}.sys").read_bytes())
    assert next(each.outcome for each in report.results if each.rule == "dynamic-code") is expected
