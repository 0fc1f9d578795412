"""Slots of imports that something takes along without naming each: wide loads, copies, pointers.

Looks at data and at the operands that name the table of imports; most images have none of this.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
import numpy.typing as npt
from iced_x86 import MemorySizeExt, Mnemonic, OpKind

from hvci.binary.analysis.wiring import Analysis
from hvci.binary.calls.imports.addresses import KeptAddresses
from hvci.binary.pe.sets import among
from hvci.model import Machine

if TYPE_CHECKING:
    from hvci.binary.arch.arm64.scan.references import ReferencesArm64
    from hvci.binary.arch.x86.architecture import X86
    from hvci.binary.arch.x86.references import ReferencesX86

WIDEST = 64
"""Bytes of the widest vector register."""
MAX_TABLE = 0x8000
"""Bytes of a table of imports behind its start that are taken to be copied with it."""
MAX_LOOKED_AT = 4096
"""Operands that are looked at in one image."""
_IN_DATA = "a pointer to its slot is kept in data"
_TABLE = "the address of the table of imports is taken"
_WIDE = "its slot is read with what lies beside it"


class Taken(NamedTuple):
    """One slot that something takes along."""

    place: int
    slot: int
    reason: str


def taken_along(analysis: Analysis, slots: Collection[int]) -> Iterator[Taken]:
    """What takes some slots of imports along."""
    if not slots:
        return
    every = sorted(analysis.image.imports)
    yield from _pointers(analysis, every, slots)
    is_arm64 = analysis.image.machine is Machine.ARM64
    operands = _operands_arm64(analysis, every) if is_arm64 else _operands_x86(analysis, every)
    for place, first, size in operands:
        reason = _TABLE if size > WIDEST else _WIDE
        low, high = bisect_left(every, first), bisect_left(every, first + size)
        for slot in every[low:high]:
            if slot in slots and not (size > WIDEST and slot == first):
                yield Taken(place, slot, reason)


def _pointers(analysis: Analysis, every: list[int], slots: Collection[int]) -> Iterator[Taken]:
    """Relocated pointers to slots outside code."""
    targets, places = analysis.references.pointers
    low, high = targets.searchsorted((every[0], every[-1] + 1)).tolist()
    for n in range(low, high):
        target, place = int(targets[n]), int(places[n])
        if target not in slots or analysis.image.is_code(place):
            continue
        if not _is_only_read_through(analysis, place):
            yield Taken(place, target, _IN_DATA)


def _is_only_read_through(analysis: Analysis, place: int) -> bool:
    """Whether a pointer in read-only data is loaded only to read what it points to."""
    sites = analysis.references.to_data(place)
    if not sites or analysis.image.is_writable(place) or analysis.references.pointers_to(place):
        return False
    for site in sites:
        at = analysis.functions.instruction_at(site)
        if at is None or not analysis.references.only_reads(site) or analysis.arch.hands_on(*at):
            return False
    return True


def _starts(analysis: Analysis) -> set[int]:
    """RVAs at which somebody who copies a table of imports may begin."""
    image = analysis.image
    tables = {int(table) for _, table in image.facts.import_tables}
    return tables | {int(image.facts.iat[0])} if image.facts.iat else tables


def _operands_x86(analysis: Analysis, every: list[int]) -> Iterator[tuple[int, int, int]]:
    """(RVA of the operand, first byte, bytes) of what may take more than one slot along."""
    references, image = cast("ReferencesX86", analysis.references), analysis.image
    arch, starts = cast("X86", analysis.arch), _starts(analysis)
    places = references.unusual(every[0] - WIDEST, every[-1] + image.pointer_size)
    for place in places[:MAX_LOOKED_AT].tolist():
        at = analysis.functions.instruction_at(place)
        named = arch.named_by(*at, place) if at is not None else None
        if at is None or named is None:
            continue
        instruction = at[0].instructions[at[1]]
        if instruction.mnemonic in (Mnemonic.CMP, Mnemonic.TEST):
            continue
        is_read = instruction.mnemonic != Mnemonic.LEA and any(
            instruction.op_kind(n) == OpKind.MEMORY for n in range(1, instruction.op_count)
        )
        size = int(MemorySizeExt.size(instruction.memory_size)) if is_read else 0
        if size > image.pointer_size:
            yield place, named, size
        elif not is_read and named in starts:
            yield place, named, MAX_TABLE


def _operands_arm64(analysis: Analysis, every: list[int]) -> Iterator[tuple[int, int, int]]:
    """The same; the second register of a pair is a reference of its own."""
    from hvci.binary.arch.arm64.words import access, is_access  # other machines start without

    references, image = cast("ReferencesArm64", analysis.references), analysis.image
    starts, kept = _starts(analysis), KeptAddresses(analysis)
    targets, places = references.naming(every[0], every[-1] + image.pointer_size)
    words = np.ndarray((image.size // 4,), "<u4", image.memory)[places >> 2]
    chosen = _is_vector(words) | among(targets, np.array(sorted(starts), np.int64))
    for n in chosen.nonzero()[0][:MAX_LOOKED_AT].tolist():
        word, target, place = int(words[n]), int(targets[n]), int(places[n])
        moved = access(word) if is_access(word) else None
        size = max((memory.size for memory in moved.memories), default=0) if moved else 0
        if moved is not None:
            if moved.is_load and size > image.pointer_size:
                yield place, target, size
            continue
        at = analysis.functions.instruction_at(place)
        if at is None or (kept.is_made(*at, target) and not kept.is_only_read(*at, target)):
            yield place, target, MAX_TABLE


def _is_vector(words: npt.NDArray[np.uint32]) -> npt.NDArray[np.bool_]:
    """Which words load or store vector registers."""
    return np.asarray(words & 0x0E000000 == 0x0C000000)
