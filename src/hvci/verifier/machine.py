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
from typing import Any, NamedTuple, Protocol

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
BEFORE = 3
"""So many blocks before the current one tell who called."""
NO_BLOCK = Block(0, 0, Ending.FALL, 0, 0, False)
REPEATS = 16
"""So often may a block follow itself before it is looked at."""


_emu_start = ctypes.PyDLL(binding.uclib._name, handle=binding.uclib._handle).uc_emu_start
"""The engine's start without the binding, and without giving up the interpreter's lock, which each
hook would have to take again."""
_emu_start.argtypes = (ctypes.c_void_p, *[ctypes.c_uint64] * 3, ctypes.c_size_t)


_Callback = Any
"""A function pointer of ctypes: its classes are made at run time."""


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
        self._until = self.layout.exit + STUB_BYTES - 1
        self.blocks_known: dict[int, Block] = {}
        self.visited: set[int] = set()
        """Starts of blocks executed in the present epoch of exploration."""
        self.trail: list[Block] = []
        """The blocks that the present path executed, oldest first, behind a few that are none."""
        self.forget_trail()
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

    def forget_trail(self) -> None:
        """A path starts: no block came before."""
        self.trail[:] = [NO_BLOCK] * (1 + BEFORE)

    @property
    def current(self) -> Block | None:
        """The block that runs, or ran last."""
        block = self.trail[-1]
        return None if block is NO_BLOCK else block

    @property
    def previous(self) -> tuple[Block | None, ...]:
        """The blocks before the current one, newest first."""
        before = self.trail[-2 : -2 - BEFORE : -1]
        return tuple(None if block is NO_BLOCK else block for block in before)

    def in_image(self, address: int) -> bool:
        """Whether an address lies in the driver image."""
        return self.layout.image <= address < self.image_end

    # ---- hooks

    def _hook(self) -> None:
        engine = self.engine
        self._hook_blocks()
        self._hook_first_writes()
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
        prototype = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32)
        self._callback = prototype(self._on_block)
        self._add_hook(unicorn.UC_HOOK_BLOCK, self._callback, self.layout.image, self.image_end - 1)

    def _add_hook(self, kind: int, callback: _Callback, begin: int, end: int) -> None:
        """Add a hook for a range of addresses; all addresses when it begins behind its end."""
        handle = ctypes.c_size_t()
        status = binding.uclib.uc_hook_add(
            self.engine._uch,
            ctypes.byref(handle),
            kind,
            ctypes.cast(callback, ctypes.c_void_p),
            None,
            ctypes.c_uint64(begin),
            ctypes.c_uint64(end),
        )
        if status:
            raise RuntimeError(f"the engine refused a hook: {status}")

    def _hook_first_writes(self) -> None:
        """Hear of the first write to a page: the engine's cache of pages asks for the right.

        Whether the page may be written is decided later, by the rights of its mapping.
        """
        self._on_page = binding.HOOK_TLB_FILL_CFUNC(self._on_tlb_fill)
        self._add_hook(unicorn.UC_HOOK_TLB_FILL, self._on_page, 1, 0)

    def _on_tlb_fill(
        self, engine: int, address: int, access: int, entry: Engine, data: object
    ) -> bool:
        found = entry.contents
        found.paddr, found.perms = address, unicorn.UC_PROT_READ | unicorn.UC_PROT_EXEC
        if access == unicorn.UC_MEM_WRITE:
            found.perms = unicorn.UC_PROT_ALL
            self.memory.note_write(address & self.memory.mask)
        return True

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

    def _on_block(self, engine: int, address: int, size: int) -> None:
        if address == self._last:
            self._on_repeat(address)
            return
        if self.code_watch is not None and self.code_watch.needs(address, size):
            self._stop = Stop(Why.NEW_CODE, address)
            self._stop_engine(self.engine._uch)
            return
        self._last, self._repeats = address, 0
        self.blocks = blocks = self.blocks + 1
        if blocks > self.block_limit:
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
        trail = self.trail
        sides = trail[-1].sides
        trail.append(block)
        if sides is not None and address in sides and self.on_fork is not None:
            other = sides[address == sides[0]]
            if other not in self.visited:
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
        engine = self.engine
        self._stop = engine._hook_exception = None
        self._last = 0
        failed = _emu_start(engine._uch, pc, self._until, 0, 0)
        if not failed and engine._hook_exception is not None:
            raise engine._hook_exception
        noted: Stop | None = self._noted()
        stub = self.stub_at(self.processor.look())
        if stub >= 0 and (noted is None or noted.why is Why.INTERRUPT):
            return Stop(Why.STUB, stub)
        self.processor.seen = []
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
