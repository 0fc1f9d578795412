"""What variables, parameters and results of one or two bytes leave of a number, with its sign."""

import pytest

from hvci.source.values.guess import exactly
from sources import entry, one_file, value_of

ASK = "ExAllocatePoolWithTag((POOL_TYPE)({}), 8, 'a');"


@pytest.mark.parametrize(
    ("before", "body", "expected"),
    [
        ("", "CHAR k = (CHAR)0xFF; " + ASK.format("k + 0x101"), 0x100),
        ("", "CHAR k = 0xFF; " + ASK.format("k + 0x101"), 0x100),
        ("", "const char k = -1; " + ASK.format("k + 0x201"), 0x200),
        ("", "UCHAR k = 0x1FF; " + ASK.format("k + 0x101"), 0x200),
        ("", "unsigned char k = -1; " + ASK.format("k + 0x101"), 0x200),
        ("", "signed char k = 0x7F; " + ASK.format("k + 0x181"), 0x200),
        ("", "SHORT k = (SHORT)0xFE00; " + ASK.format("k + 0x400"), 0x200),
        ("", "USHORT k = (USHORT)0xFE00; " + ASK.format("k + 0x400"), 0x10200),
        ("", "int k = 0x1FF; " + ASK.format("k + 1"), 0x200),
        ("", "CHAR *k = (CHAR *)0x1FF; " + ASK.format("(int)k + 1"), 0x200),
        ("", "CHAR k = 0x70; k += 0x10; " + ASK.format("k + 0x280"), 0x200),
        ("", ASK.format("(USHORT)(CHAR)(0xFF) + 0x201"), 0x10200),
        ("", ASK.format("(CHAR)(0xFF) + 0x201"), 0x200),
        ("", ASK.format("-1 + 0x201"), 0x200),
        ("", "int k = 1; " + ASK.format("-k + 0x201"), 0x200),
        ("", "int k = 1; " + ASK.format("+k + 0x1FF"), 0x200),
        ("CHAR K = 0xFF;", ASK.format("K + 0x101"), 0x100),
        ("static UCHAR K = 0x1FF;", ASK.format("K + 0x101"), 0x200),
        ("typedef struct { CHAR k; } S;", "S s; s.k = 0xFF; " + ASK.format("s.k + 0x201"), 0x200),
        ("CHAR F(void) { return 0xFF; }", ASK.format("F() + 0x201"), 0x200),
        ("UCHAR F(void) { return 0x1FF; }", ASK.format("F() + 0x101"), 0x200),
        ("CHAR *F(void) { return (CHAR *)0x1FF; }", ASK.format("(int)F() + 1"), 0x200),
        ("void F(CHAR k) { " + ASK.format("k + 0x201") + " }", "F(-1);", 0x200),
        ("void F(UCHAR k) { " + ASK.format("k + 0x101") + " }", "F(0x1FF);", 0x200),
        ("void F(UCHAR *k) { " + ASK.format("(int)k + 1") + " }", "F((UCHAR *)0x1FF);", 0x200),
    ],
)
def test_a_number_in_a_narrow_type(tmp_path, before, body, expected):
    evidence = one_file(tmp_path, entry(body).replace("\nNTSTATUS", f"\n{before}\nNTSTATUS", 1))
    assert value_of(evidence, "ExAllocatePoolWithTag") == ({expected}, True)


@pytest.mark.parametrize(
    ("cast", "expected"),
    [("static_cast<CHAR>", 0x100), ("static_cast<ULONG>", 0x200), ("CHAR", 0x100)],
)
def test_casts_of_cplusplus(tmp_path, cast, expected):
    evidence = one_file(tmp_path, entry(ASK.format(f"{cast}(0xFF) + 0x101")), "driver.cpp")
    assert value_of(evidence, "ExAllocatePoolWithTag") == ({expected}, True)


BELOW = (1 << 64) - 0x80


@pytest.mark.parametrize(
    ("bits", "width", "expected"),
    [
        (0x1FF, 8, 0xFF),
        (0x7F, -8, 0x7F),
        (0x80, -8, (1 << 64) - 0x80),
        (0x180, -8, (1 << 64) - 0x80),
    ],
)
def test_what_a_cut_leaves(bits, width, expected):
    (atom,) = exactly(bits).cut(width).atoms
    assert atom.bits == expected
