"""What the data flow says each instruction leaves, beside what the emulator computes.

    python bench/instructions/values.py FOLDER [--machine x64 x86 arm64] [--words N] [--seed N]

Instructions of the drivers of a folder (collection.py names the collection), a few of each form,
with operands in registers or constants; those of x64 and x86 in memory too, moved to the stack.
Each is run behind code that loads random numbers; what registers can hold behind it is asked. An
answer that is said to be complete and lacks what was computed is wrong. Printed is each wrong one,
then how many answers were complete and how many open; the exit code is 1 if any was wrong.
"""

from __future__ import annotations

import argparse
import random
import struct
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import unicorn
from iced_x86 import (
    Code,
    Decoder,
    Encoder,
    FlowControl,
    Instruction,
    InstructionInfoFactory,
    MemorySizeExt,
    Mnemonic,
    OpKind,
    Register,
)
from unicorn import arm64_const, x86_const

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent / "tests")]

from collection import drivers  # noqa: E402

import build  # noqa: E402
from hvci.binary.analysis.wiring import Analysis  # noqa: E402
from hvci.binary.arch.arm64 import encoding  # noqa: E402
from hvci.binary.arch.x86.lift import REGISTERS  # noqa: E402
from hvci.binary.flow.atoms import Kind  # noqa: E402
from hvci.binary.form.code import Location  # noqa: E402
from hvci.binary.pe.image import PeImage  # noqa: E402
from hvci.errors import HvciError  # noqa: E402

PLACE, STACK, SIZE = 0x10000, 0x20000, 0x4000
EACH = 8
"""Instructions of one form that are run."""
SLOT = 0x18
"""Where operands in memory are moved to, behind the stack pointer."""
NUMBERS = (
    *(0, 1, 2, 4, 0x7F, 0x80, 0xFF, 0x200, 0x201, 0x8000, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000),
    *(0xFFFF_FFFF, 0x1234_5678, 2**63, 2**64 - 1, 2**64 - 0x201, 0x1234_5678_9ABC_DEF0),
)
_NAMES = ["AX", "CX", "DX", "BX", "BP", "SI", "DI"]
_INTEL = {
    32: [f"E{name}" for name in _NAMES],
    64: [*(f"R{name}" for name in _NAMES), *(f"R{n}" for n in range(8, 16))],
}
_OF_THE_SYSTEM = frozenset(
    getattr(Mnemonic, name)
    for name in [
        "CPUID",
        "RDTSC",
        "RDTSCP",
        "RDMSR",
        "WRMSR",
        "RDPMC",
        "XGETBV",
        "IN",
        "OUT",
        "HLT",
        "CLI",
        "STI",
        "SWAPGS",
        "STR",
        "SLDT",
        "SMSW",
        "LMSW",
        "WBINVD",
        "ARPL",
        "LAR",
        "LSL",
        "VERR",
        "VERW",
        "VMCALL",
        "DIV",
        "IDIV",
        "RDRAND",
        "RDSEED",
    ]
)


class Case(NamedTuple):
    """An instruction with the code around it."""

    text: str
    code: bytes
    numbers: dict[str, int]
    """What the registers hold before it, by name."""


def images(folder: Path, machine: str) -> Iterator[PeImage]:
    """The images of one machine."""
    for driver in drivers(folder):
        if driver.machine == machine:
            try:
                yield PeImage(driver.path.read_bytes())
            except HvciError:
                continue


# ---- x64 and x86


def instructions(folder: Path, bits: int, most: int) -> list[tuple[str, bytes]]:
    """(text, bytes) of a few instructions of each form."""
    found: dict[tuple[int, bool], dict[bytes, str]] = defaultdict(dict)
    infos = InstructionInfoFactory()
    for image in images(folder, "x64" if bits == 64 else "x86"):
        for start, end in image.code_ranges:
            code = bytes(image.memory[start:end])
            for each in Decoder(bits, code, ip=start):
                key = each.code, _in_memory(each)
                if len(found[key]) < EACH and _is_plain(each, infos):
                    raw = code[each.ip - start : each.next_ip - start]
                    moved = _on_stack(each, bits) if key[1] else raw
                    if moved:
                        found[key][moved] = str(Decoder(bits, moved).decode())
    every = [(text, raw) for rows in found.values() for raw, text in rows.items()]
    return every[:most]


