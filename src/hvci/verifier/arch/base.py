"""What the machine needs to know about a processor, whichever it is."""

from __future__ import annotations

import ctypes
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from unicorn.unicorn_py3 import unicorn as binding

from hvci.verifier.memory import Engine, Memory


class Ending(Enum):
    """How a basic block ends."""

    FALL = "falls through"
    CALL = "calls"
    JUMP = "jumps"
    BRANCH = "branches"
    RETURN = "returns"


class Block(NamedTuple):
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


@dataclass(frozen=True, slots=True)
class Convention:
    """How one function takes its arguments on x86; the other processors have but one way."""

    stack_bytes: int = 0
    """What the callee removes from the stack."""
    fastcall: bool = False
    is_known: bool = True
    """Whether `stack_bytes` is known; else the caller's code must tell."""


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

    def attach(self, engine: Engine) -> None:
        """Use an engine, through its C interface where that is called for every stand-in."""
        self.engine = engine
        self._cell = ctypes.c_uint64()
        self._pointer = ctypes.byref(self._cell)

    def get(self, register: int) -> int:
        """A general register; a sixth of the cost of the binding's own way."""
        self._cell.value = 0
        binding.uclib.uc_reg_read(self.engine._uch, register, self._pointer)
        return self._cell.value

    def set(self, register: int, value: int) -> None:
        """Change a general register."""
        self._cell.value = value
        binding.uclib.uc_reg_write(self.engine._uch, register, self._pointer)

    @property
    def pc(self) -> int:
        """The program counter."""
        return self.get(self.pc_register)

    @property
    def sp(self) -> int:
        """The stack pointer."""
        return self.get(self.sp_register)

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
    def leave(self, convention: Convention) -> int:
        """Undo the call of the function that was just entered; return the return address."""

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
