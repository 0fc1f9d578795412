"""The table of opcodes that write memory says what the decoder says."""

from itertools import product

import pytest
from iced_x86 import Decoder, InstructionInfoFactory, OpAccess, OpCodeOperandKind, Register

from hvci.binary.arch.x86.operands import DIRECT, NEEDS_ESCAPE, may_write

WRITES = {
    OpAccess.WRITE,
    OpAccess.COND_WRITE,
    OpAccess.READ_WRITE,
    OpAccess.READ_COND_WRITE,
}
LEGACY = [b"", b"\x66", b"\xf2", b"\xf3"]
MAPS = [b"", b"\x0f", b"\x0f\x38", b"\x0f\x3a"]
FACTORY = InstructionInfoFactory()


def heads(bits):
    wide = [b"", b"\x48"] if bits == 64 else [b""]
    yield from (a + b + c for a, b, c in product(LEGACY, wide, MAPS))
    for selector, length, prefix, high in product((1, 2, 3), (0, 4), range(4), (0, 0x80)):
        yield bytes((0xC4, 0xE0 | selector, high | 0x78 | length | prefix))


def writes(bits, code):
    instruction = Decoder(bits, code, ip=0x1000).decode()
    kinds = [instruction.op_code().op_kind(n) for n in range(instruction.op_code().op_count)]
    direct = (
        instruction.is_ip_rel_memory_operand
        if bits == 64
        else instruction.memory_displ_size == 4 and instruction.memory_base == Register.NONE
    )
    if instruction.is_invalid or not direct or OpCodeOperandKind.MEM_OFFS in kinds:
        return None
    return any(
        memory.access in WRITES and memory.base not in (Register.RSP, Register.ESP)
        for memory in FACTORY.info(instruction).used_memory()
    )


@pytest.mark.parametrize("bits", [32, 64])
def test_every_form_that_writes_is_in_the_table(bits):
    written = {
        (opcode, field)
        for head, opcode, field in product(heads(bits), range(256), range(8))
        if writes(bits, head + bytes((opcode, DIRECT | field << 3)) + b"\x10" + bytes(11))
    }
    missed = {
        (hex(opcode), field)
        for opcode, field in written
        if not may_write(opcode, DIRECT | field << 3)
    }
    assert missed == set()
    assert len(written) > 500


@pytest.mark.parametrize("bits", [32, 64])
def test_opcodes_that_write_without_an_escape_byte_need_none(bits):
    plain = [head for head in heads(bits) if head in LEGACY or head == b"\x48"]
    missed = {
        hex(opcode)
        for head, opcode, field in product(plain, range(256), range(8))
        if writes(bits, head + bytes((opcode, DIRECT | field << 3)) + b"\x10" + bytes(11))
        if NEEDS_ESCAPE[opcode]
    }
    assert missed == set()


@pytest.mark.parametrize(
    ("opcode", "field"),
    [(0x8B, 0), (0x3B, 0), (0x03, 1), (0x83, 7), (0xFF, 2), (0xFF, 6), (0x85, 0)],
)
def test_plain_reads_are_not_in_it(opcode, field):
    assert not may_write(opcode, DIRECT | field << 3)
