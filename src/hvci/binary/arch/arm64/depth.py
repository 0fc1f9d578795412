"""Where the stack pointer is in ARM64 functions, relative to function entry.

One walk along the flow of control that adds up what instructions change: frames are made by
`sub sp` and by stores that write the stack pointer back. Helpers that change it for their caller
(`__security_push_cookie`) and `__chkstk` frames are counted. Blind spot: `alloca`.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from hvci.binary.arch.arm64.encoding import SP, written_registers
from hvci.binary.arch.arm64.words import FP, NOP, access, branch_target, is_access
from hvci.binary.form.code import Flow, Function
from hvci.binary.form.exceptions import NO_FRAME
from hvci.binary.pe.image import PeImage

HELPER = 12
"""Instructions of a callee that may be a helper of prologues."""
PROBE_WINDOW = 8
_RET = 0xD65F03C0
_CALL = int(Flow.CALL)
_MAKES_MASK, _MAKES = 0xBF8003FF, 0x910003FD
"""`add x29, sp, #n`, and `mov x29, sp`."""
_PAIR_MASK, _PAIR = 0x3A000000, 0x28000000
_STORED = 1 << 22
"""The bit in which a store differs from the load of what it has stored."""
_WRITES_BACK = 1 << 10
"""Of a load of one register with an offset: it changes its base, too."""
_UNSIGNED = 1 << 24


class StackDepthArm64:
    """Depths along the flow of control of ARM64 functions."""

    def __init__(self, image: PeImage) -> None:
        self.image = image
        self._helpers: dict[int, int] = {}

    def before(self, function: Function, i: int) -> int | None:
        """Depth before instruction `i`."""
        return self._walked(function).depths[i]

    def uneven(self, function: Function) -> AbstractSet[int]:
        """No compiler lets it differ where ways meet."""
        return frozenset()

    def frame_pointer(self, function: Function, i: int) -> int | None:
        """What x29 holds, as a depth, when the function sets it up once and keeps it."""
        frame = self._walked(function).frame
        return None if frame is None or is_used_again(function) else frame

    def _walked(self, function: Function) -> _Walk:
        known: _Walk | None = function.cache.get("stack depths")
        if known is None:
            known = function.cache["stack depths"] = _Walk(self, function)
        return known

    def helper(self, target: int) -> int:
        """What a short callee leaves added to the stack pointer of its caller."""
        known = self._helpers.get(target)
        if known is None:
            known = self._helpers[target] = self._learn(target)
        return known

    def _learn(self, target: int) -> int:
        if not self.image.is_code(target):
            return 0
        total = 0
        for at in range(target, target + 4 * HELPER, 4):
            word = self.image.u32(at)
            if word == _RET:
                return total
            if word & 0x1C000000 == 0x14000000 and word >> 24 != 0xD5:
                return 0
            total += plain_change(word) or 0
        return 0


def plain_change(word: int) -> int | None:
    """What a word adds to the stack pointer; None when it does not touch it."""
    if word & 0xBF8003FF == 0x910003FF:
        amount = (word >> 10 & 0xFFF) << (12 if word >> 22 & 1 else 0)
        return -amount if word >> 30 & 1 else amount
    if word & 0x3A8003E0 == 0x288003E0 or word & 0x3B2007E0 == 0x380007E0:
        return access(word).step
    return None


class _Walk:
    """One walk over one function; the first depth that reaches an instruction stays."""

    def __init__(self, owner: StackDepthArm64, function: Function) -> None:
        self.owner = owner
        self.function = function
        self.depths: list[int | None] = [None] * len(function.instructions)
        self.frame: int | None = None
        self._lowest = 0
        size = int(function.frames.get(function.start, NO_FRAME)().size)
        self._work = [(function.entry, -size)]
        self._run()

    def _run(self) -> None:
        """Walk what can be reached, then what only a table or handler leads to."""
        self._walk()
        depths = self.depths
        for i, word in enumerate(self.function.instructions):
            if depths[i] is None and word != NOP:
                self._work.append((i, self._lowest))
                self._walk()

    def _walk(self) -> None:
        while self._work:
            self._follow(*self._work.pop())

    def _follow(self, i: int, depth: int) -> None:
        function, depths = self.function, self.depths
        words, flows, targets = function.instructions, function.flows, function.targets
        while i < len(words) and depths[i] is None:
            depths[i] = depth
            word, flow = words[i], flows[i]
            if flow:
                if flow == _CALL:
                    depth += self.owner.helper(branch_target(word, function.rvas[i]))
                elif i in targets:
                    target = function.jumps.get(i)
                    if target is not None and depths[target] is None:
                        self._work.append((target, depth))
                if not function.falls_through(i):
                    return
            elif word & 0x3E0 == 0x3E0 or word & 0xBF8003E0 == 0x910003A0:
                depth = self._changed(i, word, depth)
            i += 1

    def _changed(self, i: int, word: int, depth: int) -> int:
        """The depth behind an instruction that names the stack or frame pointer."""
        change = plain_change(word)
        if change is not None:
            depth += change
        elif word & 0xFFE003FF == 0xCB2003FF:
            depth -= self._probed(i, word)
        elif word & _MAKES_MASK == _MAKES:
            amount = word >> 10 & 0xFFF
            self.frame = depth + amount if self.frame is None else self.frame
        elif word & 0xBF8003FF == 0x910003BF and self.frame is not None:
            amount = word >> 10 & 0xFFF
            depth = self.frame + (-amount if word >> 30 & 1 else amount)
        self._lowest = min(self._lowest, depth)
        return depth

    def _probed(self, i: int, word: int) -> int:
        """Bytes of `sub sp, sp, x15, uxtx #4`, from the constant that `__chkstk` was given."""
        number, shift = word >> 16 & 31, word >> 10 & 7
        for q in range(i - 1, max(-1, i - 1 - PROBE_WINDOW), -1):
            before = self.function.instructions[q]
            if before & 0x7FE0001F == 0x52800000 | number:
                constant: int = before >> 5 & 0xFFFF
                return constant << shift
        return 0


def is_used_again(function: Function) -> bool:
    """Whether x29, once it has pointed to the frame, becomes something else.

    It is a register like any other there, whose value depends on the way: so compilers use it in
    code without frame pointers. Giving the caller's back does not count.
    """
    known: bool | None = function.cache.get("frame pointer used again")
    if known is None:
        known = function.cache["frame pointer used again"] = _becomes_another(function)
    return known


def _becomes_another(function: Function) -> bool:
    made = 0
    saves = set[int]()
    for word in function.instructions:
        if word & 31 != FP and word >> 10 & 31 != FP:
            continue
        if not written_registers(word) >> FP & 1:
            saves.add(word)
        elif word & _MAKES_MASK == _MAKES:
            if made and made != word:
                return True
            made = word
        elif made and not _gives_back(word, saves):
            return True
    return False


def _gives_back(word: int, saves: set[int]) -> bool:
    """Whether a word loads what the function has saved of its caller: a pair, or as it was put."""
    if not is_access(word) or word >> 5 & 31 != SP:
        return False
    is_pair = word & _PAIR_MASK == _PAIR
    moves_stack = not word & _UNSIGNED and bool(word & _WRITES_BACK)
    return is_pair or moves_stack or word ^ _STORED in saves
