"""What the machine needs to know about a processor, whichever it is."""

from __future__ import annotations

import ctypes
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from unicorn.unicorn_py3 import unicorn as binding

from hvci.verifier.memory import Engine, Memory


class Ending(Enum):
    """How a basic block ends."""

    FALL = "falls through"
    CALL = "calls"
    JUMP = "jumps"
    BRANCH = "branches"
    RETURN = "returns"


@dataclass(slots=True)
class Block:
    """A basic block as it was executed; addresses are virtual."""

    start: int
    end: int
    ending: Ending
    last: int
    """Address of the last instruction."""
    target: int
    """Where a direct call, jump or branch goes; 0 when it is computed."""
    is_thunk: bool
    """Nothing but a computed jump: an import thunk or a control-flow-guard dispatcher."""
    sides: tuple[int, int] | None = field(init=False)
    """Where a branch goes on: behind it, and to its target."""

    def __post_init__(self) -> None:
        self.sides = (self.end, self.target) if self.ending is Ending.BRANCH else None


@dataclass(frozen=True, slots=True)
class Convention:
    """How one function takes its arguments on x86; the other processors have but one way."""

    stack_bytes: int = 0
    """What the callee removes from the stack."""
    fastcall: bool = False
    is_known: bool = True
    """Whether `stack_bytes` is known; else the caller's code must tell."""


class Batch:
    """Several registers that are read or written with one call of the engine."""

    def __init__(self, registers: Sequence[int]) -> None:
        count = len(registers)
        self._registers = (ctypes.c_int * count)(*registers)
        self.cells = (ctypes.c_uint64 * count)()
        first, size = ctypes.addressof(self.cells), ctypes.sizeof(ctypes.c_uint64)
        self._places = (ctypes.c_void_p * count)(*(first + size * n for n in range(count)))
        self._count = count

    def read(self, engine: int) -> list[int]:
        """Their values; a register of four bytes leaves the upper half of its cell zero."""
        binding.uclib.uc_reg_read_batch(engine, self._registers, self._places, self._count)
        return self.cells[:]

    def write(self, engine: int) -> None:
        """Give them what the cells hold."""
        binding.uclib.uc_reg_write_batch(engine, self._registers, self._places, self._count)


class Processor(ABC):
    """One emulated processor: an engine with names for the registers that matter."""

    name: str
    pointer_size: int
    stub_code: bytes
    """Code that stops the processor; every stand-in consists of it."""
    engine: Engine
    """The unicorn engine."""
    memory: Memory
    """Set by the machine before the first use."""

    control_region: int = 0
    """Where the kernel's per-processor data lies."""
    pc_register: int
    sp_register: int
    result_register: int
    high_result_register: int = 0
    """Where a 32-bit processor puts the high half of a result; 0 for the others."""

    @abstractmethod
    def prepare(self, control_region: int) -> None:
        """Point the processor's own registers at the kernel's per-processor data."""

    argument_registers: tuple[int, ...] = ()
    """Registers that may carry arguments, the first one first."""

    def attach(self, engine: Engine) -> None:
        """Use an engine, through its C interface where that is called for every stand-in."""
        self.engine = engine
        self._cell = ctypes.c_uint64()
        self._pointer = ctypes.byref(self._cell)
        high = (self.high_result_register,) if self.high_result_register else ()
        self._entered = Batch((self.pc_register, self.sp_register, *self.argument_registers))
        self._left = Batch((self.sp_register, self.result_register, *high))
        self.seen: list[int] = []
        """Program counter, stack pointer and arguments of the stand-in that was just entered;
        empty once any of them may have changed."""

    def look(self) -> int:
        """Read the registers that a stand-in asks for, all at once; the program counter."""
        self.seen = seen = self._entered.read(self.engine._uch)
        return seen[0]

    def finish(self, convention: Convention, result: int) -> int:
        """Return from the function that was just entered with a result; the return address."""
        sp, return_to = self.left(convention)
        self.seen = []
        cells = self._left.cells
        cells[0] = sp
        cells[1] = result & self.memory.mask
        if self.high_result_register:
            cells[2] = result >> 32 & 0xFFFF_FFFF
        self._left.write(self.engine._uch)
        return return_to

    def get(self, register: int) -> int:
        """A general register; a sixth of the cost of the binding's own way."""
        self._cell.value = 0
        binding.uclib.uc_reg_read(self.engine._uch, register, self._pointer)
        return self._cell.value

    def set(self, register: int, value: int) -> None:
        """Change a general register."""
        self.seen = []
        self._cell.value = value
        binding.uclib.uc_reg_write(self.engine._uch, register, self._pointer)

    @property
    def pc(self) -> int:
        """The program counter."""
        return self.get(self.pc_register)

    @property
    def sp(self) -> int:
        """The stack pointer."""
        return self.seen[1] if self.seen else self.get(self.sp_register)

    @sp.setter
    def sp(self, value: int) -> None:
        self.set(self.sp_register, value)

    @property
    def result(self) -> int:
        """The register that carries a function's result."""
        return self.get(self.result_register)

    @result.setter
    def result(self, value: int) -> None:
        self.set(self.result_register, value & self.memory.mask)
        if self.high_result_register:
            self.set(self.high_result_register, value >> 32 & 0xFFFF_FFFF)

    @abstractmethod
    def argument(self, slot: int, convention: Convention) -> int:
        """A register or stack slot of the function that was just entered."""

    @abstractmethod
    def return_address(self) -> int:
        """Where the function that was just entered will return to."""

    @abstractmethod
    def left(self, convention: Convention) -> tuple[int, int]:
        """(stack pointer, return address) when the function that was just entered is left."""

    def leave(self, convention: Convention) -> int:
        """Undo the call of the function that was just entered; return the return address."""
        sp, return_to = self.left(convention)
        self.sp = sp
        return return_to

    @abstractmethod
    def enter(self, arguments: Sequence[int], return_to: int, top: int) -> None:
        """Build a call frame below stack address `top`, as if called from `return_to`."""

    @abstractmethod
    def block(self, start: int, size: int) -> Block:
        """Read how a block ends."""

    @abstractmethod
    def length(self, address: int) -> int:
        """Length of the instruction there in bytes; 0 when it is none."""

    @abstractmethod
    def text(self, address: int) -> str:
        """The instruction there as assembly text."""
