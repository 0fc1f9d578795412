"""Tests on bytes that sort places out give what a plain search gives."""

from types import SimpleNamespace

import numpy as np
import pytest

from hvci.binary.behaviour.nearby import standing

WANTED = (b"\xb1\xc3", b"\xb2\xc3", b"\x41\xb0\xc3", b"\x41\xb1\xc3")


@pytest.mark.parametrize(
    "code",
    [
        b"",
        b"\xc3",
        b"\xb1\xc3",
        b"\x41\xb0\xc3\xb2\xc3",
        b"\x41\xb1\xc3\x41\xb1\xc3",
        b"\x90\xb0\xc3\xc3\xb3\xc3\xb2\xb2\xc3\x41",
    ],
)
@pytest.mark.parametrize("start", [0, 1, 2])
def test_short_strings_are_found_as_by_a_search(code: bytes, start: int) -> None:
    memory = b"\x41\xb1" + code + b"\xc3"
    end = len(memory) - 1
    image = SimpleNamespace(memory=bytearray(memory), bytes=np.frombuffer(memory, np.uint8))
    expected = [
        at for each in WANTED for at in range(start, end) if memory[at:end].startswith(each)
    ]
    assert standing(SimpleNamespace(image=image), WANTED, start, end) == expected
