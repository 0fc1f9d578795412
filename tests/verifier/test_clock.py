"""A run never sees the host's time, so it is the same twice."""

from pathlib import Path

import pytest

from hvci.binary import PeImage
from hvci.verifier.clock import CYCLES
from hvci.verifier.outcome import VerifierOptions
from hvci.verifier.session import run_here

BUILT = Path(__file__).parent.parent / "fixtures" / "built"
RETURN = {"x64": b"\xc3", "x86": b"\xc2\x08\x00"}


def starts_with(name, code):
    """A built driver whose entry point is this code."""
    data = bytearray((BUILT / name).read_bytes())
    image = PeImage(bytes(data))
    entry = image.headers.entry
    section = next(section for section in image.sections if section.holds(entry))
    at = entry - section.rva + section.raw_offset
    data[at : at + len(code)] = code
    return bytes(data)


@pytest.mark.parametrize("machine", RETURN)
@pytest.mark.parametrize("instruction", [b"\x0f\x31", b"\x0f\x01\xf9"], ids=["rdtsc", "rdtscp"])
def test_the_time_stamp_counts_readings(machine, instruction):
    data = starts_with(f"calls_clean.{machine}.o2.sys", 2 * instruction + RETURN[machine])
    entry = run_here(data, VerifierOptions(force=False)).driver_entry
    assert entry.outcome.ending == "returned"
    assert entry.outcome.status == 2 * CYCLES
