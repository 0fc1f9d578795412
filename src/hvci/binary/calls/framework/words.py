"""The usual call of the framework in ARM64 words: table loaded, entry loaded, entry called.

Decodes no function and asks no data flow. What is not that plain is left to kmdf.py.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np

from hvci.binary.analysis.wiring import Analysis
from hvci.binary.arch.arm64.ahead import reads_table
from hvci.binary.arch.arm64.encoding import (
    FLOW_BY_TOP,
    SP,
    ZERO,
    flow_of,
    named_registers,
    written_registers,
)
from hvci.binary.arch.arm64.lift import CALLEE_SAVED, PLAIN_LOAD, PLAIN_LOAD_MASK
from hvci.binary.arch.arm64.scan.references import ReferencesArm64
from hvci.binary.arch.arm64.words import (
    Access,
    access,
    is_access,
    is_address_of_page,
    literal_target,
)
from hvci.binary.form.ahead import WINDOW
from hvci.binary.form.code import NO_REGISTER, Flow
from hvci.binary.form.functions import MAX_FUNCTION
from hvci.binary.pe.image import PeImage
from hvci.binary.pe.sets import members

if TYPE_CHECKING:
    from hvci.binary.arch.arm64.architecture import Arm64

_FLOWS = FLOW_BY_TOP.tolist()
COPY_MASK, COPY = 0xFFE0FFE0, 0xAA0003E0
"""MOV of a 64-bit register."""
_ADD = 0x91000000
"""ADD of 64 bits and an immediate that is not shifted."""
CALL_OR_JUMP_MASK, CALL_OR_JUMP = 0xFFDFFC1F, 0xD61F0000
"""BLR and BR."""
LINK = 1 << 21
"""What tells BLR from BR."""
_NONE = -1
"""The number of no register."""
USUAL = 24
"""Words from the load of the table to the call, nearly always."""
_PLAIN_STORE = 0xF9000000
"""STR of 64 bits at an offset from a register."""


class Plain(NamedTuple):
    """One call whose entry the words around it give away."""

    rva: int
    start: int
    """RVA of the function that calls."""
    offset: int
    """Offset of the entry in the table, in bytes."""
    is_sure: bool
    """Nothing on the way, and no other way, can have changed the register."""


class _Call(NamedTuple):
    """A call among the words behind a load."""

    n: int
    offset: int
    is_sure: bool
    """No call on the way can have changed the register."""


def plain_call(analysis: Analysis, place: int) -> Plain | None:
    """The call that follows a load of the table at an RVA; None when it is not plain to see."""
    unwind = analysis.functions.unwind
    at = bisect_right(unwind.starts, place) - 1
    if at < 0 or place >= unwind.ends[at]:
        return None
    start = unwind.starts[at]
    end = min(unwind.ends[at], start + MAX_FUNCTION)
    load = analysis.image.u32(place)
    if end - place < 8 or load & PLAIN_LOAD_MASK != PLAIN_LOAD or load & 31 == ZERO:
        return None
    call = _straight(analysis.image, place, end) or _followed(analysis.image, place, (start, end))
    if call is None:
        return None
    rva = place + 4 * call.n
    is_sure = call.is_sure and not _references(analysis).are_branched_to(place + 4, rva)
    return Plain(rva, start, call.offset, is_sure)


def surely_loads(analysis: Analysis, place: int, table: int) -> bool:
    """Whether a load at an RVA reads the table and nothing else, whatever way leads to it."""
    image, load = analysis.image, analysis.image.u32(place)
    base, offset = load >> 5 & 31, load >> 7 & 0x7FF8
    if not CALLEE_SAVED >> base & 1:
        page = image.u32(place - 4)
        makes = is_address_of_page(page) and page & 31 == base
        if not makes or _references(analysis).are_branched_to(place, place):
            return False
        return literal_target(page, place - 4) + offset == table
    function = analysis.functions.at(place)
    if function is None:
        return False
    held = cast("Arm64", analysis.arch).lift.saved_page(function, base)
    return held is not None and held + offset == table


def _words(image: PeImage, place: int, end: int, most: int) -> tuple[int, ...]:
    """The words from an RVA on, within the function."""
    count = min(most, (end - place) // 4)
    return struct.unpack_from(f"<{count}I", image.memory, place)


def _straight(image: PeImage, place: int, end: int) -> _Call | None:
    """The call in the shape that is usual by far.

    The entry is loaded once, perhaps copied for Control Flow Guard, and its register is called; no
    other word names one of these registers.
    """
    words = _words(image, place, end, USUAL)
    table, routine, offset = words[0] & 31, ZERO, 0
    held, callable_, passed = 1 << table, 0, False
    for n in range(1, len(words)):
        word = words[n]
        source = word >> 5 & 31
        if _FLOWS[word >> 24]:
            if word & CALL_OR_JUMP_MASK != CALL_OR_JUMP:
                return None
            if callable_ >> source & 1:
                return _Call(n, offset, not passed or bool(CALLEE_SAVED >> source & 1))
            if not word & LINK:
                return None
            passed = True
            continue
        if not named_registers(word) & held:
            continue
        target, is_load = word & 31, word & PLAIN_LOAD_MASK == PLAIN_LOAD
        if is_load and source == table and not callable_ and target != ZERO:
            routine, offset = target, word >> 7 & 0x7FF8
            callable_ = 1 << routine
            held |= callable_
            table = _NONE if routine == table else table
        elif word & COPY_MASK == COPY and callable_ and word >> 16 & 31 == routine:
            if held >> target & 1:
                return None
            callable_ |= 1 << target
            held |= callable_
        elif (
            target == table
            and callable_
            and ((is_load and source != table) or is_address_of_page(word))
        ):
            held, table = callable_, _NONE  # it has done its part
        else:
            return None
    return None


def _followed(image: PeImage, place: int, function: tuple[int, int]) -> _Call | None:
    """The call in less usual shapes, followed word by word."""
    words = _words(image, place, function[1], WINDOW + 1)
    held, passed = _Held(words[0] & 31, image.guard_check), False
    for n in range(1, len(words)):
        word = words[n]
        flow = _FLOWS[word >> 24]
        if not flow:
            held.pass_over(word, place + 4 * n)
            if held.is_lost:
                return None
            continue
        if flow == Flow.CALL:
            passed = True
            held.forget_frame()
            continue
        flow = flow_of(word) if flow == 0xFF else flow
        if flow not in (Flow.INDIRECT_CALL, Flow.INDIRECT_JUMP):
            return None
        source = word >> 5 & 31
        offset = held.routines.get(source)
        if offset is not None:
            is_all = not held.slots or _loads_nowhere_else(image, held, *function)
            is_sure = not passed or bool(CALLEE_SAVED >> source & 1)
            return _Call(n, offset, is_sure) if is_all else None
        if flow == Flow.INDIRECT_JUMP:
            return None
        if not held.is_check(source):
            passed = True
            held.forget_frame()
    return None


def _references(analysis: Analysis) -> ReferencesArm64:
    return cast("ReferencesArm64", analysis.references)


class _Held:
    """What registers and frame slots hold along a straight piece of code.

    Code that is not optimised adds the offset of the entry first, and keeps the routine in a slot
    of the frame while Control Flow Guard checks it.
    """

    __slots__ = ("addresses", "guard_check", "is_lost", "loads", "routines", "slots", "tables")

    def __init__(self, table: int, guard_check: int) -> None:
        self.guard_check = guard_check
        self.tables = {table: 0}
        """Offset into the table, by the register that holds an address in it."""
        self.routines: dict[int, int] = {}
        """Offset of the entry, by the register that holds the routine found there."""
        self.slots: dict[int, int] = {}
        """The same by the frame offset, from the stack pointer."""
        self.loads: dict[int, int] = {}
        """How often each slot was loaded."""
        self.addresses: dict[int, tuple[int, bool]] = {}
        """RVA by register, and whether it holds what lies there: pages, and what they lead to."""
        self.is_lost = False
        """Something went where only the data flow can follow."""

    def pass_over(self, word: int, rva: int) -> None:
        """What a word that changes no flow does."""
        target, source = word & 31, word >> 5 & 31
        if word & PLAIN_LOAD_MASK == PLAIN_LOAD and target != ZERO:
            self._load(target, source, word >> 7 & 0x7FF8)
        elif word & COPY_MASK == COPY:
            self._put(target, self._of(word >> 16 & 31))
        elif word & 0x9F000000 == 0x90000000:
            self._put(target, None)
            self.addresses[target] = literal_target(word, rva), False
        elif word & 0xFFC00000 == _ADD and source in self.tables and target != SP:
            self._put(target, (True, self.tables[source] + (word >> 10 & 0xFFF)))
        elif is_access(word):
            self._access(word)
        elif reads_table(word, self.tables):
            self.is_lost = True
        else:
            self._drop(written_registers(word))

    def _of(self, register: int) -> tuple[bool, int] | None:
        """Whether a register holds an address in the table or a routine, and which."""
        if register in self.tables:
            return True, self.tables[register]
        return (False, self.routines[register]) if register in self.routines else None

    def _put(self, register: int, what: tuple[bool, int] | None) -> None:
        """A register gets something."""
        self.tables.pop(register, None)
        self.addresses.pop(register, None)
        lost = self.routines.pop(register, None)
        if what is not None:
            (self.tables if what[0] else self.routines)[register] = what[1]
        if lost is not None and lost not in self.routines.values():
            self.is_lost = self.is_lost or lost not in self.slots.values()

    def _drop(self, registers: int) -> None:
        """Registers of a mask get something that is not followed."""
        if registers >> SP & 1:
            self.forget_frame()
        for register in members(registers):
            self._put(register, None)

    def _load(self, target: int, source: int, offset: int) -> None:
        page = self.addresses.get(source)
        if source in self.tables:
            self._put(target, (False, self.tables[source] + offset))
        elif source == SP and offset in self.slots:
            self.loads[offset] = self.loads.get(offset, 0) + 1
            self._put(target, (False, self.slots[offset]))
        else:
            self._put(target, None)
            if page is not None and not page[1]:
                self.addresses[target] = page[0] + offset, True

    def _access(self, word: int) -> None:
        """Any other load or store."""
        moved = access(word)
        bases = (each for memory in moved.memories for each in (memory.base, memory.index_register))
        if any(register in self.tables for register in bases):
            self.is_lost = True  # an entry, in a form that is not plain
        if moved.is_store or not moved.is_load:
            if word & PLAIN_LOAD_MASK == _PLAIN_STORE and word >> 5 & 31 == SP:
                self._keep(word & 31, word >> 7 & 0x7FF8)
            elif any(self._of(register) for register in (word & 31, word >> 10 & 31)):
                self.is_lost = True  # perhaps stored
            elif self.slots and not self._misses(moved):
                self.forget_frame()
        self._drop(written_registers(word))

    def _keep(self, register: int, offset: int) -> None:
        """A register is stored in a slot of the frame."""
        self.slots.pop(offset, None)
        if register in self.routines:
            self.slots[offset] = self.routines[register]
        elif register in self.tables:
            self.is_lost = True

    def _misses(self, moved: Access) -> bool:
        """Whether a store surely writes no slot that is known."""
        return all(
            memory.base == SP
            and memory.index_register == NO_REGISTER
            and all(
                memory.displacement + memory.size <= slot or slot + 8 <= memory.displacement
                for slot in self.slots
            )
            for memory in moved.memories
        )

    def is_check(self, register: int) -> bool:
        """Whether a call through a register goes to Control Flow Guard's check, which keeps all."""
        return self.guard_check >= 0 and self.addresses.get(register) == (self.guard_check, True)

    def forget_frame(self) -> None:
        """What calls, or stores that may go anywhere, leave in the frame is not known."""
        if self.slots:
            self.slots.clear()
            self.is_lost = True


