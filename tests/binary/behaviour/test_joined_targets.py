"""A call into allocated memory is found though a field was loaded before it on another way."""

import struct

import pytest

from build import driver
from hvci import evaluate
from hvci.binary.pe.image import PeImage

IMAGE = PeImage(driver("x64"))
ENTRY = int(IMAGE.headers.entry)
ALLOCATE = IMAGE.import_slots["ExAllocatePoolWithTag"]
BEFORE = bytes.fromhex("4883ec28 488bd9 b900020000 ba00100000 41b854455354")
"""Room for the callee, the object kept in RBX, and the arguments of the allocation."""
BEHIND = bytes.fromhex("ffd0 4883c428 c3")


def findings(between: str) -> list[object]:
    """What is found of a call through RAX with some code between the allocation and it."""
    slot = ALLOCATE if isinstance(ALLOCATE, int) else min(ALLOCATE)
    at = ENTRY + len(BEFORE)
    call = b"\xff\x15" + struct.pack("<i", slot - (at + 6))
    report = evaluate.evaluate(driver("x64", code=BEFORE + call + bytes.fromhex(between) + BEHIND))
    assert not report.limits
    return [f for each in report.results if each.rule == "dynamic-code" for f in each.findings]


@pytest.mark.parametrize(
    "between",
    [
        "",
        "4885db 7404 488b4308",  # test rbx, rbx; je over mov rax, [rbx+8]
        "4885db 7504 488b4308",
        "4885db 740a 488b4308 90 90 90 90 90 90",
    ],
)
def test_memory_is_called_on_one_way(between):
    assert findings(between)


IN_A_LOOP = "488bc8 488bc1 4885d2 75f5"
"""`again: mov rcx, rax; mov rax, rcx; test rdx, rdx; jne again`."""


def test_what_a_loop_copies_from_itself_comes_from_before_it():
    assert findings(IN_A_LOOP)
    assert not findings("488b4308" + IN_A_LOOP)


def test_a_field_alone_is_no_allocated_memory():
    assert not findings("488b4308")
