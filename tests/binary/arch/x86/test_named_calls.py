"""`lea rax, f; call rax` is a call of f; an address that serves for anything else is none."""

import pytest

import build
from hvci.binary.analysis.wiring import Analysis
from hvci.binary.pe.image import PeImage

PAGE = (("PAGE", build.CODE),)
TEXT, TARGET = (
    next(
        int(each.rva)
        for each in PeImage(build.driver(code=b"\xc3", sections=PAGE)).sections
        if each.name == n
    )
    for n in (".text", "PAGE")
)
RET = b"\xc3"
NOPS = b"\x90" * 4
STORE_RAX, COPY_RAX, STORE_RBX = b"\x48\x89\x01", b"\x48\x89\xc2", b"\x48\x89\x19"
CALL_RAX, JUMP_RAX, CALL_RBX = b"\xff\xd0", b"\xff\xe0", b"\xff\xd3"
PUSH, POP = b"\x53", b"\x5b"


def lea(at, register):
    """`lea register, [f]` at an offset into the code."""
    far = TARGET - TEXT - at - 7
    return b"\x48\x8d" + bytes([5 | register << 3]) + far.to_bytes(4, "little", signed=True)


def called(code):
    """Where f is called, and whether its address is anything else than called."""
    driver = build.driver("x64", code=code, sections=PAGE)
    functions = Analysis(PeImage(driver)).functions
    sites = [function.rvas[i] - TEXT for function, i in functions.callers(TARGET)]
    return sites, functions.takes_address(TARGET)


@pytest.mark.parametrize("between", [b"", NOPS, b"\x31\xc9"])
@pytest.mark.parametrize("call", [CALL_RAX, b"\x48" + CALL_RAX])
def test_a_call_right_behind(between, call):
    assert called(lea(0, 0) + between + call + RET) == ([7 + len(between)], False)


def test_a_jump_right_behind():
    gate = lea(0, 0) + CALL_RAX
    assert called(gate + lea(len(gate), 0) + JUMP_RAX) == ([7, len(gate) + 7], False)


@pytest.mark.parametrize("between", [STORE_RAX, COPY_RAX])
def test_an_address_that_is_put_elsewhere_is_taken(between):
    assert called(lea(0, 0) + between + CALL_RAX + RET) == ([], True)


def test_a_way_in_between_may_bring_another_address():
    code = lea(0, 0) + NOPS + CALL_RAX + b"\x75\xfa" + RET  # jne to the call
    assert called(code) == ([], True)


def test_one_kept_register_serves_several_calls():
    code = PUSH + lea(1, 3) + CALL_RBX + NOPS + CALL_RBX + POP + RET
    gate = lea(len(code), 0) + CALL_RAX + RET
    assert called(code + gate) == ([8, 14, len(code) + 7], False)


def test_a_kept_register_that_is_stored_is_no_call():
    code = PUSH + lea(1, 3) + CALL_RBX + STORE_RBX + POP + RET
    gate = lea(len(code), 0) + CALL_RAX + RET
    assert called(code + gate) == ([len(code) + 7], True)
