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


def test_the_code_of_arm64_is_not_read():
    data = bytearray((BUILT / "byname_bad.arm64.o2.sys").read_bytes())
    pe = int.from_bytes(data[0x3C:0x40], "little")
    data[pe + 95] |= 0x40
    assert result(bytes(data)).outcome is Outcome.NOT_APPLICABLE
