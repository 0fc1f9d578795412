"""When x29 of ARM64 code is the frame pointer, and when a register like any other."""

import struct

import pytest

import build
from hvci.binary.analysis.wiring import Analysis
from hvci.binary.pe.image import PeImage

SAVE, RESTORE = 0xA9BE_7BFD, 0xA8C2_7BFD  # stp x29, x30, [sp, #-32]!; ldp x29, x30, [sp], #32
FRAME = 0x9100_43FD  # add x29, sp, #16
LOAD, RETURN = 0xB940_03A0, 0xD65F_03C0  # ldr w0, [x29]
SUB, ADD = 0xD100_83FF, 0x9100_83FF  # sub sp, sp, #32; add sp, sp, #32
ALONE, BACK = 0xF900_0BFD, 0xF940_0BFD  # str x29, [sp, #16]; ldr x29, [sp, #16]


def frames(*words):
    image = PeImage(build.driver("arm64", code=struct.pack(f"<{len(words)}I", *words)))
    analysis = Analysis(image)
    function, _ = analysis.functions.instruction_at(int(image.headers.entry))
    taken = [i for i, _ in analysis.arch.taken_addresses(function)]
    depth = analysis.flow.depth
    return {depth.frame_pointer(function, i) for i in range(len(words))}, taken


@pytest.mark.parametrize(
    "other",
    [
        0xAA00_03FD,  # mov x29, x0
        0x2A1F_03FD,  # mov w29, wzr
        0xF940_001D,  # ldr x29, [x0]
        0xF940_0FFD,  # ldr x29, [sp, #24], which nothing has saved
        0xA940_741C,  # ldp x28, x29, [x0]
        0x9A80_03BD,  # csel x29, x29, x0, eq
        0x9100_23FD,  # add x29, sp, #8: another place
        0x1100_07BD,  # add w29, w29, #1
    ],
    ids=hex,
)
def test_a_register_that_is_used_again_is_no_frame_pointer(other):
    words = (SAVE, FRAME, LOAD, other, LOAD, RESTORE, RETURN)
    found, taken = frames(*words)
    assert found == {None}
    assert 1 in taken


@pytest.mark.parametrize(
    ("words", "frame"),
    [
        ((SAVE, FRAME, LOAD, RESTORE, RETURN), -16),
        ((SUB, ALONE, FRAME, LOAD, BACK, ADD, RETURN), -16),
        ((SAVE, 0xAA00_03FD, FRAME, LOAD, RESTORE, RETURN), -16),  # something else before that
        ((SAVE, FRAME, 0xF900_001D, 0xEB00_03BF, RESTORE, RETURN), -16),  # only read
        ((SAVE, FRAME, LOAD, RESTORE, SAVE, FRAME, LOAD, RESTORE, RETURN), -16),
        ((SAVE, 0xAA00_03FD, RESTORE, RETURN), None),
    ],
)
def test_a_frame_pointer(words, frame):
    assert frames(*words) == ({frame}, [])
