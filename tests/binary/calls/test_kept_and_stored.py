"""An import that a function calls through a register and stores as well is followed both ways.

`g_allocate = ExAllocatePoolWithTag;` beside a call of it: the compiler reads the slot once.
"""

import struct

import pytest

import build
from hvci import evaluate
from hvci.binary.pe.image import PeImage
from hvci.model import Executable, Via

VARIABLE = 0x100
"""Where the pointer is put, behind the start of `.data`."""


def _places(machine: str) -> tuple[int, int, int]:
    """RVAs of the entry, the slot of ExAllocatePoolWithTag and the variable."""
    image = PeImage(build.driver(machine))
    data = next(section for section in image.headers.sections if section.name == ".data")
    (slot,) = image.import_slots["ExAllocatePoolWithTag"]
    return int(image.headers.entry), slot, int(data.rva) + VARIABLE


def _x64(stores: bool) -> bytes:
    entry, slot, variable = _places("x64")

    def relative(end: int, target: int) -> bytes:
        return struct.pack("<i", target - (entry + end))

    code = bytes.fromhex("53 4883ec20 488b1d") + relative(12, slot)
    code += bytes.fromhex("48891d") + relative(19, variable) if stores else bytes(7 * (0x90,))
    code += bytes.fromhex("b900020000 ba00100000 41b854455354 ffd3 e806000000 4883c420 5b c3")
    code += bytes.fromhex("4883ec28 33c9 ba00100000 41b854455354 ff15") + relative(71, variable)
    return build.driver("x64", code=code + bytes.fromhex("4883c428 c3"))


def _x86(stores: bool) -> bytes:
    entry, slot, variable = _places("x86")
    base = PeImage(build.driver("x86")).base

    def absolute(rva: int) -> bytes:
        return struct.pack("<I", base + rva)

    code = bytes.fromhex("56 8b35") + absolute(slot)
    code += bytes.fromhex("8935") + absolute(variable) if stores else bytes(6 * (0x90,))
    code += bytes.fromhex("6854455354 6800100000 6800020000 ffd6 e80d000000 5e c20800")
    code = code.ljust(48, b"\xcc")
    code += bytes.fromhex("6854455354 6800100000 6a00 ff15") + absolute(variable) + b"\xc3"
    places = [3, 9, 62] if stores else [3, 62]
    words = [0x3000 | (entry + place) & 0xFFF for place in places] + [0] * (len(places) % 2)
    block = struct.pack(f"<II{len(words)}H", entry & ~0xFFF, 8 + 2 * len(words), *words)
    return build.driver("x86", code=code, relocations=block)


def _arm64(stores: bool) -> bytes:
    entry, slot, variable = _places("arm64")
    words: list[int] = []

    def page(register: int, target: int) -> int:
        pages = (target >> 12) - ((entry + 4 * len(words)) >> 12)
        return 0x9000_0000 | (pages & 3) << 29 | (pages >> 2 & 0x7_FFFF) << 5 | register

    def access(opcode: int, register: int, base: int, target: int) -> int:
        return opcode | (target & 0xFFF) // 8 << 10 | base << 5 | register

    load, store, nop = 0xF940_0000, 0xF900_0000, 0xD503_201F
    words += [0xA9BE_7BFD, 0xF900_0BF3]  # stp x29, x30, [sp, #-32]!; str x19, [sp, #16]
    words.append(page(8, slot))
    words.append(access(load, 19, 8, slot))
    words.append(page(9, variable))
    words.append(access(store, 19, 9, variable) if stores else nop)
    words += [0x5280_4000, 0x5282_0001, 0x5280_0022]  # mov w0, #0x200; mov w1, #0x1000; mov w2, #1
    words += [0xD63F_0260, 0x9400_0004]  # blr x19; bl to the other function
    words += [0xF940_0BF3, 0xA8C2_7BFD, 0xD65F_03C0]
    words += [0xA9BF_7BFD, 0x5280_0000, 0x5282_0001, 0x5280_0022]
    words.append(page(9, variable))
    words.append(access(load, 9, 9, variable))
    words += [0xD63F_0120, 0xA8C1_7BFD, 0xD65F_03C0]
    return build.driver("arm64", code=struct.pack(f"<{len(words)}I", *words))


