"""Does a repeated string instruction in one step. Knows Intel encodings, nothing of Windows.

The engine calls the block hook once for each iteration of `rep stos` and `rep movs`; all
iterations but the last are done here, and only where that changes nothing: forward, on pages that
allow it, without overlap.
"""

from __future__ import annotations

from unicorn import x86_const as reg

from hvci.verifier.arch import Processor
from hvci.verifier.memory import Mapping, Rights

_REGISTERS = {
    "x64": (reg.UC_X86_REG_RCX, reg.UC_X86_REG_RDI, reg.UC_X86_REG_RSI, reg.UC_X86_REG_RAX),
    "x86": (reg.UC_X86_REG_ECX, reg.UC_X86_REG_EDI, reg.UC_X86_REG_ESI, reg.UC_X86_REG_EAX),
}
_DIRECTION = 0x400
_STORES, _MOVES = (0xAA, 0xAB), (0xA4, 0xA5)
FEWEST = 8


def finish_string_instruction(processor: Processor, address: int) -> bool:
    """Do all but the last iteration of the instruction at `address`; False when it is none."""
    registers = _REGISTERS.get(processor.name)
    if registers is None:
        return False
    opcode, width = _decode(processor.memory.read(address, 4), processor.name == "x64")
    engine = processor.engine
    count = engine.reg_read(registers[0])
    if not width or count < FEWEST or engine.reg_read(reg.UC_X86_REG_EFLAGS) & _DIRECTION:
        return False
    size = (count - 1) * width
    target = engine.reg_read(registers[1])
    place = _place(processor, target, size, Rights.WRITE)
    if place is None:
        return False
    if opcode in _STORES:
        value = engine.reg_read(registers[3]) & ((1 << 8 * width) - 1)
        processor.memory.write(target, value.to_bytes(width, "little") * (count - 1))
    elif not _move(processor, registers[2], target, size):
        return False
    engine.reg_write(registers[1], target + size)
    engine.reg_write(registers[0], 1)
    return True


def _decode(code: bytes, is_64: bool) -> tuple[int, int]:
    """(opcode, bytes an iteration); (0, 0) when the code is no such instruction."""
    prefixes, at = 0, 0
    while at < 3 and (code[at] in (0xF3, 0x66) or (is_64 and code[at] & 0xF0 == 0x40)):
        prefixes |= {0xF3: 1, 0x66: 2}.get(code[at], 4 if code[at] & 8 else 0)
        at += 1
    opcode = code[at]
    if not prefixes & 1 or opcode not in _STORES + _MOVES:
        return 0, 0
    if not opcode & 1:
        return opcode, 1
    return opcode, 8 if prefixes & 4 else 2 if prefixes & 2 else 4


def _place(processor: Processor, address: int, size: int, right: Rights) -> Mapping | None:
    """The mapping that holds the whole range with that right."""
    mapping = processor.memory.find(address)
    if mapping is None or address + size > mapping.end or not mapping.rights & right:
        return None
    return mapping


def _move(processor: Processor, source_register: int, target: int, size: int) -> bool:
    source = processor.engine.reg_read(source_register)
    apart = source + size <= target or target + size <= source
    if not apart or _place(processor, source, size, Rights.READ) is None:
        return False
    processor.memory.write(target, processor.memory.read(source, size))
    processor.engine.reg_write(source_register, source + size)
    return True
