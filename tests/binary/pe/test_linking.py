"""What is unusual about linking is said beside the answer, and decides nothing."""

import struct

import pytest

import build
from hvci.binary.pe.image import PeImage
from hvci.evaluate import evaluate
from hvci.model import Question
from hvci.report.words import answer_sentence

GNU = 2 | 40 << 8
STRIPPED = 0x0023
SLOT = min(PeImage(build.driver()).imports)


def pseudo(slot, width=32, version=1):
    """A list of GNU ld's relocations with two entries, the second for no import."""
    entries = (slot, 0x1010, width, 0x1FFF0, 0x1010, width)
    return struct.pack("<9I", 0, 0, version, *entries)


def linking(data):
    return PeImage(data).facts.linking


def with_list(content, linker=GNU, machine="x64"):
    """A driver whose `.data` holds a list."""
    plain = build.patch(build.driver(machine, pointers=()), linker=linker)
    image = PeImage(plain)
    data = next(section for section in image.sections if section.name == ".data")
    where = data.raw_offset + 0x10
    return plain[:where] + content + plain[where + len(content) :]


@pytest.mark.parametrize("machine", ["x64", "x86", "arm64"])
def test_usual_images_have_nothing_to_say(machine):
    assert linking(build.driver(machine)) == ""
    assert linking(build.patch(build.driver(machine), linker=GNU)) == ""
    assert "apart" not in answer_sentence(evaluate(build.driver(machine)), Question.LOADS)


@pytest.mark.parametrize("machine", ["x64", "x86", "arm64"])
def test_stripped_relocations_are_said_beside_the_answer(machine):
    report = evaluate(build.patch(build.driver(machine), characteristics=STRIPPED))
    assert "stripped, so it loads at 0x" in answer_sentence(report, Question.LOADS)
    assert report.verdict is evaluate(build.driver(machine)).verdict


def test_relocations_of_a_runtime_are_counted():
    assert linking(with_list(pseudo(SLOT))).startswith("1 place is to be relocated by the runtime")


@pytest.mark.parametrize(
    "content", [pseudo(SLOT + 1), pseudo(SLOT, width=7), pseudo(SLOT, version=2)]
)
def test_what_only_looks_like_such_a_list_is_silent(content):
    assert linking(with_list(content)) == ""


def test_other_linkers_make_no_such_list():
    assert linking(with_list(pseudo(SLOT), linker=14)) == ""
