"""Keeps and restores the state of a run: registers, writable pages, the kernel's own state.

A shadow of memory tells which pages changed since the last snapshot or restore; unchanged pages
are shared between snapshots, and equal pages are stored once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hvci.verifier.kernel.kernel import Kernel, State
from hvci.verifier.machine import Machine
from hvci.verifier.memory import PAGE, Rights
from hvci.verifier.outcome import Trust

WORDS = PAGE // 8
ZERO = bytes(PAGE)
_STATE = frozenset(("image", "stack", "kernel data", "control", "user memory"))
"""Labels of mappings that belong to the state, beside the arena."""

Words = npt.NDArray[np.uint64]


@dataclass(slots=True)
class Snapshot:
    """One state."""

    pc: int
    registers: Any
    pages: dict[int, bytes]
    """By offset in physical memory; other pages are zero."""
    kernel: State
    substitute: int
    """What the processor keeps outside the engine."""
    frames: tuple[Any, ...]
    """Callbacks that stand-ins are waiting for."""
    trust: Trust


class Snapshots:
    """Takes and restores snapshots."""

    def __init__(self, machine: Machine, kernel: Kernel) -> None:
        self._machine = machine
        self._kernel = kernel
        self._ram = machine.memory.ram
        self._shadow = np.zeros(len(self._ram), np.uint8)
        self._fixed = [
            (mapping.frame, mapping.size)
            for mapping in machine.memory.mappings
            if mapping.label in _STATE and mapping.rights & Rights.WRITE
        ]
        self._now: dict[int, bytes] = {}
        self._intern: dict[bytes, bytes] = {}
        self.count = 0

    def _changed(self) -> list[int]:
        """Offsets of pages that differ from the shadow."""
        found: list[int] = []
        for frame, size in (*self._fixed, self._kernel.arena.used):
            live = self._ram[frame : frame + size].view(np.uint64).reshape(-1, WORDS)
            known = self._shadow[frame : frame + size].view(np.uint64).reshape(-1, WORDS)
            differs = (live != known).any(axis=1)
            found += (frame + PAGE * np.flatnonzero(differs)).tolist()
        return found

    def _catch_up(self) -> None:
        """Bring shadow and page table up to the present state."""
        for at in self._changed():
            page = self._ram[at : at + PAGE]
            self._shadow[at : at + PAGE] = page
            raw = page.tobytes()
            self._now[at] = self._intern.setdefault(raw, raw)

    def take(self, pc: int, frames: tuple[Any, ...], trust: Trust) -> Snapshot:
        """Store the present state, to go on at `pc`."""
        self.count += 1
        self._catch_up()
        registers = self._machine.engine.context_save()
        return Snapshot(
            pc,
            registers,
            self._now.copy(),
            self._kernel.save(),
            self._machine.substitute.state,
            frames,
            trust,
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Make a stored state the present one."""
        self._catch_up()
        now, wanted = self._now, snapshot.pages
        stale = [at for at, raw in wanted.items() if now.get(at) is not raw]
        stale += [at for at in now if at not in wanted]
        for at in stale:
            page = np.frombuffer(wanted.get(at, ZERO), np.uint8)
            self._ram[at : at + PAGE] = page
            self._shadow[at : at + PAGE] = page
        self._now = wanted.copy()
        self._kernel.restore(snapshot.kernel)
        self._machine.engine.context_restore(snapshot.registers)
        self._machine.substitute.state = snapshot.substitute
