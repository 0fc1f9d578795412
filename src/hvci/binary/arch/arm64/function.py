"""A function of ARM64 code: where it lies is known at once, its words only when somebody asks.

Most functions are found for what is asked about one word of them, and many for nothing but their
start. Each word is an instruction, so that indices need no decoding.
"""

from __future__ import annotations

import numpy as np

from hvci.binary.arch.arm64.encoding import FLOW_BY_TOP, flow_of
from hvci.binary.arch.arm64.tables import find_table
from hvci.binary.arch.arm64.words import branch_offset
from hvci.binary.form.code import DIRECT_JUMP, INDIRECT_JUMP, Function
from hvci.binary.form.jumptables import MAX_JUMPS, JumpTables

_FLOWS = FLOW_BY_TOP.tobytes()
_FLOW, _BRANCHES = ("flows", "indirect_jumps"), ("entry", "jumps", "sources", "targets")
"""What is worked out together."""


class FunctionArm64(Function):
    """One function of one stretch of words."""

    __slots__ = ("_image", "_tables")

    def __init__(self, tables: JumpTables, start: int, stretch: tuple[int, int], kind: str) -> None:
        self._tables = tables
        self._image = tables.image
        self.start = start
        self.fragments = [stretch]
        self.kind = kind
        first, end = stretch
        count = (end - first) // 4
        self.rvas = range(first, first + 4 * count, 4)
        self.ends = {count - 1: first + 4 * count}
        self.effects, self.edges, self.frames = {}, {}, {}
        self.keep()

    def find(self, rva: int) -> int | None:
        """Index of the instruction that starts at an RVA; None when none does."""
        i, rest = divmod(rva - self.fragments[0][0], 4)
        return i if not rest and 0 <= i < len(self.rvas) else None

    def _read_words(self) -> None:
        words = np.frombuffer(self._image.memory, "<u4", len(self.rvas), self.fragments[0][0])
        self.instructions = words.tolist()

    def _read_flow(self) -> None:
        """What each word does to the flow of control."""
        start, words = self.fragments[0][0], self.instructions
        tops = bytes(self._image.memory[start + 3 : start + 4 * len(words) : 4])
        flows = bytearray(tops.translate(_FLOWS))
        n = flows.find(0xFF)
        while n >= 0:
            flows[n] = flow_of(words[n])
            n = flows.find(0xFF, n + 1)
        self.flows = bytes(flows)
        self.indirect_jumps = self.where(INDIRECT_JUMP)

    def _note_branches(self) -> None:
        """Note the direct jumps and branches, and where jump tables lead."""
        self.entry = self.find(self.start) or 0
        start, count, words = self.fragments[0][0], len(self.rvas), self.instructions
        targets: dict[int, int] = {}
        jumps: dict[int, int] = {}
        sources: dict[int, list[int]] = {}
        self.targets, self.jumps, self.sources = targets, jumps, sources
        for i in self.where(DIRECT_JUMP):
            rva = targets[i] = (start + 4 * i + branch_offset(words[i])) & 0xFFFFFFFF
            target = (rva - start) >> 2
            if 0 <= target < count:
                jumps[i] = target
                if target in sources:
                    sources[target].append(i)
                else:
                    sources[target] = [i]
        if 0 < len(self.indirect_jumps) <= MAX_JUMPS:
            base = self._image.base
            tables = ((j, find_table(words, start, j, base)) for j in self.indirect_jumps)
            self._tables.note(self, [(j, table) for j, table in tables if table is not None])


class UnreadFunctionArm64(FunctionArm64):
    """One of which something was not asked for yet.

    A class apart, because looking for what may be missing makes all else slow to get at.
    """

    __slots__ = ()

    def __getattr__(self, name: str) -> object:
        """Called for what was not set yet: it is read when it is first asked for."""
        if name == "instructions":
            self._read_words()
        elif name in _FLOW:
            self._read_flow()
        elif name in _BRANCHES:
            self._note_branches()
            self.__class__ = FunctionArm64  # type: ignore[assignment]  # all is read now
        else:
            raise AttributeError(name)
        return getattr(self, name)
