"""What the bytes of instructions are taken for agrees with the decoder, or is on the safe side."""

from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
from iced_x86 import Decoder

from hvci.binary.arch.x86 import shapes
from hvci.binary.arch.x86.architecture import X86
from hvci.binary.form.code import NO_FALL_THROUGH, Flow, Function, Load, Reg

SLOT = 0x38
PREFIXES = [b"", b"\x66", b"\xf3", b"\x64", b"\x67"]
MAPS = [b"", b"\x0f", b"\x0f\x38", b"\x0f\x3a"]
VEX = [b"\xc5\xf8", b"\xc4\xe1\x78"]
MODRMS = (0x00, 0x05, 0x44, 0x50, 0x54, 0x5D, 0x60, 0x74, 0x84, 0x90, 0xC0, 0xD0, 0xE0, 0xF8)
LENGTH = 16


def image_of(code, bits):
    return SimpleNamespace(
        bits=bits,
        memory=bytearray(code),
        bytes=np.frombuffer(code, np.uint8),
        base=0x10000,
        size=len(code),
        guard_check=-1,
        relocated=lambda rva, value: None,
        is_code=lambda rva: False,
    )


def samples(bits):
    wide = [b"", b"\x48", b"\x41"] if bits == 64 else [b""]
    heads = [*product(PREFIXES, wide, MAPS), *product([b"", b"\x64", b"\x67"], VEX)]
    for head in map(b"".join, heads):
        for opcode, modrm in product(range(256), MODRMS):
            tail = bytes((opcode, modrm)) + (b"\x24" if modrm & 7 == 4 and modrm < 0xC0 else b"")
            yield (head + tail + bytes((SLOT,)) + bytes(LENGTH))[:LENGTH]


@pytest.fixture(scope="module", params=[32, 64])
def decoded(request):
    """Every sample decoded, beside its row of the tables; both for one machine."""
    code = b"".join(samples(request.param))
    image = image_of(code + bytes(64), request.param)
    arch = X86(image)
    starts = np.arange(0, len(code), LENGTH)
    rows = shapes.forms(image.bytes, starts, image.bits)
    functions = []
    decoder = Decoder(request.param, code)
    for start in starts.tolist():
        decoder.position = start
        end = start + decoder.decode().len
        function = Function(start, [(start, end)], "start")
        arch.decode(function)
        functions.append(function)
    return arch, image, rows, functions


def missed(functions, chosen, is_wanted):
    return {
        str(function.instructions[0])
        for function, found in zip(functions, chosen.tolist(), strict=True)
        if not found and function.instructions[0].code and is_wanted(function)
    }


def test_every_store_through_a_register_is_seen(decoded):
    arch, _, rows, functions = decoded

    def stores(function):
        effect = arch.effect(function, 0)
        return any(memory.base >= 0 for memory in effect.stores)

    assert missed(functions, shapes.may_store(rows), stores) == set()


def test_every_call_and_jump_through_a_register_or_the_slot_is_seen(decoded):
    arch, image, rows, functions = decoded

    def goes_through(function):
        if function.flows[0] not in (Flow.INDIRECT_CALL, Flow.INDIRECT_JUMP):
            return False
        operand = arch.indirect_operand(function, 0)
        is_slot = isinstance(operand, Load) and operand.memory.displacement == SLOT
        return is_slot or isinstance(operand, Reg)

    chosen = shapes.may_go_through(rows, image.bytes, SLOT)
    assert missed(functions, chosen, goes_through) == set()


def test_only_what_ends_a_way_is_taken_to_end_one(decoded):
    _, _, rows, functions = decoded
    wrong = {
        str(function.instructions[0])
        for function, ends in zip(functions, shapes.ends_way(rows).tolist(), strict=True)
        if ends and function.instructions[0].code and function.flows[0] not in NO_FALL_THROUGH
    }
    assert wrong == set()


def test_plain_loads_are_no_stores():
    code = bytes.fromhex("8b442420 488b5c2430 488d4c2440 3bc3".replace(" ", "")) + bytes(16)
    starts = np.array([0, 4, 9, 14])
    assert not shapes.may_store(shapes.forms(np.frombuffer(code, np.uint8), starts, 64)).any()


@pytest.mark.parametrize(
    ("between", "counted"),
    [
        ("", 3),
        ("8bc1", 3),  # what does not store is no barrier
        ("e800000000", 3),  # nor is a call
        ("7400", 3),  # nor a branch
        ("c3", 0),
        ("eb00", 0),
        ("ffe0", 0),
    ],
)
def test_stores_count_up_to_what_ends_the_way(between, counted):
    pieces = ["6a00", "50", "895c2404", between, "ffd0"]
    code = bytes.fromhex("".join(pieces))
    lengths = [len(bytes.fromhex(piece)) for piece in pieces if piece]
    starts = np.cumsum([0, *lengths])[:-1]
    rows = shapes.forms(np.frombuffer(code + bytes(16), np.uint8), starts, 32)
    assert shapes.stored_before(rows, np.array([0]), 80)[-1] == counted


def test_stores_of_another_function_and_behind_the_window_do_not_count():
    code = bytes.fromhex("50 50 50 50 ffd0")
    rows = shapes.forms(np.frombuffer(code + bytes(16), np.uint8), np.arange(5), 32)
    assert shapes.stored_before(rows, np.array([0, 2]), 80)[-1] == 2
    assert shapes.stored_before(rows, np.array([0]), 3)[-1] == 3


@pytest.mark.parametrize("jump", ["ffe0", "48ffe0", "3e48ffe0", "ff2500000000", "f248ff2500000000"])
def test_a_call_of_an_indirect_jump_is_seen(jump):
    code = bytes.fromhex("e80b000000") + bytes(11) + bytes.fromhex(jump) + bytes(16)
    buffer = np.frombuffer(code, np.uint8)
    rows = shapes.forms(buffer, np.array([0]), 64)
    assert shapes.calls_jumps(rows, buffer).tolist() == [True]
