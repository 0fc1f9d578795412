"""One instruction in the emulator, with the processor that hvci makes: the raw engine, no hooks."""

from __future__ import annotations

import os
import pickle
import signal
import struct
from collections.abc import Iterator
from typing import IO

import unicorn
from host import CODE, DATA, MEMORY, STACK, State
from unicorn import x86_const as reg

from hvci.model import Machine
from hvci.verifier.arch import make_processor
from hvci.verifier.memory import RW, Memory, Rights

BOTH = Rights.READ | Rights.WRITE | Rights.EXECUTE
CONTROL = 0x2000_0000
ILLEGAL, FAULT, TRAP = 4, 11, 5
_FAULTS = {0: 8, 3: TRAP, 1: TRAP, 6: ILLEGAL, 16: 8, 19: 8}
_LOW = ("RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI")
GENERAL = {
    64: (*_LOW, *(f"R{number}" for number in range(8, 16))),
    32: tuple(f"E{name[1:]}" for name in _LOW),
}
EXIT = 128
SECONDS = 5
"""After so long one instruction is given up, as if the engine had crashed."""


class Emulated:
    """An engine that runs one instruction after the other."""

    def __init__(self, bits: int) -> None:
        self.bits = bits
        self.processor = make_processor(Machine.X64 if bits == 64 else Machine.X86)
        self.engine = self.processor.engine
        self.engine.ctl_set_tlb_mode(unicorn.UC_TLB_VIRTUAL)
        self.memory = Memory(self.engine, bits // 8, 0x10_0000)
        self.processor.memory = self.memory
        for start, rights in ((DATA, RW), (STACK, RW), (CODE, BOTH), (CONTROL, RW)):
            self.memory.map(start, 0x2000, rights, "test")
        self.processor.prepare(CONTROL)
        self.engine.hook_add(unicorn.UC_HOOK_INTR, self._on_interrupt)
        self._general = [getattr(reg, f"UC_X86_REG_{name}") for name in GENERAL[bits]]
        self._vectors = [getattr(reg, f"UC_X86_REG_YMM{n}") for n in range(16 if bits == 64 else 8)]
        self._floats = [getattr(reg, f"UC_X86_REG_FP{n}") for n in range(8)]
        self._interrupt = -1
        self._fresh = self.engine.context_save()

    def _on_interrupt(self, engine: object, number: int, data: object) -> None:
        self._interrupt = number
        self.engine.emu_stop()

    def load(self, code: bytes, state: State) -> None:
        """Set everything."""
        engine, memory = self.engine, self.memory
        engine.context_restore(self._fresh)
        memory.poke(DATA, state.data)
        memory.poke(STACK, state.stack)
        memory.poke(CODE, code + b"\xf4" * (256 - len(code)))
        engine.ctl_remove_cache(CODE, CODE + 256)
        for register, value in zip(self._general, state.general, strict=False):
            engine.reg_write(register, value)
        for register, value in zip(self._vectors, state.vectors, strict=False):
            engine.reg_write(register, value)
        self._load_x87(state.x87)
        engine.reg_write(reg.UC_X86_REG_EFLAGS, state.flags)

    def _load_x87(self, image: bytes) -> None:
        control, status, tags = struct.unpack_from("<HHB", image)
        top = status >> 11 & 7
        for index in range(8):
            raw = image[32 + 16 * index : 42 + 16 * index]
            value = (int.from_bytes(raw[:8], "little"), int.from_bytes(raw[8:], "little"))
            self.engine.reg_write(self._floats[(top + index) & 7], value)
        words = sum((0 if tags >> n & 1 else 3) << 2 * n for n in range(8))
        self.engine.reg_write(reg.UC_X86_REG_FPTAG, words)
        self.engine.reg_write(reg.UC_X86_REG_FPCW, control)
        self.engine.reg_write(reg.UC_X86_REG_FPSW, status)
        self.engine.reg_write(reg.UC_X86_REG_MXCSR, struct.unpack_from("<I", image, 24)[0])

    def _x87(self) -> bytes:
        engine = self.engine
        status, words = engine.reg_read(reg.UC_X86_REG_FPSW), engine.reg_read(reg.UC_X86_REG_FPTAG)
        top = status >> 11 & 7
        tags = sum((words >> 2 * n & 3 != 3) << n for n in range(8))
        image = struct.pack("<HHBx", engine.reg_read(reg.UC_X86_REG_FPCW), status, tags)
        image = image.ljust(24, b"\0") + struct.pack(
            "<II", engine.reg_read(reg.UC_X86_REG_MXCSR), 0
        )
        for index in range(8):
            low, high = engine.reg_read(self._floats[(top + index) & 7])
            image += low.to_bytes(8, "little") + high.to_bytes(2, "little") + bytes(6)
        return image

    def run(self, code: bytes, state: State) -> State:
        """The state behind the instruction."""
        self.load(code, state)
        self._interrupt = -1
        fault = 0
        try:
            self.engine.emu_start(CODE, CODE + len(code), count=4096)
        except unicorn.UcError as error:
            fault = ILLEGAL if error.errno == unicorn.UC_ERR_INSN_INVALID else FAULT
        fault = {-1: fault, 0: 8, 3: TRAP, 1: TRAP, 6: ILLEGAL, 16: 8, 19: 8}.get(
            self._interrupt, FAULT
        )
        return self.store(state, fault)

    def store(self, state: State, fault: int) -> State:
        """Everything, as it is now."""
        engine, memory = self.engine, self.memory
        general = [engine.reg_read(register) for register in self._general]
        general += [0] * (16 - len(general))
        vectors = [engine.reg_read(register) for register in self._vectors]
        vectors += [0] * (16 - len(vectors))
        leave = int(self.processor.pc in (CODE + EXIT, CODE + EXIT + 1))
        return State(
            general,
            engine.reg_read(reg.UC_X86_REG_EFLAGS),
            self._x87(),
            vectors,
            memory.read(DATA, MEMORY),
            memory.read(STACK, MEMORY),
            fault,
            leave,
        )


def run_all(bits: int, cases: list[tuple[bytes, State]]) -> list[State | None]:
    """Every case, in processes of their own; None where the engine itself crashed."""
    found: list[State | None] = []
    while len(found) < len(cases):
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.close(reader)
            _child(bits, cases[len(found) :], writer)
        os.close(writer)
        with os.fdopen(reader, "rb") as stream:
            found += _states(stream)
        os.waitpid(child, 0)
        if len(found) < len(cases):
            found.append(None)
    return found


def _child(bits: int, cases: list[tuple[bytes, State]], writer: int) -> None:
    emulated = Emulated(bits)
    with os.fdopen(writer, "wb") as stream:
        for code, state in cases:
            signal.alarm(SECONDS)
            pickle.dump(emulated.run(code, state), stream)
            stream.flush()
    os._exit(0)


def _states(stream: IO[bytes]) -> Iterator[State]:
    while True:
        try:
            yield pickle.load(stream)
        except (EOFError, pickle.UnpicklingError):
            return
