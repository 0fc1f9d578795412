"""Runs one path through the driver: from an entry point or a snapshot until it ends.

Theory of operation. The machine stops; this module decides what the stop means.

1. A path is natural until the run had to invent something: memory behind a pointer that nobody
   set, the return of a call through such a pointer, an instruction that was skipped, the result
   of a routine that only computes and has no model.
   From there on it is forced, and what it shows proves no more than that the code exists. A made-up
   result or a skipped instruction may be kept, so entry points that run later are forced as well.
2. A write to a page without the right is bug check 0xBE, a fetch outside verified images is 0xFC.
   Either ends the entry point. Exploration may then go on behind it, forced.
3. 0xFC needs proof: a call or jump went there, the bytes are not zero, and they lie in memory
   that the driver itself got or that its image holds. A call of anything else is a call through
   an unset pointer, and a return to data is a stack out of balance: on x86, a callee whose
   arguments were miscounted.
4. Budgets are counts of blocks, calls and faults.

Knows the machine, the kernel and the recorder; chooses no paths.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hvci.catalog import Ddi
from hvci.model import Tier
from hvci.verifier.arch import Convention
from hvci.verifier.arch import Ending as BlockEnding
from hvci.verifier.arguments import reader
from hvci.verifier.budget import NATURAL, Budget, Meter
from hvci.verifier.callees import Callees
from hvci.verifier.checks import (
    EXECUTE_OF_NOEXECUTE,
    WRITE_TO_READ_ONLY,
    Recorder,
    storport_functions,
    watched_ddis,
)
from hvci.verifier.kernel import EndPath, Enter, EntryPoint, Kernel
from hvci.verifier.kernel.call import Call
from hvci.verifier.layout import EXIT, RESUME, STACK
from hvci.verifier.machine import Machine, Stop, Why
from hvci.verifier.memory import AccessFault, Mapping
from hvci.verifier.outcome import Ending, Outcome, Trust
from hvci.verifier.processor_state import Change
from hvci.verifier.sites import calling_instruction
from hvci.verifier.tracer import Tracer

BREAKPOINT = 3
INVENTIONS = 12
FAULTS = 60
BRK_MASK, BRK, DEBUG_BREAK = 0xFFE0_001F, 0xD420_0000, 0xF000
"""BRK of ARM64, and the number with which it is a breakpoint; with others it declares a failure."""
TRAPS = frozenset(("ud0", "ud1", "ud2", "udf"))
"""Instructions that are there to raise an exception."""
UNKNOWN = Convention(is_known=False)


class _Frame(NamedTuple):
    """A stand-in that waits for a callback."""

    sp: int
    return_to: int
    enter: Enter


class _End(Exception):
    def __init__(self, ending: Ending, reason: str = "") -> None:
        super().__init__(reason)
        self.ending = ending
        self.reason = reason


class Path:
    """Executes paths, one after the other."""

    def __init__(self, machine: Machine, kernel: Kernel, recorder: Recorder) -> None:
        self.machine = machine
        self.kernel = kernel
        self.recorder = recorder
        self.frames: tuple[_Frame, ...] = ()
        self.base = Trust.NATURAL
        """How far the state at the start of the path can be trusted."""
        self.trace = Tracer(machine)
        self.paths = 0
        self.total_blocks = 0
        self._ddis: dict[str, Ddi] = watched_ddis()
        self._storport = storport_functions()
        self._callees = Callees(machine, kernel.removes)
        self._handed_at = 0
        kernel.hands_over = self._hands_over
        self._invented_before = 0
        self._guessed_before = 0
        self._skips = 0
        self._meter = Meter(NATURAL)

    @property
    def trust(self) -> Trust:
        """That of the start, until something is invented."""
        invented = self.machine.memory.inventions > self._invented_before
        is_made_up = invented or self.has_guessed or self._skips
        return Trust.INVENTED if is_made_up else self.base

    @property
    def has_guessed(self) -> bool:
        """Whether the result of a computation was made up on this path."""
        return self.kernel.guesses > self._guessed_before

    @property
    def tier(self) -> Tier:
        """The tier of what is seen now."""
        return self.trust.tier

    def _hands_over(self, entry: EntryPoint) -> None:
        """Note on which path, and by which call, Windows got an entry point."""
        return_to = self.machine.processor.return_address()
        entry.trust, entry.handed_at = self.trust, calling_instruction(self.machine, return_to)

    def start(
        self,
        function: int,
        arguments: Sequence[int],
        budget: Budget = NATURAL,
        handed_at: int = 0,
    ) -> Outcome:
        """Call a function of the driver and run until the path ends.

        `handed_at` is the call that handed it to Windows, if one did.
        """
        place = self.machine.layout
        self.frames, self._handed_at = (), handed_at
        self.machine.processor.enter(arguments, place.exit, place.stack + STACK - 0x100)
        return self.run(function, budget)

    def run(self, pc: int, budget: Budget) -> Outcome:
        """Run from the machine's present state until the path ends."""
        machine = self.machine
        self._meter = Meter(budget)
        self._invented_before, self._skips = machine.memory.inventions, 0
        self._guessed_before = self.kernel.guesses
        machine.blocks, machine.block_limit = 0, budget.blocks
        machine.forget_trail()
        self.paths += 1
        try:
            while True:
                pc = self._handle(machine.resume(pc))
        except _End as end:
            self.total_blocks += machine.blocks
            result = machine.processor.result & 0xFFFF_FFFF
            return Outcome(end.ending, result, end.reason, self.tier)

    def _handle(self, stop: Stop) -> int:
        """Deal with a stop; return where to go on."""
        match stop.why:
            case Why.STUB:
                return self._stand_in(stop.address)
            case Why.UNMAPPED:
                return self._unmapped(stop.address, stop.size)
            case Why.WRITE:
                return self._refused_write(stop.address, self.machine.processor.pc)
            case Why.FETCH:
                return self._refused_fetch(stop.address)
            case Why.INTERRUPT:
                return self._interrupt(stop.address)
            case Why.SPECIAL:
                return self._special(stop.address)
            case Why.BUDGET:
                raise _End(Ending.STOPPED, "block budget spent")
        return self._cannot_execute(self.machine.processor.pc)

    # ---- stand-ins

    def _stand_in(self, number: int) -> int:
        machine = self.machine
        if number == EXIT:
            raise _End(Ending.RETURNED)
        if number == RESUME:
            return self._after_callback()
        call = self.kernel.call(number)
        return_to = machine.processor.return_address()
        if not self._meter.charge(call.name, return_to):
            raise _End(Ending.STOPPED, f"call budget spent at {call.name}")
        self._record(call, return_to)
        if self.trace.is_on:
            self.trace.call(call, return_to, self.tier)
        try:
            answer = self.kernel.answer(call)
        except EndPath as end:
            raise _End(Ending.STOPPED, str(end)) from end
        except AccessFault as fault:
            return self._refused_by_kernel(fault, call, return_to)
        if isinstance(answer, Enter):
            return self._enter(answer, call.convention)
        return self._leave(call.convention, answer)

    def _record(self, call: Call, return_to: int) -> None:
        ddi = self._ddis.get(call.name)
        if call.name == "StorPortExtendedFunction":
            ddi = self._storport.get(call.u32(0), ddi)
            call = self.kernel.shifted(call) if ddi and ddi.storport_function >= 0 else call
        if ddi is None:
            return
        address = calling_instruction(self.machine, return_to)
        if self.machine.in_image(address):
            self.recorder.call(ddi, reader(call, ddi), address, return_to, self.trust)

    def _leave(self, convention: Convention, answer: int | None) -> int:
        processor = self.machine.processor
        if not convention.is_known and processor.pointer_size == 4:
            sp = processor.sp + 4
            convention = Convention(self._callees.removed(processor.return_address(), sp))
        return processor.finish(convention, answer or 0)

    def _enter(self, enter: Enter, convention: Convention) -> int:
        """Call the driver back before the stand-in answers."""
        return self._call_back(enter, self.machine.processor.leave(convention))

    def _call_back(self, enter: Enter, return_to: int) -> int:
        processor = self.machine.processor
        self.frames = (*self.frames, _Frame(processor.sp, return_to, enter))
        if len(self.frames) > 16:
            raise _End(Ending.STOPPED, "callbacks nested too deeply")
        processor.enter(enter.arguments, self.machine.layout.resume, processor.sp)
        return enter.function

    def _after_callback(self) -> int:
        if not self.frames:
            raise _End(Ending.STOPPED, "return from a callback that nobody called")
        *rest, frame = self.frames
        self.frames = tuple(rest)
        processor = self.machine.processor
        processor.sp = frame.sp
        if frame.enter.then is not None:
            answer = frame.enter.then(processor.result)
            if isinstance(answer, Enter):
                return self._call_back(answer, frame.return_to)
            processor.result = answer or 0
        return frame.return_to

    def changes_processor(self, change: Change) -> None:
        """Record what an instruction did to the processor's own state."""
        self.recorder.changes_processor(change.address, change.rule, change.what, self.tier)

    # ---- faults

    def _unmapped(self, address: int, size: int) -> int:
        memory = self.machine.memory
        used = memory.inventions - self._invented_before
        if used >= INVENTIONS or not memory.invent(address, size):
            raise _End(Ending.STOPPED, f"access to {address:#x}, where nothing is")
        return self.machine.processor.pc

    def _refused_write(self, address: int, pc: int) -> int:
        """Bug check 0xBE."""
        memory = self.machine.memory
        mapping = memory.find(address)
        if self.machine.stub_at(address) >= self.kernel.named:
            raise _End(Ending.STOPPED, f"write to {address:#x}, where no function of the kernel is")
        what = self._describe(address, mapping)
        self.recorder.event(
            WRITE_TO_READ_ONLY,
            None,
            (address, memory.page_entry(address), 0, 0),
            pc,
            self.tier,
            f"write to {what}",
        )
        self.trace.page(WRITE_TO_READ_ONLY, address, pc, what, self.tier)
        raise _End(Ending.BUG_CHECK, f"0xBE: write to {what}")

    def _refused_by_kernel(self, fault: AccessFault, call: Call, return_to: int) -> int:
        if not fault.write:
            raise _End(Ending.STOPPED, f"{call.name}: {fault}")
        return self._refused_write(fault.address, calling_instruction(self.machine, return_to))

    def _describe(self, address: int, mapping: Mapping | None) -> str:
        """The page in words."""
        if mapping is None:
            return f"{address:#x}"
        kind = "verified code" if self.machine.memory.is_code(address) else "read-only data"
        if self.machine.in_image(address):
            site = self.recorder.site(address)
            return f"{kind} at RVA {site.rva:#x} ({site.section})"
        if mapping.label == "alias":
            return f"{kind} through a second mapping at {address:#x}"
        return f"{kind} of the kernel at {address:#x}"

    def _refused_fetch(self, address: int) -> int:
        """Bug check 0xFC when it is proven, else a call through an unset pointer."""
        processor, memory = self.machine.processor, self.machine.memory
        if self._is_generated(address):
            site = self._caller()
            what = self._owner(address)
            self.recorder.event(
                EXECUTE_OF_NOEXECUTE,
                None,
                (address, memory.page_entry(address), 0, 0),
                site,
                self.tier,
                f"execution of {what}",
            )
            self.trace.page(EXECUTE_OF_NOEXECUTE, address, site, what, self.tier)
            raise _End(Ending.BUG_CHECK, f"0xFC: execution of {what}")
        if self._is_return_now():
            raise _End(Ending.STOPPED, f"return to {address:#x}, where no code is")
        return_to = processor.return_address()
        self._skips += 1
        if self._skips > FAULTS or not self._is_return(return_to):
            raise _End(Ending.STOPPED, f"call of {address:#x}, where no code is")
        return self._leave(UNKNOWN, 0)

    def _is_return_now(self) -> bool:
        """Whether the last block ended in a return instruction."""
        block = self.machine.current
        return block is not None and block.ending is BlockEnding.RETURN

    def _is_return(self, address: int) -> bool:
        place = self.machine.layout
        return self.machine.in_image(address) or address in (place.exit, place.resume)

    def _is_generated(self, address: int) -> bool:
        memory = self.machine.memory
        mapping = memory.find(address)
        if mapping is None or mapping.label == "invented" or self._is_return_now():
            return False
        if mapping.label == "pool" and not self.kernel.arena.owner(address):
            return False
        size = min(16, mapping.end - address)
        return any(memory.read(address, size))

    def _owner(self, address: int) -> str:
        owner = self.kernel.arena.owner(address)
        if owner:
            return f"memory from {owner}"
        if self.machine.in_image(address):
            site = self.recorder.site(address)
            return f"data of the image at RVA {site.rva:#x} ({site.section})"
        mapping = self.machine.memory.find(address)
        return mapping.label if mapping else f"{address:#x}"

    def _caller(self) -> int:
        """What transferred control: an instruction, the call that handed Windows a routine, or
        DriverEntry where nothing else is known.
        """
        block = self.machine.current
        if block is not None:
            return block.last
        if self.machine.in_image(self._handed_at):
            return self._handed_at
        return self.recorder.base + self.recorder.image.headers.entry

    def _interrupt(self, number: int) -> int:
        if number == BREAKPOINT and self.machine.processor.name != "arm64":
            return self.machine.processor.pc
        if self.machine.processor.name == "arm64":
            return self._trap(self.machine.processor.pc)
        raise _End(Ending.STOPPED, f"interrupt {number:#x}")

    def _trap(self, pc: int) -> int:
        """An exception on ARM64: a breakpoint, a failure that the code declares, or a lack."""
        word = self.machine.memory.u32(pc)
        if word & BRK_MASK != BRK:
            return self._cannot_execute(pc)
        if word >> 5 & 0xFFFF == DEBUG_BREAK:
            return pc + 4
        raise _End(Ending.STOPPED, f"brk #{word >> 5 & 0xFFFF:#x} at {pc:#x}")

    def _special(self, address: int) -> int:
        """Execute an instruction in place of the engine, or name it and go on behind it."""
        try:
            following = self.machine.substitute.step(address)
        except AccessFault as fault:
            if not fault.write:
                raise _End(Ending.STOPPED, f"instruction at {address:#x}: {fault}") from fault
            return self._refused_write(fault.address, address)
        if self.machine.blocks > self.machine.block_limit:
            raise _End(Ending.STOPPED, "block budget spent")
        return self._cannot_execute(address) if following is None else following

    def _cannot_execute(self, address: int) -> int:
        """Name an instruction that the emulated processor does not know; what follows is forced."""
        machine = self.machine
        if machine.in_image(address):
            name = machine.substitute.name(address)
            if name in TRAPS:
                raise _End(Ending.STOPPED, f"{name} at {address:#x}: invalid opcode exception")
            self.recorder.cannot_execute(address, name, self.tier)
            self.kernel.guesses += 1
        return self._skip("cannot be executed", address)

    def _skip(self, why: str, pc: int = 0) -> int:
        """Step over an instruction that the engine cannot or must not execute."""
        processor = self.machine.processor
        pc = pc or processor.pc
        length = processor.length(pc) if self.machine.in_image(pc) else 0
        self._skips += 1
        if not length or self._skips > FAULTS:
            raise _End(Ending.STOPPED, f"instruction at {pc:#x} {why}")
        return pc + length
