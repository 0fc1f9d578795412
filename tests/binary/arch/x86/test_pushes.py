"""Counting back from a call finds what the walk from the entry finds, or says nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvci.binary.arch.x86.stack.pushes import find_push
from hvci.binary.form.code import NO_REGISTER
from x86code import decoded

CALL = bytes.fromhex("ffd0")  # call eax
SNIPPETS = [
    bytes.fromhex(text)
    for text in (
        "6a01",  # push 1
        "6800100000",  # push 1000h
        "50",  # push eax
        "54",  # push esp
        "666a01",  # push word 1
        "ff7508",  # push [ebp+8]
        "58",  # pop eax
        "5d",  # pop ebp
        "83ec08",  # sub esp, 8
        "83c404",  # add esp, 4
        "8bc1",  # mov eax, ecx
        "8bec",  # mov ebp, esp
        "8be5",  # mov esp, ebp
        "8d4424 08".replace(" ", ""),  # lea eax, [esp+8]
        "8d6424fc",  # lea esp, [esp-4]
        "c7042401000000",  # mov dword [esp], 1
        "89442404",  # mov [esp+4], eax
        "88442405",  # mov [esp+5], al
        "66897c2406",  # mov [esp+6], di
        "8945fc",  # mov [ebp-4], eax
        "8908",  # mov [eax], ecx
        "890c85 00204000".replace(" ", ""),  # mov [eax*4+402000h], ecx
        "a300204000",  # mov [402000h], eax
        "0f114424 04".replace(" ", ""),  # movups [esp+4], xmm0
        "ab",  # stosd
        "9c",  # pushfd
        "60",  # pushad
        "c9",  # leave
        "7400",  # je to the next instruction
        "ffd1",  # call ecx
        "90",  # nop
    )
]


def written(arch, function, depth, k):
    """The frame offsets of the words that an instruction writes through the stack pointer."""
    return {
        depth.before(function, k) + memory.displacement
        for memory in arch.effect(function, k).stores
        if memory.base == arch.stack_pointer and memory.index_register == NO_REGISTER
    }


@given(st.lists(st.sampled_from(SNIPPETS), max_size=16), st.integers(0, 5))
def test_what_is_found_wrote_the_word(snippets, position):
    arch, function, depth = decoded(b"".join(snippets) + CALL)
    i = len(function.rvas) - 1
    push = find_push(arch, function, i, 4 * position)
    if push is None:
        return
    k = push.i
    wanted = depth.before(function, i) + 4 * position
    assert wanted in written(arch, function, depth, k)
    for later in range(k + 1, i):
        for memory in arch.effect(function, later).stores:
            if memory.base == arch.stack_pointer and memory.index_register == NO_REGISTER:
                place = depth.before(function, later) + memory.displacement
                assert not place <= wanted < place + memory.size
            elif memory.base == arch.frame_pointer:
                assert (later, memory) in push.unsure


@pytest.mark.parametrize(
    ("code", "position", "found"),
    [
        ("6a03 6a02 6a01", 0, 2),
        ("6a03 6a02 6a01", 2, 0),
        ("6a03 8bc1 6a02 8908 6a01", 2, 0),
        ("83ec08 c7042401000000", 0, 1),
        ("6a03 6a02 6a01", 3, None),  # beyond what is shown
        ("8d0424 6a02 8908 6a01", 1, None),  # so may one through a copy of the stack pointer
        ("6a02 66890424", 0, None),  # a part of the word
        ("6a02 7400 6a01", 1, None),  # two ways lead here
        ("6a02 ffd1 6a01", 1, None),  # what the call removes is not asked
        ("6a02 58 6a01", 1, None),
    ],
)
def test_only_plain_code_is_counted(code, position, found):
    arch, function, _ = decoded(bytes.fromhex(code) + CALL)
    push = find_push(arch, function, len(function.rvas) - 1, 4 * position)
    assert (push.i if push is not None else None) == found


def test_stores_through_the_frame_pointer_are_named():
    arch, function, _ = decoded(bytes.fromhex("6a02 8945fc 6a01") + CALL)
    push = find_push(arch, function, 3, 4)
    assert push.i == 0
    assert [k for k, _ in push.unsure] == [1]
