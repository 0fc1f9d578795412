"""Every table of x86 opcodes that is written by hand says what the decoder says, row by row.

Tables with a test of their own: operands.WRITING_FORMS (test_operands.py), shapes (test_shapes.py),
pushes (test_pushes.py), fillers (test_fillers.py), system (test_system.py). Where a table is only
a hint, its rows must be true, and others may be left out.
"""

import pytest
from iced_x86 import (
    Decoder,
    FlowControl,
    InstructionInfoFactory,
    Mnemonic,
    OpAccess,
    OpCodeOperandKind,
    OpKind,
    Register,
)

from hvci.binary.arch.x86 import fields, references, starts
from hvci.binary.arch.x86.operands import DIRECT, DIRECT_MASK, LEA
from hvci.binary.behaviour import emitted, nearby, notexecutable, searched
from hvci.binary.behaviour.writes import handed, own
from hvci.binary.calls.audio import stacked
from hvci.binary.calls.imports import plausible

BOTH = pytest.mark.parametrize("bits", [32, 64])
FACTORY = InstructionInfoFactory()
REX = range(0x40, 0x50)
WRITES = {OpAccess.WRITE, OpAccess.READ_WRITE, OpAccess.COND_WRITE, OpAccess.READ_COND_WRITE}


def decoded(bits, *code):
    return Decoder(bits, bytes(code) + bytes(15), ip=0x1000).decode()


def opcodes(bits, matches, *before):
    """The opcodes, behind some bytes, of which the instruction matches with a ModRM of zero."""
    found = (decoded(bits, *before, opcode) for opcode in range(256))
    return {opcode for opcode, each in enumerate(found) if not each.is_invalid and matches(each)}


def is_near(instruction):
    return instruction.op0_kind in (OpKind.NEAR_BRANCH32, OpKind.NEAR_BRANCH64)


# ---- branches


@BOTH
def test_short_jumps(bits):
    def is_short(instruction):
        return instruction.len == 2 and is_near(instruction)

    assert set(references._SHORT_JUMPS.nonzero()[0]) == opcodes(bits, is_short)


@BOTH
def test_direct_branches_with_a_displacement_of_four_bytes(bits):
    def is_long(instruction):
        return is_near(instruction) and instruction.len >= 5

    alone, escaped = opcodes(bits, is_long), opcodes(bits, is_long, 0x0F)
    table = {code[-1] for code in notexecutable._OPCODES if len(code) == 1}
    behind = {code[-1] for code in notexecutable._OPCODES if code[:1] == b"\x0f"}
    assert (table, behind) == (alone, escaped)
    assert set(searched._BRANCHES) == alone
    direct = {modrm for modrm in range(256) if modrm & DIRECT_MASK == DIRECT}
    assert set(references._BEFORE_NAMED.nonzero()[0]) == direct | alone | escaped


def test_calls_and_jumps_through_memory_and_registers():
    assert decoded(64, *references.CALL_THROUGH).flow_control == FlowControl.INDIRECT_CALL
    assert decoded(64, *references.JUMP_THROUGH).flow_control == FlowControl.INDIRECT_BRANCH
    jumps = {
        bytes((0xFF, modrm))
        for modrm in range(256)
        if (each := decoded(64, 0xFF, modrm)).mnemonic == Mnemonic.JMP
        and (each.op0_kind == OpKind.REGISTER or modrm & DIRECT_MASK == DIRECT)
        and each.flow_control == FlowControl.INDIRECT_BRANCH
        and not each.is_jmp_far_indirect
    }
    assert set(references._INDIRECT_JUMPS) == jumps
    assert {starts.JUMP_BY_REGISTER.match(code) is not None for code in jumps} == {True, False}
    assert all((starts.JUMP_BY_REGISTER.match(code) is None) == (code[1] == 0x25) for code in jumps)
    for second in references._THROUGH_MEMORY:
        assert decoded(64, 0xFF, second).is_ip_rel_memory_operand


@pytest.mark.parametrize("prefix", sorted(references._JUMP_PREFIXES))
def test_prefixes_of_an_indirect_jump_leave_it_one(prefix):
    jump = decoded(64, prefix, 0xFF, 0xE0)
    assert (jump.len, jump.mnemonic) == (3, Mnemonic.JMP)
    assert jump.flow_control == FlowControl.INDIRECT_BRANCH


# ---- prefixes


def prefixes(bits):
    """Bytes that leave `mov [ecx], eax` behind them one instruction, one byte longer."""
    return {
        byte
        for byte in range(256)
        if (each := decoded(bits, byte, 0x89, 0x01)).mnemonic == Mnemonic.MOV
        and each.len == 3
        and each.op0_kind == OpKind.MEMORY
    } | {0xF0}


def test_prefixes():
    """LOCK before MOV is invalid, so the decoder's word for it comes from INC."""
    assert decoded(32, 0xF0, 0xFF, 0x01).has_lock_prefix
    legacy = prefixes(32)
    assert prefixes(64) == legacy | set(REX)
    assert set(notexecutable._PREFIXES) == legacy - {0xF0} | set(REX)  # no branch is locked
    assert set(searched._PREFIXES) <= prefixes(64)
    for bits, table in emitted._PREFIXES.items():
        assert table <= prefixes(bits)


# ---- loads and stores


def written_memory(instruction):
    return [each for each in FACTORY.info(instruction).used_memory() if each.access in WRITES]


def is_behind_a_register(instruction):
    """A load of four bytes into a register, from behind another."""
    return (
        instruction.op_count == 2
        and instruction.op0_kind == OpKind.REGISTER
        and instruction.op1_kind == OpKind.MEMORY
    )


