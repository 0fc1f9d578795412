"""The routines around the entry point: named where their whole shape is there, else not at all."""

import pytest

from here import FIXTURES
from hvci.binary.analysis.wiring import Analysis
from hvci.binary.calls import entry
from hvci.binary.calls.entry import find_stub, name_routines
from hvci.binary.pe.image import PeImage
from hvci.evaluate import evaluate

BUILT = FIXTURES / "built"
MACHINES = ("x64", "x86", "arm64")
OURS = {"DriverEntry", "GsDriverEntry", "FxDriverEntry", "FxDriverEntryWorker"}
COOKIE = 0x2B992DDFA232


def names(data):
    analysis = Analysis(PeImage(data))
    stub = find_stub(analysis)
    return set() if stub is None else set(name_routines(analysis, stub).values())


def bytes_of(name):
    return (BUILT / f"{name}.sys").read_bytes()


def functions(name):
    report = evaluate(BUILT / f"{name}.sys")
    sites = [item.call.site for item in report.calls] + [f.site for f in report.findings]
    return {site.function for site in sites}


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("variant", ["o0", "o1", "o2", "os"])
def test_the_cookie_set_by_a_routine(machine, variant):
    found = names(bytes_of(f"library_bad.{machine}.{variant}"))
    assert found == {"GsDriverEntry", "__security_init_cookie", "DriverEntry"}


@pytest.mark.parametrize("machine", MACHINES)
def test_the_cookie_set_in_the_entry_point_itself(machine):
    assert names(bytes_of(f"library_bad.{machine}.o2cookie")) == {"GsDriverEntry", "DriverEntry"}


@pytest.mark.parametrize("machine", ["x64", "x86"])
@pytest.mark.parametrize("variant", ["o0", "o2", "o2cookie"])
def test_another_constant_is_no_cookie(machine, variant):
    data = bytes_of(f"library_bad.{machine}.{variant}")
    cookie = COOKIE.to_bytes(8, "little") if machine == "x64" else b"\x4e\xe6\x40\xbb"
    assert cookie in data
    assert names(data.replace(cookie, bytes(len(cookie)))) == set()


@pytest.mark.parametrize("machine", MACHINES)
def test_an_entry_point_that_is_the_drivers_own_stays_what_it_is(machine):
    for name in ("calls_bad", "optin_bad", "kmdf_bad"):
        variant = "v15_o2" if name == "kmdf_bad" else "o2"
        found = functions(f"{name}.{machine}.{variant}")
        assert not found & OURS
    assert "DriverEntry" in functions(f"library_bad.{machine}.o2")


@pytest.mark.parametrize("machine", MACHINES)
def test_a_long_entry_point_is_no_stub(machine, monkeypatch):
    analysis = Analysis(PeImage(bytes_of(f"library_bad.{machine}.o2cookie")))
    length = len(find_stub(analysis).rvas)
    monkeypatch.setattr(entry, "MAX_STUB", length - 1)
    assert find_stub(analysis) is None


def test_an_entry_point_outside_code_is_no_stub():
    data = bytearray(bytes_of("library_bad.x64.o2"))
    header = int.from_bytes(data[0x3C:0x40], "little")
    data[header + 0x28 : header + 0x2C] = (0x10).to_bytes(4, "little")
    assert find_stub(Analysis(PeImage(bytes(data)))) is None
