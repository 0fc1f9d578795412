"""What the ARM64 words around a place prove about a register, without a decoded function.

Looking back from an indirect call: where its target comes from. Looking ahead from a word: whether
anything comes of what it puts into registers. Both go in the order of the code, the first as far
as no branch leads into it, and answer "perhaps" wherever they are not sure.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hvci.binary.arch.arm64.architecture import Arm64
from hvci.binary.arch.arm64.encoding import (
    FLOW_BY_TOP,
    SP,
    VOLATILE,
    flow_at,
    written_registers,
)
from hvci.binary.arch.arm64.lift import ADDRESS_WINDOW, PLAIN_LOAD, PLAIN_LOAD_MASK, SAVED_FROM
from hvci.binary.arch.arm64.scan.references import ReferencesArm64
from hvci.binary.arch.arm64.scan.saved import NOT_KNOWN, SAVED
from hvci.binary.arch.arm64.steps import STEPS
from hvci.binary.arch.arm64.values import signed_immediate
from hvci.binary.arch.arm64.words import FP, is_access, literal_target
from hvci.binary.behaviour.arm64.before import BACK, NO_SLOT, WordsBefore
from hvci.binary.behaviour.called.around import Around
from hvci.binary.behaviour.called.candidates import points_to_data
from hvci.binary.behaviour.scene import Scene
from hvci.binary.behaviour.trace import MAX_FOLLOWED, MAX_STEPS
from hvci.binary.flow.atoms import Kind
from hvci.binary.form.code import CALLS, NO_FALL_THROUGH, Flow
from hvci.binary.form.references import Rvas
from hvci.binary.form.straight import last_write, uses

TABLE_WINDOW = 3
"""Words between the ADR of a jump table and the sum with an offset from it."""
_UNSCALED_MASK, _UNSCALED = 0xFFE00000, 0xF8400000
"""LDR of 64 bits with an unscaled offset, or one that changes its base."""
_TABLE_MASK, _TABLE = 0xFFE0FC00, 0x8B000800
"""ADD of four times a register."""
_ADD_MASK, _ADD = 0xFF80001F, 0x91000000
"""ADD of a constant, with the register that it makes."""
SUM_WINDOW = 4
"""Words from a store back to such an ADD, at most, and one."""
DISPATCH = 15
"""The register in which Control Flow Guard's dispatch function expects the target."""
_OPEN = frozenset((Kind.RESULT, Kind.PARAMETER, Kind.LEAKED))
"""What may be a pointer to memory."""
_FLOWS = FLOW_BY_TOP.tolist()
_LEAVING = CALLS | {Flow.JUMP, Flow.INDIRECT_JUMP}
_STACK = (SP, FP)
_START, _CALLED, _AWAY = -1, -2, -3
"""Nothing in the function changes the register before; a call may; what does is too far away."""


