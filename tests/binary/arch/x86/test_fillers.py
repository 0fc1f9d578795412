"""What the bytes before a place say about fillers is what the decoder says."""

import numpy as np
import pytest
from iced_x86 import Decoder, Mnemonic

from hvci.binary.arch.x86.fillers import LONGEST, ends_with_filler

GAS_X86 = (
    "6690 89f6 8d7600 8d742600 8db600000000 8db42600000000 2e8db42600000000 8d7f00 8dbf00000000 "
    "8dbc2700000000 8d742600"
)
"""GNU as for i686, old and new."""
OTHERS = (
    "8bff 8d4900 8d9b00000000 8da42400000000 8d642400 87db 0f1f00 0f1f4000 0f1f440000 "
    "0f1f8000000000 0f1f840000000000 660f1f440000 662e0f1f840000000000"
)


def ends(*codes: bytes) -> list[bool]:
    rows = np.array([list(code.rjust(LONGEST, b"\0")[-LONGEST:]) for code in codes], np.uint8)
    return ends_with_filler([rows[:, -n] for n in range(1, LONGEST + 1)]).tolist()


@pytest.mark.parametrize("text", (GAS_X86 + " " + OTHERS).split())
def test_fillers(text):
    assert ends(b"\xb8" + bytes.fromhex(text)) == [True]


@pytest.mark.parametrize(
    "text",
    ["8d7601", "8d7e00", "8d743600", "8db601000000", "8b7600", "89fe", "8d4600", "c3"],
)
def test_instructions_that_do_something(text):
    assert ends(b"\xb8\x99" + bytes.fromhex(text)) == [False]


def test_every_lea_with_a_displacement_of_zero():
    """LEA of a register into itself does nothing, and no other LEA is a filler."""
    operands = [
        bytes((modrm, sib)) if modrm & 7 == 4 else bytes((modrm,))
        for modrm in range(0x40, 0xC0)
        for sib in range(0x100 if modrm & 7 == 4 else 1)
    ]
    codes = [
        b"\x8d" + operand + bytes(1 if operand[0] < 0x80 else 4)  # and a displacement
        for operand in operands
    ]
    found = ends(*(b"\xb8" + code for code in codes))
    for code, is_filler in zip(codes, found, strict=True):
        instruction = next(iter(Decoder(32, code)))
        assert instruction.mnemonic == Mnemonic.LEA
        does_nothing = (
            instruction.op0_register == instruction.memory_base and not instruction.memory_index
        )
        assert is_filler == does_nothing, code.hex()
