"""Instructions that change processor state: their bytes, and drivers that hold them."""

from itertools import product

import pytest
from iced_x86 import Decoder, Mnemonic, Register
from tests.here import FIXTURES

from hvci.binary import read
from hvci.binary.arch.x86.system import CANDIDATES, MNEMONICS
from hvci.model import NEWEST
from hvci.verifier.outcome import VerifierOptions
from hvci.verifier.session import run_here

BUILT = FIXTURES / "built"
STATE = {Register.CR0, Register.CR4, *range(Register.DR0, Register.DR15 + 1)}


def is_left_out(instruction, modrm):
    """A move to a debug register with another mod field: bytes that are no code look so."""
    return instruction.op0_register >= Register.DR0 and modrm < 0xC0


def changes(instruction, modrm):
    """Whether the decoder says that it writes what is watched."""
    if instruction.mnemonic == Mnemonic.MOV:
        return instruction.op0_register in STATE and not is_left_out(instruction, modrm)
    return instruction.mnemonic in MNEMONICS


@pytest.mark.parametrize("bits", [32, 64])
def test_the_bytes_are_those_that_the_decoder_names(bits):
    wrong = []
    for opcode, modrm in product(range(256), repeat=2):
        code = bytes((0x0F, opcode, modrm)) + bytes(12)
        instruction = Decoder(bits, code).decode()
        if (
            bool(CANDIDATES.match(code)) != changes(instruction, modrm)
            and not instruction.is_invalid
        ):
            wrong.append((code[:3].hex(), str(instruction)))
    assert wrong == []


def ignoring_mod(name):
    """A built driver whose moves to CR0 and CR4 have another mod field."""
    data, count = bytearray((BUILT / name).read_bytes()), 0
    for at in range(len(data) - 3):
        if data[at : at + 2] == b"\x0f\x22" and data[at + 2] & 0xD8 == 0xC0:
            data[at + 2] &= 0x3F
            count += 1
    assert count
    return bytes(data)


NAMES = [f"write_protect_bad.{each}.sys" for each in ("x64.o0", "x64.o2", "x86.o0", "x86.o2")]


@pytest.mark.parametrize("name", NAMES)
def test_the_mod_field_of_a_move_to_a_control_register_counts_for_nothing(name):
    def seen(data):
        found = read(data, NEWEST).behaviours
        return [(each.kind, each.site.rva) for each in found]

    plain, odd = (BUILT / name).read_bytes(), ignoring_mod(name)
    assert seen(plain)
    assert seen(odd) == seen(plain)

    def done(data):
        run = run_here(data, VerifierOptions(force=False))
        return [(each.kind, each.site.rva) for each in run.behaviours]

    assert done(plain)
    assert done(odd) == done(plain)