def _in_memory(instruction: Instruction) -> bool:
    kinds = [instruction.op_kind(n) for n in range(instruction.op_count)]
    return OpKind.MEMORY in kinds and instruction.mnemonic != Mnemonic.LEA


def _is_plain(instruction: Instruction, infos: InstructionInfoFactory) -> bool:
    """Whether an instruction does no more than compute, as far as it can be told."""
    if instruction.is_invalid or instruction.flow_control != FlowControl.NEXT:
        return False
    if instruction.is_stack_instruction or instruction.mnemonic in _OF_THE_SYSTEM:
        return False
    used = infos.info(instruction)
    memories = [each for each in used.used_memory() if instruction.mnemonic != Mnemonic.LEA]
    if len(memories) > _in_memory(instruction):
        return False
    if memories and not 0 < MemorySizeExt.size(instruction.memory_size) <= 16:
        return False
    if instruction.mnemonic == Mnemonic.LEA and instruction.is_ip_rel_memory_operand:
        return False
    registers = [each.register for each in used.used_registers()]
    stack = REGISTERS[Register.RSP][0]
    general = [each for each in registers if each in REGISTERS]
    written = [instruction.op_register(n) for n in range(instruction.op_count)]
    return bool(general or memories) and all(
        REGISTERS[each][0] != stack for each in (*general, *written) if each in REGISTERS
    )


def _on_stack(instruction: Instruction, bits: int) -> bytes:
    """The instruction with its memory operand on the stack; empty where it has no such form."""
    moved = instruction.copy()
    moved.memory_base = Register.RSP if bits == 64 else Register.ESP
    moved.memory_index, moved.segment_prefix = Register.NONE, Register.NONE
    moved.memory_displacement, moved.memory_displ_size, moved.memory_index_scale = SLOT, 1, 1
    encoder = Encoder(bits)
    try:
        encoder.encode(moved, 0)
    except ValueError:
        return b""
    return encoder.take_buffer()


def _loads(bits: int, numbers: dict[str, int]) -> bytes:
    """Code that makes room on the stack, loads registers, and fills the slot with two of them."""
    encoder = Encoder(bits)
    for name, value in numbers.items():
        register = getattr(Register, name)
        wide = Instruction.create_reg_u64(Code.MOV_R64_IMM64, register, value)
        narrow = Instruction.create_reg_u32(Code.MOV_R32_IMM32, register, value & 0xFFFF_FFFF)
        encoder.encode(wide if bits == 64 else narrow, 0)
    filled = "4889442418 48894c2420" if bits == 64 else "89442418 894c241c"
    room = "4883ec48" if bits == 64 else "83ec48"
    return bytes.fromhex(room) + encoder.take_buffer() + bytes.fromhex(filled)


def intel(folder: Path, bits: int, most: int, dice: random.Random) -> Iterator[Case]:
    """Each instruction, and behind it a load of the slot."""
    load = bytes.fromhex("4c8b7c2418" if bits == 64 else "8b7c2418")
    for text, raw in instructions(folder, bits, most):
        numbers = {name: dice.choice(NUMBERS) for name in _INTEL[bits]}
        yield Case(text, _loads(bits, numbers) + raw + load, numbers)


# ---- ARM64


