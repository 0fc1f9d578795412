"""ARM64 words taken apart: capstone and a processor emulator are the oracles.

Random words, and words of the integer classes. An expression is worked out with the product's
own arithmetic and compared with what the emulated processor leaves in the register.
"""

import pytest
from capstone import CS_ARCH_ARM64, CS_MODE_ARM, Cs
from capstone.arm64 import (
    ARM64_REG_FP,
    ARM64_REG_LR,
    ARM64_REG_SP,
    ARM64_REG_W0,
    ARM64_REG_W30,
    ARM64_REG_WSP,
    ARM64_REG_X0,
    ARM64_REG_X28,
)
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from unicorn import UC_ARCH_ARM64, UC_MODE_ARM, Uc, UcError
from unicorn.arm64_const import (
    UC_ARM64_REG_NZCV,
    UC_ARM64_REG_SP,
    UC_ARM64_REG_X0,
    UC_ARM64_REG_X29,
)

import build
from hvci.binary.arch.arm64.architecture import Arm64
from hvci.binary.arch.arm64.encoding import named_registers, written_registers
from hvci.binary.flow import atoms
from hvci.binary.form.code import (
    CALLS,
    Binary,
    Const,
    Either,
    Flow,
    ImageAddress,
    Insert,
    Opaque,
    Reg,
    SignExtend,
)
from hvci.binary.pe.image import PeImage

CAPSTONE = Cs(CS_ARCH_ARM64, CS_MODE_ARM)
CAPSTONE.detail = True
START, PAGE = 0x1000, 0x1000
ARM64 = Arm64(PeImage(build.driver("arm64")))
SP, ZERO = 31, 31

WRONG_IN_CAPSTONE = {"cmp", "cmn", "tst", "adds", "st1", "st2", "st3", "st4"}
"""Aliases and forms for which it names a register that is only read, or none at all."""
NAMES = """
add sub subs and ands orr eor bic bics orn eon mov movz movn movk mvn neg negs adc sbc lsl lsr asr
ror ubfx sbfx ubfiz sbfiz bfi bfxil uxtb uxth sxtb sxth sxtw extr madd msub mul mneg smull umull
udiv sdiv csel csinc csinv csneg cset csetm cinc clz rbit rev ldr ldrb ldrh ldrsb ldrsh ldrsw ldp
str strb strh stp ldur stur adr adrp cbz cbnz tbz tbnz b br ret ccmp ccmn nop
"""
EXACT = set(NAMES.split())
words = st.integers(0, (1 << 32) - 1)
registers = st.lists(st.integers(0, (1 << 64) - 1), min_size=32, max_size=32)
fields = st.integers(0, (1 << 24) - 1)
DATA_TOPS = [top for top in range(256) if top & 0x1C == 0x10 or top & 0x0E == 0x0A]
"""Highest bytes of data processing with integers."""
data_words = st.builds(lambda top, low: top << 24 | low, st.sampled_from(DATA_TOPS), fields)


def number(register):
    if ARM64_REG_X0 <= register <= ARM64_REG_X28:
        return register - ARM64_REG_X0
    if ARM64_REG_W0 <= register <= ARM64_REG_W30:
        return register - ARM64_REG_W0
    named = {ARM64_REG_FP: 29, ARM64_REG_LR: 30, ARM64_REG_SP: SP, ARM64_REG_WSP: SP}
    return named.get(register)


def is_integer(word):
    """Not a vector instruction that shares its name with one on general registers."""
    kind = word >> 25 & 15
    return kind >> 2 == 2 or kind & 7 == 5 or (kind & 5 == 4 and not word >> 26 & 1)


def disassembled(word):
    return next(CAPSTONE.disasm(word.to_bytes(4, "little"), START), None)


def decoded(*code):
    """A function made of words, at `START` in an image of the same size."""
    image = PeImage(build.driver("arm64"))
    for i, word in enumerate(code):
        image.memory[START + 4 * i : START + 4 * i + 4] = word.to_bytes(4, "little")
    arm64 = Arm64(image)
    return arm64, arm64.function(START, [(START, START + 4 * len(code))], "unwind")


@settings(max_examples=500, deadline=None)
@given(words | data_words)
def test_every_register_that_capstone_sees_is_named(word):
    instruction = disassembled(word)
    assume(instruction is not None and not instruction.mnemonic.startswith("bl"))
    read, written = instruction.regs_access()
    seen = {number(register) for register in (*read, *written)} - {None}
    assert seen <= {n for n in range(32) if named_registers(word) >> n & 1}
    assert not written_registers(word) & ~named_registers(word)


@settings(max_examples=500, deadline=None)
@given(words | data_words)
def test_every_register_that_capstone_sees_written_is_written(word):
    instruction = disassembled(word)
    assume(instruction is not None and instruction.mnemonic not in WRONG_IN_CAPSTONE)
    assume(not instruction.mnemonic.startswith("bl"))
    seen = {number(register) for register in instruction.regs_access()[1]} - {None}
    mine = {n for n in range(32) if written_registers(word) >> n & 1}
    assert seen <= mine
    if instruction.mnemonic in EXACT and is_integer(word):
        assert seen == mine


@settings(max_examples=300, deadline=None)
@given(st.lists(words | data_words, min_size=1, max_size=8))
def test_any_words_can_be_lifted(code):
    arm64, function = decoded(*code)
    for i, flow in enumerate(function.flows):
        effect = arm64.effect(function, i)
        if flow not in CALLS:
            for register in range(32):
                if effect.registers >> register & 1:
                    arm64.define(function, i, register)
        for n in range(len(effect.stores)):
            arm64.stored(function, i, n)
        arm64.is_padding(function, i)
        if flow == Flow.BRANCH:
            arm64.equality(function, i, taken=True)
            arm64.equality(function, i, taken=False)
    list(arm64.taken_addresses(function))


