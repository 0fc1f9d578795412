"""What sorts ARM64 places out by their words: what it proves, and what it leaves to others."""

import numpy as np
import pytest
from tests import build

from hvci.binary import PeImage
from hvci.binary.analysis.wiring import Analysis
from hvci.binary.behaviour.arm64.near import Nearby
from hvci.binary.behaviour.called.around import Around
from hvci.binary.behaviour.scene import Scene
from hvci.binary.calls.framework.words import Plain, plain_call, surely_loads
from hvci.binary.form.code import (
    IMAGE_BASE,
    NO_REGISTER,
    Binary,
    Const,
    Flow,
    ImageAddress,
    Load,
    Memory,
    Reg,
)

START, IMPORTS = 0x1000, 0x2000
NOP = 0xD503201F
BLR_X8, BLR_X9, BL = 0xD63F0100, 0xD63F0120, 0x94000000
LOAD_FIELD, LOAD_LOCAL = 0xF9400808, 0xF9400BE8  # ldr x8, [x0, #16]; ldr x8, [sp, #16]
NEXT_PAGE = 0xB0000008  # adrp x8, the page of the imports
LOAD_IMPORT, LOAD_GLOBAL = 0xF9400508, 0xF9400D08  # ldr x8, [x8, #8]; ldr x8, [x8, #24]
ALLOCATE = NEXT_PAGE, 0xF9400108, BLR_X8  # ldr x8, [x8]; blr x8
DATA_PAGE, STORE_RESULT, STORE_ZERO = 0xD0000008, 0xF9000D00, 0xF9000D1F  # str x0 or xzr
LOAD, STORE = 0xF9400128, 0xF9000101  # ldr x8, [x9]; str x1, [x8]
COPY, STORE_COPY, KEEP = 0xAA0803EA, 0xF9000141, 0xF9000168  # x10 = x8; [x10] = x1; [x11] = x8
CLEAR, SPILL, BRANCH = 0xD2800008, 0xF90007E8, 0xB4000041  # x8 = 0; [sp, #8] = x8; cbz x1
KEEP_ENTRY = 0xF9000169  # str x9, [x11]
LOAD_ENTRY, MOVE = 0xF9400D09, 0xAA0103E0  # ldr x9, [x8, #24]; mov x0, x1


def nearby(scene: Scene, sites: np.ndarray) -> Nearby:
    """`sites`: RVAs where a pointer to allocated memory comes up."""
    return Nearby(scene, Around(scene, sites))


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
        ((MOVE, BRANCH, LOAD_FIELD, BLR_X8), False),  # the branch leads to the call
        ((BRANCH, MOVE, LOAD_GLOBAL, BLR_X8), True),  # the branch leads to the load
        ((CLEAR, BRANCH, MOVE, LOAD_GLOBAL, BLR_X8), True),
        ((BL, BRANCH, MOVE, LOAD_GLOBAL, BLR_X8), True),
        ((NEXT_PAGE, BRANCH, MOVE, LOAD_GLOBAL, BLR_X8), False),
        ((NEXT_PAGE, LOAD_IMPORT, BLR_X8), True),
        ((NEXT_PAGE, LOAD_GLOBAL, BLR_X8), True),  # never written
        ((*ALLOCATE, DATA_PAGE, STORE_RESULT, LOAD_GLOBAL, BLR_X8), False),
        ((*ALLOCATE, DATA_PAGE, STORE_ZERO, LOAD_GLOBAL, BLR_X8), True),
        ((LOAD_LOCAL, BLR_X8), False),
        ((LOAD_FIELD, BL, BLR_X8), False),
        ((LOAD_FIELD, CLEAR, BLR_X8), False),
        ((BLR_X8,), False),
    ],
)
def test_only_calls_of_fields_and_imports_are_left_out(code, is_usual):
    near = nearby(Scene(analysed(*code)), np.array([START]))
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
    assert plain_call(analysis, START) == Plain(START + 12, START, 24, True)


ADD_OFFSET, LOAD_SUM = 0x91006109, 0xF9400129  # add x9, x8, #24; ldr x9, [x9]
SPILL_ENTRY, FILL_ENTRY = 0xF9000BE9, 0xF9400BE9  # str x9, [sp, #16]; ldr x9, [sp, #16]
MOVE_STACK = 0x910083FF  # add sp, sp, #32


def test_the_offset_of_an_entry_may_be_added_first():
    analysis = analysed(LOAD, ADD_OFFSET, LOAD_SUM, BLR_X9)
    assert plain_call(analysis, START) == Plain(START + 12, START, 24, True)


BLR_X10, LOAD_SAVED, BLR_X19 = 0xD63F0140, 0xF9400D13, 0xD63F0260  # ldr x19, [x8, #24]


