"""Which callees of ARM64 code never return, as their first words show."""

import struct

import pytest

import build
from hvci.binary.analysis.wiring import Analysis
from hvci.binary.pe.image import PeImage

CALL, RETURN, NOP = 0x9400_0002, 0xD65F_03C0, 0xD503_201F
"""BL of the word behind the next."""


@pytest.mark.parametrize(
    ("callee", "never_returns"),
    [
        ((NOP, 0xD43E_0060), True),  # BRK #0xF003, a fast failure
        ((0xD420_0020,), True),  # BRK #1
        ((0xD43E_0000, RETURN), False),  # a breakpoint
        ((RETURN,), False),
        ((0,), False),  # what a packer may fill at run time
        ((NOP,) * 8, False),
    ],
)
def test_what_never_returns(callee, never_returns):
    words = (CALL, RETURN, *callee)
    image = PeImage(build.driver("arm64", code=struct.pack(f"<{len(words)}I", *words)))
    analysis = Analysis(image)
    function, i = analysis.functions.instruction_at(int(image.headers.entry))
    assert analysis.arch.never_returns(function, i) is never_returns
