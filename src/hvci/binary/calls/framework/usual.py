"""The two usual shapes of framework calls in ARM64 words, told for all loads of the table at once.

What words.py finds word by word, where the entry is loaded and called with nothing but other
registers' words between, or with a check of Control Flow Guard. Anything else is left to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import compress
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from hvci.binary.analysis.wiring import Analysis
from hvci.binary.arch.arm64.encoding import FLOW_BY_TOP, ZERO
from hvci.binary.arch.arm64.lift import CALLEE_SAVED, PLAIN_LOAD, PLAIN_LOAD_MASK
from hvci.binary.arch.arm64.scan.fields import Named
from hvci.binary.arch.arm64.scan.references import ReferencesArm64
from hvci.binary.calls.framework.words import (
    CALL_OR_JUMP,
    CALL_OR_JUMP_MASK,
    COPY,
    COPY_MASK,
    LINK,
    USUAL,
    Plain,
)
from hvci.binary.form.functions import MAX_FUNCTION

AT_ONCE = 4096
"""Loads of the table that are looked at together."""
_CHANGES_FLOW = FLOW_BY_TOP != 0
_SAVED = np.array([CALLEE_SAVED >> register & 1 for register in range(32)], bool)

Grid = npt.NDArray[Any]
"""One row for each load, one column for each word from it on."""


class _Found(NamedTuple):
    """What was found in each row of a grid of words."""

    is_usual: Grid
    """Whether there is a call in a usual shape; else the rest says nothing."""
    call: Grid
    """The column of the call."""
    offset: Grid
    """Offset of the entry in the table, in bytes."""
    is_kept: Grid
    """No call on the way can have changed the register that is called."""


def usual_calls(analysis: Analysis, places: list[int]) -> dict[int, Plain]:
    """The calls that follow loads of the table at some RVAs, by these, where they are usual."""
    if not analysis.functions.unwind.starts:
        return {}
    found: dict[int, Plain] = {}
    for n in range(0, len(places), AT_ONCE):
        found.update(_usual(analysis, places[n : n + AT_ONCE]))
    return found


def _usual(analysis: Analysis, places: list[int]) -> Iterator[tuple[int, Plain]]:
    references, unwind = cast("ReferencesArm64", analysis.references), analysis.functions.unwind
    column = np.arange(USUAL)
    at, starts = np.array(places, np.int64), np.array(unwind.starts, np.int64)
    owner = np.maximum(starts.searchsorted(at, "right") - 1, 0)
    start = starts[owner]
    end = np.minimum(np.array(unwind.ends, np.int64)[owner], start + MAX_FUNCTION)
    near = references.rvas.searchsorted(at)[:, None] + column
    np.minimum(near, len(references.rvas) - 1, out=near)
    found = _find(references.words[near])
    rva = at + 4 * found.call
    good = found.is_usual & (start <= at) & (rva + 4 <= end)
    # sections need not lie side by side
    good &= (references.rvas[near[:, 0]] == at) & (references.rvas[_at(near, found.call)] == rva)
    on_way = (column > 0) & (column <= found.call[:, None])
    is_sure = found.is_kept & ~(references.joined[near] & on_way).any(1)
    rows = zip(rva.tolist(), start.tolist(), found.offset.tolist(), is_sure.tolist(), strict=True)
    chosen = compress(zip(places, rows, strict=True), good.tolist())
    return ((place, Plain(*row)) for place, row in chosen)


def _at(grid: Grid, columns: Grid) -> Grid:
    """One element of each row."""
    found: Grid = grid[np.arange(len(grid)), columns]
    return found


def _find(words: Grid) -> _Found:
    """The call in each row; the first column holds what should be the load of the table."""
    column = np.arange(USUAL)
    flows, named = _CHANGES_FLOW[words >> 24], Named(words)
    target, base = words & 31, words >> 5 & 31
    is_load = words & PLAIN_LOAD_MASK == PLAIN_LOAD
    # the first word that names the table loads the entry
    table = target[:, :1]
    names_table = named.which(table) & ~flows & (column > 0)
    entry = names_table.argmax(1)[:, None]
    routine = _at(target, entry[:, 0])[:, None]
    is_usual = is_load[:, 0] & _at(is_load & (base == table), entry[:, 0])
    is_usual &= ((entry > 0) & (table != ZERO) & (routine != ZERO))[:, 0]
    # the first call is that of the routine, or the next one, where the first returns
    first = flows.argmax(1)
    calls = words & CALL_OR_JUMP_MASK == CALL_OR_JUMP
    calls_it = calls & (base == routine)
    is_first = _at(calls_it, first)
    call = np.where(is_first, first, (flows & (column != first[:, None])).argmax(1))
    is_usual &= (entry[:, 0] < first) & _at(calls_it, call)
    is_usual &= is_first | _at(calls & (words & LINK != 0), first)
    # between, nothing names the routine but one copy, which nothing names or calls
    between = ~flows & (column > entry) & (column < call[:, None])
    names_it = named.which(routine) & between
    copies = names_it & (words & COPY_MASK == COPY) & (words >> 16 & 31 == routine)
    count = copies.sum(1)
    place = copies.argmax(1)[:, None]
    copy = _at(target, place[:, 0])[:, None]
    names_copy = named.which(copy) & between & (column > place)
    is_apart = ((copy != table) & (copy != routine) & (copy != ZERO))[:, 0]
    is_apart &= ~names_copy.any(1) & (_at(base, first) != copy[:, 0])
    is_usual &= (names_it == copies).all(1) & ((count == 0) | ((count == 1) & is_apart))
    # the table is not named again before its register gets something else
    names_table &= between
    again = names_table.argmax(1)
    makes_page = words & 0x9F000000 == 0x90000000
    replaces = (target == table) & ((is_load & (base != table)) | makes_page)
    is_usual &= (routine == table)[:, 0] | ~names_table.any(1) | _at(replaces, again)
    offset = _at(words, entry[:, 0]) >> 7 & 0x7FF8
    return _Found(is_usual, call, offset, is_first | _SAVED[routine[:, 0]])
