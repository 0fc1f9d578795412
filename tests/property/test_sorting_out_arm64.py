"""What sorts ARM64 places out by their words: what it proves, and what it leaves to others."""

import numpy as np
import pytest
from tests import build

from hvci.binary import PeImage
from hvci.binary.analysis import Analysis
from hvci.binary.behaviour.scene import Scene
from hvci.binary.behaviour.words_near import Nearby
from hvci.binary.kmdf_arm64 import Plain, plain_call

START = 0x1000
BLR_X8, BLR_X9, BL = 0xD63F0100, 0xD63F0120, 0x94000000
LOAD_FIELD, LOAD_LOCAL = 0xF9400808, 0xF9400BE8  # ldr x8, [x0, #16]; ldr x8, [sp, #16]
NEXT_PAGE = 0xB0000008  # adrp x8, the page of the imports
LOAD_IMPORT, LOAD_GLOBAL = 0xF9400508, 0xF9400D08  # ldr x8, [x8, #8]; ldr x8, [x8, #24]
LOAD, STORE = 0xF9400128, 0xF9000101  # ldr x8, [x9]; str x1, [x8]
COPY, STORE_COPY, KEEP = 0xAA0803EA, 0xF9000141, 0xF9000168  # x10 = x8; [x10] = x1; [x11] = x8
CLEAR, SPILL, BRANCH = 0xD2800008, 0xF90007E8, 0xB4000041  # x8 = 0; [sp, #8] = x8; cbz x1
LOAD_ENTRY, MOVE = 0xF9400D09, 0xAA0103E0  # ldr x9, [x8, #24]; mov x0, x1


def analysed(*code):
    """One function made of words, at `START`."""
    image = PeImage(build.driver("arm64"))
    for i, word in enumerate(code):
        image.memory[START + 4 * i : START + 4 * i + 4] = word.to_bytes(4, "little")
    analysis = Analysis(image)
    table = analysis.functions.unwind
    table.starts, table.ends = [START], [START + 4 * len(code)]
    table._data = np.zeros(1, np.int64)
    return analysis


@pytest.mark.parametrize(
    ("code", "is_usual"),
    [
        ((LOAD_FIELD, BLR_X8), True),
        ((LOAD_FIELD, MOVE, BRANCH, BLR_X8), True),
        ((NEXT_PAGE, LOAD_IMPORT, BLR_X8), True),
        ((NEXT_PAGE, LOAD_GLOBAL, BLR_X8), False),
        ((LOAD_LOCAL, BLR_X8), False),
        ((LOAD_FIELD, BL, BLR_X8), False),
        ((LOAD_FIELD, CLEAR, BLR_X8), False),
        ((BLR_X8,), False),
    ],
)
def test_only_calls_of_fields_and_imports_are_left_out(code, is_usual):
    near = Nearby(Scene(analysed(*code)))
    assert near.is_method_call(START + 4 * len(code) - 4) == is_usual


@pytest.mark.parametrize(
    ("behind", "in_frame", "anywhere"),
    [
        ((STORE,), True, True),
        ((COPY, CLEAR, STORE_COPY), True, True),
        ((SPILL, CLEAR), True, True),
        ((KEEP, CLEAR), False, True),
        ((CLEAR, STORE), False, False),
        ((BL, STORE), False, False),
    ],
)
def test_a_pointer_is_dropped_only_when_nothing_comes_of_it(behind, in_frame, anywhere):
    near = Nearby(Scene(analysed(LOAD, *behind, CLEAR)))
    assert near.is_kept(START, frozenset(), anywhere=False) == in_frame
    assert near.is_kept(START, frozenset(), anywhere=True) == anywhere


def test_a_pointer_that_lives_at_the_call_of_a_copy_is_kept():
    near = Nearby(Scene(analysed(LOAD, BL, CLEAR)))
    assert near.is_kept(START, frozenset((START + 4,)), anywhere=False)


def test_a_framework_call_is_read_off_its_words():
    analysis = analysed(LOAD, LOAD_ENTRY, MOVE, BLR_X9)
    assert plain_call(analysis, START) == Plain(START + 12, START, 24)


@pytest.mark.parametrize(
    "behind",
    [
        (LOAD_ENTRY, BRANCH, BLR_X9),  # two ways
        (CLEAR, BLR_X8),  # the table is lost
        (LOAD_ENTRY,),  # the function ends
    ],
)
def test_what_is_no_plain_framework_call_is_left_to_others(behind):
    assert plain_call(analysed(LOAD, *behind), START) is None
