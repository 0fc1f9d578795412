"""Bug checks hit the marked places with the right parameters, and clean drivers are silent."""

import json
from pathlib import Path

import pytest

from hvci import catalog
from hvci.binary import PeImage
from hvci.catalog.ddis import VerifierEffect
from hvci.model import Tier
from hvci.verifier.outcome import VerifierOptions
from hvci.verifier.session import Session, run_here
from patched import starts_with

BUILT = Path(__file__).parent.parent / "fixtures" / "built"
MACHINES = ("x64", "x86", "arm64")
BUILDS = [f"{machine}.{opt}" for machine in MACHINES for opt in ("o0", "o2")]
BUG_CHECKS = {
    "own_store": (0xBE, "store"),
    "export_hook": (0xBE, "hook_by_name"),
    "mdl_alias": (0xBE, "alias"),
    "physical_alias": (0xBE, "physical"),
    "physical_view": (0xBE, "store"),
    "system_view": (0xBE, "store"),
    "generated_code": (0xFC, "in_pool"),
    "copied_code": (0xFC, "copied"),
    "view_execution": (0xFC, "call"),
    "data_execution": (0xFC, "call"),
}
"""Bug check of the bad build, and the mark of the instruction that causes it."""
PAGE_EVENTS = (0xBE, 0xFC)
TAG = int.from_bytes(b"Fixt", "little")
CALL_SUBCODES = (0x2000, 0x2001, 0x2002)
PRESENT, WRITABLE, NO_EXECUTE = 1, 2, 1 << 63
"""Bits of a page table entry."""


def expected(name):
    return json.loads((BUILT / f"{name}.expected.json").read_text("utf-8"))


def image(name):
    return (BUILT / f"{name}.sys").read_bytes()


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("family", BUG_CHECKS)
def test_bad_behaviour_ends_in_the_bug_check(family, build):
    bugcheck, mark = BUG_CHECKS[family]
    name = f"{family}_bad.{build}"
    session = Session(image(name), VerifierOptions())
    run = session.run()
    (event,) = [event for event in run.events if event.bugcheck in PAGE_EVENTS]
    assert (event.bugcheck, event.tier) == (bugcheck, Tier.NATURAL)
    assert run.driver_entry.outcome.ending == "bug check"
    (site,) = [site for site in expected(name)["sites"] if site["id"] == mark]
    assert event.site.rva in {place["rva"] for place in site["at"]}
    address, entry, *rest = event.parameters
    assert session.machine.memory.find(address) is not None
    assert session.machine.memory.is_code(address) == (bugcheck == 0xBE)
    assert entry & PRESENT
    assert not entry & (WRITABLE if bugcheck == 0xBE else 0)
    assert bool(entry & NO_EXECUTE) or bugcheck == 0xBE
    assert rest == [0, 0]


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("family", BUG_CHECKS)
def test_clean_behaviour_is_silent(family, build):
    run = run_here(image(f"{family}_clean.{build}"), VerifierOptions())
    assert run.events == ()
    assert run.driver_entry.outcome.ending == "returned"


@pytest.mark.parametrize("machine", ("x64", "x86"))
def test_control_registers_are_watched_with_their_values(machine):
    bad = run_here(image(f"write_protect_bad.{machine}.o2"), VerifierOptions())
    clean = run_here(image(f"write_protect_clean.{machine}.o2"), VerifierOptions())
    marks = {site["at"][0]["rva"] for site in expected(f"write_protect_bad.{machine}.o2")["sites"]}
    assert {fact.site.rva for fact in bad.behaviours} == marks
    assert clean.behaviours == ()


@pytest.mark.parametrize(
    ("shape", "subcode", "count"),
    [("wx", 0x2003, 1), ("align_80", 0x2004, None), ("iat_in_code", 0x2005, 1), ("plain", None, 0)],
)
def test_images_are_checked_when_they_are_loaded(shape, subcode, count):
    run = run_here(image(f"image.x64.{shape}"), VerifierOptions(force=False))
    found = [event.subcode for event in run.events if event.subcode and event.subcode >= 0x2003]
    assert set(found) == ({subcode} if subcode else set())
    assert count is None or len(found) == count


