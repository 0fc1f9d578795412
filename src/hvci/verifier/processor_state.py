"""Watches the instructions that change what the processor protects, with the values they write.

Candidates are opcode bytes in executable sections; each gets a hook of its own, so the rest of the
code runs at full speed. x64 and x86 only. Judges nothing beyond "which bit was cleared".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import unicorn
from iced_x86 import Decoder, Instruction, Mnemonic, Register
from unicorn import x86_const as reg

from hvci.binary import PeImage
from hvci.binary.arch.x86.system import CANDIDATES, MNEMONICS, MSRS, SMEP, WRITE_PROTECT
from hvci.verifier.machine import Machine
from hvci.verifier.memory import Engine

WRITES, RUNS = "writes-executable-memory", "dynamic-code"
MAX_WATCHED = 1024
_VALUES = {
    name: getattr(reg, f"UC_X86_REG_{name}")
    for name in (
        *("RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI"),
        *(f"R{number}" for number in range(8, 16)),
        *("EAX", "ECX", "EDX", "EBX", "ESP", "EBP", "ESI", "EDI"),
    )
}
_NAMES = {getattr(Register, name): name for name in _VALUES}


@dataclass(frozen=True, slots=True)
class Change:
    """What one instruction did to the processor, and the rule that it concerns."""

    address: int
    rule: str
    what: str


def watch(machine: Machine, image: PeImage, report: Callable[[Change], None]) -> int:
    """Hook every candidate; `report` gets what it changes whenever it executes.

    Returns how many candidates were left out, for there were too many.
    """
    if machine.processor.name == "arm64":
        return 0
    engine = machine.engine
    engine.reg_write(reg.UC_X86_REG_CR0, engine.reg_read(reg.UC_X86_REG_CR0) | 1 << WRITE_PROTECT)
    engine.reg_write(reg.UC_X86_REG_CR4, engine.reg_read(reg.UC_X86_REG_CR4) | 1 << SMEP)
    decoded = ((rva, _decoded(image, rva)) for rva in _candidates(image))
    found = [(rva, instruction) for rva, instruction in decoded if instruction is not None]
    for rva, instruction in found[:MAX_WATCHED]:
        address = machine.layout.image + rva
        engine.hook_add(unicorn.UC_HOOK_CODE, _on_execute(report), instruction, address, address)
    return max(0, len(found) - MAX_WATCHED)


def _on_execute(report: Callable[[Change], None]) -> Callable[..., None]:
    def on_execute(engine: Engine, address: int, size: int, instruction: Instruction) -> None:
        change = _change(engine, address, instruction)
        if change is not None:
            report(change)

    return on_execute


def _candidates(image: PeImage) -> list[int]:
    """RVAs of opcode bytes that may be such an instruction."""
    found: list[int] = []
    for start, end in image.code_ranges:
        code = bytes(image.memory[start:end])
        found += [start + match.start() for match in CANDIDATES.finditer(code)]
    return found


def _decoded(image: PeImage, rva: int) -> Instruction | None:
    for prefix in (1, 0):
        # lidt, lgdt and moves from r8 to r15 carry a prefix byte.
        at = rva - prefix
        if prefix and (image.bits == 32 or image.memory[at] & 0xF0 != 0x40):
            continue
        code = bytes(image.memory[at : at + 15])
        for instruction in Decoder(image.bits, code, ip=at):
            if instruction.mnemonic in MNEMONICS:
                return instruction
            break
    return None


def _change(engine: Engine, address: int, instruction: Instruction) -> Change | None:
    """What the instruction is about to do, if that concerns code integrity."""
    if instruction.mnemonic == Mnemonic.WRMSR:
        name = MSRS.get(engine.reg_read(reg.UC_X86_REG_ECX) & 0xFFFF_FFFF)
        return Change(address, WRITES, f"writes {name}") if name else None
    if instruction.mnemonic in (Mnemonic.LIDT, Mnemonic.LGDT):
        table = "interrupt" if instruction.mnemonic == Mnemonic.LIDT else "global"
        return Change(address, WRITES, f"loads the {table} descriptor table register")
    target: int = instruction.op0_register
    if Register.DR0 <= target <= Register.DR7:
        return Change(address, WRITES, f"writes debug register DR{target - Register.DR0}")
    name = _NAMES.get(instruction.op1_register, "")
    value = engine.reg_read(_VALUES[name]) if name else 1 << WRITE_PROTECT | 1 << SMEP
    if target == Register.CR0 and not value >> WRITE_PROTECT & 1:
        return Change(address, WRITES, "clears CR0.WP, the processor's write protection")
    if target == Register.CR4 and not value >> SMEP & 1:
        return Change(address, RUNS, "clears CR4.SMEP, which keeps the kernel from user pages")
    return None
