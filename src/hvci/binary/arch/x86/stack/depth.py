"""Where the stack pointer is, relative to function entry, at each instruction.

x64: from the unwind data, exact behind the prologue. x86: one walk along the flow of control that
counts pushes, callee clean-up (documented argument sizes, `ret n` of internal callees) and frame
pointers; where a callee is unknown the pushes since the last call are taken as its arguments.
Blind spot: `alloca`; addresses relative to the pointer still agree with each other.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from functools import cached_property

from iced_x86 import FlowControl, Instruction, Mnemonic, OpKind, Register

from hvci.binary.arch.x86.lift import NONE, RBP, REGISTERS, RSP, only_fills
from hvci.binary.arch.x86.stack.cleanup import Cleanup
from hvci.binary.arch.x86.stack.framepointer import is_used_again
from hvci.binary.arch.x86.stack.pops import SEH_PROLOG, PopsX86
from hvci.binary.form.code import CALLS, Flow, Function
from hvci.binary.pe.image import PeImage

_STACK: tuple[int, ...] = (Register.RSP, Register.ESP)
_FRAME: tuple[int, ...] = (Register.RBP, Register.EBP)
MAX_DISPATCHES = 16
"""Indirect jumps of a function that its labels are walked from: one is enough for most."""
RESTART = 0x100000
"""Between the depths of code that nothing was seen to lead to, in bytes."""
_FRAMING = (Mnemonic.LEAVE, Mnemonic.ENTER)
State = tuple[int, int | None]
"""Depth of the stack pointer, and of the frame pointer where it is one."""


class StackDepth64:
    """Depths from x64 unwind data."""

    def __init__(self, image: PeImage) -> None:
        self.image = image

    def before(self, function: Function, i: int) -> int | None:
        """Depth before instruction `i`."""
        if function.kind != "unwind":
            return self._flowing(function, i)
        rva = function.rvas[i]
        starts = sorted(function.frames)
        start = starts[max(0, bisect_right(starts, rva) - 1)]
        frame = function.frames[start]()
        if rva >= start + frame.prologue or start != function.start:
            return -int(frame.size)
        return self._walk(function, function.find(start) or 0, i)

    def _flowing(self, function: Function, i: int) -> int | None:
        """The depth along the flow of control, where no unwind data tells it."""
        walk: _Walk | None = function.cache.get("stack depths")
        if walk is None:
            walk = function.cache["stack depths"] = _Walk(function, 8)
        state = walk.before(i)
        return None if state is None else state[0]

    def _walk(self, function: Function, first: int, last: int) -> int:
        """What the instructions from `first` up to `last` add, from sums that are kept."""
        sums: list[int] = function.cache.setdefault(("depths", first), [0])
        for instruction in function.instructions[first + len(sums) - 1 : last]:
            sums.append(sums[-1] + _plain_change(instruction))
        return sums[max(0, last - first)]

    def frame_pointer(self, function: Function, i: int) -> int | None:
        """On x64 the data flow follows the register like any other."""
        return None

    def uneven(self, function: Function) -> AbstractSet[int]:
        """By its exception data it is the same all through a function."""
        return frozenset()


def _plain_change(instruction: Instruction) -> int:
    """What one instruction adds to the stack pointer, calls apart."""
    if instruction.mnemonic in (Mnemonic.SUB, Mnemonic.ADD) and instruction.op_count == 2:
        if instruction.op0_kind == OpKind.REGISTER and instruction.op0_register in _STACK:
            if instruction.op1_kind in (OpKind.REGISTER, OpKind.MEMORY):
                return 0
            amount = _signed32(instruction.immediate(1))
            return -amount if instruction.mnemonic == Mnemonic.SUB else amount
        return 0
    if instruction.flow_control in (FlowControl.CALL, FlowControl.INDIRECT_CALL):
        return 0
    change: int = instruction.stack_pointer_increment
    return change


def _signed32(value: int) -> int:
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >> 31 else value


class StackDepth32:
    """Depths along the flow of control of x86 functions."""

    def __init__(self, image: PeImage, thunk_name: Callable[[int], str | None]) -> None:
        self.pops = PopsX86(image, thunk_name)

    def before(self, function: Function, i: int) -> int | None:
        """Depth before instruction `i`."""
        state = self._walk(function).before(i)
        return None if state is None else state[0]

    def frame_pointer(self, function: Function, i: int) -> int | None:
        """What EBP holds before instruction `i`, as a depth; None where the data flow must tell."""
        state = self._walk(function).before(i)
        if state is None or state[1] is None or is_used_again(function):
            return None
        return state[1]

    def uneven(self, function: Function) -> AbstractSet[int]:
        """The instructions at which ways meet on which the stack pointer is not the same."""
        walk = self._walk(function)
        walk.complete()
        return walk.uneven

    def _walk(self, function: Function) -> _Walk32:
        known: _Walk32 | None = function.cache.get("stack depths")
        if known is None:
            known = function.cache["stack depths"] = _Walk32(self.pops, function)
        return known


NEUTRAL, NAMED, ALWAYS, POP = range(4)
PUSH = -1
STEPS: dict[int, int] = {}
"""By encoding: never touches stack pointer or frame pointer, only as first operand, or always.

