"""Where x64 and x86 code refers to what: every displacement of the code in one scan.

Knows byte patterns of direct calls and memory operands; knows nothing of functions or values.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from hvci.binary.arch.x86 import operands
from hvci.binary.arch.x86.ahead import may_call_soon
from hvci.binary.arch.x86.direct.leaving import leaving
from hvci.binary.arch.x86.direct.named_calls import calls_by_name, may_be_called
from hvci.binary.arch.x86.fields import field_loads
from hvci.binary.arch.x86.operands import DIRECT, DIRECT_MASK, LEA, USES, may_write
from hvci.binary.form.code import Function
from hvci.binary.form.references import MAX_HITS, MAX_SCANS, NO_RVAS, References, Rvas
from hvci.binary.pe.image import Bytes, PeImage
from hvci.binary.pe.sets import among, distinct, order_of
from hvci.model import Machine

TRAILING = (0, 1, 2, 4)
"""Bytes of immediate that may follow a RIP-relative displacement."""
CALL_THROUGH, JUMP_THROUGH = b"\xff\x15", b"\xff\x25"
REX_W = 0x48
_LOAD, _LOAD_EAX = 0x8B, 0xA1
_ADD_EAX, _ADD = 0x05, 0x81
ESCAPE = 0x0F
_SHORT_JUMPS = np.zeros(0x100, bool)
_SHORT_JUMPS[[*range(0x70, 0x80), *range(0xE0, 0xE4), 0xEB]] = True
"""By opcode: whether it jumps as far as one byte says."""
STRETCH = 1 << 15
"""Bytes scanned together."""
_AHEAD = np.arange(4, STRETCH + 4, dtype=np.int32)
_BEFORE_NAMED = np.arange(0x100) & DIRECT_MASK == DIRECT
_BEFORE_NAMED[[0xE8, 0xE9, *range(0x80, 0x90)]] = True
"""By the byte before an x64 displacement: ModRM without registers, or a branch's last opcode."""
CALL_WINDOW = 160
"""Bytes behind the load of a method in which its call is looked for."""

MAX_BRANCH, MAX_JUMP = 5, 4
_JUMP_PREFIXES = bytes((0x3E, 0xF2, *range(0x40, 0x50)))
_INDIRECT_JUMPS = (JUMP_THROUGH, *(bytes((0xFF, modrm)) for modrm in range(0xE0, 0xE8)))
_THROUGH_MEMORY = np.array((0x15, 0x25), np.uint8)
"""Second byte of `call [address]` and `jmp [address]`."""


