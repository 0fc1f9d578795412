"""Which ARM64 calls go through what was just loaded from a field or an import, all in one look.

The counterpart of words_near.py for arrays of calls, and less exact: what it says is so, and about
what it leaves out nothing is said. Going back from a call, each word must be one that changes no
register but those in its plain fields, and no branch may lead behind it, up to the word that surely
makes the register: what that puts there is what the register holds at the call.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from hvci.binary.arm64_fields import changes_little, loads_pair, page_steps, writes_lowest
from hvci.binary.arm64_lift import PLAIN_LOAD, PLAIN_LOAD_MASK
from hvci.binary.arm64_words import FP, SP
from hvci.binary.references import Rvas
from hvci.binary.references_arm64 import PAGE_MASK, ReferencesArm64
from hvci.binary.sets import among

BACK = 12
"""Words looked at before a call, and again before the load of its target."""
Mask = npt.NDArray[np.bool_]
Registers = npt.NDArray[np.integer[Any]]


def go_through_fields(references: ReferencesArm64, calls: Rvas, slots: Rvas) -> Mask:
    """Which of the calls, given by the index of the word, have such a target.

    It was loaded with 64 bits from one of some slots, sorted, or from a base that is neither in the
    frame nor made from an address of the image, and all that within the function.
    """
    words, rvas = references.words, references.rvas
    loads, is_loaded = _makers(references, calls, words[calls] >> 5 & 31)
    load = words[loads]
    makers, is_made = _makers(references, loads, load >> 5 & 31)
    maker = words[makers]
    page = (rvas[makers] & PAGE_MASK) + page_steps(maker)
    in_slot = among(page + (load >> 7 & 0x7FF8), slots) & (maker & 0x9F000000 == 0x90000000)
    from_image = maker & 0x1E000000 == 0x10000000  # ADR, ADRP, ADD and SUB of a constant
    from_frame = (maker & 0x0A000000 == 0x08000000) & _is_frame(maker >> 5 & 31)
    is_plain = (load & PLAIN_LOAD_MASK == PLAIN_LOAD) & ~_is_frame(load >> 5 & 31)
    is_known = is_loaded & is_made & is_plain & (in_slot | ~(from_image | from_frame))
    return np.asarray(is_known & _in_one_function(references, makers, calls))


def _is_frame(registers: Registers) -> Mask:
    return np.asarray((registers == FP) | (registers == SP))


def _makers(references: ReferencesArm64, places: Rvas, registers: Registers) -> tuple[Rvas, Mask]:
    """Index of the word that makes a register for the word at each place, and whether it does."""
    before = np.maximum(places[:, None] - np.arange(1, BACK + 1), 0)
    words, wanted = references.words[before], registers[:, None]
    is_lost = ~changes_little(words) | references.joined[before + 1]
    is_pair = loads_pair(words) & (words >> 10 & 31 == wanted)
    is_named = (words & 31 == wanted) | is_pair
    rows, nearest = np.arange(len(places)), (is_lost | is_named).argmax(axis=1)
    makers = before[rows, nearest]
    surely = is_named & ~is_lost & (wanted != SP)
    makes = is_pair[rows, nearest] | writes_lowest(references.words[makers])
    return makers, np.asarray(surely[rows, nearest] & makes)


def _in_one_function(references: ReferencesArm64, first: Rvas, last: Rvas) -> Mask:
    """Whether the words from one index to another lie in a row, and in a function that is known."""
    starts = np.array(references.unwind.starts, np.int64)
    if not len(starts):
        return np.zeros(len(first), bool)
    begin, end = references.rvas[first], references.rvas[last]
    at = starts.searchsorted(end, "right") - 1
    is_inside = (begin >= starts[at]) & (end < np.array(references.unwind.ends, np.int64)[at])
    return np.asarray(is_inside & (at >= 0) & (end - begin == 4 * (last - first)))
