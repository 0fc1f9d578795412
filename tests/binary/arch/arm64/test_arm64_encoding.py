"""Each row of the table of ARM64 encoding says what capstone says of words that fit it.

Capstone 5.0 is wrong in places, which are named here; the order of its operands tells there.
"""

import random

import numpy as np
import pytest
from capstone import CS_ARCH_ARM64, CS_MODE_ARM, Cs
from capstone.arm64 import (
    ARM64_OP_REG,
    ARM64_REG_FP,
    ARM64_REG_LR,
    ARM64_REG_SP,
    ARM64_REG_W0,
    ARM64_REG_W30,
    ARM64_REG_WSP,
    ARM64_REG_X0,
    ARM64_REG_X28,
)

from hvci.binary.arch.arm64 import encoding
from hvci.binary.arch.arm64.encoding import FIELDS, ROWS, row_of
from hvci.binary.arch.arm64.words import access, is_access
from hvci.binary.form.code import CALLS, Flow

CAPSTONE = Cs(CS_ARCH_ARM64, CS_MODE_ARM)
CAPSTONE.detail = True
TRIES = 600
ALIASES = ("cmp", "cmn", "tst")
"""It says that these write the first register that they read."""
OF_THE_SYSTEM = {"svc", "hvc", "smc", "brk", "debug", "undefined", "cpy", "tag", "addg", "subg"}
"""Rows that say more than one instruction does: what handlers change, and forms not told apart."""
NO_WRITES = (
    "adds",
    "subs",
    "irg",
    "subp",
    "ldla",
    "fcvt",
    "fmov",
    "fjcvt",
    "smov",
    "umov",
    "mov",
    "ldra",
    "st64",
)
"""It lacks that these write their first operand, in some forms."""
EXCHANGES = {"cas": 0, "casp": 0, "swp": 1, "atomic": 1}
"""It lacks what these read and write; the operand that gets what memory held."""
READ_AS_WELL = (
    "adds",
    "subs",
    "sbfx",
    "sbfiz",
    "ubfx",
    "ubfiz",
    "lsl",
    "lsr",
    "uxt",
    "asr",
    "sxt",
    "sysl",
    "pacga",
    "bfi",
    "bfxil",
)
"""It says that these read what they write."""
UNSEEN = {"subg", "drps", "sysp", "mrrs", "system", "registers", "unknown", "ldiapp", "prfm.acq"}
"""Rows of which it knows no word: for what is not allocated, or newer than it."""
NAMES = {
    Flow.JUMP: ("b",),
    Flow.CALL: ("bl",),
    Flow.BRANCH: ("b.", "cb", "tb", "bc."),
    Flow.INDIRECT_JUMP: ("br",),
    Flow.INDIRECT_CALL: ("blr",),
    Flow.RETURN: ("ret", "eret"),
    Flow.STOP: ("brk", "hlt", "dcps", "udf", "drps", "tcancel"),
}
ids = [f"{row.name}-{row.value:08x}" for row in ROWS]
rows = pytest.mark.parametrize("row", ROWS, ids=ids)


def number(register):
    if ARM64_REG_X0 <= register <= ARM64_REG_X28:
        return register - ARM64_REG_X0
    if ARM64_REG_W0 <= register <= ARM64_REG_W30:
        return register - ARM64_REG_W0
    return {ARM64_REG_FP: 29, ARM64_REG_LR: 30, ARM64_REG_SP: 31, ARM64_REG_WSP: 31}.get(register)


def fitting(row):
    """Words of a row; fields that must be all ones or zeros are so often enough."""
    chance = random.Random(f"{row.name} {row.value}")
    for _ in range(TRIES):
        word = chance.getrandbits(32)
        if chance.random() < 0.3:
            word &= ~0x8000
        for low in FIELDS.values():
            none = word & ~(31 << low)
            word = chance.choice((word, word, word | 31 << low, none, none | 2 << low))
        word = word & ~row.mask | row.value
        if row_of(word) is row:
            yield word