DRIVERS = {"x64": _x64, "x86": _x86, "arm64": _arm64}


@pytest.mark.parametrize("machine", DRIVERS)
def test_both_calls_are_found(machine):
    report = evaluate.evaluate(DRIVERS[machine](stores=True))
    calls = [(each.call.via, each.executable) for each in report.calls]
    assert calls == [(Via.REGISTER, Executable.NO), (Via.REGISTER, Executable.YES)]


@pytest.mark.parametrize("machine", DRIVERS)
def test_a_pointer_that_is_only_called_is_no_escape(machine):
    report = evaluate.evaluate(DRIVERS[machine](stores=False))
    assert [each.executable for each in report.calls] == [Executable.NO]
    assert not report.limits


@pytest.mark.parametrize(
    "moved",
    [
        "488bc3 488905",  # mov rax, rbx; mov [variable], rax
        "48871d",  # xchg [variable], rbx
        "33c0 480f44c3 488905",  # xor eax, eax; cmove rax, rbx; mov [variable], rax
        "33c0 480f44d8 48891d",  # the other way round
        "48895c2418 488b4c2418 48890d",  # through a slot of the frame
    ],
)
def test_a_copy_is_stored(moved):
    entry, slot, variable = _places("x64")

    def relative(code: bytes, target: int) -> bytes:
        return code + struct.pack("<i", target - (entry + len(code) + 4))

    code = relative(bytes.fromhex("53 4883ec20 488b1d"), slot)
    code += bytes.fromhex("b900020000 ba00100000 41b854455354 ffd3")
    code = relative(code + bytes.fromhex(moved), variable)
    code += bytes.fromhex("e806000000 4883c420 5b c3 4883ec28 33c9 ba00100000 41b854455354 ff15")
    code = relative(code, variable) + bytes.fromhex("4883c428 c3")
    report = evaluate.evaluate(build.driver("x64", code=code))
    assert [each.executable for each in report.calls] == [Executable.NO, Executable.YES]


def _handed_on_x64(load: str, store: str) -> bytes:
    """`load` names the slot and `store` the variable, which another routine calls."""
    entry, slot, variable = _places("x64")

    def relative(code: bytes, target: int) -> bytes:
        return code + struct.pack("<i", target - (entry + len(code) + 4))

    code = relative(bytes.fromhex("4883ec28" + load), slot)
    code = relative(code + bytes.fromhex(store), variable)
    code += bytes.fromhex("e806000000 4883c428 c3 90")
    code = relative(code + bytes.fromhex("4883ec28 33c9 ba00100000 41b854455354 ff15"), variable)
    return build.driver("x64", code=code + bytes.fromhex("4883c428 c3"))


@pytest.mark.parametrize(
    ("load", "store"),
    [
        ("f30f7e05", "660fd605"),  # movq xmm0, [slot]; movq [variable], xmm0
        ("0f1005", "0f1105"),  # movups, of two slots
        ("488d05", "488905"),  # lea rax, [slot]; mov [variable], rax
        ("ff35", "8f05"),  # push [slot]; pop [variable]
    ],
)
def test_a_pointer_handed_on_otherwise_is_followed_or_a_limit(load, store):
    report = evaluate.evaluate(_handed_on_x64(load, store))
    assert report.verdict != "compatible"
    is_limited = any("ExAllocatePoolWithTag" in limit.reason for limit in report.limits)
    assert is_limited or [each.executable for each in report.calls] == [Executable.YES]


