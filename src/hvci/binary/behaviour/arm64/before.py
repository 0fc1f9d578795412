"""What ARM64 calls through registers go to, as the words before them show, all in one look.

The counterpart of near.py for arrays of calls, and less exact: what it says is so, and about
what it leaves out nothing is said. Going back from a call, each word must be one that changes no
register but those in its plain fields, and no branch may lead behind it, up to the word that surely
makes the register: what that puts there is what the register holds at the call.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hvci.binary.arch.arm64.encoding import CALL, LITTLE, LR, NOTHING, PAIR, SP, WRITES, kinds
from hvci.binary.arch.arm64.lift import PLAIN_LOAD, PLAIN_LOAD_MASK, SAVED_FROM
from hvci.binary.arch.arm64.scan.fields import page_steps
from hvci.binary.arch.arm64.scan.followed import PAGE_MASK
from hvci.binary.arch.arm64.scan.references import ReferencesArm64
from hvci.binary.arch.arm64.scan.saved import NOT_KNOWN, SAVED, SavedAddresses
from hvci.binary.arch.arm64.words import FP
from hvci.binary.form.references import Rvas

BACK = 15
"""Words looked at before a call, and again before the load of its target."""
NO_SLOT = -1
Mask = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.integer[Any]]


class Targets(NamedTuple):
    """What some calls go to."""

    are_fields: Mask
    """Surely loaded with 64 bits from a base that is neither in the frame nor made from an address
    of the image."""
    slots: Rvas
    """RVA of the global that the target is surely loaded from; `NO_SLOT` where none is known."""


class _Found(NamedTuple):
    """The nearest word before some places that decides what a register holds."""

    back: Numbers
    """Words from the call back to it."""
    makes: Mask
    """Whether it surely makes the register, and nothing else does."""
    is_lost: Mask
    """Whether a call may change the register there."""
    is_kept: Mask
    """Whether no word makes the register, or a branch leads behind it."""


class WordsBefore:
    """The words before some calls, given by the index of their word, each one row.

    A column for each word: the call, the word before it, and so on.
    """

    def __init__(self, references: ReferencesArm64, pages: SavedAddresses, calls: Rvas) -> None:
        before = np.maximum(calls[:, None] - np.arange(2 * BACK + 1), 0)
        self.pages = pages
        self.words = words = references.words[before]
        self.rvas = references.rvas[calls]
        self.joined = np.zeros(words.shape, bool)
        """Whether a branch leads behind the word."""
        self.joined[:, 1:] = references.joined[before[:, :-1]]
        self.kinds = kinds(words)
        self.starts, self.ends, known = _functions(references, self.rvas)
        self.first = np.minimum((self.rvas - self.starts) >> 2, 2 * BACK)
        """Column of the first word of the function, or the last column."""
        begin = np.maximum(calls - self.first, 0)
        self.is_known = known & (references.rvas[begin] == self.rvas - 4 * self.first)
        self.registers = words[:, 0] >> 5 & 31
        """What the calls go through."""

    def targets(self, registers: Numbers) -> Targets:
        """What registers hold at the calls."""
        rows = np.arange(len(registers))
        load = self._maker(registers, 0 * rows)
        word = self.words[rows, load.back]
        base = word >> 5 & 31
        is_plain = self.is_known & load.makes & (word & PLAIN_LOAD_MASK == PLAIN_LOAD)
        is_plain &= ~_is_frame(base)
        made = self._maker(base, load.back)
        maker = self.words[rows, made.back]
        from_image = maker & 0x1E000000 == 0x10000000  # ADR, ADRP, ADD and SUB of a constant
        from_frame = (maker & 0x0A000000 == 0x08000000) & _is_frame(maker >> 5 & 31)
        is_saved = (base >= SAVED.start) & (base < SAVED.stop)
        count, page = self.pages.within_all(self.starts, self.ends, base)
        by_function = is_saved & (made.is_kept | made.makes & from_frame)
        fields = made.makes & ~(from_image | from_frame) | made.is_lost | by_function & (count == 0)
        is_page = made.makes & (maker & 0x9F000000 == 0x90000000)
        at = self.rvas - 4 * made.back
        page = np.where(is_page, (at & PAGE_MASK) + page_steps(maker) & 0xFFFFFFFF, page)
        in_page = is_plain & (is_page | by_function & (count == 1) & (page != NOT_KNOWN))
        slots = np.where(in_page, page + (word >> 7 & 0x7FF8), NO_SLOT)
        return Targets(np.asarray(is_plain & fields), slots)

    def _maker(self, registers: Numbers, behind: Numbers) -> _Found:
        """What makes a register for the word of each row in the column `behind`."""
        wanted = registers[:, None]
        columns, begin = np.arange(self.words.shape[1]), behind[:, None]
        last = np.minimum(behind + BACK, self.first)
        is_near = (columns > begin) & (columns <= last[:, None])
        does = self.kinds
        is_named = (self.words & 31 == wanted) & (does & (NOTHING | CALL) == 0)
        is_named |= (self.words >> 10 & 31 == wanted) & (does & PAIR != 0)
        is_kept = (registers >= SAVED_FROM) & (registers != LR)  # by calls
        is_lost = does & (LITTLE | CALL) == 0
        is_lost |= (does & CALL != 0) & ~is_kept[:, None]
        decides = is_near & (is_named | is_lost | self.joined)
        rows, back = np.arange(len(registers)), decides.argmax(axis=1)
        kind, is_join = does[rows, back], self.joined[rows, back]
        is_nothing = ~decides[rows, back]
        is_pair = kind & PAIR != 0
        pair = is_pair & (self.words[rows, back] >> 10 & 31 == registers)
        makes = is_named[rows, back] & ~is_lost[rows, back] & (pair | (kind & WRITES != 0))
        sure = ~is_nothing & ~is_join & (registers != SP)
        return _Found(back, sure & makes, sure & (kind & CALL != 0), is_nothing | is_join)


def _is_frame(registers: Numbers) -> Mask:
    return np.asarray((registers == FP) | (registers == SP))


def _functions(references: ReferencesArm64, rvas: Rvas) -> tuple[Rvas, Rvas, Mask]:
    """Start and end of the functions that hold some RVAs, and whether they are known."""
    starts = np.array(references.unwind.starts, np.int64)
    if not len(starts):
        return rvas, rvas, np.zeros(len(rvas), bool)
    ends = np.array(references.unwind.ends, np.int64)
    at = starts.searchsorted(rvas, "right") - 1
    known = (at >= 0) & (rvas < ends[at])
    return np.where(known, starts[at], rvas), ends[at], np.asarray(known)
