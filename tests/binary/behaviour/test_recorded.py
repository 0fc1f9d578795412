"""Writes to code whose address a record keeps: in the frame, in memory, set by another function.

The clean twins keep the address of data in the same records.
"""

import pytest

from here import FIXTURES
from hvci.evaluate import evaluate
from hvci.model import Outcome, Report

FOLDER = FIXTURES / "recorded"
BUILDS = sorted(path.name.removesuffix(".bad.sys") for path in FOLDER.glob("*.bad.sys"))
RULE = "writes-executable-memory"


def _report(name: str) -> Report:
    return evaluate((FOLDER / name).read_bytes())


def _outcome(report: Report) -> Outcome:
    return next(each.outcome for each in report.results if each.rule == RULE)


@pytest.mark.parametrize("build", BUILDS)
def test_a_write_through_what_a_record_keeps_is_found(build: str) -> None:
    assert _outcome(_report(f"{build}.bad.sys")) is Outcome.FAIL


@pytest.mark.parametrize("build", BUILDS)
def test_nothing_is_said_where_it_keeps_data(build: str) -> None:
    report = _report(f"{build}.clean.sys")
    assert _outcome(report) is Outcome.PASS
    assert not [limit for limit in report.limits if RULE in limit.rules]


def test_each_machine_is_there() -> None:
    assert {name.split(".")[1] for name in BUILDS} == {"x64", "x86", "arm64"}
