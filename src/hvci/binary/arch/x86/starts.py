"""Where functions of an x86 image start: what is called, jumped or pointed to, and prologues.

x86 images have no unwind data. One vectorised look at the bytes around each candidate decides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cached_property
from itertools import takewhile

import numpy as np
import numpy.typing as npt

from hvci.binary.arch.x86.fillers import LONGEST, ends_with_filler
from hvci.binary.form.references import NO_RVAS, References, Rvas
from hvci.binary.pe.image import PeImage
from hvci.binary.pe.sets import among, distinct

ALIGNMENT = 16
"""Compilers that pad with long no-operations align functions so."""
_OPENING_CODE = (
    "55 53 56 57 51 52 50 6a 68 a1 b8 c2 c3 cc e9 8bff 31c0 31c9 83ec 81ec 8b44 8b4c 8b54 8b5c "
    "8b74 8b7c 8b0d 8b15 8b41 8b01 8bc1 33c0 32c0 32c9 837c 807c f644 0fb7 0fb6 64a1 ff25 ff74 "
    "ff35 85c9 8d44 8d4c 8d54 c701 c705 833d 803d 8a44 8a4c b0 b9 a0 f605 66 9c fa 0f20 0f22 0f32"
)
"""How compilers and assemblers begin functions; a call into a function hits others as well."""
_PADDING, _ENDS = np.zeros(256, bool), np.zeros(256, bool)
_PADDING[[0x90, 0xCC]] = _ENDS[[0x90, 0xC3, 0xCC]] = True
_WITH_MODRM = np.zeros(0x100, bool)
_WITH_MODRM[
    list(
        bytes.fromhex(
            "01 03 09 0b 19 1b 21 23 29 2b 31 33 3839 3a3b 6369 6b80 8183 8485 "
            "8687 8889 8a8b 8d8f b6b7 bebf c6c7 d8d9 dadb dcdd dedf f6f7 feff"
        )
    )
] = True
"""Opcodes, or their last bytes, of common instructions with a memory operand."""
_HAS_SIB, _BY_FRAME = 4, 5
"""In the low bits of ModRM, or as the base in SIB."""
_RESTORES_ESP = b"\x8b\x65\xe8"
"""`mov esp, [ebp-18h]`: how a handler begins."""
_RESTORED = np.uint64(int.from_bytes(_RESTORES_ESP, "little"))
_THREE_BYTES = np.uint64(0xFFFFFF)
_OUTERMOST, _MAX_LEVEL = 0xFFFFFFFE, 16
"""Scope levels: -1 and -2 mean none, others are small indices."""
BEFORE = 8
"""Bytes before a candidate that are looked at."""
TYPE_SIGNATURE = 0xC105CAFE
"""The first four of the eight bytes that clang puts before a function for -fsanitize=function."""
MAX_INSTRUCTION = 15
MAX_DECODED = 0x1000
"""Bytes decoded before what looks like a call."""
MAX_TAIL_JUMPS = 4
"""Functions that end with a jump to the next one, as often as that is looked for."""
_JUMP, _SHORT_JUMP = 0xE9, 0xEB
_JUMPS = np.array((0x20, 0xE0), np.uint8)
"""ModRM of `jmp [eax]` and `jmp eax`, without the register."""
JUMP_BY_REGISTER = re.compile(rb"\xff[\xe0-\xe7]")
HANDLER = 8
"""Bytes of a handler in which it restores ESP."""

Chosen = npt.NDArray[np.bool_]


def _opening_words() -> Chosen:
    """By the first two bytes of a function as a little-endian number: whether it begins so."""
    known = np.zeros(0x10000, bool)
    for text in _OPENING_CODE.split():
        first = bytes.fromhex(text)
        if len(first) == 2:
            known[int.from_bytes(first, "little")] = True
        else:
            known[first[0] :: 0x100] = True
    return known


_OPENING_WORDS = _opening_words()


Decode = Callable[[bytes, int], Iterable[int]]
"""RVAs of the instructions of a stretch of code that starts at an RVA, sorted."""


def find_starts(image: PeImage, references: References, decode: Decode) -> list[int]:
    """Function starts of an x86 image, sorted."""
    seen = Openings(image, references)
    first = [start for start, _ in image.code_ranges]
    known = np.array([int(image.headers.entry), *image.exports, *first], np.int64)
    known = known[references.in_code(known)]  # all others are in code anyway
    called, unsure = seen.called()
    certain = distinct(np.concatenate((known, called, seen.jumped(), seen.prologues())))
    found = distinct(np.append(certain, seen.pointed(certain)))
    more = [rva for rva in unsure if seen.is_called(rva, found, decode)]
    found = distinct(np.append(found, more)).astype(np.int64) if more else found
    for _ in range(MAX_TAIL_JUMPS):
        more = [rva for rva in seen.crossed(found) if seen.is_jumped_to(rva, found, decode)]
        if not more:
            break
        found = distinct(np.append(found, more)).astype(np.int64)
    return [int(rva) for rva in found]


class Openings:
    """Looks at candidates of one image."""

    def __init__(self, image: PeImage, references: References) -> None:
        self.image = image
        self.references = references
        self.code = image.bytes

    def called(self) -> tuple[Rvas, list[int]]:
        """Targets of direct calls; a call of code within a function does not split it.

        Nor do bytes of an operand that look like a call. Where only decoding tells, the targets
        come last.
        """
        targets = self.references.call_targets
        targets = targets[targets >= BEFORE]
        begins, is_aligned = self._begins(targets), targets % ALIGNMENT == 0
        ended = self.is_behind_end(targets) | (begins & is_aligned)
        named, may_be_operand, of_frame = self._operands()
        is_plain = among(targets, named[~may_be_operand])
        unsure = ended & ~among(targets, named[~of_frame])
        kept = np.where(ended, ~unsure, is_plain & (begins | is_aligned))
        others = targets[~kept & ~ended]
        several = others[self.references.has_several(others)]
        return np.concatenate((targets[kept], several)), targets[unsure].tolist()

    def is_called(self, rva: int, known: Rvas, decode: Decode) -> bool:
        """Whether one of the sites that call an RVA is an instruction of the function around it."""
        return self._is_instruction(self.references.to_code(rva), known, decode)

    def is_jumped_to(self, rva: int, known: Rvas, decode: Decode) -> bool:
        """The same of jumps, short ones too."""
        short = self.references.short_branches(rva)
        jumps = [site for site in short if self.code[site] == _SHORT_JUMP]
        return self._is_instruction([*self.references.to_code(rva), *jumps], known, decode)

    def _is_instruction(self, sites: Iterable[int], known: Rvas, decode: Decode) -> bool:
        for site in sites:
            i = int(known.searchsorted(site, "right")) - 1
            start = int(known[i]) if i >= 0 else site
            code = bytes(self.image.memory[start : site + MAX_INSTRUCTION])
            if site - start > MAX_DECODED or site in takewhile(site.__ge__, decode(code, start)):
                return True
        return False

    def _operands(self) -> tuple[Rvas, Chosen, Chosen]:
        """Targets of calls and jumps, sorted; which may be displacements; which of the frame.

        As in `mov [ebp-18h], 5`: an opcode, and a ModRM that asks for the displacement E8 then.
        """
        targets, sites = self.references.branches
        sites = np.maximum(sites, BEFORE)
        third, second, first = (self.code[sites - back] for back in (1, 2, 3))
        wide = (second + 0x40 >= 0x80) & (second & 7 == _HAS_SIB) & _WITH_MODRM[first]
        short = (third + 0x40 >= 0x80) & (third & 7 != _HAS_SIB) & _WITH_MODRM[second]
        by_frame = third & 7 == _BY_FRAME
        return targets, wide | short, (wide | short) & (by_frame | (third >= 0x80))

    def jumped(self) -> Rvas:
        """Targets of tail jumps: behind padding, and with a prologue or an import jump."""
        targets = self.references.branch_targets
        targets = targets[targets >= BEFORE]
        jumps_on = (self.code[targets] == 0xFF) & (self.code[targets + 1] == 0x25)
        opening = self._is_opening(targets) | jumps_on
        ended = _PADDING[self.code[targets - 1]] & opening
        found: Rvas = targets[ended | self.are_typed(targets)]
        return found

    def crossed(self, known: Rvas) -> list[int]:
        """Where functions begin that only tail jumps lead to: out of a function, behind an end.

        Nothing between two known starts goes there, neither straight on nor by a jump.
        """
        targets, sites = self._all_jumps
        away = known.searchsorted(targets, "right") != known.searchsorted(sites, "right")
        found = distinct(targets[away & ~among(targets, known)])
        # behind a jump labels stand as well, where what is known as a start is none
        is_behind_jump = (self.code[found - 5] == _JUMP) | (self.code[found - 2] == _SHORT_JUMP)
        ended = self.is_behind_end(found) & ~is_behind_jump
        is_aligned = (found % ALIGNMENT == 0) & is_behind_jump
        found = found[ended | is_aligned | self.are_behind_fillers(found)]
        return [rva for rva in found.tolist() if self._is_apart(rva, known)]

    def _is_apart(self, rva: int, known: Rvas) -> bool:
        """Whether no jump leads to an RVA from between the known starts around it."""
        at = int(known.searchsorted(rva, "right"))
        low = int(known[at - 1]) if at else 0
        high = int(known[at]) if at < len(known) else self.image.size
        jumps = (*self.references.to_code(rva), *self.references.short_branches(rva))
        # what jumps nowhere is part of a filler
        return not any(low <= site < high for site in jumps if site != rva - 2)

    @cached_property
    def _all_jumps(self) -> tuple[Rvas, Rvas]:
        """(target, site) of what may be jumps of two or five bytes into code."""
        targets, sites = self.references.branches
        far, short = self.code[sites] == _JUMP, self.references.short_jumps
        targets = np.concatenate((targets[far], short[0]))
        sites = np.concatenate((sites[far], short[1]))
        inside = targets >= BEFORE
        return targets[inside], sites[inside]

    def pointed(self, certain: Rvas) -> Rvas:
        """Targets of relocated pointers that look like functions, entries of jump tables apart.

        A jump table in code that an operand names is one too: it ends the function before it.
        """
        targets, places = self.references.pointers
        inside = self.references.in_code(targets) & (targets >= BEFORE)
        targets, places = targets[inside], places[inside]
        is_table = self.references.in_code(places)
        within = places[is_table]
        if len(within):
            known = distinct(places)
            is_table[is_table] = among(within - 4, known) | among(within + 4, known)
            targets, places = targets[~is_table], places[~is_table]
        labels = self._are_labels(targets, places) | self._are_local(targets, places, certain)
        targets, places = targets[~labels], places[~labels]
        opening, ended = self._is_opening(targets), self.is_behind_end(targets)
        filled = self.are_behind_fillers(targets) | self._are_behind_jumps(targets)
        unsure = (~opening & (ended | filled)).nonzero()[0]
        targets_unsure, places = targets[unsure], places[unsure]
        kept = filled[unsure] | ended[unsure] & ~self._are_handlers(targets_unsure, places)
        return np.concatenate((targets[opening], targets_unsure[kept]))

    def _are_labels(self, targets: Rvas, places: Rvas) -> Chosen:
        """Which pointers in data belong to jump tables: pointers to code without a gap.

        One whose pointers all look like functions is a table of functions for tail calls.
        """
        starts, ends = self.references.jump_tables
        if not len(starts) or not len(places):
            return np.zeros(len(places), bool)
        known = distinct(places)
        table = np.maximum(starts.searchsorted(places, "right") - 1, 0)
        start = starts[table]
        between = known.searchsorted(places) - known.searchsorted(start)
        found = (places >= start) & (places < ends[table]) & (places - start == 4 * between)
        is_aligned = (targets % ALIGNMENT == 0) & _PADDING[self.code[targets - 1]]
        found &= ~self._stand_alone(targets)  # of the table of functions right behind
        is_plain = found & ~is_aligned
        return np.asarray(found & among(table, distinct(table[is_plain])))

    def _are_local(self, targets: Rvas, places: Rvas, certain: Rvas) -> Chosen:
        """Which pointers belong to a table that leads back into the function that reads it.

        A computed goto reads it long before it jumps, and code that is not optimised adds to it.
        """
        known = distinct(places)
        starts, ends, operands = self.references.named_tables(known)
        found = np.zeros(len(places), bool)
        if not len(starts):
            return found
        table = np.maximum(starts.searchsorted(places, "right") - 1, 0)
        start = starts[table]
        between = known.searchsorted(places) - known.searchsorted(start)
        found = (places >= start) & (places < ends[table]) & (places - start == 4 * between)
        found &= ~self._stand_alone(targets)
        region = certain.searchsorted(operands, "right")
        strange = found & (certain.searchsorted(targets, "right") != region[table])
        found &= ~among(table, distinct(table[strange]))
        for each in distinct(table[found]).tolist():
            first, last = self._region(certain, int(region[each]))
            if not JUMP_BY_REGISTER.search(self.image.memory, first, last):
                found &= table != each
        is_plain = found & ~self.is_behind_end(targets) | found & (targets % ALIGNMENT != 0)
        return np.asarray(found & among(table, distinct(table[is_plain])))

    def _stand_alone(self, targets: Rvas) -> Chosen:
        """Which begin as functions do behind the end of another one; a label only does the one."""
        ended = self.is_behind_end(targets) | self.are_behind_fillers(targets)
        return np.asarray(ended & self._is_opening(targets))

    def _region(self, certain: Rvas, i: int) -> tuple[int, int]:
        """From one certain start to the next."""
        first = int(certain[i - 1]) if i else 0
        return first, int(certain[i]) if i < len(certain) else self.image.size

    def prologues(self) -> Rvas:
        """`push ebp; mov ebp, esp`, with or without the hot-patch `mov edi, edi` before it."""
        found = [NO_RVAS]
        for start, end in self.image.code_ranges:
            code = self.code[start:end]
            if len(code) < BEFORE:
                continue
            places = (code[:-2] == 0x55).nonzero()[0]
            places = places[(code[places + 1] == 0x8B) & (code[places + 2] == 0xEC)]
            patched = (code[places - 2] == 0x8B) & (code[places - 1] == 0xFF) & (places >= 2)
            found.append(places - 2 * patched + start)
        return np.concatenate(found)

    def _begins(self, rvas: Rvas) -> Chosen:
        """Which RVAs hold bytes that functions begin with."""
        words = self.code[rvas].astype(np.int64) | self.code[rvas + 1].astype(np.int64) << 8
        found: Chosen = _OPENING_WORDS[words]
        return found

    def _is_opening(self, rvas: Rvas) -> Chosen:
        """`mov edi, edi` or `push ebp; mov ...`, in the encoding of GCC and clang as well."""
        first, second = self.code[rvas], self.code[rvas + 1]
        hot = (first == 0x8B) & (second == 0xFF)
        other = (second == 0x89) & (self.code[rvas + 2] == 0xE5)
        return np.asarray(hot | (first == 0x55) & ((second == 0x8B) | other))

    def is_behind_end(self, rvas: Rvas) -> Chosen:
        """Whether padding, a return, a jump or data ends right before each RVA."""
        code = self.code
        found: Chosen = _ENDS[code[rvas - 1]]
        found |= (code[rvas - 3] == 0xC2) | (code[rvas - 5] == 0xE9) | (code[rvas - 2] == 0xEB)
        found |= (code[rvas - 6] == 0xFF) & (code[rvas - 5] == 0x25)
        return found | self.are_typed(rvas)

    def _are_behind_jumps(self, rvas: Rvas) -> Chosen:
        """Which begin as functions do, right behind a tail call through a register or a pointer."""
        code = self.code
        found = (code[rvas - 2] == 0xFF) & among(code[rvas - 1] & 0xF8, _JUMPS)
        found |= (code[rvas - 3] == 0xFF) & (code[rvas - 2] & 0xF8 == 0x60)
        found |= (code[rvas - 6] == 0xFF) & (code[rvas - 5] & 0xF8 == 0xA0)
        return np.asarray(found & (rvas % ALIGNMENT == 0) & self._begins(rvas))

    def are_typed(self, rvas: Rvas) -> Chosen:
        """Which have the type of a function before them."""
        found: Chosen = self._words[rvas - BEFORE] == TYPE_SIGNATURE
        return found

    @cached_property
    def _words(self) -> npt.NDArray[np.uint32]:
        """The four bytes that begin at each RVA."""
        return np.ndarray((len(self.code) - 3,), "<u4", self.image.memory, 0, (1,))

    def are_behind_fillers(self, rvas: Rvas) -> Chosen:
        """Which are aligned and have a long no-operation before them."""
        found = np.zeros(len(rvas), bool)
        aligned = (rvas % ALIGNMENT == 0).nonzero()[0]
        if len(aligned):
            at = rvas[aligned]
            back = [self.code[at - n] for n in range(1, LONGEST + 1)]
            found[aligned] = ends_with_filler(back)
        return found

    def _are_handlers(self, rvas: Rvas, places: Rvas) -> Chosen:
        """Which pointers belong to an exception scope: (level, filter, handler)."""
        bytes_ = np.ndarray((len(self.code) - 7,), "<u8", self.image.memory, 0, (1,))[rvas]
        found, scoped = np.zeros(len(rvas), bool), np.zeros(len(rvas), bool)
        for step in range(HANDLER - len(_RESTORES_ESP) + 1):
            found |= bytes_ >> np.uint64(8 * step) & _THREE_BYTES == _RESTORED
        for back in (4, 8):
            level = np.where(places >= back, self._words[np.maximum(places - back, 0)], 0)
            scoped |= (level >= _OUTERMOST) | (level < _MAX_LEVEL)
        scoped &= ~found
        if scoped.any():
            found[scoped] = ~self._are_in_named_tables(places[scoped])
        return found

    def _are_in_named_tables(self, places: Rvas) -> Chosen:
        """Which pointers to code stand in a row of such that code names; of a scope it does not."""
        targets, known = self.references.pointers
        known = distinct(known[self.references.in_code(targets)])
        begins = np.ones(len(known), bool)
        np.not_equal(known[1:], known[:-1] + 4, out=begins[1:])
        firsts = known[begins]
        return among(
            firsts[firsts.searchsorted(places, "right") - 1], self.references.operand_targets
        )