def test_a_comparison_with_a_slot_hands_nothing_on():
    report = evaluate.evaluate(_handed_on_x64("483b05", "488905"))  # cmp rax, [slot]
    assert not report.limits


@pytest.mark.parametrize(
    ("load", "store", "size"),
    [(0xFD40_0000, 0xFD00_0000, 8), (0x3DC0_0000, 0x3D80_0000, 16)],  # ldr d0, ldr q0
)
def test_a_pointer_in_a_vector_register_is_a_limit_on_arm64(load, store, size):
    entry, slot, variable = _places("arm64")

    def page(at: int, target: int) -> int:
        pages = (target >> 12) - ((entry + 4 * at) >> 12)
        return 0x9000_0008 | (pages & 3) << 29 | (pages >> 2 & 0x7_FFFF) << 5

    words = [0xA9BF_7BFD, page(1, slot), load | (slot & 0xFFF) // size << 10 | 8 << 5]
    words += [page(3, variable), store | (variable & 0xFFF) // size << 10 | 8 << 5]
    words += [0xA8C1_7BFD, 0xD65F_03C0]
    report = evaluate.evaluate(build.driver("arm64", code=struct.pack("<7I", *words)))
    assert report.verdict != "compatible"
    assert any("ExAllocatePoolWithTag" in limit.reason for limit in report.limits)


def _passed_x64(passes: bool) -> bytes:
    entry, slot, _ = _places("x64")
    code = bytes.fromhex("53 4883ec20 488b1d") + struct.pack("<i", slot - (entry + 12))
    code += bytes.fromhex("b900020000 ba00100000 41b854455354 ffd3")
    code += bytes.fromhex("488bcb" if passes else "909090")  # mov rcx, rbx
    code += bytes.fromhex("e806000000 4883c420 5b c3")
    code += bytes.fromhex("4883ec28 488bc1 33c9 ba00100000 41b854455354 ffd0 4883c428 c3")
    return build.driver("x64", code=code)


def _passed_arm64(passes: bool) -> bytes:
    entry, slot, _ = _places("arm64")
    pages = (slot >> 12) - ((entry + 8) >> 12)
    words = [0xA9BE_7BFD, 0xF900_0BF3]  # stp x29, x30, [sp, #-32]!; str x19, [sp, #16]
    words.append(0x9000_0008 | (pages & 3) << 29 | (pages >> 2 & 0x7_FFFF) << 5)
    words.append(0xF940_0113 | (slot & 0xFFF) // 8 << 10)  # ldr x19, [x8, #slot]
    words += [0x5280_4000, 0x5282_0001, 0x5280_0022, 0xD63F_0260]  # blr x19
    words.append(0xAA13_03E0 if passes else 0xD503_201F)  # mov x0, x19
    words += [0x9400_0004, 0xF940_0BF3, 0xA8C2_7BFD, 0xD65F_03C0]
    words += [0xA9BF_7BFD, 0xAA00_03E8, 0x5280_0000, 0x5282_0001, 0x5280_0022]
    words += [0xD63F_0100, 0xA8C1_7BFD, 0xD65F_03C0]  # blr x8
    return build.driver("arm64", code=struct.pack(f"<{len(words)}I", *words))


PASSED = {"x64": _passed_x64, "arm64": _passed_arm64}


@pytest.mark.parametrize("machine", PASSED)
def test_a_pointer_that_is_called_and_passed_on_is_a_limit(machine):
    report = evaluate.evaluate(PASSED[machine](passes=True))
    assert Executable.NO in [each.executable for each in report.calls]
    assert report.verdict != "compatible"
    assert any("ExAllocatePoolWithTag" in limit.reason for limit in report.limits)


@pytest.mark.parametrize("machine", PASSED)
def test_a_pointer_that_is_not_passed_on_is_none(machine):
    report = evaluate.evaluate(PASSED[machine](passes=False))
    assert Executable.NO in [each.executable for each in report.calls]
    assert not report.limits
