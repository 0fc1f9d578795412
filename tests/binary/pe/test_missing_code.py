"""Code that the file does not show: every rule that code could break is open, `runs` among them."""

import struct

import pytest

from here import FIXTURES
from hvci.binary import PeImage
from hvci.evaluate import evaluate
from hvci.model import Answer, Outcome, Question
from hvci.model.judged import CODE_RULES

BUILT = FIXTURES / "built"
CLEAN = "calls_clean.x64.o2.sys"


def section_at(data: bytearray, name: bytes) -> int:
    """Where the header of a section is in the file."""
    return data.index(name.ljust(8, b"\0"))


def without_code() -> bytes:
    """The code is only there in memory, as a packer leaves it."""
    data = bytearray((BUILT / CLEAN).read_bytes())
    struct.pack_into("<I", data, section_at(data, b".text") + 16, 0)
    return bytes(data)


def cut_off() -> bytes:
    """The file ends in the last section."""
    data = (BUILT / CLEAN).read_bytes()
    last = max(PeImage(data).headers.sections, key=lambda each: each.raw_offset)
    return data[: last.raw_offset + 16]


def started_outside() -> bytes:
    """The entry point lies in data."""
    data = bytearray((BUILT / CLEAN).read_bytes())
    image = PeImage(bytes(data))
    target = next(each for each in image.headers.sections if each.name == ".rdata")
    pe = struct.unpack_from("<I", data, 0x3C)[0]
    struct.pack_into("<I", data, pe + 24 + 16, int(target.rva))
    return bytes(data)


@pytest.mark.parametrize("make", [without_code, cut_off, started_outside])
def test_all_that_code_could_break_is_open(make) -> None:
    report = evaluate(make())
    outcomes = {each.rule: each.outcome for each in report.results if each.rule in CODE_RULES}
    passed = {rule for rule, outcome in outcomes.items() if outcome is Outcome.PASS}
    assert passed == set()


@pytest.mark.parametrize("make", [without_code, cut_off, started_outside])
def test_the_answer_on_running_is_not_yes(make) -> None:
    assert evaluate(make()).answers[Question.RUNS] is not Answer.YES


def test_the_whole_file_passes() -> None:
    assert evaluate((BUILT / CLEAN).read_bytes()).answers[Question.RUNS] is Answer.YES