def arm64(folder: Path, most: int, dice: random.Random) -> Iterator[Case]:
    """Each word of a few of each form that computes with registers."""
    found: dict[tuple[str, int], list[int]] = defaultdict(list)
    for image in images(folder, "arm64"):
        for start, end in image.code_ranges:
            words = np.unique(np.frombuffer(image.memory, "<u4", (end - start) // 4, start))
            computes = (words >> 25 & 7 == 5) | (words >> 26 & 7 == 4)
            for word in words[computes].tolist():
                row = encoding.row_of(word)
                group = found[row.name, word >> 21]
                if len(group) < EACH and row.name not in ("adr", "adrp"):
                    group.append(word)
    every = [(name, word) for (name, _), group in found.items() for word in group]
    for name, word in every[:most]:
        fields = sorted({word >> shift & 31 for shift in (0, 5, 10, 16)} - {18, 29, 30, 31})
        if word & 31 not in fields:
            continue
        numbers = {f"X{each}": dice.choice(NUMBERS) for each in fields}
        loads = [part for each in fields for part in _moves(each, numbers[f"X{each}"])]
        code = struct.pack(f"<{len(loads) + 1}I", *loads, word)
        yield Case(f"{name} {word:08x}", code, numbers)


def _moves(register: int, value: int) -> Iterator[int]:
    """MOVZ and MOVKs that load a number."""
    for part in range(4):
        opcode = 0xF280_0000 if part else 0xD280_0000
        yield opcode | part << 21 | (value >> 16 * part & 0xFFFF) << 5 | register


# ---- both sides


def computed(machine: str, case: Case) -> dict[str, int] | None:
    """What registers hold behind the code; None where the engine refuses it."""
    if machine == "arm64":
        engine = unicorn.Uc(unicorn.UC_ARCH_ARM64, unicorn.UC_MODE_ARM)
        engine.ctl_set_cpu_model(arm64_const.UC_CPU_ARM64_MAX)
        names = {each: getattr(arm64_const, f"UC_ARM64_REG_{each}") for each in case.numbers}
        pointer = arm64_const.UC_ARM64_REG_SP
    else:
        wide = machine == "x64"
        mode = unicorn.UC_MODE_64 if wide else unicorn.UC_MODE_32
        engine = unicorn.Uc(unicorn.UC_ARCH_X86, mode)
        names = {each: getattr(x86_const, f"UC_X86_REG_{each}") for each in case.numbers}
        pointer = x86_const.UC_X86_REG_RSP if wide else x86_const.UC_X86_REG_ESP
    engine.mem_map(PLACE, SIZE)
    engine.mem_map(STACK, SIZE)
    engine.mem_write(PLACE, case.code)
    engine.reg_write(pointer, STACK + SIZE // 2)
    try:
        engine.emu_start(PLACE, PLACE + len(case.code), count=500)
    except unicorn.UcError:
        return None
    return {each: engine.reg_read(number) for each, number in names.items()}


def said(machine: str, case: Case) -> dict[str, set[int] | None]:
    """What registers can hold behind the code; None where not all of it is known."""
    end = bytes.fromhex("c0035fd6" if machine == "arm64" else "c3")
    image = PeImage(build.driver(machine, code=case.code + end))
    analysis = Analysis(image)
    function, i = analysis.functions.instruction_at(int(image.headers.entry) + len(case.code))
    mask, found = (1 << image.bits) - 1, {}
    for name in case.numbers:
        number = int(name[1:]) if machine == "arm64" else REGISTERS[getattr(Register, name)][0]
        analysis.flow.begin()
        held = analysis.flow.value(function, i, Location(number))
        is_known = held and all(atom.kind is Kind.CONST for atom in held)
        found[name] = {atom.value & mask for atom in held} if is_known else None
    analysis.release()
    return found


def run(machine: str, cases: Iterable[Case]) -> int:
    """Compare all cases of a machine; how many are wrong."""
    counts: Counter[str] = Counter()
    for case in cases:
        real = computed(machine, case)
        if real is None:
            counts["refused by the engine"] += 1
            continue
        counts["instructions"] += 1
        for name, possible in said(machine, case).items():
            counts["open" if possible is None else "complete"] += 1
            if possible is not None and real[name] not in possible:
                counts["wrong"] += 1
                print(f"{machine}: {case.text}: {name} is {real[name]:#x},", end=" ")
                print(f"not {', '.join(map(hex, possible))}; before: {case.numbers}")
    print(f"{machine}: " + ", ".join(f"{count} {what}" for what, count in counts.items()))
    return counts["wrong"]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--machine", nargs="+", default=["x64", "x86", "arm64"])
    parser.add_argument("--words", type=int, default=1 << 30, help="instructions of a machine")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    wrong, dice = 0, random.Random(options.seed)
    for machine in options.machine:
        if machine == "arm64":
            wrong += run(machine, arm64(options.folder, options.words, dice))
        else:
            bits = 64 if machine == "x64" else 32
            wrong += run(machine, intel(options.folder, bits, options.words, dice))
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
