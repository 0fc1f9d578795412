"""Keeps and restores the state of a run: registers, writable pages, the kernel's own state.

Only pages that were ever written are looked at: the engine asks before it writes to a page for the
first time (`Memory.written`). Unchanged pages are shared between snapshots, equal ones stored once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import unicorn

from hvci.verifier.kernel.kernel import Kernel, State
from hvci.verifier.machine import Machine
from hvci.verifier.memory import PAGE, Rights
from hvci.verifier.outcome import Trust

ZERO = bytes(PAGE)
CROWDED = 64
"""To look at so many pages costs more than to have the engine ask again."""
_STATE = frozenset(("image", "stack", "kernel data", "control", "user memory"))
"""Labels of mappings that belong to the state, beside the arena."""


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
        self._memory = machine.memory
        self._kernel = kernel
        self._fixed = frozenset(
            at
            for mapping in machine.memory.mappings
            if mapping.label in _STATE and mapping.rights & Rights.WRITE
            for at in range(mapping.frame, mapping.frame + mapping.size, PAGE)
        )
        self._now: dict[int, bytes] = {}
        """What the pages held at the last snapshot or restore; other pages were zero."""
        self._intern: dict[bytes, bytes] = {}
        self.count = 0

    def _catch_up(self) -> None:
        """Bring the table of pages up to the present state."""
        now, page = self._now, self._memory.page
        frame, size = self._kernel.arena.used
        for at in self._memory.written:
            if not (frame <= at < frame + size or at in self._fixed):
                continue
            raw = page(at)
            if raw != now.get(at, ZERO):
                now[at] = self._intern.setdefault(raw, raw)

    def _forget_written(self) -> None:
        """The table of pages is up to date: have the engine ask again before it writes to one."""
        frame, size = self._kernel.arena.used
        known = [at for at in self._memory.written if frame <= at < frame + size]
        self._memory.written.difference_update(known, self._fixed)
        self._machine.engine.ctl(unicorn.UC_CTL_TLB_FLUSH, unicorn.UC_CTL_IO_WRITE)

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
        if len(self._memory.written) > CROWDED:
            self._forget_written()
        now, wanted = self._now, snapshot.pages
        stale = [at for at, raw in wanted.items() if now.get(at) is not raw]
        stale += [at for at in now if at not in wanted]
        for at in stale:
            self._memory.set_page(at, wanted.get(at, ZERO))
        self._now = wanted.copy()
        self._kernel.restore(snapshot.kernel)
        self._machine.engine.context_restore(snapshot.registers)
        self._machine.substitute.state = snapshot.substitute