@example(0x2541F800)  # brkpas, an SVE instruction
@settings(max_examples=300, deadline=None)
@given(words)
def test_flow_and_targets_agree_with_capstone(word):
    instruction = disassembled(word)
    assume(instruction is not None)
    arm64, function = decoded(word)
    name = instruction.mnemonic
    flow = function.flows[0]
    if name in ("b", "bl") or name.startswith(("b.", "cbz", "cbnz", "tbz", "tbnz")):
        wanted = int(instruction.op_str.rpartition("#")[2], 0) & 0xFFFFFFFF
        assert arm64.direct_target(function, 0) == wanted
        assert flow == {"b": Flow.JUMP, "bl": Flow.CALL}.get(name, Flow.BRANCH)
    elif name.startswith(("br", "ret", "blr", "eret", "drps")) and not name.startswith("brk"):
        assert flow in (Flow.INDIRECT_JUMP, Flow.RETURN, Flow.INDIRECT_CALL, Flow.STOP)
    elif name not in ("brk", "hlt", "udf", "dcps1", "dcps2", "dcps3", "bc"):
        assert flow == Flow.NEXT or word >> 24 in (0x00, 0x54)


# ---- values


def worked_out(expr, held):
    """An expression as a set of numbers; None when it is not followed."""
    match expr:
        case Const(value):
            return {value}
        case ImageAddress(rva):
            return {rva}
        case Reg(register, size, shift):
            return {held[register] >> shift & ((1 << 8 * size) - 1)}
        case Binary(name, left, right, size):
            a, b = worked_out(left, held), worked_out(right, held)
            if a is None or b is None:
                return None
            low = atoms.truncate(atoms.const(*a), size)
            return {atom.value for atom in atoms.combine(name, low, atoms.const(*b), 8 * size)}
        case Either(left, right):
            a, b = worked_out(left, held), worked_out(right, held)
            return None if a is None or b is None else a | b
        case Insert(old, new, size, shift):
            a, b = worked_out(old, held), worked_out(new, held)
            merged = atoms.insert(atoms.const(*a), atoms.const(*b), size, shift)
            return {atom.value for atom in merged}
        case SignExtend(operand, from_size, to_size):
            a = worked_out(operand, held)
            extended = atoms.extend(atoms.const(*a), from_size, to_size)
            return {atom.value for atom in extended}
        case Opaque():
            return None
    raise AssertionError(expr)


def emulated(word, held):
    """Registers and flags after one instruction; None when the processor refuses it."""
    processor = Uc(UC_ARCH_ARM64, UC_MODE_ARM)
    processor.mem_map(START, PAGE)
    processor.mem_write(START, word.to_bytes(4, "little"))
    names = [*range(UC_ARM64_REG_X0, UC_ARM64_REG_X0 + 29), UC_ARM64_REG_X29, UC_ARM64_REG_X29 + 1]
    names.append(UC_ARM64_REG_SP)
    for name, value in zip(names, held, strict=True):
        processor.reg_write(name, value)
    try:
        processor.emu_start(START, START + 4, count=1)
    except UcError:
        return None
    return [processor.reg_read(name) for name in [*names, UC_ARM64_REG_NZCV]]


@settings(max_examples=400, deadline=None)
@given(data_words, registers)
def test_expressions_agree_with_a_processor(word, held):
    instruction = disassembled(word)
    assume(instruction is not None)
    after = emulated(word, held)
    assume(after is not None)
    arm64, function = decoded(word)
    mask = arm64.effect(function, 0).registers
    for register in range(32):
        if not mask >> register & 1:
            assert after[register] == held[register]
            continue
        expr = arm64.define(function, 0, register)
        values = worked_out(expr, held)
        width = (1 << 32) - 1 if isinstance(expr, ImageAddress) else (1 << 64) - 1
        assert values is None or after[register] & width in values


SETTERS = [top for top in DATA_TOPS if top & 0x20 and top & 0x1F in (0x0A, 0x0B, 0x11, 0x12, 0x1A)]
small = st.sampled_from([0, 0, 0, 1, 2, 0xFFFF_FFFF, (1 << 64) - 1, 1 << 32])
branches = st.sampled_from([0x54000040, 0x54000041])
"""B.EQ and B.NE."""


@settings(max_examples=400, deadline=None)
@given(
    st.builds(lambda top, low: top << 24 | low, st.sampled_from(SETTERS), fields),
    st.lists(small, min_size=32, max_size=32),
    branches,
)
def test_equality_on_a_branch_edge_holds_in_a_processor(word, held, branch):
    after = emulated(word, held)
    assume(after is not None and after[32] >> 30 & 1)  # Z is set: equal
    arm64, function = decoded(word, branch)
    assert arm64.equality(function, 1, taken=bool(branch & 1)) is None
    equal = arm64.equality(function, 1, taken=not branch & 1)
    if equal is not None:
        assert after[equal.register] & ((1 << 8 * equal.size) - 1) == equal.constant


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ((0x52804000,), 0x200),  # mov w0, #0x200
        ((0x92800020,), (1 << 64) - 2),  # mov x0, #-2
        ((0x12800000,), 0xFFFFFFFF),  # mov w0, #-1
        ((0x321E03E0,), 4),  # orr w0, wzr, #4
        ((0xB24003E0,), 1),  # orr x0, xzr, #1
    ],
)
def test_constants(code, value):
    arm64, function = decoded(*code)
    assert arm64.define(function, 0, 0) == Const(value)
