"""Routines that a driver looks up in export tables by itself: never called compatible.

The twins read other tables of the same headers, or structures with fields at the same places;
nothing is said of them.
"""

import pytest

from here import FIXTURES
from hvci.evaluate import evaluate
from hvci.model import Outcome, Verdict
from hvci.model.judged import CALL_RULES

FOLDER = FIXTURES / "exports"
BAD = sorted(path.name for path in FOLDER.glob("*.bad.sys"))
TWINS = sorted({path.name for path in FOLDER.glob("*.sys")} - set(BAD))


@pytest.mark.parametrize("name", BAD)
def test_what_is_looked_up_so_is_a_limit_of_every_rule_on_calls(name):
    report = evaluate((FOLDER / name).read_bytes())
    (limit,) = report.limits
    assert "looks routines up in an export table by itself" in limit.reason
    assert set(limit.rules) == set(CALL_RULES)
    assert limit.site.rva
    assert report.verdict is Verdict.UNDECIDED


@pytest.mark.parametrize("name", TWINS)
def test_other_readers_of_headers_look_nothing_up(name):
    report = evaluate((FOLDER / name).read_bytes())
    assert not report.limits
    assert report.verdict is Verdict.COMPATIBLE


def test_each_machine_and_way_is_there():
    assert {name.split(".")[1] for name in BAD} == {"x64", "x86", "arm64"}
    assert {name.split(".")[3] for name in BAD} == {"inline", "split", "headers", "directory"}
    assert {name.split(".")[4] for name in TWINS} == {"imports", "sections", "structures"}
    assert (len(BAD), len(TWINS)) == (24, 42)


@pytest.mark.parametrize("machine", ["x64", "x86"])
def test_a_routine_that_windows_finds_by_a_name_that_is_not_known_is_a_limit(machine):
    """The image is that of another way with the name of its import changed, of equal length."""
    data = (FOLDER / f"exports.{machine}.O2.directory.bad.sys").read_bytes()
    name, other = b"RtlImageDirectoryEntryToData", b"RtlFindExportedRoutineByName"
    assert len(name) == len(other) and data.count(name) == 1
    report = evaluate(data.replace(name, other))
    assert any("by a name that is not known" in limit.reason for limit in report.limits)
    assert [one.outcome for one in report.results if one.rule in CALL_RULES] == [
        Outcome.UNDECIDED
    ] * len(CALL_RULES)
