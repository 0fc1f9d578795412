"""Constants of code that vector registers are loaded with: they have no base register."""

import struct

import build
from hvci.binary.analysis.wiring import Analysis
from hvci.binary.form.code import NO_REGISTER
from hvci.binary.pe.image import PeImage

LITERAL, RETURN = 0x9C00_0040, 0xD65F_03C0  # ldr q0, over the next word


def test_a_vector_loaded_from_code_has_no_base():
    image = PeImage(build.driver("arm64", code=struct.pack("<6I", LITERAL, RETURN, 0, 0, 0, 0)))
    analysis = Analysis(image)
    function, i = analysis.functions.instruction_at(int(image.headers.entry))
    (memory,) = analysis.arch.other_operands(function, i)
    assert memory.base == NO_REGISTER
