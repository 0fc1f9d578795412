"""What an unknown callee removes of the stack: arguments, and no room that was made by a push."""

import pytest

from x86code import decoded

FRAME = "55 8bec"  # push ebp; mov ebp, esp
CALL = "ff5078"  # call [eax+78h]


@pytest.mark.parametrize(
    ("code", "behind"),
    [
        (f"{FRAME} 51 894dfc {CALL} 8b45fc", -8),  # `push ecx` makes room for [ebp-4]
        (f"{FRAME} 51 51 894df8 {CALL} 8b45fc", -12),
        (f"{FRAME} 51 894dfc 6a01 {CALL} 8b45fc", -8),  # one argument besides
        (f"{FRAME} 51 {CALL} 33c0", -4),  # an argument: nothing names the place
        (f"{FRAME} 51 {CALL} 8b4508", -4),
        (f"{FRAME} 50 8945fc {CALL} 8b45fc", -4),  # `push eax` makes no room
    ],
)
def test_what_is_pushed_in_a_prologue(code, behind):
    _, function, depth = decoded(bytes.fromhex(code) + b"\xc3")
    call = next(i for i, each in enumerate(function.instructions) if str(each).startswith("call"))
    assert depth.before(function, call + 1) == behind
