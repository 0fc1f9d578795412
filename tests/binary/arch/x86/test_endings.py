"""Which breakpoints of x86 code go on, and which only fill space."""

import pytest

from clock import Clock
from x86code import decoded

CALL = "e800100000"  # of code that is not there


@pytest.mark.parametrize(
    ("code", "at", "goes_on"),
    [
        ("90 cc 40 c3", 1, True),
        ("90 cc cc 40 c3", 1, True),
        ("90 cc cc 40 c3", 2, True),
        ("90 cd2c 40 c3", 1, True),  # an assertion
        ("90 cd2d cc 40 c3", 1, True),  # a message
        ("90 f1 40 c3", 1, True),
        ("90 ce 40 c3", 1, True),  # goes on where nothing overflowed
        ("90 cd29 40 c3", 1, False),  # a fast failure
        ("90 0f0b 40 c3", 1, False),
        (f"{CALL} cc 40 c3", 1, True),
        (f"{CALL} cc cc 40 c3", 1, False),  # fills behind what never returns
        (f"{CALL} cc cc 40 c3", 2, False),
        ("c3 cc cc 40 c3", 1, False),
        ("c3 cc cc 40 c3", 2, False),
        ("7401 c3 cc 40 c3", 2, True),  # a branch leads there
    ],
)
def test_a_breakpoint(code, at, goes_on):
    _, function, _ = decoded(bytes.fromhex(code))
    assert function.follows(at + 1) is goes_on


def test_a_long_run_of_breakpoints_costs_its_length():
    with Clock() as clock:
        _, function, _ = decoded(b"\x90" + b"\xcc" * 20_000 + b"\x40\xc3")
    assert function.follows(20_000)
    assert clock.seconds < 2
