"""Code that the image keeps where nothing executes: a fact with its place, never silence."""

import struct

import pytest

import build
from hvci import evaluate
from hvci.binary.pe.image import PeImage
from hvci.model import Answer, Outcome, Question

CODE, DATA = 0x6000_0020, 0xC000_0040
UNEXAMINED = "code in section INIT, which is not executable, was not examined"


def _init(machine: str) -> int:
    image = PeImage(build.driver(machine, code=bytes(0x40)))
    return next(int(each.rva) for each in image.headers.sections if each.name == "INIT")


def _entry(machine: str) -> int:
    return int(PeImage(build.driver(machine, code=bytes(0x40))).headers.entry)


def _calling(machine: str, target: int) -> bytes:
    """Code that calls an RVA and returns."""
    entry = _entry(machine)
    if machine == "arm64":
        words = 0xA9BF_7BFD, 0x9400_0000 | (target - entry - 4) // 4 & 0x3FF_FFFF
        return struct.pack("<4I", *words, 0xA8C1_7BFD, 0xD65F_03C0)
    if machine == "x86":
        return b"\xe8" + struct.pack("<i", target - entry - 5) + b"\xc2\x08\x00"
    return (
        bytes.fromhex("4883ec28 e8")
        + struct.pack("<i", target - entry - 9)
        + b"\x48\x83\xc4\x28\xc3"
    )


def _code_rule(report):
    return next(each for each in report.results if each.rule == "dynamic-code")


@pytest.mark.parametrize("machine", ["x64", "x86", "arm64"])
def test_a_call_into_a_section_that_is_not_executable_breaks(machine):
    code = _calling(machine, _init(machine))
    report = evaluate.evaluate(build.driver(machine, code=code, init=DATA))
    rule = _code_rule(report)
    assert rule.outcome is Outcome.FAIL
    (finding,) = rule.findings
    assert "in section INIT, which is not executable" in finding.message
    assert finding.site.rva in range(_entry(machine), _entry(machine) + 8)
    assert report.answers[Question.RUNS] is Answer.NO
    assert UNEXAMINED in [limit.reason for limit in report.limits]


@pytest.mark.parametrize("machine", ["x64", "x86", "arm64"])
def test_a_call_into_an_executable_section_is_usual(machine):
    code = _calling(machine, _init(machine))
    report = evaluate.evaluate(build.driver(machine, code=code, init=CODE | build.DISCARDABLE))
    assert _code_rule(report).outcome is Outcome.PASS
    assert UNEXAMINED not in [limit.reason for limit in report.limits]


@pytest.mark.parametrize("machine", ["x64", "x86", "arm64"])
def test_an_entry_point_that_is_not_executable_breaks(machine):
    data = build.patch(build.driver(machine, init=DATA), entry=_init(machine))
    rule = _code_rule(evaluate.evaluate(data))
    assert rule.outcome is Outcome.FAIL
    assert rule.findings[0].message.startswith("the entry point lies in section ")


@pytest.mark.parametrize("machine", ["x64", "arm64"])
def test_a_call_of_bytes_that_the_file_does_not_hold_is_a_limit(machine):
    code = _calling(machine, _entry(machine) + 0x800)
    report = evaluate.evaluate(build.driver(machine, code=code))
    assert any("where the file holds no code" in limit.reason for limit in report.limits)


def test_a_routine_that_is_handed_on_is_found_by_its_exception_data():
    init, entry = _init("x64"), _entry("x64")
    code = bytes.fromhex("488d05") + struct.pack("<i", init - entry - 7) + b"\x48\x89\x41\x68\xc3"
    data = bytearray(build.driver("x64", code=code, init=DATA, directories=_unwind()))
    image = PeImage(bytes(data))
    section = next(each for each in image.headers.sections if each.name == ".data")
    at = section.raw_offset + 0x100
    unwind = section.rva + 0x180
    struct.pack_into("<6I", data, at, entry, entry + 12, unwind, init, init + 16, unwind)
    data[section.raw_offset + 0x180] = 1
    rule = _code_rule(evaluate.evaluate(bytes(data)))
    assert rule.outcome is Outcome.FAIL
    assert rule.findings[0].message.startswith("hands on the address of a routine")


def _unwind() -> dict[str, tuple[int, int]]:
    image = PeImage(build.driver("x64", code=bytes(0x40)))
    data = next(each for each in image.headers.sections if each.name == ".data")
    return {"exception": (data.rva + 0x100, 24)}


def test_data_that_looks_like_a_call_of_data_is_no_fact():
    init, entry = _init("x64"), _entry("x64")
    lie = b"\xe8" + struct.pack("<i", init - entry - 11)
    code = bytes.fromhex("33c0 c3 cccccc") + lie
    report = evaluate.evaluate(build.driver("x64", code=code, init=DATA))
    assert _code_rule(report).outcome is Outcome.PASS
