"""Code of several constants, also where its pointer is loaded from the frame for each of them."""

import pytest

from here import FIXTURES
from hvci.evaluate import evaluate
from hvci.model import Outcome

FOLDER = FIXTURES / "pieces"
BUILDS = [f"{machine}.{level}" for machine in ("x64", "x86", "arm64") for level in ("O0", "O2")]


def outcome(build, kind):
    report = evaluate((FOLDER / f"pieces.{build}.{kind}.sys").read_bytes())
    return next(each.outcome for each in report.results if each.rule == "dynamic-code")


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("kind", ["two", "three"])
def test_code_of_pieces_is_not_passed(build, kind):
    assert outcome(build, kind) in (Outcome.FAIL, Outcome.UNDECIDED)


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("kind", ["never-executes", "numbers"])
def test_nothing_is_said_of_the_twins(build, kind):
    assert outcome(build, kind) is Outcome.PASS
