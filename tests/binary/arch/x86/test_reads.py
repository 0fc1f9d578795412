"""What an instruction reads does not depend on which one of its kind was met first."""

from itertools import permutations

import pytest
from iced_x86 import Decoder

from hvci.binary.arch.x86 import reads as module

RAX, RCX, RDX, RBX, RSI = (1 << n for n in (0, 1, 2, 3, 6))
LISTS = {
    "mul": (("48f7e0", RAX), ("48f7e3", RAX | RBX), ("48f7e2", RAX | RDX)),
    "div": (("48f7f1", RAX | RDX | RCX), ("48f7f0", RAX | RDX), ("48f7f2", RAX | RDX)),
    "cmpxchg": (("480fb1c9", RAX | RCX), ("480fb1c3", RAX | RBX), ("480fb1d8", RAX | RBX)),
    "shift": (("48d3e1", RCX), ("48d3e0", RAX | RCX)),
    "sign": (("4899", RAX),),
    "zero": (("4831c0", 0), ("4831c8", RAX | RCX), ("4831db", 0)),
    "byte": (("f6e0", RAX), ("f6e3", RAX | RBX)),
    "move": (("488b00", RAX), ("488b0406", RAX | RSI), ("488b03", RBX)),
}


@pytest.mark.parametrize("kind", LISTS)
def test_in_every_order(kind, monkeypatch):
    for order in permutations(LISTS[kind]):
        monkeypatch.setattr(module, "_READ", {})
        for code, expected in order:
            (instruction,) = Decoder(64, bytes.fromhex(code), ip=0)
            bases, others = module.reads(instruction)
            assert bases | others == expected, str(instruction)
