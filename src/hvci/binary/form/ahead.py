"""Whether code soon fills or copies over much memory: at a glance, before functions are decoded.

Knows what an instruction looks like that takes part in it, from the architectures; may be wrong
both ways.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from enum import IntEnum
from typing import NamedTuple

from hvci.binary.pe.image import PeImage

WINDOW, DEPTH = 24, 2
"""Instructions in which a fill is looked for, in called functions twice as many, and how deep."""
FEWEST, MOST = 0x20, 0x2000
"""Numbers that may tell how often a loop goes round that fills much, or how many bytes."""
ANY_SLOT = -1


class Seen(IntEnum):
    """What an instruction has to do with it."""

    STORE = 0
    """It stores somewhere else than into the frame."""
    NUMBER = 1
    """It holds a number, or the address of data, that may tell where to end."""
    BRANCH = 2
    CALL = 3
    THROUGH = 4
    """It calls or jumps through a slot, or through a register."""
    BLOCK = 5
    """It fills or copies as many elements as a register says."""
    END = 6


class Glance(NamedTuple):
    """What was seen of one instruction, with the RVA that it leads to."""

    rva: int
    seen: Seen
    target: int = 0


class Fills(IntEnum):
    """Whether some code fills memory."""

    NO = 0
    AS_TOLD = 1
    """As much as somebody else says."""
    MUCH = 2


class MayFill:
    """Answers for one image."""

    def __init__(
        self,
        image: PeImage,
        slots: Collection[int],
        glances: Callable[[int, int], Iterator[Glance]],
    ) -> None:
        """`slots` are those of the imports that fill; `glances` looks at so many instructions."""
        self.image, self.slots, self.glances = image, slots, glances
        self._known: dict[int, Fills] = {}

    def soon(self, start: int, has_number: bool) -> bool:
        """Whether the code at an RVA does, where a number may stand before it."""
        return self._within(start, WINDOW, DEPTH, has_number) is Fills.MUCH

    def _of(self, start: int, depth: int) -> Fills:
        """Whether a function does."""
        if start not in self._known:
            self._known[start] = Fills.NO  # for a recursion
            self._known[start] = self._within(start, 2 * WINDOW, depth, has_number=False)
        return self._known[start]

    def _within(self, start: int, most: int, depth: int, has_number: bool) -> Fills:
        stores, found = [], Fills.NO
        for rva, seen, target in self.glances(start, most):
            each = Fills.NO
            if seen is Seen.STORE:
                stores.append(rva)
            elif seen is Seen.NUMBER:
                has_number = True
            elif seen is Seen.BLOCK:
                each = Fills.AS_TOLD
            elif seen is Seen.BRANCH and start <= target <= rva:
                each = Fills.AS_TOLD if any(store >= target for store in stores) else Fills.NO
            elif seen is Seen.THROUGH:
                is_one = bool(self.slots) if target == ANY_SLOT else target in self.slots
                each = Fills.AS_TOLD if is_one else Fills.NO
            elif seen is Seen.CALL and depth and self.image.is_code(target):
                each = self._of(target, depth - 1)
            found = max(found, Fills.MUCH if each and has_number else each)
            if found is Fills.MUCH or seen is Seen.END:
                break
        return found
