"""Lines with colour and folding: nothing is lost, nothing is wider than the page."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvci.report.ink import Ink, cells

words = st.text("abcxyz.,日本é\u0301", max_size=30)
texts = st.lists(words, max_size=8).map(" ".join)


def lines(width, *parts, colour=False, **options):
    ink = Ink(width, colour)
    ink.line(*parts, **options)
    return ink.text.splitlines()


def test_a_line_that_fits_stays_one():
    assert lines(None, "a " * 300) == [("a " * 300).rstrip()]
    assert lines(30, ("bold", "bold"), " and plain", indent=2) == ["  bold and plain"]


def test_a_line_breaks_at_blanks_and_hangs():
    assert lines(20, "aaaa bbbb cccc dddd eeee") == ["aaaa bbbb cccc dddd", "eeee"]
    assert lines(20, "aaaa bbbb cccc dddd eeee", indent=2, hang=4) == [
        "  aaaa bbbb cccc",
        "      dddd eeee",
    ]
    assert lines(20, "x" * 45) == ["x" * 20, "x" * 20, "x" * 5]
    assert lines(20, "日" * 15) == ["日" * 10, "日" * 5]


@given(texts, st.integers(1, 60), st.integers(0, 12), st.integers(0, 30))
def test_folding_loses_nothing_and_fits(text, width, indent, hang):
    shown = lines(width, text, indent=indent, hang=hang)
    assert "".join("".join(shown).split()) == "".join(text.split())
    assert all(cells(line) <= max(width, 20) for line in shown)


@given(texts, texts, st.integers(20, 60))
def test_colour_changes_no_character(one, other, width):
    plain = lines(width, one, (other, "bold red"), indent=1)
    coloured = lines(width, one, (other, "bold red"), indent=1, colour=True)
    bare = [re.sub(r"\x1b\[[\d;]*m", "", line).rstrip() for line in coloured]
    assert [line for line in bare if line] == [line for line in plain if line]


def test_styles_are_codes():
    assert lines(None, ("x", "bold red"), "y", ("", "dim"), colour=True) == ["\x1b[1;31mx\x1b[0my"]


def test_code_is_cut():
    ink = Ink(20, colour=False)
    ink.cropped("mov rax, [rax+0x1234567]", "dim", 8)
    assert ink.text == "        mov rax, [ra\n"
    whole = Ink(None, colour=False)
    whole.cropped("mov rax, [rax+0x1234567]", "dim", 8)
    assert whole.text.strip() == "mov rax, [rax+0x1234567]"


@pytest.mark.parametrize(("text", "width"), [("ab", 2), ("日本", 4), ("e\u0301", 1), ("", 0)])
def test_columns(text, width):
    assert cells(text) == width


def test_blank_lines_at_the_end_go():
    ink = Ink(None, colour=False)
    ink.blank()
    assert ink.text == ""
    ink.line("x")
    ink.blank()
    assert ink.text == "x\n"
