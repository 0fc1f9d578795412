"""Which volatile registers a direct call of the image's own ARM64 code can change.

Link-time code generation knows its callees and keeps addresses in registers that a call may destroy
by the calling convention, where the callee does not touch them. Only callees that call nothing are
looked at. Knows words and their flow; knows no values.
"""

from __future__ import annotations

from typing import NamedTuple

from hvci import catalog
from hvci.binary.arch.arm64.encoding import (
    FLOW_BY_TOP,
    LR,
    SP,
    VOLATILE,
    flow_of,
    named_registers,
    written_registers,
)
from hvci.binary.arch.arm64.words import branch_target, is_address_of_page, literal_target
from hvci.binary.form.code import CALLS, Flow
from hvci.binary.pe.image import PeImage
from hvci.catalog.prototypes import x86_bytes

PARAMETERS = 8
"""x0 to x7 carry arguments; they have no home in memory."""
FASTCALL = 2
"""Arguments that an import may take in registers on x86."""
FEW = 4
"""Words of code that only jumps on."""
DISPATCH = 15
"""Where the dispatch function expects the target."""
_ENDS, _BR = 0xFFFFFC1F, 0xD61F0000
_LOAD_MASK, _LOAD = 0xFFC00000, 0xF9400000
MOST = 128
"""Words of a callee that are looked at."""
_FLOWS = FLOW_BY_TOP.tolist()
_BY_WORD = 0xFF
_SAVE_MASK, _SAVE = 0x3A400000, 0x28000000
"""Stores of pairs of registers."""


class Touched(NamedTuple):
    """Masks of the volatile registers that some code changes, and that it names."""

    changed: int
    named: int


ALL = Touched(VOLATILE, VOLATILE)


class Clobbers:
    """What the functions of one image do to volatile registers."""

    def __init__(self, image: PeImage) -> None:
        self.image = image
        self._known: dict[int, Touched] = {}

    def of(self, target: int) -> int:
        """Mask of the registers that a call of the code at an RVA changes, the link among them.

        All volatile ones where the code calls others, or is too long.
        """
        return self._touched(target).changed

    def may_read(self, target: int) -> int:
        """Mask of the volatile registers that the code at an RVA names at all."""
        return self._touched(target).named

    def goes_on(self, target: int) -> int | None:
        """The register that the code at an RVA only jumps on through; None for other code.

        That of Control Flow Guard where it jumps through the dispatch function of that.
        """
        page: dict[int, int] = {}
        slots: dict[int, int] = {}
        for rva in range(target, target + 4 * FEW, 4):
            word = self.image.u32(rva)
            first, base = word & 31, word >> 5 & 31
            if word & _ENDS == _BR:
                if base in slots:
                    return DISPATCH if slots[base] in self.image.guard_dispatches else None
                return base if rva == target else None
            if is_address_of_page(word):
                page[first] = literal_target(word, rva)
            elif word & _LOAD_MASK == _LOAD and base in page:
                slots[first] = page[base] + (word >> 7 & 0x7FF8)
            else:
                return None
        return None

    def _touched(self, target: int) -> Touched:
        known = self._known.get(target)
        if known is None:
            known = self._known[target] = self._walk(target)
        return known

    def _walk(self, target: int) -> Touched:
        """What all words that control can reach from an RVA do."""
        changed, named, work, seen = 1 << LR, 0, [target], set[int]()
        while work:
            rva = work.pop()
            while rva not in seen:
                if len(seen) >= MOST or not self.image.is_code(rva):
                    return ALL
                seen.add(rva)
                word = self.image.u32(rva)
                flow = _FLOWS[word >> 24]
                flow = flow_of(word) if flow == _BY_WORD else flow
                if flow in CALLS or flow == Flow.INDIRECT_JUMP or _saves_link(word):
                    return ALL
                if flow in (Flow.RETURN, Flow.STOP):
                    break
                named |= named_registers(word)
                if flow == Flow.JUMP:
                    rva = branch_target(word, rva)
                    continue
                if flow == Flow.BRANCH:
                    work.append(branch_target(word, rva))
                else:
                    changed |= written_registers(word)
                rva += 4
        return Touched(changed & VOLATILE, named & VOLATILE)


def _saves_link(word: int) -> bool:
    """Whether a word stores the frame pointer and the link, as a function that calls does."""
    return word & _SAVE_MASK == _SAVE and word >> 5 & 31 == SP and word >> 10 & 31 == LR


def most_arguments(name: str) -> int:
    """How many registers an import may read its arguments from."""
    ddi = catalog.ddis().get(name)
    if ddi is not None:
        return len(ddi.parameters)
    size = x86_bytes(name)  # nothing of arguments in registers, or of C's calling convention
    return size // 4 + FASTCALL if size else PARAMETERS
