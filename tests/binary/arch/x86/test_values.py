"""What instructions leave in registers, beside what a processor makes of the same numbers."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from unicorn import UC_ARCH_X86, UC_MODE_32, UC_MODE_64, Uc
from unicorn.x86_const import (
    UC_X86_REG_EAX,
    UC_X86_REG_ECX,
    UC_X86_REG_EDX,
    UC_X86_REG_RAX,
    UC_X86_REG_RCX,
    UC_X86_REG_RDX,
)

import build
from hvci.binary.analysis.wiring import Analysis
from hvci.binary.arch.x86.lift import RAX, RCX, RDX
from hvci.binary.flow.atoms import Kind
from hvci.binary.form.code import Location
from hvci.binary.pe.image import PeImage

PLACE = 0x10000
REGISTERS = {
    64: {RAX: UC_X86_REG_RAX, RCX: UC_X86_REG_RCX, RDX: UC_X86_REG_RDX},
    32: {RAX: UC_X86_REG_EAX, RCX: UC_X86_REG_ECX, RDX: UC_X86_REG_EDX},
}
LOADS = {64: ("48b8", "48b9", "48ba"), 32: ("b8", "b9", "ba")}
BOTH = {
    "shl eax, cl": "d3e0", "shr eax, cl": "d3e8", "sar eax, cl": "d3f8", "shl ax, cl": "66d3e0",
    "sar ax, 0A2h": "66c1f8a2", "shr al, cl": "d2e8", "shl eax, 24h": "c1e024",
    "bts eax, ecx": "0fabc8", "btr eax, ecx": "0fb3c8", "bts ax, cx": "660fabc8",
    "btr eax, 29h": "0fbaf029", "xchg eax, ecx": "91", "xchg ax, cx": "6691",
    "xchg al, cl": "86c8", "xchg al, ah": "86c4", "xchg ah, al": "86e0", "add eax, ecx": "01c8",
    "sub al, ch": "28e8", "and eax, 200h": "2500020000", "or ah, 2": "80cc02", "neg ax": "66f7d8",
    "not eax": "f7d0", "movzx eax, cl": "0fb6c1", "movsx eax, cx": "0fbfc1", "inc al": "fec0",
    "cmovb eax, ecx": "0f42c1", "setz al": "0f94c0", "imul eax, ecx": "0fafc1",
    "imul eax, ecx, 5": "6bc105", "lea eax, [ecx+edx*4+8]": "8d449108", "cwde": "98",
    "sbb eax, eax": "19c0", "adc eax, ecx": "11c8", "mov ah, cl": "88cc", "xor eax, eax": "31c0",
}  # fmt: skip
WIDE = {
    "shl rax, cl": "48d3e0", "shr rax, cl": "48d3e8", "sar rax, 45h": "48c1f845",
    "bts rax, rcx": "480fabc8", "btr rax, rcx": "480fb3c8", "cdqe": "4898",
    "movsxd rax, ecx": "4863c1", "mov eax, ecx": "89c8", "xchg rax, rcx": "4891",
    "lea rax, [rcx+rdx*2-1]": "488d4451ff", "add rax, rcx": "4801c8",
}  # fmt: skip
CASES = [(bits, each) for bits in (64, 32) for each in BOTH] + [(64, each) for each in WIDE]
EDGES = (0, 1, 0x1F, 0x20, 0x200, 0xFFFF, 0x8000_0000, 0xFFFF_FFFF)
numbers = st.sampled_from(EDGES) | st.integers(0, 2**64 - 1)


def told(bits: int, code: bytes) -> dict[int, set[int]]:
    """What registers can hold behind code, as far as all of it is known."""
    image = PeImage(build.driver("x64" if bits == 64 else "x86", code=code + b"\xc3"))
    analysis, found = Analysis(image), {}
    function, i = analysis.functions.instruction_at(int(image.headers.entry) + len(code))
    for register in REGISTERS[bits]:
        analysis.flow.begin()
        held = analysis.flow.value(function, i, Location(register))
        if all(atom.kind is Kind.CONST for atom in held):
            found[register] = {atom.value & (1 << bits) - 1 for atom in held}
    return found


def computed(bits: int, code: bytes) -> dict[int, int]:
    processor = Uc(UC_ARCH_X86, UC_MODE_64 if bits == 64 else UC_MODE_32)
    processor.mem_map(PLACE, 0x1000)
    processor.mem_write(PLACE, code)
    processor.emu_start(PLACE, PLACE + len(code))
    mask = (1 << bits) - 1
    return {each: processor.reg_read(number) & mask for each, number in REGISTERS[bits].items()}


@pytest.mark.parametrize(("bits", "name"), CASES, ids=[f"{name} ({bits})" for bits, name in CASES])
@settings(max_examples=12)
@given(values=st.tuples(numbers, numbers, numbers))
@example(values=(0x1234_5678_9ABC_DEF0, 0xFF, 2))
@example(values=(0x8000_0000_0000_0201, 0xFFFF_FFFF_FFFF_FDFF, 0))
def test_what_is_said_is_what_a_processor_computes(bits, name, values):
    size = bits // 8
    loads = (
        bytes.fromhex(load) + (value & (1 << bits) - 1).to_bytes(size, "little")
        for load, value in zip(LOADS[bits], values, strict=True)
    )
    code = b"".join(loads) + bytes.fromhex((BOTH | WIDE)[name])
    real = computed(bits, code)
    for register, possible in told(bits, code).items():
        assert real[register] in possible
