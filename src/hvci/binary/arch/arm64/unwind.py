"""ARM64 exception data: function bounds from packed entries and from `.xdata` records."""

from __future__ import annotations

from bisect import bisect_right

import numpy as np

from hvci.binary.form.exceptions import Fragment, Frame
from hvci.binary.pe.image import PeImage

ENTRY = 8
_PACKED_FRAGMENT = 2


class UnwindTableArm64:
    """The exception directory of an ARM64 image, sorted by start."""

    def __init__(self, image: PeImage) -> None:
        self.image = image
        at, size = image.runtime_functions
        rows = np.frombuffer(image.memory, "<u4", 2 * (size // ENTRY), at).reshape(-1, 2)
        starts, data = rows[:, 0].astype(np.int64), rows[:, 1].astype(np.int64)
        is_packed = data & 3 != 0
        records = np.where(is_packed | (data + 4 > image.size), 0, data)
        words = np.ndarray((image.size - 3,), "<u4", image.memory, 0, (1,))[records]
        length = np.where(is_packed, data >> 2 & 0x7FF, words & 0x3FFFF)
        ends = starts + 4 * length
        good = (starts != 0) & (starts & 3 == 0) & (ends > starts) & (ends <= image.size)
        order = np.argsort(starts[good], kind="stable")
        self._data = data[good][order]
        self.starts: list[int] = starts[good][order].tolist()
        self.ends: list[int] = ends[good][order].tolist()

    @property
    def chained(self) -> tuple[list[int], list[int]]:
        """None: an entry names no other one."""
        return [], []

    def find(self, rva: int) -> list[Fragment]:
        """The function that holds an RVA; empty when none does."""
        i = bisect_right(self.starts, rva) - 1
        if i < 0 or rva >= self.ends[i]:
            return []
        return [Fragment(self.starts[i], self.ends[i], int(self._data[i]))]

    def gap(self, rva: int) -> tuple[int, int]:
        """The stretch around an RVA that no entry covers, within its code section."""
        i = bisect_right(self.starts, rva) - 1
        low, high = next(span for span in self.image.code_ranges if span[0] <= rva < span[1])
        if i >= 0:
            low = max(low, self.ends[i])
        if i + 1 < len(self.starts):
            high = min(high, self.starts[i + 1])
        return low, max(high, rva + 4)

    def frame(self, fragment: Fragment) -> Frame:
        """The frame that is there already at the start: only a packed fragment has one."""
        if fragment.unwind & 3 == _PACKED_FRAGMENT:
            return Frame(16 * (fragment.unwind >> 23 & 0x1FF), 0)
        return Frame(0, 0)
