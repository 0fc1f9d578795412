"""Which functions of an ARM64 image may write through an argument, or hand it on, by words alone.

The counterpart for x64 and x86 is `writes/given.py`.
"""

from __future__ import annotations

import struct

from hvci.binary.arch.arm64.encoding import SP, VOLATILE
from hvci.binary.arch.arm64.steps import STEPS
from hvci.binary.arch.arm64.words import FP, branch_target
from hvci.binary.behaviour.arm64.words import PARAMETERS
from hvci.binary.behaviour.scene import Scene
from hvci.binary.form.code import CALLS, Flow
from hvci.binary.form.step import Step
from hvci.binary.pe.sets import members

CALLEE = 128
"""Words of a function that are looked at."""
DEEP = 2
"""Functions that hand an argument on, one to the next."""
_FRAME = 1 << FP | 1 << SP
_GIVING = frozenset((Flow.CALL, Flow.INDIRECT_CALL, Flow.JUMP, Flow.INDIRECT_JUMP))


class Given:
    """The functions of one image."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.thunks = scene.flow.interprocedural.thunks
        self._known: dict[tuple[int, int], bool] = {}

    def may_write(self, start: int, argument: int, deep: int = 0) -> bool:
        """Whether a function may write through an argument, or return it."""
        key = start, argument
        if key not in self._known:
            self._known[key] = False  # while it is asked for
            self._known[key] = self._may_write(start, argument, deep)
        return self._known[key]

    def _may_write(self, start: int, argument: int, deep: int) -> bool:
        image = self.scene.image
        if start in self.thunks or not image.is_code(start):
            return False
        count = min(CALLEE, (len(image.memory) - start) // 4)
        words = struct.unpack_from(f"<{count}I", image.memory, start)
        return self._walk(words, start, 1 << argument, deep)

    def _walk(self, words: tuple[int, ...], start: int, held: int, deep: int) -> bool:
        slots: set[tuple[int, int]] = set()
        for n, word in enumerate(words):
            if not STEPS.touched(word) & (held | (_FRAME if slots else 0)):
                continue
            used = STEPS.of(word)
            if used.flow:
                if self._leaves(word, start + 4 * n, used.flow, held, deep):
                    return True
                held &= ~VOLATILE if used.flow in CALLS else -1
            elif _stores(used, held, slots):
                return True
            else:
                made = used.written if used.sources & held and not used.bases else 0
                for target, source, _ in used.moves:
                    made |= (held >> source & 1) << target
                for each in used.loads:
                    made |= ((each.base, each.offset) in slots) << each.register
                held = held & ~used.written | made
            if not held and not slots:
                return False
        return False

    def _leaves(self, word: int, at: int, flow: Flow, held: int, deep: int) -> bool:
        """Whether the pointer is returned, or given to what may write through it."""
        if flow == Flow.RETURN:
            return bool(held & 1)
        return flow in _GIVING and self._gives(word, at, flow, held, deep)

    def _gives(self, word: int, at: int, flow: Flow, held: int, deep: int) -> bool:
        """Whether a call or jump gives the pointer to what may write through it."""
        if at in self.scene.copy_sites:
            return bool(held & 1)
        if flow not in (Flow.CALL, Flow.JUMP) or deep == DEEP:
            return False
        target, arguments = branch_target(word, at), held & ((1 << PARAMETERS) - 1)
        is_near = flow == Flow.JUMP and at < target < at + 4 * CALLEE
        return not is_near and any(
            self.may_write(target, each, deep + 1) for each in members(arguments)
        )


def _stores(used: Step, held: int, slots: set[tuple[int, int]]) -> bool:
    """Whether something is stored through the pointer; notes the slots that keep it."""
    for each in used.stores:
        if each.base in (FP, SP):
            if each.register >= 0 and held >> each.register & 1:
                slots.add((each.base, each.offset))
            else:
                slots.discard((each.base, each.offset))
        elif held >> each.base & 1:
            return True
    return False