def reported(name):
    """0xC4 events of calls by place, as the driver itself causes them."""
    run = run_here(image(name), VerifierOptions(force=False))
    found = {}
    for event in run.events:
        if event.subcode in CALL_SUBCODES and event.tier is Tier.NATURAL:
            found.setdefault(event.site.rva, []).append((event, run.base))
    return found


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("family", ["calls", "byname", "optin"])
def test_bad_values_are_reported_with_the_parameters_that_windows_gives(family, build):
    name = f"{family}_bad.{build}"
    found = reported(name)
    sure = [
        site
        for site in expected(name)["sites"]
        if site["verdict"] == "fail"
        and site["complete"]
        and len(site["values"]) == 1
        and catalog.ddis()[site["api"]].verifier is VerifierEffect.REPORT
    ]
    assert sure
    for site in sure:
        subcode = catalog.ddis()[site["api"]].subcode
        tags = {site["tag"]} if site["tag"] else {0, TAG}  # some DDIs take no tag
        for place in site["at"]:
            ((event, base),) = found[place["rva"]]
            code, caller, value, last = event.parameters
            assert (code, value) == (subcode, site["values"][0]), site["id"]
            assert last in (tags if subcode == 0x2000 else {0}), site["id"]
            behind = caller - base - place["rva"]
            assert 2 <= behind <= 7 or place["kind"] == "tail"


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("family", ["calls", "byname", "optin"])
def test_good_values_are_not_reported(family, build):
    assert reported(f"{family}_clean.{build}") == {}


@pytest.mark.parametrize("machine", MACHINES)
def test_two_runs_are_the_same(machine):
    data = image(f"calls_bad.{machine}.o2")
    first, second = (run_here(data, VerifierOptions(trace=True)) for _ in range(2))
    assert first == second


ALLOCATES = bytes.fromhex("53 4883ec50 4889cb b900020000 ba00010000 41b874616700 ff15")
"""push rbx; make room; rbx = the driver object; rax = ExAllocatePoolWithTag(0x200, 0x100, tag)"""
RETURNS = bytes.fromhex("4883c450 5b 31c0 c3")
IN_DISPATCH_TABLE = bytes.fromhex("488983e0000000")
"""MajorFunction[IRP_MJ_DEVICE_CONTROL] = rax"""
AS_THREAD = bytes.fromhex("4889442428 48c744243000000000 4c8d4c2440 4531c0 31d2 488d4c2448 ff15")
"""PsCreateSystemThread(&handle, 0, 0, 0, 0, rax, 0)"""
LONG_NAME = "KeQueryTimeIncrement"


def hands_over(what, first_byte):
    """A driver that hands Windows pool memory as a routine; (data, RVA of the call or entry)."""
    name = "calls_clean.x64.o2.sys"
    image = PeImage((BUILT / name).read_bytes())
    entry, code = image.headers.entry, ALLOCATES
    (pool,), (other,) = (image.import_slots[each] for each in ("ExAllocatePoolWithTag", LONG_NAME))
    code += (pool - entry - len(code) - 4).to_bytes(4, "little", signed=True)
    code += bytes.fromhex("c600") + bytes([first_byte]) + what
    place = entry
    if what is AS_THREAD:
        place = entry + len(code) - 2
        code += (other - entry - len(code) - 4).to_bytes(4, "little", signed=True)
    data = starts_with(name, code + RETURNS)
    return data.replace(LONG_NAME.encode(), b"PsCreateSystemThread"), place


@pytest.mark.parametrize("what", [IN_DISPATCH_TABLE, AS_THREAD], ids=["table", "thread"])
def test_memory_that_windows_calls_is_executed_where_it_was_handed_over(what):
    data, place = hands_over(what, first_byte=0xC3)
    run = run_here(data, VerifierOptions(force=False))
    (event,) = run.events
    assert (event.bugcheck, event.tier, event.site.rva) == (0xFC, Tier.NATURAL, place)
    assert "ExAllocatePoolWithTag" in event.message


@pytest.mark.parametrize("what", [IN_DISPATCH_TABLE, AS_THREAD], ids=["table", "thread"])
def test_memory_that_holds_no_code_proves_nothing(what):
    data, _ = hands_over(what, first_byte=0)
    assert run_here(data, VerifierOptions(force=False)).events == ()