@pytest.mark.parametrize(
    ("code", "is_known"),
    [
        ((NOP, LOAD, LOAD_ENTRY, BLR_X9), True),
        ((NOP, LOAD, LOAD_SAVED, BLR_X10, BLR_X19), True),
        ((0xB4000063, LOAD, LOAD_ENTRY, BLR_X9), False),  # cbz x3 leads to the call
        ((NOP, LOAD, LOAD_ENTRY, BLR_X10, BLR_X9), False),  # another call comes first
    ],
)
def test_a_call_is_known_where_nothing_else_can_be_its_target(code, is_known):
    call = START + 4 * len(code) - 4
    assert plain_call(analysed(*code), START + 4) == Plain(call, START, 24, is_known)


SAVED_PAGE, LOAD_TABLE, LOAD_BY_SAVED = 0xB0000013, 0xF9400D08, 0xF9400E68  # adrp x19; x8, [x19]
CHANGE_SAVED = 0xAA0003F3  # mov x19, x0


@pytest.mark.parametrize(
    ("code", "is_sure"),
    [
        ((NEXT_PAGE, LOAD_TABLE), True),
        ((NEXT_PAGE, NOP, LOAD_TABLE), False),  # perhaps, but that is not looked at
        ((SAVED_PAGE, BL, LOAD_BY_SAVED), True),
        ((0xB4000043, NEXT_PAGE, LOAD_TABLE), False),  # cbz x3, past the page
        ((SAVED_PAGE, CHANGE_SAVED, LOAD_BY_SAVED), False),
    ],
)
def test_a_load_of_the_table_is_sure_where_its_page_is(code, is_sure):
    analysis = analysed(*code, NOP)
    place = START + 4 * len(code) - 4
    assert surely_loads(analysis, place, IMPORTS + 24) == is_sure
    assert not surely_loads(analysis, place, IMPORTS + 32)


def test_loads_only_read():
    references = analysed(LOAD, STORE, 0xA94103E8, 0xA90103E8, 0xF8200108, 0x91000108).references
    reads = [references.only_reads(START + 4 * n) for n in range(6)]  # ldp, stp, ldadd, add
    assert reads == [True, False, True, False, False, False]


@pytest.mark.parametrize(
    "behind",
    [
        (LOAD_ENTRY, BRANCH, BLR_X9),  # two ways
        (LOAD_ENTRY, KEEP_ENTRY, BLR_X9),  # it is called from elsewhere as well
        (CLEAR, BLR_X8),  # the table is lost
        (LOAD_ENTRY,),  # the function ends
        (ADD_OFFSET, LOAD_SUM, SPILL_ENTRY, FILL_ENTRY, BLR_X9),  # through the frame
        (0xB9401909, BLR_X9),  # ldr w9, [x8, #24]: half an entry
        (0xF8408509, BLR_X9),  # ldr x9, [x8], #8
        (0x8B010108, LOAD_ENTRY, BLR_X9),  # add x8, x8, x1
    ],
)
def test_what_is_no_plain_framework_call_is_left_to_others(behind):
    assert plain_call(analysed(LOAD, *behind), START) is None


SET_X9, SET_X8, BR_X8 = 0xD2800009, 0x52800408, 0xD61F0100  # x9 = 0; w8 = 0x20; br x8


@pytest.mark.parametrize(
    ("end", "flow"), [(BLR_X8, Flow.INDIRECT_CALL), (BR_X8, Flow.INDIRECT_JUMP)]
)
def test_the_call_of_an_import_is_read_off_its_words(end, flow):
    functions = analysed(NEXT_PAGE, SET_X9, LOAD_IMPORT, MOVE, end).functions
    function = functions.at(START)
    assert functions.import_call(function, 2, IMPORTS + 8) == (4, flow)


@pytest.mark.parametrize(
    "code",
    [
        (NEXT_PAGE, SET_X9, LOAD_GLOBAL, MOVE, BLR_X8),  # another slot
        (NEXT_PAGE, SET_X8, LOAD_IMPORT, MOVE, BLR_X8),  # no page
        (NEXT_PAGE, BL, LOAD_IMPORT, MOVE, BLR_X8),  # the page is lost
        (NEXT_PAGE, SET_X9, LOAD_IMPORT, COPY, BLR_X8),  # called a second time, perhaps
        (NEXT_PAGE, SET_X9, LOAD_IMPORT, BRANCH, BLR_X8),
        (NEXT_PAGE, SET_X9, LOAD_IMPORT, SET_X8, BLR_X8),
        (NEXT_PAGE, SET_X9, LOAD_IMPORT, MOVE, BLR_X9),
    ],
)
def test_what_is_no_plain_call_of_an_import_is_left_to_others(code):
    functions = analysed(*code).functions
    assert functions.import_call(functions.at(START), 2, IMPORTS + 8) is None


