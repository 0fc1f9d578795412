"""The labels of jump tables: where an indirect jump can go inside its function.

A label that the code before it falls into as well has two ways back, and the data flow must know
both: `JumpTables.note` adds the jump to the sources of every label in its tables. How long a table
is stands nowhere; entries are read until one cannot be a label. One label too many only makes a
value wider, one too few loses a value. How a jump names its table is the affair of the
architecture; here are numbers in memory, and nothing of registers.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from hvci.binary.form.code import Flow, Function
from hvci.binary.pe.image import PeImage

MAX_JUMPS = 256
"""Indirect jumps of a function; no real one has so many, and its tables are not read."""
MAX_ENTRIES = 4096
"""Entries read of one table."""
MAX_READ = 1 << 17
"""Entries read in one image; real drivers have some thousands."""
_FORMS = {1: "bB", 2: "hH", 4: "iI", 8: "qQ"}
"""By the bytes of an entry: how it is unpacked, signed and not."""


class Table(NamedTuple):
    """A jump table: an entry leads to `base` and so many times `scale` behind it."""

    at: int
    """RVA of the first entry."""
    size: int
    """Bytes of an entry."""
    stride: int
    """Bytes from an entry to the next."""
    base: int
    """RVA; for absolute addresses what makes RVAs of them."""
    scale: int = 1
    is_signed: bool = True

    @property
    def form(self) -> str:
        """An entry and what lies behind it, for `struct`."""
        return f"<{_FORMS[self.size][not self.is_signed]}{self.stride - self.size}x"


class Used(NamedTuple):
    """A table with the jump that goes through it."""

    jump: int
    table: Table
    first: int
    """RVA of the first instruction of the function."""
    last: int
    """RVA of its last instruction."""


class JumpTables:
    """Reads the jump tables of one image."""

    def __init__(self, image: PeImage) -> None:
        self.image = image
        self._left = MAX_READ

    def note(self, function: Function, tables: Iterable[tuple[int, Table]]) -> None:
        """Make jumps the sources of the labels in their tables; `tables` name the jump first."""
        first, last = function.rvas[0], function.rvas[-1]
        for jump, rva in self.read([Used(jump, table, first, last) for jump, table in tables]):
            label = function.find(rva)
            if label is not None:
                function.sources.setdefault(label, []).append(jump)

    def read(self, used: Collection[Used]) -> Iterator[tuple[int, int]]:
        """(jump, RVA within its function) of all that entries may lead to."""
        starts = sorted({each.table.at for each in used})
        for each in used:
            following = bisect_right(starts, each.table.at)
            end = starts[following] if following < len(starts) else self.image.size
            for rva in self._targets(each, end):
                yield each.jump, rva

    def leads_into(self, function: Function, table: Table) -> bool:
        """Whether the first entry of what may be a table leads to an instruction of a function."""
        self._left -= 1
        if self._left < 0 or not self.image.holds(table.at, table.size):
            return False
        entry = int.from_bytes(
            self.image.memory[table.at : table.at + table.size], "little", signed=table.is_signed
        )
        return function.find(table.base + table.scale * entry) is not None

    def _targets(self, used: Used, end: int) -> set[int]:
        """RVAs within the function that the entries before an RVA lead to.

        The table ends before the first label behind it, and no label lies in it. Addresses may lead
        out of the function, to a part that stands elsewhere; with offsets that is the end.
        """
        _, table, first, last = used
        begin, stride, base, scale = table.at, table.stride, table.base, table.scale
        known: set[int] = set()
        count = min(MAX_ENTRIES, self._left, (end - begin) // stride)
        if begin < 0 or count <= 0:
            return known
        entries = memoryview(self.image.memory)[begin : begin + count * stride]
        entries = entries[: len(entries) // stride * stride]  # it may reach behind the image
        at = begin
        for (entry,) in struct.iter_unpack(table.form, entries):
            at += stride
            if at > end:
                break
            target = base + scale * entry
            if target in known:
                continue
            if not first <= target <= last:
                if base <= 0 and self.image.is_code(target):
                    continue
                break
            if begin <= target < at:
                break
            if target > begin:
                end = min(end, target)
            known.add(target)
        self._left -= (at - begin) // stride
        return known


def leaves(function: Function, i: int) -> bool:
    """Whether an instruction is a jump out of its function: what is jumped to returns for it."""
    flow = function.flows[i]
    if flow == Flow.INDIRECT_JUMP:
        return i not in jumps_through_tables(function)
    return flow == Flow.JUMP and i not in function.jumps


def jumps_through_tables(function: Function) -> frozenset[int]:
    """The indirect jumps of a function whose tables were read."""
    known: frozenset[int] | None = function.cache.get("table jumps")
    if known is None:
        jumps = frozenset(function.indirect_jumps)
        known = jumps & {p for before in function.sources.values() for p in before}
        function.cache["table jumps"] = known
    return known
