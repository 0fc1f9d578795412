"""Code that a function of the driver writes to, by whichever of its first arguments.

The clean twins give the same function the address of a variable.
"""

import pytest

from here import FIXTURES
from hvci.evaluate import evaluate
from hvci.model import Outcome

FOLDER = FIXTURES / "patched"
BUILDS = sorted(path.name.removesuffix(".bad.sys") for path in FOLDER.glob("*.bad.sys"))
RULE = "writes-executable-memory"


@pytest.mark.parametrize(("kind", "expected"), [("bad", Outcome.FAIL), ("clean", Outcome.PASS)])
@pytest.mark.parametrize("build", BUILDS)
def test_code_that_is_handed_on_to_be_written(build: str, kind: str, expected: Outcome) -> None:
    report = evaluate((FOLDER / f"{build}.{kind}.sys").read_bytes())
    assert next(each.outcome for each in report.results if each.rule == RULE) is expected


def test_each_machine_is_there() -> None:
    assert {name.split(".")[1] for name in BUILDS} == {"x64", "x86", "arm64"}