class ReferencesX86(References):
    """References from the code of one x64 or x86 image."""

    def __init__(self, image: PeImage) -> None:
        super().__init__(image)
        self._ranges = [(start, end) for start, end in image.code_ranges if end - start >= 8]
        self._asked = 0
        self._by_relocation = image.machine is Machine.X86 and len(image.relocations.rvas) > 0

    # ---- memory operands

    @cached_property
    def _operands(self) -> tuple[Rvas, Rvas]:
        """(RVA of the operand, target RVA) of every candidate operand that names the image.

        On x86 relocations tell them; elsewhere each byte may begin one. On x64 what stands before
        a displacement says that it is one: ModRM, or the opcode of a branch.
        """
        if self._by_relocation:
            return self._relocated
        places, targets = [NO_RVAS], [NO_RVAS]
        for start, end in self._ranges:
            for at in range(start, end - 3, STRETCH):
                found, named = self._named_from(at, min(STRETCH, end - 3 - at))
                places.append(found)
                targets.append(named)
        return np.concatenate(places), np.concatenate(targets)

    def _named_from(self, at: int, count: int) -> tuple[Rvas, Rvas]:
        """The same of so many places from an RVA on.

        A stretch at a time, so that what is compared stays in the processor's cache.
        """
        raw = np.ndarray((count,), "<i4", self.image.memory, at, (1,))
        if self.image.bits == 64:
            named = raw + _AHEAD[:count]
            named += np.int32(at)
        else:
            named = raw - np.array(self.image.base & 0xFFFFFFFF, np.uint32).view(np.int32)
        inside = (named.view(np.uint32) < np.uint32(self.image.size)).nonzero()[0]
        if self.image.bits == 64:
            code, places = self.image.bytes, inside + at
            last = code[places - 1]
            chosen = _BEFORE_NAMED[last]
            chosen &= (last & 0xF0 != 0x80) | (code[places - 2] == ESCAPE)
            inside = inside[chosen]
        return inside + at, named[inside].astype(np.int64)

    @cached_property
    def _relocated(self) -> tuple[Rvas, Rvas]:
        """(RVA of the operand, target RVA) of every relocated operand in code, on x86."""
        rvas = distinct(self.image.relocations.rvas)
        rvas = rvas[rvas + 4 <= self.image.size]
        rvas = rvas[self.in_code(rvas)]
        words = np.ndarray((self.image.size - 3,), "<u4", self.image.memory, 0, (1,))
        return rvas, words[rvas].astype(np.int64) - self.image.base

    @cached_property
    def import_branches(self) -> Rvas:
        """RVAs of `call [address]` and `jmp [address]` with a relocated address, sorted."""
        if not self._by_relocation:
            return NO_RVAS
        operands = self._relocated[0]
        code = self.image.bytes
        is_branch = (code[operands - 2] == 0xFF) & among(code[operands - 1], _THROUGH_MEMORY)
        found: Rvas = operands[is_branch] - 2
        return found

    @cached_property
    def operand_targets(self) -> Rvas:
        """By relocation, on x86."""
        return distinct(self._relocated[1]) if self._by_relocation else NO_RVAS

    @cached_property
    def taken(self) -> Rvas:
        """Of LEA, on x64."""
        if self.image.bits == 32:
            return NO_RVAS
        places, targets = self._operands
        code = self.image.bytes
        is_lea = (code[places - 2] == LEA) & (code[places - 1] & DIRECT_MASK == DIRECT)
        return distinct(targets[is_lea])

    @property
    def jump_tables(self) -> tuple[Rvas, Rvas]:
        """Tables behind `jmp [reg*4+table]`, and `mov reg, [reg*4+table]` with `jmp reg`.

        What an operand names behind a table is no part of it.
        """
        targets, _, is_jump = self._tables
        starts = distinct(targets[is_jump])
        return starts, self._ends(starts)

    def named_tables(self, wanted: Rvas) -> tuple[Rvas, Rvas, Rvas]:
        """The same for what is read or added to, whatever becomes of it: (RVA, end, operand).

        Those that begin at one of some RVAs.
        """
        targets, operands, _ = self._tables
        chosen = among(targets, wanted)
        targets, operands = targets[chosen], operands[chosen]
        order = np.argsort(targets, kind="stable")
        starts, operands = targets[order], operands[order]
        return starts, self._ends(starts), operands

    def _ends(self, starts: Rvas) -> Rvas:
        """What an operand names next behind each RVA."""
        ends = np.append(self.operand_targets, self.image.size)
        return ends[np.minimum(ends.searchsorted(starts, "right"), len(ends) - 1)]

    @cached_property
    def _tables(self) -> tuple[Rvas, Rvas, npt.NDArray[np.bool_]]:
        """(RVA, operand, whether a jump follows) of what may be tables, on x86."""
        if not self._by_relocation:
            return NO_RVAS, NO_RVAS, np.zeros(0, bool)
        operands, named = self._relocated
        code = self.image.bytes
        inner = (operands >= 3) & (operands + 6 <= len(code))
        operands, targets = operands[inner], named[inner]
        by_index = code[operands - 1] & 0xC7 == 0x85
        modrm = code[operands - 2]
        jumps = by_index & (code[operands - 3] == 0xFF) & (modrm == 0x24)
        loads = by_index & (code[operands - 3] == _LOAD) & (modrm & 0xC7 == 0x04)
        through = (code[operands + 4] == 0xFF) & (code[operands + 5] == 0xE0 | modrm >> 3)
        sums = (code[operands - 1] == _ADD_EAX) | (modrm == _ADD) & (
            code[operands - 1] & 0xF8 == 0xC0
        )
        chosen = jumps | loads | sums
        return targets[chosen], operands[chosen], (jumps | loads & through)[chosen]

    def method_loads(self, displacement: int) -> list[int]:
        """Operands with a base register and a displacement of one byte."""
        found: list[int] = []
        for start, end in self._ranges:
            code = self.image.bytes[start:end]
            places = (code == displacement).nonzero()[0]
            places = places[places >= 4]
            plain = _reads_through(code[places - 2], code[places - 1], False)
            based = _reads_through(code[places - 3], code[places - 2], True)
            based &= code[places - 1] & 0x3F == 0x24  # no index register
            chosen = plain | based
            opcodes = places[chosen] - np.where(plain[chosen], 2, 3)
            found += (opcodes + (start + 1)).tolist()
        return found

    def may_be_called(self, place: int) -> bool:
        """Whether the load, call or jump with its ModRM at an RVA may lead to a call."""
        memory, opcode = self.image.memory, place - 1
        if memory[opcode] != _LOAD:
            return True
        if self.image.bits == 64 and memory[opcode - 1] & 0xF8 != REX_W:
            return False  # it loads four bytes, no pointer
        begin = opcode - (self.image.bits == 64)
        code = bytes(memory[begin : begin + CALL_WINDOW])
        return may_call_soon(code, begin, self.image.bits)

    def field_loads(self, offset: int) -> Rvas:
        """RVAs in candidates that load 32 bits so far behind a register, sorted."""
        return field_loads(self.image, offset)

    def constants(self, value: int) -> list[int]:
        """Wherever the bytes stand in code."""
        wanted = value.to_bytes(4, "little")
        return [at for span in self._ranges for at in self.image.find(wanted, *span)]

    def to_slots(self, slots: Iterable[int]) -> list[tuple[int, int]]:
        """(RVA of the displacement, slot) of every candidate operand that names a slot exactly."""
        wanted = np.array(sorted(slots), np.int64)
        if not len(wanted):
            return []
        operands, named = self._operands
        near = (named >= wanted[0]) & (named <= wanted[-1])
        operands, named = operands[near], named[near]
        chosen = among(named, wanted).nonzero()[0][: MAX_HITS + 1]
        found = list(zip(operands[chosen].tolist(), named[chosen].tolist(), strict=True))
        return found + self._wide(wanted) if self.image.bits == 64 else found

    def _wide(self, wanted: Rvas) -> list[tuple[int, int]]:
        """The same for relocated operands of eight bytes, as in `movabs rax, address`."""
        targets, places = self._wide_between(int(wanted[0]), int(wanted[-1]) + 1)
        chosen = among(targets, wanted)
        return list(zip(places[chosen].tolist(), targets[chosen].tolist(), strict=True))

    def _wide_between(self, low: int, high: int) -> tuple[Rvas, Rvas]:
        """(target, place) of those that name one of some RVAs in a row."""
        targets, places = self.pointers
        first, last = targets.searchsorted((low, high))
        targets, places = targets[first:last], places[first:last]
        inside = self.in_code(places)
        return targets[inside], places[inside]

    def unusual(self, low: int, high: int) -> Rvas:
        """RVAs of the operands that name some RVAs in a row and neither call nor load a pointer."""
        operands, named = self._operands
        operands = operands[(named >= low) & (named < high)]
        opcode, modrm = (self.image.bytes[operands - n] for n in (2, 1))
        is_direct = modrm & DIRECT_MASK == DIRECT
        is_plain = is_direct & ((opcode == 0xFF) | (opcode == _LOAD))
        if self.image.bits == 64:
            return np.asarray(operands[is_direct & ~is_plain])
        return np.asarray(operands[~is_plain & (modrm != _LOAD_EAX)])

    def to_data(self, rva: int, count: int = 1) -> list[int]:
        """RVAs of the displacements of every candidate operand that names one of some RVAs."""
        end = rva + count
        if self.image.bits == 32:
            return sorted(place for place, _ in self._naming(rva, end))
        named = self._naming(rva - TRAILING[-1], end)
        found = [place for place, at in named if any(rva <= at + more < end for more in TRAILING)]
        return sorted(found + self._wide_between(rva, end)[1].tolist())

    def naming(self, low: int, high: int) -> tuple[Rvas, Rvas]:
        """(target, RVA of the displacement) of every candidate that names one of many RVAs."""
        operands, named = self._operands
        near = (named >= low) & (named < high)
        return named[near], operands[near]

    def _exact(self, rva: int) -> list[int]:
        """The same without bytes behind the displacement."""
        return [place for place, _ in self._naming(rva, rva + 1)]

    def _naming(self, low: int, high: int) -> list[tuple[int, int]]:
        """(place, target) of every displacement that names one of a few RVAs.

        The first questions are answered by a scan, and later ones from an index: most images
        get few questions, and some thousands.
        """
        self._asked += 1
        if self._asked > MAX_SCANS or self._by_relocation:
            targets, places = self._by_target
            first, last = targets.searchsorted((low, high))
            return list(zip(places[first:last].tolist(), targets[first:last].tolist(), strict=True))
        operands, named = self._operands
        near = (named >= low) & (named < high)
        return list(zip(operands[near].tolist(), named[near].tolist(), strict=True))

    @cached_property
    def _by_target(self) -> tuple[Rvas, Rvas]:
        """(target, place) of every candidate operand, sorted by target."""
        places, targets = self._operands
        order = order_of(targets)
        return targets[order], places[order]

    def to_executable(self) -> Rvas:
        """RVAs of the displacements of every candidate operand that names an executable section."""
        operands, named = self._operands
        return operands[self.in_code(named)]

    # ---- direct calls and jumps

    def find_branches(self) -> tuple[Rvas, Rvas]:
        """(target, site) of every candidate E8 and E9."""
        places, targets = self._near_branches
        inside = self.in_code(targets)
        return targets[inside], places[inside] - 1

    def short_branches(self, rva: int) -> list[int]:
        """RVAs of candidate short jumps, and of conditional ones, to an RVA."""
        first = max(0, rva - 2 - 0x7F)
        code = self.image.bytes[first : rva + 0x80]
        places = _SHORT_JUMPS[code[:-1]].nonzero()[0]
        reached = code[places + 1].view(np.int8) + (places + first + 2)
        found: list[int] = (places[reached == rva] + first).tolist()
        targets, sites = self._conditional
        low, high = targets.searchsorted((rva, rva + 1))
        return [*found, *map(int, sites[low:high])]

    @cached_property
    def short_jumps(self) -> tuple[Rvas, Rvas]:
        """Every candidate jump of two bytes."""
        targets, sites = operands.short_jumps(self.image.bytes, self._ranges)
        inside = self.in_code(targets)
        return targets[inside], sites[inside]

    @cached_property
    def _conditional(self) -> tuple[Rvas, Rvas]:
        """(target, site) of every candidate conditional jump of six bytes, sorted by target."""
        found_targets, found_sites = [NO_RVAS], [NO_RVAS]
        for start, end in self._ranges:
            code = self.image.bytes[start : end - 5]
            places = (code == ESCAPE).nonzero()[0]
            places = places[self.image.bytes[places + (start + 1)] & 0xF0 == 0x80]
            raw = np.ndarray((end - start - 3,), "<i4", self.image.memory, start, (1,))
            reached = raw[places + 2].astype(np.int64) + places + (start + 6)
            inside = self.in_code(reached)
            found_targets.append(reached[inside])
            found_sites.append(places[inside] + start)
        targets, sites = np.concatenate(found_targets), np.concatenate(found_sites)
        order = order_of(targets)
        return targets[order], sites[order]

    def strays(self) -> list[tuple[int, int]]:
        """By the bytes before a displacement that names the image: E8, E9 and 0F 8x."""
        if self._by_relocation:
            places, named = self._near_branches
        else:
            places, named = self._operands
            last, before = (self.image.bytes[places - n] for n in (1, 2))
            chosen = (last & 0xFE == 0xE8) | ((before == ESCAPE) & (last & 0xF0 == 0x80))
            places, named = places[chosen], named[chosen]
        outside = ~self.in_code(named)
        places, named = places[outside], named[outside]
        return list(zip(places.tolist(), named.tolist(), strict=True))

    @cached_property
    def _near_branches(self) -> tuple[Rvas, Rvas]:
        """(RVA of the displacement, target) of every E8 and E9 that leads into the image."""
        if self.image.bits == 64:
            operands, named = self._operands
            is_branch = self.image.bytes[operands - 1] & 0xFE == 0xE8
            for start, _ in self._ranges:
                is_branch &= operands != start  # the opcode lies in the code as well
            return operands[is_branch], named[is_branch]
        places, targets = [NO_RVAS], [NO_RVAS]
        words = np.ndarray((self.image.size - 3,), "<i4", self.image.memory, 0, (1,))
        for start, end in self._ranges:
            at = ((self.image.bytes[start : end - 4] & 0xFE) == 0xE8).nonzero()[0] + start
            reached = words[at + 1].astype(np.int64) + at + 5
            inside = (reached >= 0) & (reached < self.image.size)
            at, reached = at[inside], reached[inside]
            plain = ~self._relocated_at(at)
            places.append(at[plain] + 1)
            targets.append(reached[plain])
        return np.concatenate(places), np.concatenate(targets)

    def _relocated_at(self, sites: Rvas) -> npt.NDArray[np.bool_]:
        """Which five-byte instructions overlap a relocated operand: those are no direct calls."""
        if not self._by_relocation:
            return np.zeros(len(sites), bool)
        operands = np.append(self._relocated[0], self.image.size + MAX_BRANCH)
        found: npt.NDArray[np.bool_] = operands[operands.searchsorted(sites - 3)] < sites + 5
        return found

    def leaving(self, functions: list[Function]) -> list[Function]:
        """By what their instructions say, and the displacements of E8."""
        return leaving(self.image, functions)

    def are_calls(self, sites: Rvas) -> npt.NDArray[np.bool_]:
        """Which sites hold E8."""
        return np.asarray(self.image.bytes[sites] == 0xE8)

    # ---- addresses

    def thunk(self, place: int) -> int | None:
        """`jmp [slot]` without the prefix that marks a tail call in a function."""
        memory = self.image.memory
        if memory[place - 1] != JUMP_THROUGH[1] or memory[place - 2] != JUMP_THROUGH[0]:
            return None
        return place - 2 if memory[place - 3] != REX_W else None

    def thunks(self, places: Sequence[int]) -> dict[int, int]:
        """By `jmp` before the operand, of all at once."""
        at, code = np.array(places, np.int64), self.image.bytes
        is_jump = (code[at - 1] == JUMP_THROUGH[1]) & (code[at - 2] == JUMP_THROUGH[0])
        return super().thunks(at[is_jump].tolist())

    def jumps_on(self, rva: int) -> bool:
        """`jmp reg` or `jmp [address]`, with or without prefixes."""
        opening = bytes(self.image.memory[rva : rva + MAX_JUMP])
        return opening.lstrip(_JUMP_PREFIXES).startswith(_INDIRECT_JUMPS)

    def call_starts(self, place: int) -> tuple[int, ...]:
        """With and without a prefix."""
        opcode = self.image.memory[place - 2 : place]
        return (place - 2, place - 3) if opcode in (CALL_THROUGH, JUMP_THROUGH) else ()

    def only_reads(self, place: int) -> bool:
        """By opcode and ModRM; on x86 an immediate can look like ModRM, but hardly so."""
        opcode, modrm = self.image.memory[place - 2], self.image.memory[place - 1]
        if modrm & DIRECT_MASK != DIRECT:
            return False
        if self.image.bits == 32:
            return opcode == _LOAD and not self._is_immediate(place)
        return opcode != LEA and not may_write(opcode, modrm)

    def may_make(self, place: int) -> bool:
        """By opcode and ModRM: on x64 only LEA, and MOV of eight bytes, make an address."""
        opcode, modrm = self.image.memory[place - 2], self.image.memory[place - 1]
        is_direct = modrm & DIRECT_MASK == DIRECT
        if self.image.bits == 64:
            return (opcode == LEA and is_direct) or self._is_wide(place)
        return not (is_direct and USES[opcode] and not self._is_immediate(place))

    def _is_immediate(self, place: int) -> bool:
        """Whether bytes before an x86 operand look like ModRM and belong to another one.

        As in `mov dword [ebx+ecx*4+5], address`, whose SIB and offset look like a load.
        """
        return bool(self.image.memory[place - 4] == 0xC7)

    def _is_wide(self, place: int) -> bool:
        """Whether an x64 operand has eight bytes, which a relocation makes right."""
        return place in self._wide_places

    @cached_property
    def _wide_places(self) -> frozenset[int]:
        targets, places = self.pointers
        return frozenset(places[self.in_code(places)].tolist()) if len(targets) else frozenset()

    def may_take(self, place: int, rva: int) -> bool:
        """No immediate follows the displacement of a LEA."""
        if self.image.bits == 32 or not self.may_make(place):
            return self.may_make(place)
        if self._is_wide(place):
            return self.image.pointer(place) - self.image.base == rva
        return (place + 4 + self.image.u32(place) - rva) & 0xFFFFFFFF == 0

    def takes_address(self, rva: int) -> bool:
        """Whether a pointer in data or a LEA in code names the RVA."""
        if self.pointers_to(rva):
            return True
        if self.image.bits == 32:
            return bool(self.to_data(rva))
        memory = self.image.memory
        return any(
            place >= 2 and memory[place - 1] & 0xC7 == 5 and memory[place - 2] == 0x8D
            for place in self._exact(rva)
        )

    @cached_property
    def named(self) -> dict[int, list[int]]:
        """Every LEA of code, by target, if a call may stand behind one of them."""
        found: dict[int, list[int]] = {}
        if self.image.bits == 32 or not calls_by_name(self.image):
            return found
        operands, targets = self._operands
        code = self.image.bytes
        is_lea = (code[operands - 2] == LEA) & (code[operands - 1] & DIRECT_MASK == DIRECT)
        operands, targets = operands[is_lea], targets[is_lea]
        inside = self.in_code(targets)
        for place, target in zip(operands[inside].tolist(), targets[inside].tolist(), strict=True):
            found.setdefault(target, []).append(place)
        image = self.image
        return {
            target: places
            for target, places in found.items()
            if any(may_be_called(image, place) for place in places)
        }


def _reads_through(opcode: Bytes, mod_rm: Bytes, has_sib: bool) -> npt.NDArray[np.bool_]:
    """`mov r, [r+disp8]`, `call [r+disp8]`, `jmp [r+disp8]`."""
    short = (mod_rm >> 6 == 1) & ((mod_rm & 7 == 4) == has_sib)
    kind = mod_rm >> 3 & 7
    through: npt.NDArray[np.bool_] = short & (
        (opcode == 0x8B) | (opcode == 0xFF) & ((kind == 2) | (kind == 4))
    )
    return through
