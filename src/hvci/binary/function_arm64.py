"""A function of ARM64 code: where it lies is known at once, its words only when somebody asks.

Most functions are found for what is asked about one word of them, and many for nothing but their
start. Each word is an instruction, so that indices need no decoding.
"""

from __future__ import annotations

import numpy as np

from hvci.binary.arm64_words import FLOW_BY_TOP, branch_target, indirect_flow
from hvci.binary.code import DIRECT_JUMP, Flow, Function
from hvci.binary.image import PeImage

_FLOWS = FLOW_BY_TOP.tobytes()
_LATER = frozenset(
    ("entry", "flows", "indirect_jumps", "instructions", "jumps", "sources", "targets")
)
"""What the words say."""


class FunctionArm64(Function):
    """One function of one stretch of words."""

    __slots__ = ("_image",)

    def __init__(self, image: PeImage, start: int, stretch: tuple[int, int], kind: str) -> None:
        self._image = image
        self.start = start
        self.fragments = [stretch]
        self.kind = kind
        first, end = stretch
        count = (end - first) // 4
        self.rvas = range(first, first + 4 * count, 4)
        self.ends = {count - 1: first + 4 * count}
        self.effects, self.edges, self.frames, self.cache = {}, {}, {}, {}

    def __getattr__(self, name: str) -> object:
        """Called for what was not set yet: the words are read when the first is asked for."""
        if name not in _LATER:
            raise AttributeError(name)
        self._decode()
        return getattr(self, name)

    def find(self, rva: int) -> int | None:
        """Index of the instruction that starts at an RVA; None when none does."""
        i, rest = divmod(rva - self.fragments[0][0], 4)
        return i if not rest and 0 <= i < len(self.rvas) else None

    def _decode(self) -> None:
        """Read the words, and what each does to the flow of control."""
        start, count = self.fragments[0][0], len(self.rvas)
        words = np.frombuffer(self._image.memory, "<u4", count, start)
        instructions = self.instructions = words.tolist()
        flows = bytearray(words.view(np.uint8)[3::4]).translate(_FLOWS)
        self.indirect_jumps = []
        n = flows.find(0xFF)
        while n >= 0:
            flow = flows[n] = indirect_flow(instructions[n])
            if flow == Flow.INDIRECT_JUMP:
                self.indirect_jumps.append(n)
            n = flows.find(0xFF, n + 1)
        self.flows = bytes(flows)
        self.entry = self.find(self.start) or 0
        self._note_branches()

    def _note_branches(self) -> None:
        """Note the direct jumps and branches."""
        start, count, words = self.fragments[0][0], len(self.rvas), self.instructions
        targets: dict[int, int] = {}
        jumps: dict[int, int] = {}
        sources: dict[int, list[int]] = {}
        self.targets, self.jumps, self.sources = targets, jumps, sources
        for i in self.where(DIRECT_JUMP):
            rva = targets[i] = branch_target(words[i], start + 4 * i)
            target = (rva - start) >> 2
            if 0 <= target < count:
                jumps[i] = target
                if target in sources:
                    sources[target].append(i)
                else:
                    sources[target] = [i]
