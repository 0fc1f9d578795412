"""Addresses that ARM64 code keeps in registers that functions save, and what goes through them."""

import numpy as np
import pytest
from tests import build

from hvci.binary import PeImage
from hvci.binary.analysis.wiring import Analysis
from hvci.binary.arch.arm64.scan.saved import NOT_KNOWN
from hvci.binary.behaviour.arm64.near import Nearby
from hvci.binary.behaviour.called.around import Around
from hvci.binary.behaviour.scene import Scene
from hvci.binary.form.code import IMAGE_BASE, Load, Memory

START, SLOT = 0x1000, 0x4018
PAGE_X8, PAGE_X26 = 0xF0000008, 0xF000001A  # adrp x8 or x26, 0x4000
ADD, ADD_SAME = 0x9100611A, 0x9100635A  # add x26, x8 or x26, #24
FROM_X19 = 0x9100627A  # add x26, x19, #24
COUNT = 0x9100075A  # add x26, x26, #1
LOAD, BLR_X8 = 0xF9400348, 0xD63F0100  # ldr x8, [x26]; blr x8
NOP, BL, CLEAR = 0xD503201F, 0x94000000, 0xD280001A  # bl on; mov x26, #0
CBZ_ON = 0xB4000041  # cbz x1, over the next word
CHECKED = 1 << 16 | 1 << 17 | 1 << 30


def nearby(scene: Scene, sites: np.ndarray) -> Nearby:
    """`sites`: RVAs where a pointer to allocated memory comes up."""
    return Nearby(scene, Around(scene, sites))


def analysed(*code):
    """One function made of words, at `START`."""
    image = PeImage(build.driver("arm64"))
    for i, word in enumerate(code):
        image.memory[START + 4 * i : START + 4 * i + 4] = word.to_bytes(4, "little")
    vars(image)["guard_check"] = SLOT
    analysis = Analysis(image)
    table = analysis.functions.unwind
    table.starts, table.ends = [START], [START + 4 * len(code)]
    table._data = np.zeros(1, np.int64)
    return analysis


def last(*code):
    """What the last instruction changes, and where it goes."""
    analysis = analysed(*code)
    function = analysis.functions.at(START)
    i = len(code) - 1
    arch = analysis.arch
    return arch.effect(function, i).registers, arch.indirect_operand(function, i)


@pytest.mark.parametrize(
    "code",
    [
        (PAGE_X8, ADD, BL, LOAD, BLR_X8),
        (PAGE_X8, NOP, NOP, ADD, BL, LOAD, BLR_X8),
        (PAGE_X26, ADD_SAME, BL, LOAD, BLR_X8),
        (PAGE_X8, ADD, CBZ_ON, NOP, LOAD, BLR_X8),
    ],
)
def test_the_check_of_a_target_is_seen_through_the_kept_address_of_its_slot(code):
    assert last(*code) == (CHECKED, Load(Memory(IMAGE_BASE, -1, 1, SLOT, 8)))


@pytest.mark.parametrize(
    "code",
    [
        (PAGE_X8, ADD, CLEAR, BL, CBZ_ON, NOP, LOAD, BLR_X8),
        (PAGE_X8, ADD, COUNT, BL, CBZ_ON, NOP, LOAD, BLR_X8),
        (PAGE_X8, CBZ_ON, NOP, ADD, BL, LOAD, BLR_X8),  # x8 may be something else
        (FROM_X19, BL, LOAD, BLR_X8),
        (PAGE_X8, ADD, BL, FROM_X19, BL, CBZ_ON, NOP, LOAD, BLR_X8),
    ],
)
def test_a_register_that_may_hold_something_else_says_nothing(code):
    assert last(*code)[0] != CHECKED


@pytest.mark.parametrize(
    ("code", "made"),
    [
        ((PAGE_X8, ADD), [(START + 4, SLOT)]),
        ((PAGE_X26, ADD_SAME), [(START + 4, SLOT)]),
        ((PAGE_X26, NOP, ADD_SAME), [(START, 0x4000), (START + 8, SLOT)]),
        ((FROM_X19,), [(START, NOT_KNOWN)]),
        ((0xF9400008, ADD), []),  # ldr x8, [x0]: a field of something
        ((ADD,), []),  # of an argument
        ((COUNT,), []),
    ],
)
def test_what_makes_an_address_in_a_saved_register(code, made):
    pages = analysed(*code).arch.lift.pages
    assert pages.within(START, START + 4 * len(code), 26) == made


IMPORT_PAGE = 0xB0000008  # adrp x8, the page of the imports
ALLOCATE = IMPORT_PAGE, 0xF9400108, BLR_X8  # ldr x8, [x8]; blr x8
DATA_PAGE, KEEP = 0xD0000008, 0x91006114  # adrp x8, a page of data; add x20, x8, #24
STORE_RESULT, STORE_ZERO = 0xF9000280, 0xF900029F  # str x0 or xzr, [x20]
LOAD_KEPT = 0xF9400288  # ldr x8, [x20]


@pytest.mark.parametrize(("store", "is_usual"), [(STORE_RESULT, False), (STORE_ZERO, True)])
def test_a_call_through_a_kept_address_may_go_into_memory(store, is_usual):
    code = *ALLOCATE, DATA_PAGE, KEEP, store, BL, LOAD_KEPT, BLR_X8
    near = nearby(Scene(analysed(*code)), np.array([START]))
    place = START + 4 * len(code) - 4
    assert near.is_method_call(place) == is_usual
    words = near.references.rvas.searchsorted([place])
    assert not near.are_method_calls(words)[0] or is_usual
