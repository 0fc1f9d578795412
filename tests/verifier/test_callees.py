"""A callee that nobody knows takes off the x86 stack what its caller put there."""

import pytest

from hvci.model import Machine as Architecture
from hvci.verifier.callees import Callees
from hvci.verifier.machine import Machine
from hvci.verifier.memory import RW

CALL = b"\xff\xd0"
"""call eax"""
RETURN_TO = 0x800
"""Where our caller goes on: behind a call of its own."""
KNOWN_STUB = 12


def callees(before, after):
    """A caller in the image: code before the call of the unknown, the call, code behind it."""
    machine = Machine(Architecture.X86, 0x1000)
    base = machine.layout.image
    machine.memory.map(base, 0x1000, RW, "image")
    machine.memory.poke(base + RETURN_TO - 2, CALL)
    machine.memory.poke(base, before + CALL + after)
    machine.trail.append(machine.processor.block(base, len(before) + len(CALL)))
    return Callees(machine, lambda address: KNOWN_STUB), machine


def removed(before, after, arguments, saved=()):
    """What is removed where these words lie between stack pointer and return address."""
    found, machine = callees(before, after)
    base, sp = machine.layout.image, machine.layout.stack + 0x1000
    words = (*arguments, *saved, base + RETURN_TO)
    for index, word in enumerate(words):
        machine.memory.put(sp + 4 * index, word, 4)
    return found.removed(base + len(before) + len(CALL), sp)


PUSH = b"\x6a\x01"
"""push 1"""


@pytest.mark.parametrize(
    ("before", "after", "arguments", "saved", "size"),
    [
        pytest.param(PUSH + PUSH, b"\xc3", (1, 1), (), 8, id="pushed"),
        pytest.param(PUSH + PUSH, b"\x83\xc4\x08\xc3", (1, 1), (), 0, id="caller-cleans"),
        pytest.param(PUSH, b"\x59\xc3", (1,), (), 0, id="caller-pops"),
        pytest.param(PUSH, b"\x5e\xc3", (1, 1, 1), (7,), 12, id="pushed-before-another-call"),
        pytest.param(b"\x90", b"\x83\xec\x08\x83\xc4\x0c\xc3", (1, 1), (7,), 8, id="stored"),
        pytest.param(
            b"\x90",
            b"\x83\xec\x08" + CALL + b"\x83\xec\x04\x83\xc4\x0c\xc3",
            (1, 1),
            (7,),
            8,
            id="stored-twice",
        ),
        pytest.param(PUSH + PUSH, b"\xc9\xc3", (1, 1), (7,), 8, id="frame-pointer"),
        pytest.param(
            b"\x55\x8b\xec\x56" + PUSH, b"\x5e\xc9\xc3", (1,), (7, 7), 4, id="behind-a-prologue"
        ),
        pytest.param(PUSH, b"\x74\x01\xcc\xc3", (1,), (), 4, id="behind-a-branch"),
        pytest.param(PUSH, b"\xff\xe1", (1,), (), 4, id="tail-jump"),
        pytest.param(PUSH, b"\xeb\x01\xcc\xc3", (1,), (), 4, id="jump"),
    ],
)
def test_the_caller_tells(before, after, arguments, saved, size):
    assert removed(before, after, arguments, saved) == size


def test_known_callees_on_the_way_are_counted():
    """call [slot] behind the unknown call, whose stand-in takes three arguments."""
    found, machine = callees(PUSH, b"")
    base, slot = machine.layout.image, machine.layout.image + 0x400
    machine.memory.put(slot, machine.layout.stubs, 4)
    code = 3 * PUSH + b"\xff\x15" + slot.to_bytes(4, "little") + b"\xc3"
    machine.memory.poke(base + 4, code)
    sp = machine.layout.stack + 0x1000
    machine.memory.put(sp, 1, 4)
    machine.memory.put(sp + 4, machine.layout.exit, 4)
    assert found.removed(base + 4, sp) == 4


@pytest.mark.parametrize(
    "callee",
    [
        pytest.param(b"\xc2\x08\x00", id="function"),
        pytest.param(b"\xeb\x00\xc2\x08\x00", id="behind-a-jump"),
        pytest.param(b"\xeb\xfe", id="jump-to-itself"),
    ],
)
def test_callees_of_the_image_are_read(callee):
    """Behind the unknown call, a function of the image takes the two words pushed for it."""
    found, machine = callees(b"\x90", b"")
    base, behind = machine.layout.image, 3
    call = b"\xe8" + (0x400 - (behind + 2 * len(PUSH) + 5)).to_bytes(4, "little")
    machine.memory.poke(base + behind, 2 * PUSH + call + b"\xc3")
    machine.memory.poke(base + 0x400, callee)
    sp = machine.layout.stack + 0x1000
    machine.memory.put(sp + 4, machine.layout.exit, 4)
    assert found.removed(base + behind, sp) == 4
