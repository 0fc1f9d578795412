"""Memory that a driver allocated and jumps to, as the last call of a function is compiled."""

import pytest

import build
from here import FIXTURES
from hvci.binary.pe.image import PeImage
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


@pytest.mark.parametrize(("machine", "jump"), [("x64", "48ffe0"), ("x64", "ffe0"), ("x86", "ffe0")])
def test_the_last_bytes_of_a_section_are_looked_at(machine, jump):
    image = PeImage(build.driver(machine))
    entry, (slot,) = int(image.headers.entry), image.import_slots["ExAllocatePoolWithTag"]
    size = 0x200 - (entry & 0x1FF) - 6 - len(jump) // 2
    where = slot - (entry + size + 6) if machine == "x64" else slot + image.base
    call = b"\xff\x15" + (where & 0xFFFF_FFFF).to_bytes(4, "little")
    code = b"\x90" * size + call + bytes.fromhex(jump)
    report = evaluate(build.driver(machine, code=code, relocations=b""))
    assert PeImage(build.driver(machine, code=code)).code_ranges[0][1] == entry + len(code)
    assert (
        next(each.outcome for each in report.results if each.rule == "dynamic-code") is Outcome.FAIL
    )
