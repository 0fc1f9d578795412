"""A store into code is found whatever the shape of its operand, and a read of code is none."""

import struct

import pytest

from build import driver
from hvci import evaluate

RULE = "writes-executable-memory"
LEA_RAX, LEA_R9 = "488d05", "4c8d0d"


def findings(behind, lea=LEA_RAX):
    """What a driver shows whose entry takes an address in its own code and goes on like this."""
    body = bytes.fromhex(lea) + struct.pack("<i", 0x40) + bytes.fromhex(behind)
    report = evaluate.evaluate(driver("x64", code=body.ljust(0x80, b"\xc3")))
    return [f for result in report.results if result.rule == RULE for f in result.findings]


@pytest.mark.parametrize(
    ("behind", "lea"),
    [
        ("8810 c3", LEA_RAX),  # mov [rax], dl
        ("881408 c3", LEA_RAX),  # mov [rax+rcx], dl
        ("8914c8 c3", LEA_RAX),  # mov [rax+rcx*8], edx
        ("41881409 c3", LEA_R9),  # mov [r9+rcx], dl
        ("488bf8 8817 c3", LEA_RAX),  # mov rdi, rax; mov [rdi], dl
        ("488900 488d0500100000 c3", LEA_RAX),  # mov [rax], rax; lea rax, [elsewhere]
        ("4d8909 4c8d0d00100000 c3", LEA_R9),  # the same through r9
        ("48894308 488d0d00100000 8810 c3", LEA_RAX),  # stored, another register loaded, written
    ],
)
def test_a_store_through_an_address_of_code_is_found(behind, lea):
    assert findings(behind.replace(" ", ""), lea)


@pytest.mark.parametrize("behind", ["8a10c3", "8a1408c3", "488901c3", "31c08810c3"])
def test_reading_or_keeping_the_address_is_no_store(behind):
    assert findings(behind) == []
