"""A run never sees the host's time, so it is the same twice."""

import pytest

from hvci.verifier import clock
from hvci.verifier.clock import CYCLES
from hvci.verifier.outcome import VerifierOptions
from hvci.verifier.session import run_here
from patched import starts_with

RETURN = {"x64": b"\xc3", "x86": b"\xc2\x08\x00", "arm64": (0xD65F03C0).to_bytes(4, "little")}
READINGS = {
    "rdtsc": b"\x0f\x31",
    "rdtscp": b"\x0f\x01\xf9",
    "cntvct": (0xD53BE040).to_bytes(4, "little"),
    "cntpct": (0xD53BE020).to_bytes(4, "little"),
    "pmccntr": (0xD53B9D00).to_bytes(4, "little"),
}
WRITABLE = 0x8000_0000


def status(data):
    entry = run_here(data, VerifierOptions(force=False)).driver_entry
    assert entry.outcome.ending == "returned"
    return entry.outcome.status


@pytest.mark.parametrize(
    ("machine", "reading"),
    [
        ("x64", "rdtsc"),
        ("x64", "rdtscp"),
        ("x86", "rdtsc"),
        ("x86", "rdtscp"),
        ("arm64", "cntvct"),
        ("arm64", "cntpct"),
        ("arm64", "pmccntr"),
    ],
)
def test_the_clock_counts_readings(machine, reading):
    code = 2 * READINGS[reading] + RETURN[machine]
    assert status(starts_with(f"calls_clean.{machine}.o2.sys", code)) == 2 * CYCLES


GENERATED = b"\xc7\x05\x02\x00\x00\x00\x0f\x31\x0f\x31\xeb\x00" + 4 * b"\x90"
"""Writes two RDTSC behind itself, jumps there."""


def test_code_that_the_driver_writes_sees_the_same_clock():
    """Where sections share pages, code stays writable, and what is written there runs."""
    data = starts_with("image.x64.align_200.sys", GENERATED + RETURN["x64"], WRITABLE)
    assert status(data) == 2 * CYCLES


def test_what_replaces_a_reading_runs_as_it_is():
    """RDTSC is overwritten by `mov eax, 7` before it runs."""
    code = b"\xc7\x05\x02\x00\x00\x00\xb8\x07\x00\x00\xeb\x00" + b"\x0f\x31\x90\x90\x00"
    data = starts_with("image.x64.align_200.sys", code + RETURN["x64"], WRITABLE)
    assert status(data) == 7


def test_places_beyond_the_bound_are_a_limit(monkeypatch):
    monkeypatch.setattr(clock, "MAX_WATCHED", 1)
    code = RETURN["x64"] + 3 * READINGS["rdtsc"]
    run = run_here(starts_with("calls_clean.x64.o2.sys", code), VerifierOptions(force=False))
    (limit,) = run.limits
    assert "2 places" in limit.reason
    assert "clock" in limit.reason
