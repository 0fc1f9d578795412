"""What is said of many ARM64 words at once is what is said of each of them."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from build import driver
from hvci.binary.analysis.wiring import Analysis
from hvci.binary.arch.arm64 import encoding
from hvci.binary.arch.arm64.encoding import (
    FLOW_BY_TOP,
    LITTLE,
    NOTHING,
    PAIR,
    WRITES,
    flow_of,
    written_registers,
)
from hvci.binary.behaviour.arm64.near import Nearby
from hvci.binary.behaviour.called.around import Around
from hvci.binary.behaviour.scene import Scene
from hvci.binary.behaviour.trace import Use, follow
from hvci.binary.form.code import CALLS, Flow
from hvci.binary.pe.image import PeImage

START, ZERO = 0x1000, 31
words = st.integers(0, (1 << 32) - 1)
CALL, CALL_X19 = 0xD63F0100, 0xD63F0260  # blr x8; blr x19
USUAL = [
    0xF9400908,  # ldr x8, [x8, #16]
    0xF9400D28,  # ldr x8, [x9, #24]
    0xF9400508,  # ldr x8, [x8, #8]
    0xF9400673,  # ldr x19, [x19, #8]
    0xF9400BE9,  # ldr x9, [sp, #16]
    0xB0000008,  # adrp x8, the page of the imports
    0xB0000013,  # adrp x19, the same
    0x90000013,  # adrp x19, another page
    0xF9400668,  # ldr x8, [x19, #8]
    0xF940066F,  # ldr x15, [x19, #8]
    0xA9404FF2,  # ldp x18, x19, [sp]
    0x91002108,  # add x8, x8, #8
    0xA9402129,  # ldp x9, x8, [x9]
    0xF8408508,  # ldr x8, [x8], #8
    0xF9000108,  # str x8, [x8]
    0xAA0103E0,  # mov x0, x1
    0xAA0003E8,  # mov x8, x0
    0xB4000041,  # cbz x1, two on
    0x94000002,  # bl two on
    CALL,
    CALL_X19,
]


def nearby(scene: Scene, sites: np.ndarray) -> Nearby:
    """`sites`: RVAs where a pointer to allocated memory comes up."""
    return Nearby(scene, Around(scene, sites))


def analysed(code, has_function=True):
    """A driver whose code is some words, one function when it has any."""
    image = PeImage(driver("arm64"))
    image.memory[START : START + 4 * len(code)] = np.array(code, "<u4").tobytes()
    analysis = Analysis(image)
    table = analysis.functions.unwind
    table.starts, table.ends = ([START], [START + 4 * len(code)]) if has_function else ([], [])
    table._data = np.zeros(len(table.starts), np.int64)
    return analysis


@example([0xF8801041, 0xF8A06841, 0xF9800041, 0xD8000041])  # prefetches, four forms
@settings(max_examples=1000, deadline=None)
@given(st.lists(words, min_size=1, max_size=50))
def test_what_changes_little_changes_nothing_else(code):
    each = np.array(code, np.uint32)
    kinds = (LITTLE, PAIR, WRITES, NOTHING, encoding.CALL)
    for word, bits in zip(code, encoding.kinds(each), strict=True):
        is_little, is_pair, writes, is_nothing, calls = (bool(bits & kind) for kind in kinds)
        lowest, second = 1 << (word & 31), 1 << (word >> 10 & 31)
        written = written_registers(word)
        if is_little:
            assert not written & ~(lowest | (second if is_pair else 0))
            assert FLOW_BY_TOP[word >> 24] in (Flow.NEXT, Flow.BRANCH)
        if writes and word & 31 != ZERO:
            assert written & lowest
        if is_pair and second != 1 << ZERO:
            assert written & second
        assert not is_nothing or not written
        flow = FLOW_BY_TOP[word >> 24]
        assert calls == ((flow_of(word) if flow == 0xFF else flow) in CALLS)


def test_what_is_remembered_of_words_is_bounded(monkeypatch):
    asked = []
    monkeypatch.setattr(encoding, "REMEMBERED", 2)
    double = encoding.remembered(lambda word: asked.append(word) or 2 * word)
    assert [double(word) for word in (1, 1, 2, 2, 3, 1, 3)] == [2, 2, 4, 4, 6, 2, 6]
    assert asked == [1, 2, 3, 1]


@pytest.mark.parametrize("has_function", [True, False])
@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(USUAL) | words, min_size=1, max_size=40))
def test_calls_that_are_sorted_out_together_are_sorted_out_alone(has_function, code):
    analysis = analysed([*code, CALL], has_function)
    near, references = nearby(Scene(analysis), np.array([START])), analysis.references
    calls = np.flatnonzero(references.words & 0xFFDFFC1F == 0xD61F0000)
    for call, is_usual in zip(calls, near.are_method_calls(calls), strict=True):
        rva = int(references.rvas[call])
        assert not is_usual or near.is_method_call(rva)


@pytest.mark.parametrize(
    ("code", "is_usual"),
    [
        ((0xF9400509, 0xF9400D28), True),  # ldr x9, [x8, #8] before ldr x8, [x9, #24]
        ((0xB0000008, 0xF9400508), True),  # from an import
        ((0xB0000008, 0xF9400D08), True),  # from a global that is never written
        ((0xB0000008, 0xF9400108, CALL, 0xD0000008, 0xF9000D00, 0xF9400D08), False),  # or has one
        ((0xB0000013, 0x94000002, 0xF9400668), True),  # from an import, its page kept over a call
        ((0xB0000013, *[0xAA0103E0] * 20, 0xF9400668), True),  # or made far away
        ((0x90000013, 0xB0000013, *[0xAA0103E0] * 20, 0xF9400668), False),  # or another page
        ((0x94000002, 0xF9400508), True),  # from a field of what a call gave
        ((0xF9400509, 0xB4000141, 0xF9000129, 0xF9400D28), True),  # tested and stored between
        ((0xF9400BE9, 0xF9400D28), False),  # from what the frame holds
        ((0xF9400509, 0xF9400D28, 0x94000002), False),  # a call between
        ((0xB4000041, 0xF9400509, 0xF9400D28), False),  # a branch behind the first load
    ],
)
def test_the_usual_shapes_are_sorted_out_together(code, is_usual):
    analysis = analysed([*code, CALL])
    call = analysis.references.rvas.searchsorted([START + 4 * len(code)])
    sites = np.array([START])  # a pointer to memory comes up in the function
    assert nearby(Scene(analysis), sites).are_method_calls(call).tolist() == [is_usual]
    is_far = np.array([START + 4 * len(code) + 4])  # or in the next one
    if 0xF9000D00 in code:
        assert nearby(Scene(analysis), is_far).are_method_calls(call).tolist() == [True]


@pytest.mark.parametrize(
    ("behind", "is_kept"),
    [
        ((CALL,), False),
        ((0xF9400108, 0xF9000128), False),  # ldr x8, [x8]; str x8, [x9]
        ((0xB4000048, 0xB0000008), False),  # cbz x8; adrp x8
        ((0xAA0803F3, CALL, 0xF9000260), True),  # mov x19, x8; str x0, [x19] behind a call
        ((0xF9000101, CALL), True),  # str x1, [x8]
        ((0xF90007E8, CALL), True),  # str x8, [sp, #8]
    ],
)
def test_a_register_is_lost_once_it_is_overwritten(behind, is_kept):
    near = Nearby(Scene(analysed([0xB0000008, *behind, *[0xD503201F] * 24])))
    assert near.is_kept(START, frozenset(), anywhere=False) == is_kept


SPILLED = [
    0xF90007E8,  # str x8, [sp, #8]
    0xA900A3E8,  # stp x8, x8, [sp, #8]
    0xF94007E9,  # ldr x9, [sp, #8]
    0xA940A7E8,  # ldp x8, x9, [sp, #8]
    0xF9000121,  # str x1, [x9]
    0x91002109,  # add x9, x8, #8
    0x8B080029,  # add x9, x1, x8
    0xB8404501,  # ldr w1, [x8], #4
]


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from([*USUAL, *SPILLED]) | words, min_size=1, max_size=20))
def test_what_may_not_be_written_is_not_followed_to_a_store(behind):
    scene = Scene(analysed([0xB0000008, *behind]))
    if not Nearby(scene).may_be_written(START, frozenset()):
        function, i = scene.analysis.functions.instruction_at(START)
        uses = [step.use for step in follow(scene, function, i, 1 << 8, set())]
        assert Use.STORE not in uses


@pytest.mark.parametrize(
    ("behind", "is_used"),
    [
        ((0xF90007E8, 0xB0000008), True),  # str x8, [sp, #8]; adrp x8: it may come back
        ((0xF9000068, 0xB0000008), False),  # str x8, [x3]
        ((0xB8404501, 0xF9000101), True),  # ldr w1, [x8], #4; str x1, [x8]
        ((0x9B012029, 0xF9000121), True),  # madd x9, x1, x1, x8; str x1, [x9]
        ((0x91002109, 0xF9000121), True),  # add x9, x8, #8; str x1, [x9]
        ((CALL, 0xF9000101), False),
        ((0xF90007E8, 0x94000004), True),  # a copy is called
    ],
)
def test_an_address_is_used_where_it_may_be_written_through(behind, is_used):
    scene = Scene(analysed([0xB0000008, *behind, 0xB0000008, *[0xD503201F] * 64]))
    copies = frozenset((START + 8,)) if behind[-1] == 0x94000004 else frozenset()
    assert Nearby(scene).may_be_written(START, copies) == is_used
