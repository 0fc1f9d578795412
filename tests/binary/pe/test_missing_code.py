"""Code that the file does not show: every rule that code could break is open, `runs` among them."""

import random
import struct

import pytest

import build
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


def grown() -> bytes:
    """Two pages more of the code are in memory than in the file: a packer fills them."""
    data = bytearray((BUILT / CLEAN).read_bytes())
    header = section_at(data, b".text")
    (held,) = struct.unpack_from("<I", data, header + 16)
    struct.pack_into("<I", data, header + 8, held + 0x2000)
    return bytes(data)


def packed(size: int = 0x9000) -> bytes:
    """A second section of code holds what is no code until somebody has unpacked it."""
    return build.driver(sections=((".upx1", build.CODE),), content=random.Random(7).randbytes(size))


def encrypted() -> bytes:
    """A small section of code is encrypted whole."""
    return packed(0x400)


HIDDEN = [without_code, cut_off, started_outside, grown, packed, encrypted]


@pytest.mark.parametrize("make", HIDDEN)
def test_all_that_code_could_break_is_open(make) -> None:
    report = evaluate(make())
    outcomes = {each.rule: each.outcome for each in report.results if each.rule in CODE_RULES}
    passed = {rule for rule, outcome in outcomes.items() if outcome is Outcome.PASS}
    assert passed == set()


@pytest.mark.parametrize("make", HIDDEN)
def test_the_answer_on_running_is_not_yes(make) -> None:
    assert evaluate(make()).answers[Question.RUNS] is not Answer.YES


def test_the_whole_file_passes() -> None:
    assert evaluate((BUILT / CLEAN).read_bytes()).answers[Question.RUNS] is Answer.YES


def test_tables_of_a_cipher_between_code_are_no_sign_of_packing() -> None:
    tables = random.Random(7).randbytes(0x4000)
    code = bytes.fromhex("4883ec28e8000000004883c428c3cccc") * 0x700
    data = build.driver(sections=((".cipher", build.CODE),), content=tables + code)
    assert evaluate(data).answers[Question.RUNS] is Answer.YES