def told(row):
    """(word, instruction) of those that capstone knows."""
    for word in fitting(row):
        found = next(CAPSTONE.disasm(word.to_bytes(4, "little"), 0x1000), None)
        if found is not None:
            yield word, found


def members(mask):
    return {n for n in range(32) if mask >> n & 1}


def numbers(registers):
    return {number(register) for register in registers} - {None}


@rows
def test_it_writes_what_capstone_says(row):
    for word, found in told(row):
        mine, seen = (
            members(encoding.written_registers(word)),
            numbers(found.regs_access()[1]),
        )
        if found.mnemonic.startswith("bl") or row.name in OF_THE_SYSTEM:
            continue
        if row.name in EXCHANGES:
            operands = [each.reg for each in found.operands if each.type == ARM64_OP_REG]
            first = EXCHANGES[row.name]
            wanted = numbers(operands[first : first + (2 if row.name == "casp" else 1)])
            assert mine == wanted, found
        elif found.mnemonic in ALIASES:
            assert not mine, found
        elif row.name == "pac.17":
            assert mine == {17}
        elif found.mnemonic.startswith(NO_WRITES):
            assert (
                seen
                <= mine
                <= seen
                | numbers([each.reg for each in found.operands][:1])
                | {n for n in mine if row.name == "st64bv"}
            ), found
        elif row.name == "structure":
            assert mine <= seen <= mine | members(encoding.registers_in("m", word)), found
        else:
            assert mine == seen, found


@rows
def test_it_reads_what_capstone_says(row):
    for word, found in told(row):
        mine, seen = (
            members(encoding.registers_in(row.reads, word)),
            numbers(found.regs_access()[0]),
        )
        if found.mnemonic.startswith("bl") or row.name in OF_THE_SYSTEM:
            continue
        if found.mnemonic in ALIASES:
            seen |= numbers(found.regs_access()[1])
        if found.mnemonic.startswith(READ_AS_WELL):
            seen -= members(encoding.written_registers(word)) - mine
        assert seen <= mine, found
        assert seen <= members(encoding.named_registers(word)), found


@rows
def test_it_goes_where_capstone_says(row):
    for _, found in told(row):
        name = found.mnemonic
        if row.name == "debug":  # a debugger lets it go on
            assert name == "brk"
        elif row.flow in NAMES:
            assert name.startswith(NAMES[row.flow]), found
        else:
            assert not name.startswith(("b.", "bl", "br", "cb", "ret", "tbn", "tbz", "hlt", "udf"))


@rows
def test_it_loads_and_stores_as_its_name_says(row):
    for word, found in told(row):
        assert is_access(word) == bool(row.does & {"based", "indexed"} or row.name.endswith("lit"))
        name = found.mnemonic
        if row.name in OF_THE_SYSTEM or not is_access(word):
            continue
        is_exchange = name.startswith(("cas", "swp")) or row.name == "atomic"
        assert ("load" in row.does) == (is_exchange or name.startswith("ld")), found
        assert ("store" in row.does) == (is_exchange or name.startswith("st")), found
        if "acquire" in row.does:
            assert name.startswith(("lda", "ldl")), found
        moved = access(word)
        assert moved.is_store == ("store" in row.does) or moved.is_vector
        assert (moved.step is not None) == ("moves" in row.does), found


def test_every_row_has_a_word_that_capstone_knows():
    seen = {row.name for row in ROWS for _ in told(row)}
    assert {row.name for row in ROWS} - seen <= UNSEEN


@rows
def test_many_words_are_told_as_one(row):
    words = list(fitting(row))
    for word, bits in zip(words, encoding.kinds(np.array(words, np.uint32)), strict=True):
        mine, bits = encoding._bits(row), int(bits)
        assert not bits & ~mine & ~encoding._MAY
        assert not mine & encoding._MAY & ~bits
        flow = encoding.FLOW_BY_TOP[word >> 24]
        assert flow in (row.flow, 0xFF)
        assert bool(mine & encoding.CALL) == (row.flow in CALLS)
