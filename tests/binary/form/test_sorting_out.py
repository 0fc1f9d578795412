"""What sorts places out by their bytes agrees with whole decoding, and never drops a call."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from iced_x86 import Decoder

from hvci.binary.arch.x86.ahead import may_call_soon
from hvci.binary.form.boundaries import AT_ONCE, Boundaries

START = 0x1000
CODE = st.binary(min_size=1, max_size=6 * AT_ONCE)


def starts(code, bits):
    return [each.ip for each in Decoder(bits, code, ip=START)]


@given(CODE, st.sampled_from((32, 64)), st.lists(st.integers(0, 6 * AT_ONCE - 1), max_size=6))
def test_boundaries_are_those_of_a_whole_decoding(code, bits, asked):
    whole = starts(code, bits)
    lazy = Boundaries(iter(whole))
    for offset in asked:
        rva = START + min(offset, len(code) - 1)
        assert lazy.holding(rva) == max(start for start in whole if start <= rva)
    assert lazy.all() == whole


def test_nothing_starts_before_the_first_instruction():
    assert Boundaries(iter((START,))).holding(START - 1) is None
    assert Boundaries(iter(())).holding(START) is None


LOAD_RAX, LOAD_RCX = bytes.fromhex("488b4038"), bytes.fromhex("488b4938")
FILLER = bytes.fromhex("4889542420")  # mov [rsp+20h], rdx


@pytest.mark.parametrize(
    ("load", "behind"),
    [
        (LOAD_RAX, "ffd0"),  # call rax
        (LOAD_RAX, "ff1500100000"),  # call the dispatch function
        (LOAD_RCX, "ff1500100000"),  # check the target in rcx, which the check keeps
        (LOAD_RAX, "e800100000"),  # a local dispatch function
        (LOAD_RAX, "488bd8 e800100000 ffd3"),  # kept in rbx across another call
        (LOAD_RAX, "4889442430 33c0 c3"),  # kept in memory: not followed
        (LOAD_RAX, "50 c3"),  # pushed
        (LOAD_RAX, "7402 ffd0"),  # on one side of a branch
        (LOAD_RAX, "7403 33c0 c3 ffd0"),  # on the other side
        (LOAD_RAX, "480f44c1 ffd0"),  # cmove rax, rcx: perhaps still there
        (LOAD_RAX, "eb10"),  # a jump: not followed
    ],
)
def test_a_load_that_a_call_may_follow_is_kept(load, behind):
    code = load + FILLER * 3 + bytes.fromhex(behind)
    assert may_call_soon(code, START, 64)


@pytest.mark.parametrize(
    "behind",
    [
        "33c0 ffd3",  # xor eax, eax
        "488b00 c3",  # overwritten, and the routine ends
        "c3",
        "ffd3 ffd0",  # the call of another routine destroys rax
    ],
)
def test_a_load_that_is_lost_is_dropped(behind):
    assert not may_call_soon(LOAD_RAX + FILLER + bytes.fromhex(behind), START, 64)
