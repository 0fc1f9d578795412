"""The machine that a driver runs on: a processor, its memory, and why it stopped.

Theory of operation. The engine runs until something needs attention, then `resume` says what.

1. Stand-ins are cells of code that stops the processor. All their work is done while it stands,
   so pages may be mapped and the program counter moved; doing so inside a hook crashes the engine.
2. Memory hooks only note the fault and stop. Nothing is decided here.
3. One block hook, limited to the image, counts blocks, remembers where the run came from, and
   reports a branch whose other side was never seen to `on_fork`.
4. Blocks are decoded when they are first executed, so data in code never misleads.
5. `rep stos` and `rep movs` would call the hook once for each iteration: they are done at once.
6. Budgets are blocks, never seconds: the same driver stops at the same place.
7. Instructions that the engine computes wrongly are looked for when a block is first executed. It
   stops before each of them (`Why.SPECIAL`), and whoever decides executes it or goes on behind it.

Blind spots: one processor, no interrupts, no time, no caches; floating-point state is the engine's.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from enum import Enum
from typing import NamedTuple, Protocol

import unicorn
from unicorn.unicorn_py3 import unicorn as binding

from hvci.model import Machine as Architecture
from hvci.verifier import layout as lay
from hvci.verifier.arch import Block, Ending, make_processor
from hvci.verifier.cpu import make_substitute
from hvci.verifier.layout import LAYOUT_32, LAYOUT_64, STUB_BYTES, STUB_REGION
from hvci.verifier.memory import RW, Engine, Memory, Rights
from hvci.verifier.strings import finish_string_instruction

CAPACITY = 0xC00_0000
"""Bytes of physical memory beside the image."""
SPECIAL_COST = 4
"""Blocks that an instruction costs which the engine does not execute itself."""
REPEATS = 16
"""So often may a block follow itself before it is looked at."""


class Why(Enum):
    """Why the processor stands."""

    STUB = "stand-in"
    WRITE = "write to a page without the right"
    FETCH = "fetch from a page without the right"
    UNMAPPED = "access to an unmapped page"
    INTERRUPT = "interrupt"
    INVALID = "instruction that cannot be executed"
    BUDGET = "block budget spent"
    HALTED = "halted"
    NEW_CODE = "code that was not looked at yet"
    SPECIAL = "instruction that the engine must not execute"


class Stop(NamedTuple):
    """Why and where the processor stands."""

    why: Why
    address: int = 0
    """The address that was touched, the stand-in's number or the interrupt vector."""
    size: int = 1


class CodeWatch(Protocol):
    """Looks at code that may have changed since the image was loaded."""

    def needs(self, address: int, size: int) -> bool:
        """Whether a block that is about to run must wait until `take_up` was called."""

    def take_up(self) -> None:
        """Do what needs a standing engine."""


