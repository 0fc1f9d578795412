"""What ARM64 code may do to memory far behind a pointer: by single words, no function decoded."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np

from hvci.binary.arch.arm64.encoding import SP
from hvci.binary.arch.arm64.scan.fields import is_sum, offsets
from hvci.binary.arch.arm64.words import FP, access, branch_target, is_access, is_address_of_page
from hvci.binary.form.ahead import ANY_SLOT, FEWEST, MOST, Glance, MayFill, Seen
from hvci.binary.form.references import NO_RVAS, Rvas
from hvci.binary.pe.image import PeImage
from hvci.binary.pe.sets import distinct

BEFORE = 8
"""Words before one that makes an address in which a number may stand that is passed with it."""
_RETURN = 0xD65F0000


def numbers(image: PeImage, low: int, high: int) -> Rvas:
    """Every number from one to before another that code adds to a register or base, sorted."""
    found = [NO_RVAS]
    for start, end in image.code_ranges:
        first = (start + 3) & ~3
        words = np.frombuffer(image.memory, "<u4", max(0, end - first) // 4, first)
        words = words[is_sum(words) | (words & 0x3B000000 == 0x39000000)]
        added = offsets(words)
        found.append(added[(added >= low) & (added < high)])
    return distinct(np.concatenate(found))


class GlancesArm64:
    """Looks at words for `MayFill`."""

    def __init__(self, image: PeImage, slots: Collection[int]) -> None:
        self.image = image
        self.fills = MayFill(image, slots, self.glances)

    def behind(self, place: int) -> bool:
        """Whether the code behind the instruction at a place may fill memory."""
        words = (self.image.u32(place - 4 * n) for n in range(1, BEFORE))
        return self.fills.soon(place + 4, any(map(_has_number, words)))

    def has_index(self, place: int) -> bool:
        """Never asked: no operand names an address here."""
        return False

    def glances(self, start: int, most: int) -> Iterator[Glance]:
        """What is seen of so many words."""
        end = min(start + 4 * most, self.image.size - 3)
        for rva in range(start, end, 4):
            word = self.image.u32(rva)
            is_call = word >> 26 == 0x25
            if is_call or word >> 26 == 5 or word >> 24 == 0x54 or word >> 26 & 0x1F == 0xD:
                target = branch_target(word, rva)
                is_near = not is_call and start <= target < end
                yield Glance(rva, Seen.BRANCH if is_near else Seen.CALL, target)
            elif word >> 25 == 0x6B:  # by a register
                is_return = word & 0xFFFFFC1F == _RETURN
                yield Glance(rva, Seen.END if is_return else Seen.THROUGH, ANY_SLOT)
            elif is_access(word):
                if not access(word).is_load and word >> 5 & 31 not in (SP, FP):
                    yield Glance(rva, Seen.STORE)
            elif _has_number(word):
                yield Glance(rva, Seen.NUMBER)


def _has_number(word: int) -> bool:
    """Whether a word makes an address, or has a number that may be that of elements."""
    if is_address_of_page(word):
        return True
    if word & 0x1F800000 == 0x12800000:  # MOVZ, MOVN
        return FEWEST <= (word >> 5 & 0xFFFF) < MOST
    is_sum = word & 0x1F800000 == 0x11000000 and SP not in (word & 31, word >> 5 & 31)
    compares = word & 0x7F80001F == 0x7100001F
    return (is_sum or compares) and FEWEST <= (word >> 10 & 0xFFF) < MOST