@BOTH
def test_loads_of_a_field(bits):
    wanted = {Mnemonic.MOV: 0x8B, Mnemonic.ADD: 0x03}
    if bits == 64:
        wanted[Mnemonic.MOVSXD] = 0x63
    for mnemonic, opcode in wanted.items():
        load = decoded(bits, opcode, 0x41, 0x10)
        assert load.mnemonic == mnemonic
        assert is_behind_a_register(load)
        assert fields._LOADS[opcode]
    assert set(fields._LOADS.nonzero()[0]) == {0x8B, 0x03, 0x63}


@BOTH
def test_string_stores(bits):
    def stores_a_string(instruction):
        return instruction.is_string_instruction and bool(written_memory(instruction))

    ports = {0x6C, 0x6D}
    """INS stores what comes from a device: no code to look for."""
    assert set(nearby._STRINGS) == opcodes(bits, stores_a_string) - ports


def stores_of(bits, opcode):
    """Instructions with this last opcode byte that write memory, in any map and form."""
    heads = ((), (0x0F,), (0x66, 0x0F), (0xF3, 0x0F))
    for head, field in ((head, field) for head in heads for field in range(8)):
        each = decoded(bits, *head, opcode, field << 3 | 1)
        if not each.is_invalid and each.op0_kind == OpKind.MEMORY and written_memory(each):
            yield each


@BOTH
@pytest.mark.parametrize("opcode", nearby.STORES)
def test_every_usual_store_writes_memory(bits, opcode):
    assert list(stores_of(bits, opcode))


@BOTH
def test_stores_to_an_absolute_address(bits):
    def stores_at_offset(instruction):
        operands = instruction.op_code()
        return operands.op_count and operands.op_kind(0) == OpCodeOperandKind.MEM_OFFS

    assert set(map(int, own._MOFFS)) == opcodes(bits, stores_at_offset)


@BOTH
def test_stores_of_constants_and_registers(bits):
    def takes_constant(instruction):
        return (
            instruction.mnemonic == Mnemonic.MOV
            and instruction.op0_kind == OpKind.MEMORY
            and (instruction.op1_kind in (OpKind.IMMEDIATE8, OpKind.IMMEDIATE32))
        )

    def takes_register(instruction):
        return (
            instruction.mnemonic == Mnemonic.MOV
            and instruction.op0_kind == OpKind.MEMORY
            and instruction.memory_base in (Register.EAX, Register.RAX)
            and Register.AL <= instruction.op1_register <= Register.R15
        )

    assert set(emitted._STORES) == opcodes(bits, takes_constant)
    assert set(emitted._REGISTER_STORES) == opcodes(bits, takes_register)


@BOTH
def test_constants_in_registers(bits):
    def puts_constant(instruction):
        return (
            instruction.mnemonic == Mnemonic.MOV
            and instruction.op0_kind == OpKind.REGISTER
            and instruction.op1_kind in (OpKind.IMMEDIATE8, OpKind.IMMEDIATE32)
        )

    found = opcodes(bits, puts_constant)
    assert found == set(range(emitted._MOVES, 0xC0))
    assert {o for o in found if decoded(bits, o).op1_kind == OpKind.IMMEDIATE8} == set(
        range(emitted._MOVES, emitted._BYTE_MOVES + 1)
    )
    assert nearby.MOVE_IMMEDIATE == emitted._BYTE_MOVES + 1


@BOTH
def test_single_opcodes(bits):
    register, memory, direct = 0xC1, 0x01, handed._FROM_MEMORY
    rows = [
        (LEA, memory, Mnemonic.LEA),
        (stacked._LEA, memory, Mnemonic.LEA),
        (stacked._MOV_FROM, register, Mnemonic.MOV),
        (stacked._MOV_TO, register, Mnemonic.MOV),
        (nearby.PUSH, 0, Mnemonic.PUSH),
        (handed._PUSH_REGISTER, 0, Mnemonic.PUSH),
        (handed._PUSH_MEMORY, direct, Mnemonic.PUSH),
        (handed._MOVE, register, Mnemonic.MOV),
        (handed._CALL, 0, Mnemonic.CALL),
        (handed._JUMP, 0, Mnemonic.JMP),
        (references._LOAD, memory, Mnemonic.MOV),
        (references._LOAD_EAX, 0, Mnemonic.MOV),
        (references._ADD_EAX, 0, Mnemonic.ADD),
        (references._ADD, register, Mnemonic.ADD),
    ]
    for opcode, modrm, mnemonic in rows:
        assert decoded(bits, opcode, modrm).mnemonic == mnemonic, hex(opcode)
    assert decoded(bits, stacked._MOV_FROM, register).op0_register == Register.EAX
    assert decoded(bits, stacked._MOV_TO, register).op0_register == Register.ECX


# ---- hints


@BOTH
def test_common_instructions_with_a_memory_operand_have_one(bits):
    """In one of the maps: the table is asked about the last opcode byte."""
    for opcode in starts._WITH_MODRM.nonzero()[0]:
        forms = (decoded(32, *head, int(opcode), 0x01) for head in ((), (0x0F,)))
        assert any(not each.is_invalid and each.memory_base == Register.ECX for each in forms)


def test_what_a_constant_or_pointer_stands_in():
    for opcode in plausible._IMMEDIATE:
        each = decoded(32, opcode, 0x78, 0x56, 0x34, 0x12)
        assert each.len == 5
        assert each.mnemonic in (Mnemonic.PUSH, Mnemonic.MOV)
    heads = ((), (0x0F,), (0x66, 0x0F), (0xF3, 0x0F))
    for opcode in plausible._LIKELY:
        forms = [decoded(64, *head, opcode, DIRECT) for head in heads]
        reads = any(not each.is_invalid and each.is_ip_rel_memory_operand for each in forms)
        assert reads or opcode == 0xA1, hex(opcode)
