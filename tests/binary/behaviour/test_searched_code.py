"""A search in kernel code for what is not exported, in images that check their indirect calls."""

import pytest

from hvci.binary import PeImage, read
from hvci.model import NEWEST, Machine, Outcome
from hvci.rules import judge
from patched import BUILT, starts_with

RULE = "unexported-call"


def driver(compare, machine="x64", guard=True):
    """A driver whose entry routine calls an import and compares a byte."""
    name = f"byname_bad.{machine}.o2.sys"
    image = PeImage((BUILT / name).read_bytes())
    entry, slot = image.headers.entry, image.import_slots["MmGetSystemRoutineAddress"][0]
    wide = image.machine is Machine.X64
    where = slot - entry - 6 if wide else slot + image.base
    code = b"\xff\x15" + (where & 0xFFFFFFFF).to_bytes(4, "little") + bytes.fromhex(compare)
    data = bytearray(starts_with(name, code + (b"\xc3" if wide else b"\xc2\x08\x00")))
    pe = int.from_bytes(data[0x3C:0x40], "little")
    flags = int.from_bytes(data[pe + 94 : pe + 96], "little")
    flags = flags | 0x4000 if guard else flags & ~0x4000
    data[pe + 94 : pe + 96] = flags.to_bytes(2, "little")
    return bytes(data)


def result(data):
    return next(one for one in judge(read(data, NEWEST)) if one.rule == RULE)


@pytest.mark.parametrize("machine", ["x64", "x86"])
@pytest.mark.parametrize(
    "compare",
    [
        "8038e8",  # cmp byte ptr [rax], 0E8h
        "807801e9",  # cmp byte ptr [rax+1], 0E9h
        "3ce8",  # cmp al, 0E8h
        "3de8000000",  # cmp eax, 0E8h
        "81f9e9000000",  # cmp ecx, 0E9h
    ],
)
def test_a_search_for_a_call_or_a_jump_is_a_remark(machine, compare):
    found = result(driver(compare, machine))
    assert found.outcome is Outcome.NOTE
    (finding,) = found.findings
    assert "searches code that it looked up by name" in finding.message
    assert "0x139" in finding.message


@pytest.mark.parametrize(
    ("compare", "guard"),
    [("8038e8", False), ("8038e7", True), ("3c05", True), ("81f9e9010000", True), ("90", True)],
)
def test_nothing_else_is(compare, guard):
    assert result(driver(compare, guard=guard)).outcome is Outcome.NOT_APPLICABLE


def words(*code):
    return b"".join(word.to_bytes(4, "little") for word in code)


def arm64(*code, guard=True):
    """An ARM64 driver whose entry routine calls an import and goes on with these instructions."""
    name = "byname_bad.arm64.o2.sys"
    image = PeImage((BUILT / name).read_bytes())
    entry, slot = image.headers.entry, image.import_slots["MmGetSystemRoutineAddress"][0]
    pages = (slot >> 12) - (entry >> 12)
    call = (
        0x9000_0008 | (pages & 3) << 29 | (pages >> 2 & 0x7FFFF) << 5,  # adrp x8, slot
        0xF940_0108 | (slot & 0xFFF) // 8 << 10,  # ldr x8, [x8, slot]
        0xD63F_0100,  # blr x8
    )
    data = bytearray(starts_with(name, words(*call, *code, 0xD65F_03C0)))
    pe = int.from_bytes(data[0x3C:0x40], "little")
    flags = int.from_bytes(data[pe + 94 : pe + 96], "little")
    data[pe + 94 : pe + 96] = (flags | 0x4000 if guard else flags & ~0x4000).to_bytes(2, "little")
    return bytes(data)


OPCODE, SHIFTED = 0x1206_1408, 0x531A_7D08  # and w8, w0, #0xfc000000; lsr w8, w8, #26


@pytest.mark.parametrize(
    "code",
    [
        (0x52B2_8009, OPCODE, 0x6B09_011F),  # mov w9, #0x94000000; and; cmp w8, w9
        (OPCODE, 0x52A2_8009, 0x6B09_011F),  # ... #0x14000000
        (0x52A2_8009, 0x1206_1008, 0x6B09_011F),  # and w8, w0, #0x7c000000
        (SHIFTED, 0x7100_951F),  # lsr; cmp w8, #0x25
        (SHIFTED, 0x7100_1508),  # lsr; subs w8, w8, #5
    ],
)
def test_a_search_in_code_of_arm64_is_a_remark(code):
    found = result(arm64(*code))
    assert found.outcome is Outcome.NOTE
    assert "searches code that it looked up by name" in found.findings[0].message
    assert result(arm64(*code, guard=False)).outcome is Outcome.NOT_APPLICABLE


@pytest.mark.parametrize(
    "code",
    [
        (OPCODE, 0x6B09_011F),
        (0x52B2_8009, 0x6B09_011F),
        (SHIFTED, 0x7100_991F),  # cmp w8, #0x26
        (OPCODE, 0x52B2_8029),  # mov w9, #0x94010000
        (0xD503_201F,),
    ],
)
def test_nothing_else_is_in_code_of_arm64(code):
    assert result(arm64(*code)).outcome is Outcome.NOT_APPLICABLE
