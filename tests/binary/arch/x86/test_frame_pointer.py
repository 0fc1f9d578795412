"""When EBP of x86 code is the frame pointer, and when a register like any other."""

import pytest

from x86code import decoded

FRAMELESS = "83ec10 8d6c2404"  # sub esp, 16; lea ebp, [esp+4]
LOAD = "8b4d00"  # mov ecx, [ebp]


@pytest.mark.parametrize(
    "other",
    [
        "89c5",  # mov ebp, eax
        "8b6804",  # mov ebp, [eax+4]
        "0f44e8",  # cmove ebp, eax
        "31ed",  # xor ebp, ebp
        "83c504",  # add ebp, 4
        "bd05000000",  # mov ebp, 5
        "0fb6e8",  # movzx ebp, al
        "95",  # xchg eax, ebp
        "876c2408",  # xchg [esp+8], ebp
        "6a05 5d",  # push 5; pop ebp
        "8d6c2408",  # another place of the frame
        "6689c5",  # mov bp, ax
        "f7dd",  # neg ebp
    ],
)
def test_a_register_that_is_used_again_is_no_frame_pointer(other):
    for code in (f"{FRAMELESS} {other} {LOAD} c3", f"{FRAMELESS} {LOAD} {other} c3"):
        _, function, depth = decoded(bytes.fromhex(code))
        assert {depth.frame_pointer(function, i) for i in range(len(function.flows))} == {None}


@pytest.mark.parametrize(
    ("code", "frame"),
    [
        (f"55 89e5 83ec08 {LOAD} c9 c3", -4),
        (f"55 8bec 83ec08 {LOAD} 8be5 5d c3", -4),
        (f"{FRAMELESS} 85ed 3bec 55 f7e5 {LOAD} 5d c3", -12),  # only read
        (f"8b6b04 55 89e5 {LOAD} c9 c3", -4),  # something else before that
        (f"55 89e5 0f44e8 {LOAD} 5d c3", None),
    ],
)
def test_a_frame_pointer(code, frame):
    _, function, depth = decoded(bytes.fromhex(code))
    (load,) = (i for i, each in enumerate(function.instructions) if str(each) == "mov ecx,[ebp]")
    assert depth.frame_pointer(function, load) == frame