def _loads_nowhere_else(image: PeImage, held: _Held, start: int, end: int) -> bool:
    """Whether a function loads from the slots that are known only where that was seen."""
    words = np.frombuffer(image.memory, "<u4", (end - start) // 4, start) & 0xFFFFFFE0
    return all(
        np.count_nonzero(words == (PLAIN_LOAD | slot << 7 | SP << 5)) == held.loads.get(slot, 0)
        for slot in held.slots
    )


def loads_at(analysis: Analysis, table: int, known: Iterable[int]) -> list[tuple[int, int]]:
    """(start of the function, RVA) of loads at the page offset of an RVA, but for known ones.

    Only those in functions with exception data that make the address of the page.
    """
    makes_page, page = _references(analysis).makes_page, table & ~0xFFF
    wanted = PLAIN_LOAD | (table & 0xFFF) >> 3 << 10
    seen = set(known)
    found = []
    for start, end in analysis.image.code_ranges:
        first = (start + 3) & ~3
        words = np.frombuffer(analysis.image.memory, "<u4", max(0, end - first) // 4, first)
        for n in (words & 0xFFFF_FC00 == wanted).nonzero()[0].tolist():
            rva = first + 4 * n
            fragments = analysis.functions.unwind.find(rva) if rva not in seen else ()
            if fragments and makes_page(page, fragments[0].start, fragments[0].end):
                found.append((fragments[0].start, rva))
    return found
