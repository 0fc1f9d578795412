"""Where ARM64 code names data: all pages in one look, or each alone where that is too much."""

import numpy as np
import pytest
from tests import build

from hvci.binary import PeImage
from hvci.binary.arch.arm64.scan import paths as paths_arm64
from hvci.binary.arch.arm64.scan import references as references_arm64
from hvci.binary.arch.arm64.scan.references import ReferencesArm64

START = 0x1000
NEXT_PAGE, PAGE_BEHIND = 0xB0000008, 0xD0000009  # adrp x8, 0x2000; adrp x9, 0x3000
LOAD, LOAD_BEHIND = 0xF9400508, 0xF9400928  # ldr x8, [x8, #8]; ldr x8, [x9, #16]
ADD, LOAD_SUM = 0x9140052A, 0xF9400140  # add x10, x9, #0x1000; ldr x0, [x10]
BRANCH, CLEAR, RETURN = 0xB4000061, 0xD2800009, 0xD65F03C0  # cbz x1, 3 on; x9 = 0; ret
TO_STACK, LOAD_FROM_STACK = 0x9000001F, 0xF94007E0  # adrp xzr; ldr x0, [sp, #8]


def references(*code):
    """One function made of words, at `START`."""
    image = PeImage(build.driver("arm64"))
    for i, word in enumerate(code):
        image.memory[START + 4 * i : START + 4 * i + 4] = word.to_bytes(4, "little")
    found = ReferencesArm64(image)
    found.unwind.starts, found.unwind.ends = [START], [START + 4 * len(code)]
    found.unwind._data = np.zeros(1, np.int64)
    return found


@pytest.mark.parametrize("most", [paths_arm64.MOST, 0])
@pytest.mark.parametrize("together", [references_arm64.TOGETHER, 0])
def test_every_page_is_followed_whether_together_or_alone(monkeypatch, most, together):
    monkeypatch.setattr(paths_arm64, "MOST", most)
    monkeypatch.setattr(references_arm64, "TOGETHER", together)
    code = references(NEXT_PAGE, PAGE_BEHIND, LOAD, LOAD_BEHIND, ADD, LOAD_SUM, RETURN)
    assert START + 8 in code.to_data(0x2008)
    assert START + 12 in code.to_data(0x3010)
    assert (START + 8, 0x2008) in code.to_slots([0x2008, 0x3010])
    assert (START + 12, 0x3010) in code.to_slots([0x2008, 0x3010])


def test_a_page_lives_on_where_a_branch_leads():
    code = references(PAGE_BEHIND, BRANCH, CLEAR, RETURN, LOAD_BEHIND, RETURN)
    assert START + 16 in code.to_data(0x3010)


def test_an_address_in_no_register_has_no_uses():
    assert START + 4 not in references(TO_STACK, LOAD_FROM_STACK, RETURN).to_data(START + 8)