Most of what always does is a push or a pop of one word.
"""
POINTERS = frozenset((*_STACK, *_FRAME))
"""The stack pointer and the frame pointer."""


def learn_step(instruction: Instruction) -> int:
    """What all instructions of one encoding do; `STEPS` knows it from then on."""
    is_plain = instruction.flow_control == FlowControl.NEXT
    if not is_plain or instruction.stack_pointer_increment or instruction.mnemonic in _FRAMING:
        kind = ALWAYS if instruction.mnemonic != Mnemonic.RET else NEUTRAL
        change = instruction.mnemonic, instruction.stack_pointer_increment
        kind = {(Mnemonic.PUSH, -4): PUSH, (Mnemonic.POP, 4): POP}.get(change, kind)
    else:
        kind = NAMED if instruction.op_count else NEUTRAL
    STEPS[instruction.code] = kind
    return kind


class _Walk:
    """One walk over one function; the first depth that reaches an instruction stays.

    It goes as far as somebody asks and rests there: what it finds does not depend on that.
    """

    def __init__(self, function: Function, word: int) -> None:
        self.function = function
        self.word = word
        """Bytes of a push."""
        self.states: list[State | None] = [None] * len(function.instructions)
        self.work: list[tuple[int, State]] = [(function.entry, (0, None))]
        self.restarts = 0
        self.uneven: set[int] = set()
        """Where ways meet on which the stack pointer is not the same."""
        self.has_frame = False
        self.dispatches = 0

    def before(self, i: int) -> State | None:
        """The state before instruction `i`: first by what can be reached, then by handlers."""
        while self.states[i] is None and (self.work or self._restart()):
            self._follow(*self.work.pop(), i)
        return self.states[i]

    def _restart(self) -> bool:
        """Go on where nothing was seen to lead; False when there is no such place."""
        lost = self._unreached()
        if lost is None:
            return False
        self.restarts += 1
        depth = -RESTART * self.restarts
        self.work.append((lost, (depth, -self.word if self.has_frame else None)))
        return True

    def _unreached(self) -> int | None:
        function = self.function
        for i in range(function.cache.get("walked", function.entry), len(function.instructions)):
            if self.states[i] is None and not only_fills(function.instructions[i]):
                function.cache["walked"] = i + 1
                return i
        return None

    def _follow(self, i: int, state: State, goal: int) -> None:
        """Straight on until a known instruction, the end of the way, or just behind the goal."""
        states, flows, instructions = self.states, self.function.flows, self.function.instructions
        steps, is_before = STEPS.get, i <= goal
        stop = goal + 1 if is_before else len(states)
        while i < stop and states[i] is None:
            states[i] = state
            instruction = instructions[i]
            kind = steps(instruction.code)
            if kind is None:
                kind = learn_step(instruction)
            if kind == PUSH:
                state = state[0] - 4, state[1]
            elif kind:
                if kind == ALWAYS or instruction.op0_register in POINTERS:
                    state = self._step(i, *state)
                    self.has_frame |= state[1] == -self.word
                elif kind == POP:
                    state = state[0] + 4, state[1]
            flow = flows[i]
            if flow and flow not in CALLS and not self._branch(i, state):
                return
            i += 1
        if is_before and i == stop:
            self.work.append((i, state))
        elif i < stop:
            self._meet(i, state)

    def _meet(self, i: int, state: State) -> None:
        """Note where a way leads to a known instruction with another depth."""
        known = self.states[i]
        if known is not None and 0 < abs(known[0] - state[0]) < RESTART // 2:
            self.uneven.add(i)

    def complete(self) -> None:
        """Go all the ways from the entry."""
        while self.work:
            self._follow(*self.work.pop(), len(self.states) - 1)

    def _branch(self, i: int, state: State) -> bool:
        """Queue where a jump leads; False when nothing follows it."""
        function = self.function
        target = function.jumps.get(i)
        if target is not None and self.states[target] is None:
            self.work.append((target, state))
        elif target is not None:
            self._meet(target, state)
        if function.flows[i] == Flow.INDIRECT_JUMP:
            labels = self._labels.get(i)
            if labels is None:
                labels = self._other_labels if self._may_dispatch(i) else []
            self.work += [(k, state) for k in labels if self.states[k] is None]
        return function.falls_through(i)

    def _may_dispatch(self, i: int) -> bool:
        """Whether a jump may go through a table that was not read, and not just one place."""
        instruction = self.function.instructions[i]
        is_tail_call = (
            instruction.op0_kind == OpKind.MEMORY
            and instruction.memory_base == instruction.memory_index == NONE
        )
        self.dispatches += not is_tail_call
        return not is_tail_call and self.dispatches <= MAX_DISPATCHES

    @cached_property
    def _labels(self) -> dict[int, list[int]]:
        """Where the tables lead that were read, by the jump."""
        found: dict[int, list[int]] = {}
        jumps = set(self.function.indirect_jumps)
        for label, before in self.function.sources.items():
            for p in before:
                if p in jumps:
                    found.setdefault(p, []).append(label)
        return found

    @cached_property
    def _other_labels(self) -> list[int]:
        """Instructions that only a table that was not read can lead to."""
        function = self.function
        return [
            k
            for k in range(1, len(function.instructions))
            if k not in function.sources
            and not function.falls_through(k - 1)
            and not only_fills(function.instructions[k])
        ]

    def _step(self, i: int, depth: int, frame: int | None) -> tuple[int, int | None]:
        instruction = self.function.instructions[i]
        if self.function.flows[i] in CALLS:
            return self._call(i, depth, frame)
        first = instruction.op0_register if instruction.op_count else NONE
        match instruction.mnemonic:
            case Mnemonic.MOV if first in _FRAME and instruction.op1_register in _STACK:
                return depth, depth
            case Mnemonic.MOV if first in _STACK and instruction.op1_register in _FRAME:
                return (depth if frame is None else frame), frame
            case Mnemonic.LEA if first in (*_STACK, *_FRAME):
                return self._lea(instruction, depth, frame)
            case Mnemonic.LEAVE:
                return (depth if frame is None else frame) + self.word, None
            case Mnemonic.POP if first in _FRAME:
                return depth + self.word, None
        return depth + _plain_change(instruction), frame

    def _lea(
        self, instruction: Instruction, depth: int, frame: int | None
    ) -> tuple[int, int | None]:
        offset = _signed32(instruction.memory_displacement)
        known = REGISTERS.get(instruction.memory_base)
        if known is None or instruction.memory_index != NONE:
            return depth, frame
        source = {RSP: depth, RBP: frame}.get(known[0])
        if source is None:
            return depth, frame
        if instruction.op0_register in _STACK:
            return source + offset, frame
        return depth, source + offset

    def _call(self, i: int, depth: int, frame: int | None) -> tuple[int, int | None]:
        """The state behind a call: on x64 nobody removes arguments."""
        return depth, frame


class _Walk32(_Walk):
    """The same for an x86 function, whose callees remove their arguments."""

    def __init__(self, pops: PopsX86, function: Function) -> None:
        super().__init__(function, 4)
        self.pops = pops
        self.cleanup = Cleanup(pops, function)

    def _call(self, i: int, depth: int, frame: int | None) -> tuple[int, int | None]:
        popped = self.pops.popped(self.function, i)
        if popped == SEH_PROLOG:
            return depth - 0x5C, -4
        if isinstance(popped, int):
            return depth + popped, frame
        return depth + self.cleanup.after(i), frame