class Nearby:
    """Answers about the words around places of one image."""

    def __init__(self, scene: Scene, around: Around | None = None) -> None:
        """`around`: where a pointer to allocated memory may come up."""
        self.scene = scene
        self.around = around
        self.memory = scene.image.memory
        assert isinstance(scene.arch, Arm64)
        self.pages = scene.arch.lift.pages
        assert isinstance(scene.analysis.references, ReferencesArm64)
        self.references = scene.analysis.references
        self._cleared: dict[int, bool] = {}

    # ---- back

    def are_method_calls(self, calls: Rvas) -> npt.NDArray[np.bool_]:
        """The same for calls given by the index of their word; True for most that are usual."""
        before = WordsBefore(self.references, self.pages, calls)
        known, slots = before.targets(before.registers)
        dispatched = (slots == self.scene.image.guard_dispatch) & (slots != NO_SLOT)
        dispatched &= before.registers != DISPATCH
        if dispatched.any():
            others, other_slots = before.targets(np.full(len(calls), DISPATCH))
            known = known | dispatched & others
            slots = np.where(dispatched, other_slots, slots)
        rows = ((slots != NO_SLOT) & ~known).nonzero()[0]
        asked = slots[rows].tolist()
        usual = {slot for slot in set(asked) if self._are_usual({slot})}
        known[rows] = [slot in usual for slot in asked]
        return known

    def is_method_call(self, place: int) -> bool:
        """Whether the call or jump at an RVA goes where a field says that was loaded just before.

        True only when the words prove it: the load is the last word that changes the register,
        and its base is neither made from an address of the image nor in the frame.
        """
        unwind = self.scene.analysis.functions.unwind
        at = bisect_right(unwind.starts, place) - 1
        if at < 0 or place >= unwind.ends[at]:
            return False
        start, end = unwind.starts[at], unwind.ends[at]
        first = max(start, place - 8 * BACK)
        words = struct.unpack_from(f"<{(place - first) // 4 + 1}I", self.memory, first)
        code = _Code(words, first, start, end, self.references)
        return self._is_usual(code, words[-1] >> 5 & 31)

    def _is_usual(self, code: _Code, register: int) -> bool:
        """The same for a register before the last of some words."""
        words = code.words
        made = code.last_write(len(words) - 1, register)
        if made < 0:
            return False
        word = words[made]
        if word & PLAIN_LOAD_MASK == PLAIN_LOAD:
            bases = self._bases(code, made, word >> 5 & 31)
            if not bases:
                return bases is not None
            slots = {base + (word >> 7 & 0x7FF8) for base in bases}
            if self.scene.image.guard_dispatch in slots and register != DISPATCH:
                slots.remove(self.scene.image.guard_dispatch)
                return self._are_usual(slots) and self._is_usual(code, DISPATCH)
            return self._are_usual(slots)
        if word & _UNSCALED_MASK == _UNSCALED and word >> 10 & 3 != 2:
            return self._bases(code, made, word >> 5 & 31) == []
        return word & _TABLE_MASK == _TABLE and _is_table(words, made)

    def _bases(self, code: _Code, i: int, register: int, depth: int = 0) -> list[int] | None:
        """The RVAs that a base register can be seen to hold; None when it may be in the frame.

        None as well when the words do not tell. Empty when nothing near makes it an address.
        """
        if register in _STACK or depth > 1:
            return None
        made = code.last_write(i, register)
        if made >= 0:
            word = code.words[made]
            if word & 0x1F000000 == 0x10000000:
                return [literal_target(word, code.first + 4 * made)]
            if word & 0x1F000000 == 0x11000000:
                held = self._bases(code, made, word >> 5 & 31, depth + 1)
                if held is None or word & 0xBF800000 != 0x91000000:
                    return None
                return [rva + signed_immediate(word) for rva in held]
            if not is_access(word) or word >> 5 & 31 not in _STACK:
                return []
        if register in SAVED:
            return self._saved(code, register)
        return None if made == _AWAY and self._may_be_made(code, i, register) else []

    def _saved(self, code: _Code, register: int) -> list[int] | None:
        """The RVAs that a function puts into a saved register; None when they are not known.

        What lies at some offset from a register in which no address is made, is none either.
        """
        found = []
        for place, address in self.pages.within(code.start, code.end, register):
            if address != NOT_KNOWN:
                found.append(address)
                continue
            base = self.scene.image.u32(place) >> 5 & 31
            if base not in SAVED or self.pages.within(code.start, code.end, base):
                return None
        return found

    def _may_be_made(self, code: _Code, i: int, register: int) -> bool:
        """Whether an address of the image may be made in a register before word `i`.

        Not where the last word that changes it in the order of the code makes none: the data flow,
        which stops at branches as well, takes it for no address either.
        """
        place, bit = code.first + 4 * i, 1 << register
        count = min(ADDRESS_WINDOW, (place - code.start) // 4)
        words = struct.unpack_from(f"<{count}I", self.memory, place - 4 * count)
        made = last_write(words, written_registers, count, bit, 0)
        if made < 0 or words[made] & 0x1E000000 != 0x10000000:
            return False  # neither ADR, ADRP nor ADD, SUB of a constant
        ends = NO_FALL_THROUGH | CALLS if register < SAVED_FROM else NO_FALL_THROUGH
        return all(flow_at(word) not in ends for word in words[made + 1 :])

    @cached_property
    def _usual(self) -> frozenset[int]:
        """RVAs of globals that lead to no memory of the driver: imports, the check of targets."""
        image = self.scene.image
        check = {image.guard_check} - {-1}
        return frozenset((*image.imports, *(rva for rva in check if not image.is_writable(rva))))

    def _are_usual(self, slots: set[int]) -> bool:
        """Whether globals lead to no memory of the driver."""
        return all(slot in self._usual or self._leads_nowhere(slot) for slot in slots)

    def _leads_nowhere(self, rva: int) -> bool:
        """Whether no pointer to memory of the driver gets into a global, as far as is seen.

        The data flow is asked once for each global, whoever calls through it; the same answer
        would clear the call once its function is decoded.
        """
        known = self._cleared.get(rva)
        if known is None:
            known = self._cleared[rva] = not self._may_lead_to_memory(rva)
        return known

    def _may_lead_to_memory(self, rva: int) -> bool:
        """Whether one may, by the stores that name the global, or by who gets its address.

        Not where that is kept to reach it.
        """
        image, flow = self.scene.image, self.scene.flow
        if not image.is_writable(rva):
            return points_to_data(image, rva)
        is_kept, written, taken = rva in self.pages.objects, list[int](), list[int]()
        for place in self.references.to_data(rva):
            if is_access(image.u32(place)):
                if not self.references.only_reads(place):
                    written.append(place)
            elif not is_kept:
                taken.append(place)
        flow.begin(MAX_STEPS)
        if self._is_near(taken) or self.references.pointers_to(rva):
            return flow.globals.may_hold(rva, image.pointer_size, Kind.RESULT)
        places = [place for place in written if self._is_near([place]) or self._stores_sum(place)]
        held = flow.globals.writes.named(places, rva, image.pointer_size)
        return points_to_data(image, rva) or any(
            atom.kind in _OPEN or (atom.kind is Kind.ADDRESS and not image.is_code(atom.value))
            for atom in held
        )

    def _is_near(self, places: list[int]) -> bool:
        """Whether a pointer to allocated memory may come up at one of some RVAs."""
        around = self.around
        return around is not None and bool(around.hold(np.array(places, np.int64)).any())

    def _stores_sum(self, place: int) -> bool:
        """Whether a store stores what an ADD of a constant right before it makes, as an address."""
        image = self.scene.image
        made = _ADD | image.u32(place) & 31
        return any(image.u32(place - 4 * n) & _ADD_MASK == made for n in range(1, SUM_WINDOW))

    # ---- ahead

    def is_kept(self, place: int, copies: frozenset[int], anywhere: bool) -> bool:
        """Whether what the word at an RVA puts into registers may be stored through or stored.

        Stored into the frame, or `anywhere`; or live at the call of a copy. Sums with it and
        copies of it count as well.
        """
        made, *words = self._behind(place)
        for n, used, held in uses(words, STEPS, written_registers(made), VOLATILE):
            if used.flow:
                if used.flow in _LEAVING and place + 4 * n in copies:
                    return True
            elif any(
                held >> each.base & 1
                or (
                    each.register >= 0
                    and held >> each.register & 1
                    and (anywhere or each.base in _STACK)
                )
                for each in used.stores
            ):
                return True
        return False

    def may_be_written(self, place: int, copies: frozenset[int]) -> bool:
        """Whether `trace.follow` can find a use of the address that the word at an RVA makes.

        A store through it, or the call of a copy while a register or the frame holds it. Goes the
        same way, by the words alone; what is kept in the frame counts as used.
        """
        is_load = is_access(self.scene.image.u32(place))
        return is_load or self.is_kept(place, copies, anywhere=False)

    def writes_argument(self, start: int, register: int) -> bool:
        """Whether a function may store through an argument, or keeps it in its frame.

        In the order of its words, as far as `is_kept` looks.
        """
        words = self._behind(start)
        for _, used, held in uses(words, STEPS, 1 << register, VOLATILE):
            for each in () if used.flow else used.stores:
                is_kept = each.base in _STACK and each.register >= 0
                if held >> each.base & 1 or (is_kept and held >> each.register & 1):
                    return True
        return False

    def _behind(self, place: int) -> tuple[int, ...]:
        """The word at an RVA and those behind it that are looked at."""
        count = min(MAX_FOLLOWED, (len(self.memory) - place) // 4)
        return struct.unpack_from(f"<{count}I", self.memory, place)


class _Code(NamedTuple):
    """The words before a place, and the function that they belong to."""

    words: tuple[int, ...]
    first: int
    """RVA of the first word."""
    start: int
    end: int
    references: ReferencesArm64

    def last_write(self, i: int, register: int) -> int:
        """Index of the last word before word `i` that changes a register.

        One of `_START`, `_CALLED` and `_AWAY` when none does; the last also where a branch leads
        behind the word.
        """
        found = self._last_write(i, register)
        if found < 0:
            return found
        joins = self.references.are_branched_to
        return _AWAY if joins(self.first + 4 * found + 4, self.first + 4 * i) else found

    def _last_write(self, i: int, register: int) -> int:
        words, bit, first = self.words, 1 << register, max(0, i - BACK)
        made = last_write(words, written_registers, i, bit, first)
        passed = words[made + 1 if made >= 0 else first : i]
        if VOLATILE & bit and any(flow_at(word) in CALLS for word in passed):
            return _CALLED
        if made >= 0:
            return made
        return _START if self.first == self.start and i <= BACK else _AWAY


def _is_table(words: tuple[int, ...], added: int) -> bool:
    """Whether the target is an offset added to an ADR right before: a jump table."""
    base = words[added] >> 5 & 31
    made = last_write(words, written_registers, added, 1 << base, max(0, added - TABLE_WINDOW))
    is_label = made >= 0 and words[made] & 0x9F000000 == 0x10000000 and added == len(words) - 2
    return is_label and not any(flow_at(word) for word in words[made + 1 : added])