class Machine:
    """One emulated computer."""

    def __init__(self, architecture: Architecture, image_size: int) -> None:
        self.processor = make_processor(architecture)
        self.engine: Engine = self.processor.engine
        self.engine.ctl_set_tlb_mode(unicorn.UC_TLB_VIRTUAL)
        self.layout = LAYOUT_64 if self.processor.pointer_size == 8 else LAYOUT_32
        capacity = CAPACITY + image_size
        self.memory = Memory(self.engine, self.processor.pointer_size, capacity)
        self.processor.memory = self.memory
        self.image_end = self.layout.image + image_size
        self.blocks_known: dict[int, Block] = {}
        self.visited: set[int] = set()
        """Starts of blocks executed in the present epoch of exploration."""
        self.current: Block | None = None
        self.previous: tuple[Block | None, ...] = (None, None, None)
        """The blocks before the current one, newest first."""
        self.blocks = 0
        self.block_limit = 0
        self.on_fork: Callable[[int], None] | None = None
        self.code_watch: CodeWatch | None = None
        self.substitute = make_substitute(self.processor)
        self._special: set[int] = set()
        """Addresses of instructions that the engine must not execute."""
        self._to_hook: list[int] = []
        self._last = 0
        self._repeats = 0
        self._stop: Stop | None = None
        self._map_kernel()
        self._hook()

    def _map_kernel(self) -> None:
        memory, place = self.memory, self.layout
        memory.map(place.stubs, STUB_REGION, RW, "kernel code")
        memory.poke(place.stubs, self.processor.stub_code * (STUB_REGION // STUB_BYTES))
        memory.seal(place.stubs, STUB_REGION)
        memory.map(place.stack, lay.STACK, RW, "stack")
        memory.map(place.data, 0x10000, RW, "kernel data")
        memory.map(place.control, 0x1000 if memory.pointer_size == 4 else 0x10000, RW, "control")
        memory.map(place.shared, 0x1000, Rights.READ, "shared data")
        memory.map(place.user, lay.USER, RW, "user memory")
        memory.map(place.arena, lay.ARENA, RW, "pool")
        memory.reserve_inventions()
        self.processor.prepare(place.control)

    def in_image(self, address: int) -> bool:
        """Whether an address lies in the driver image."""
        return self.layout.image <= address < self.image_end

    # ---- hooks

    def _hook(self) -> None:
        engine = self.engine
        self._hook_blocks()
        unmapped = unicorn.UC_HOOK_MEM_READ_UNMAPPED | unicorn.UC_HOOK_MEM_WRITE_UNMAPPED
        fetch = unicorn.UC_HOOK_MEM_FETCH_UNMAPPED | unicorn.UC_HOOK_MEM_FETCH_PROT
        refused = unicorn.UC_HOOK_MEM_WRITE_PROT | unicorn.UC_HOOK_MEM_READ_PROT
        engine.hook_add(unmapped, self._note(Why.UNMAPPED))
        engine.hook_add(fetch, self._note(Why.FETCH))
        engine.hook_add(refused, self._note(Why.WRITE))
        engine.hook_add(unicorn.UC_HOOK_INTR, self._on_interrupt)
        if self.processor.name != "arm64":
            from unicorn import x86_const

            engine.hook_add(unicorn.UC_HOOK_INSN, _read_port, None, 1, 0, x86_const.UC_X86_INS_IN)
            engine.hook_add(unicorn.UC_HOOK_INSN, _write_port, None, 1, 0, x86_const.UC_X86_INS_OUT)

    def _hook_blocks(self) -> None:
        """Hook blocks through the C interface: a third of the cost of the binding's wrapper."""
        self._stop_engine = binding.uclib.uc_emu_stop
        prototype = ctypes.CFUNCTYPE(
            None, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_void_p
        )
        self._callback = prototype(self._on_block)
        handle = ctypes.c_size_t()
        status = binding.uclib.uc_hook_add(
            self.engine._uch,
            ctypes.byref(handle),
            unicorn.UC_HOOK_BLOCK,
            ctypes.cast(self._callback, ctypes.c_void_p),
            None,
            ctypes.c_uint64(self.layout.image),
            ctypes.c_uint64(self.image_end - 1),
        )
        if status:
            raise RuntimeError(f"the engine refused the block hook: {status}")

    def _note(self, why: Why) -> Callable[..., bool]:
        def on_fault(
            engine: Engine, access: int, address: int, size: int, value: int, data: object
        ) -> bool:
            self._stop = Stop(why, address & self.memory.mask, size)
            return False

        return on_fault

    def _on_interrupt(self, engine: Engine, number: int, data: object) -> None:
        self._stop = Stop(Why.INTERRUPT, number)
        engine.emu_stop()

    def _on_block(self, engine: int, address: int, size: int, data: object) -> None:
        if address == self._last:
            self._on_repeat(address)
            return
        if self.code_watch is not None and self.code_watch.needs(address, size):
            self._stop = Stop(Why.NEW_CODE, address)
            self._stop_engine(self.engine._uch)
            return
        self._last, self._repeats = address, 0
        self.blocks += 1
        if self.blocks > self.block_limit:
            self._halt(engine)
            return
        block = self.blocks_known.get(address)
        if block is None:
            block = self._first_seen(address, size)
            if self._to_hook:
                self.blocks -= 1
                self._stop = Stop(Why.NEW_CODE, address)
                self._stop_engine(self.engine._uch)
                return
        self.visited.add(address)
        came, self.current = self.current, block
        past = self.previous
        self.previous = (came, past[0], past[1])
        if came is not None and came.ending is Ending.BRANCH and self.on_fork is not None:
            other = came.target if address == came.end else came.end
            if other not in self.visited and address in (came.end, came.target):
                self.on_fork(other)

    def _first_seen(self, address: int, size: int) -> Block:
        """Look at a block: how it ends, and what in it the engine must not execute."""
        block = self.blocks_known[address] = self.processor.block(address, size)
        found = self.substitute.special(address, block.end)
        self._to_hook = [each for each in found if each not in self._special]
        return block

    def _hook_special(self) -> None:
        """Stop before what was found; the engine stands."""
        for address in self._to_hook:
            self._special.add(address)
            self.engine.hook_add(unicorn.UC_HOOK_CODE, self._on_special, None, address, address)
            self.engine.ctl_remove_cache(address, address + 1)
        self._to_hook = []

    def _on_special(self, engine: Engine, address: int, size: int, data: object) -> None:
        self.blocks += SPECIAL_COST
        self._stop = Stop(Why.SPECIAL, address)
        engine.emu_stop()

    def _halt(self, engine: int) -> None:
        self._stop = Stop(Why.BUDGET)
        self._stop_engine(self.engine._uch)

    def _on_repeat(self, address: int) -> None:
        self._repeats += 1
        if self._repeats == REPEATS and finish_string_instruction(self.processor, address):
            self._repeats = 0
            return
        if self._repeats > REPEATS:
            self.blocks += 1
            if self.blocks > self.block_limit:
                self._halt(0)

    # ---- running

    def resume(self, pc: int) -> Stop:
        """Run from `pc` until something needs attention; the program counter tells where."""
        stop = self._start(pc)
        while stop.why is Why.NEW_CODE:
            if self.code_watch is not None:
                self.code_watch.take_up()
            self._hook_special()
            stop = self._start(stop.address)
        return stop

    def _start(self, pc: int) -> Stop:
        self._stop = None
        self._last = 0
        failed = False
        try:
            self.engine.emu_start(pc, self.layout.exit + STUB_BYTES - 1)
        except binding.UcError:
            failed = True
        noted: Stop | None = self._noted()
        stub = self.stub_at(self.processor.pc)
        if stub >= 0 and (noted is None or noted.why is Why.INTERRUPT):
            return Stop(Why.STUB, stub)
        if noted is not None:
            return noted
        return Stop(Why.INVALID if failed else Why.HALTED, self.processor.pc)

    def _noted(self) -> Stop | None:
        """What the hooks noted while the engine ran."""
        return self._stop

    def stub_at(self, address: int) -> int:
        """The number of the stand-in at an address; -1 when there is none."""
        offset = address - self.layout.stubs
        return offset // STUB_BYTES if 0 <= offset < STUB_REGION else -1


def _read_port(engine: Engine, port: int, size: int, data: object) -> int:
    """Every port of the emulated computer reads as zero."""
    return 0


def _write_port(engine: Engine, port: int, size: int, value: int, data: object) -> None:
    """A write to a port goes nowhere."""
