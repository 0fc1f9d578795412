"""x64 unwind data: function bounds, chained fragments, frame sizes."""

from __future__ import annotations

import struct
from bisect import bisect_left, bisect_right
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hvci.binary.form.exceptions import Fragment, Frame
from hvci.binary.pe.image import PeImage
from hvci.binary.pe.sets import order_of

MAX_CHAIN = 32
OVERLAPPING = 4
"""Entries that may hold an address: those that start last before it."""
CHAINED = 4
FEW_CHAINED = 12
"""So many chained fragments are followed one by one, more of them at once."""
_PUSH, _ALLOC_LARGE, _ALLOC_SMALL, _SET_FRAME = 0, 1, 2, 3
_SAVE_SLOTS = {4: 1, 5: 2, 6: 1, 7: 2, 8: 1, 9: 2}


class Chains(NamedTuple):
    """Fragments that belong to another one, by their rows in the table."""

    rows: list[int]
    """Sorted."""
    owners: list[int]
    """Start of the function that each of them belongs to."""
    sorted: list[int]
    """The same starts, sorted."""
    by_owner: list[int]
    """The rows in that order."""


class UnwindTable:
    """The exception directory of an x64 image, sorted by start."""

    def __init__(self, image: PeImage) -> None:
        self.image = image
        at, size = image.runtime_functions
        rows = np.frombuffer(image.memory, "<u4", 3 * (size // 12), at).reshape(-1, 3)
        good = (rows[:, 0] != 0) & (rows[:, 1] > rows[:, 0]) & (rows[:, 1] <= image.size)
        good &= rows[:, 2] < image.size - 4
        rows = rows[good]
        rows = rows[np.argsort(rows[:, 0], kind="stable")]
        self._rows = rows
        self._found: dict[int, list[Fragment]] = {}
        """By row."""
        self._owned: dict[int, list[Fragment]] = {}
        """The same lists by start of the function."""
        self._frames: dict[int, Frame] = {}
        self.starts: list[int] = rows[:, 0].tolist()
        self.ends: list[int] = rows[:, 1].tolist()

    @cached_property
    def _chains(self) -> Chains:
        """The chained fragments; in large images only a few of thousands are asked for."""
        unwind = self._rows[:, 2].astype(np.int64)
        flags = self.image.bytes[unwind & ~1] >> 3
        chained = ((unwind & 1 != 0) | (flags & CHAINED != 0)).nonzero()[0]
        owners = np.full(len(chained), -1, np.int64)
        if len(chained) > FEW_CHAINED:
            owners = self._near_owners(unwind[chained])
        for k in (owners < 0).nonzero()[0].tolist():
            owners[k] = self._owner(self._fragment(int(chained[k])))
        order = order_of(owners)
        rows, by_owner = chained.tolist(), chained[order].tolist()
        return Chains(rows, owners.tolist(), owners[order].tolist(), by_owner)

    @property
    def chained(self) -> tuple[list[int], list[int]]:
        """Starts of the chained fragments, and of the functions that they belong to."""
        return [self.starts[row] for row in self._chains.rows], self._chains.owners

    def _near_owners(self, unwind: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Start of the owner by chained unwind information; -1 where it is not one link away."""
        image = self.image
        last = image.size - 12
        parents = unwind + 4 + 2 * ((image.bytes[unwind + 2].astype(np.int64) + 1) & ~1)
        is_read = (unwind & 1 == 0) & (parents <= last)
        words = np.ndarray((image.size - 3,), "<u4", image.memory, 0, (1,))
        parents = np.minimum(parents, last)
        starts, above = words[parents].astype(np.int64), words[parents + 8].astype(np.int64)
        is_read &= (above & 1 == 0) & (above <= last)
        ends_there = image.bytes[np.minimum(above, last)] >> 3 & CHAINED == 0
        return np.asarray(np.where(is_read & ends_there, starts, -1))

    def _fragment(self, i: int) -> Fragment:
        return Fragment(self.starts[i], self.ends[i], self._rows.item(i, 2))

    def _owner(self, fragment: Fragment) -> int:
        """Follow the chain to the function that a fragment belongs to."""
        start, unwind = fragment.start, fragment.unwind
        for _ in range(MAX_CHAIN):
            if unwind & 1:
                return self.image.u32(unwind & ~1)
            if not self.image.memory[unwind] >> 3 & CHAINED:
                break
            parent = self._parent(unwind)
            start, unwind = self.image.u32(parent), self.image.u32(parent + 8)
            if not self.image.holds(unwind, 4):
                break
        return start

    def _parent(self, unwind: int) -> int:
        """RVA of the parent entry behind the unwind codes."""
        codes = self.image.memory[unwind + 2]
        return unwind + 4 + 2 * ((codes + 1) & ~1)

    def find(self, rva: int) -> list[Fragment]:
        """All fragments of the function that holds an RVA, its own first; empty when none does."""
        i = bisect_right(self.starts, rva) - 1
        for k in range(i, max(-1, i - OVERLAPPING), -1):
            if rva < self.ends[k]:
                return self._found.get(k) or self._whole(k)
        return []

    def _whole(self, i: int) -> list[Fragment]:
        """The fragments of the function that row `i` belongs to, kept for the next question."""
        chains = self._chains
        if not chains.rows and self.starts[i + 1 : i + 2] != self.starts[i : i + 1]:
            self._found[i] = self._owned[self.starts[i]] = [self._fragment(i)]
            return self._found[i]
        n = bisect_left(chains.rows, i)
        is_chained = n < len(chains.rows) and chains.rows[n] == i
        start = chains.owners[n] if is_chained else self.starts[i]
        k = bisect_right(self.starts, start) - 1
        if k < 0 or self.starts[k] != start:  # a damaged table: the owner has no entry
            self._found[i] = self._with_others(i, start)
        elif start in self._owned:
            self._found[i] = self._owned[start]
        else:
            self._found[i] = self._owned[start] = self._with_others(k, start)
        return self._found[i]

    def _with_others(self, i: int, start: int) -> list[Fragment]:
        """Row `i` and the chained fragments of the function that starts at an RVA."""
        chains, own = self._chains, self._fragment(i)
        first, last = bisect_left(chains.sorted, start), bisect_right(chains.sorted, start)
        others = map(self._fragment, chains.by_owner[first:last])
        return [own, *(item for item in others if item != own)]

    def gap(self, rva: int) -> tuple[int, int]:
        """The stretch around an RVA that no entry covers, within its code section."""
        i = bisect_right(self.starts, rva) - 1
        low, high = next(span for span in self.image.code_ranges if span[0] <= rva < span[1])
        if i >= 0:
            low = max(low, max(self.ends[max(0, i - OVERLAPPING + 1) : i + 1]))
        if i + 1 < len(self.starts):
            high = min(high, self.starts[i + 1])
        return low, max(high, rva + 1)

    def frame(self, fragment: Fragment) -> Frame:
        """The frame of a fragment, with what its chain allocated before it."""
        known = self._frames.get(fragment.unwind)
        if known is None:
            known = self._frames[fragment.unwind] = self._read_frame(fragment)
        return known

    def _read_frame(self, fragment: Fragment) -> Frame:
        image, unwind = self.image, fragment.unwind
        size, prologue = 0, None
        for _ in range(MAX_CHAIN):
            if unwind & 1 or not image.holds(unwind, 4):
                break
            flags, length, count, _ = image.memory[unwind : unwind + 4]
            prologue = length if prologue is None else prologue
            size += self._allocated(unwind + 4, count)
            if not flags >> 3 & CHAINED:
                break
            unwind = image.u32(self._parent(unwind) + 8)
        return Frame(size, prologue or 0)

    def _allocated(self, codes: int, count: int) -> int:
        """Bytes that the unwind codes push and allocate."""
        memory, size, i = self.image.memory, 0, 0
        while i < count and codes + 2 * i + 6 <= len(memory):
            at = codes + 2 * i
            operation, info = memory[at + 1] & 15, memory[at + 1] >> 4
            i += 1
            if operation == _PUSH:
                size += 8
            elif operation == _ALLOC_LARGE:
                wide = info != 0
                raw = struct.unpack_from("<I" if wide else "<H", memory, at + 2)[0]
                size += raw if wide else 8 * raw
                i += 2 if wide else 1
            elif operation == _ALLOC_SMALL:
                size += 8 * info + 8
            elif operation == 10:  # machine frame
                size += 40 + 8 * info
            else:
                i += _SAVE_SLOTS.get(operation, 0)
        return size
