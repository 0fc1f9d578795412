"""What an image exports, by name or by number: who imports it may call it with anything."""

import pefile
import pytest

from here import FIXTURES
from hvci.binary.pe import directories
from hvci.binary.pe.image import PeImage
from hvci.evaluate import evaluate
from hvci.model import Verdict

FOLDER = FIXTURES / "ordinals"
MACHINES = ("x64", "x86", "arm64")


def data(machine, kind):
    return (FOLDER / f"ordinals.{machine}.{kind}.sys").read_bytes()


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    ("kind", "verdict"),
    [
        ("number", Verdict.UNDECIDED),
        ("name", Verdict.UNDECIDED),
        ("none", Verdict.COMPATIBLE),
    ],
)
def test_others_may_call_what_is_exported(machine, kind, verdict):
    report = evaluate(data(machine, kind))
    assert report.verdict is verdict
    (call,) = report.calls
    assert call.call.arguments["PoolType"].possible == {0x200}
    assert call.call.arguments["PoolType"].complete is (kind == "none")


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("kind", ["number", "name", "none"])
def test_they_are_those_that_pefile_reads(machine, kind):
    theirs = pefile.PE(data=data(machine, kind))
    listed = getattr(theirs, "DIRECTORY_ENTRY_EXPORT", None)
    assert PeImage(data(machine, kind)).exports == {
        one.address: one.name.decode() if one.name else f"#{one.ordinal}"
        for one in (listed.symbols if listed else ())
    }


@pytest.mark.parametrize("machine", MACHINES)
def test_a_number_is_no_name_of_a_function(machine):
    (call,) = evaluate(data(machine, "number")).calls
    assert call.call.site.function == "sub_1000"


def test_too_many_are_said(monkeypatch):
    monkeypatch.setattr(directories, "MAX_EXPORTS", 0)
    report = evaluate(data("x64", "number"))
    assert any("exports" in limit.reason for limit in report.limits)