W1, ZERO_X1, HIGH_W1 = 0x52800201, 0xAA1F03E1, 0x72A00021  # w1 = 16; x1 = xzr; movk w1, #1, lsl 16
MASK_X1, MINUS_1, HIGHEST_X1 = 0xB2400FE1, 0x12800001, 0xF2E00021  # orr x1, 15; movn; movk x1, 48


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ((W1,), 16),
        ((W1, SET_X9), 16),
        ((ZERO_X1,), 0),
        ((MASK_X1,), 15),
        ((MINUS_1,), 0xFFFFFFFF),
        ((W1, HIGH_W1), 0x10010),
        ((MINUS_1, HIGHEST_X1), 0x1_0000_FFFF_FFFF),
        ((HIGHEST_X1, HIGH_W1, W1), 16),
        ((BRANCH, NOP, W1), 16),
    ],
)
def test_a_constant_is_read_off_its_words(code, value):
    functions = analysed(*code, BL).functions
    function = functions.at(START)
    assert functions.plain_argument(function, len(code), 1) == Const(value)
    assert functions.plain_argument(function, len(code), 2) is None


@pytest.mark.parametrize(
    "code",
    [
        (W1, BL),
        (W1, BRANCH),
        (HIGH_W1,),
        (W1, 0x8B000021),  # add x1, x1, x0
        (0xB4000060, NOP, W1),  # cbz to the call, past the constant
    ],
)
def test_what_is_no_plain_constant_is_left_to_others(code):
    functions = analysed(*code, NOP).functions
    assert functions.plain_argument(functions.at(START), len(code), 1) is None


W20, MOVE_W1, LOAD_W1 = 0x52800214, 0x2A1403E1, 0xB9401101  # w20 = 16; w1 = w20; ldr w1, [x8, #16]
SUM_X1, FRAME_X1 = 0x91004101, 0x910043E1  # add x1, x8, #16; add x1, sp, #16
TEST_W20, COMPARE_W20, NOT_EQUAL = 0x34000094, 0x71001A9F, 0x54000061  # cbz w20; cmp w20, #6; b.ne


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ((W20, BL, MOVE_W1), Const(16)),
        ((W20, 0xB4000083, BL, MOVE_W1), Const(16)),  # cbz x3, behind
        ((NEXT_PAGE, LOAD_W1), Load(Memory(IMAGE_BASE, NO_REGISTER, 1, IMPORTS + 16, 4))),
        ((NOP, 0x18000061), Load(Memory(IMAGE_BASE, NO_REGISTER, 1, START + 16, 4))),  # literal
        ((NEXT_PAGE, NOP, SUM_X1), ImageAddress(IMPORTS + 16)),
        ((SAVED_PAGE, BL, 0x91004261), ImageAddress(IMPORTS + 16)),  # add x1, x19, #16
        ((FRAME_X1, MOVE), Binary("add", Reg(31), Const(16), 8)),
    ],
)
def test_an_argument_is_followed_to_a_saved_register_and_to_a_global(code, value):
    functions = analysed(*code, BL, NOP, NOP).functions
    assert functions.plain_argument(functions.at(START), len(code), 1) == value


@pytest.mark.parametrize(
    "code",
    [
        (W20, TEST_W20, BL, MOVE_W1),  # it is something else on this way
        (W20, COMPARE_W20, NOT_EQUAL, BL, MOVE_W1),
        (0xB4000043, W20, NOP, MOVE_W1),  # cbz x3, past the constant
        (NEXT_PAGE, BL, LOAD_W1),
        (NEXT_PAGE, LOAD_W1, HIGH_W1),  # a half of it is another constant
        (0xB4000043, NEXT_PAGE, LOAD_W1),  # cbz x3, past the page
        (0xB4000043, NEXT_PAGE, SUM_X1),
        (NEXT_PAGE, BL, SUM_X1),
        (NEXT_PAGE, SUM_X1, HIGH_W1),
        (NEXT_PAGE, 0x91004114, 0x2A1403E1),  # add x20, x8, #16; w1 = w20
        (FRAME_X1, MOVE_STACK),
        (FRAME_X1, 0xB4000043),  # cbz x3, behind
        (0x910043F4, BL, 0xAA1403E1),  # add x20, sp, #16; bl; x1 = x20
    ],
)
def test_an_argument_that_other_ways_decide_is_left_to_others(code):
    functions = analysed(*code, BL, NOP, NOP).functions
    assert functions.plain_argument(functions.at(START), len(code), 1) is None
