"""What x86 code pushes right before a call, without asking where the stack pointer is.

Most arguments are pushed in the straight code before their call: counting back from there names the
instruction, and the walk from the function's entry that stack depths take is not needed. Whatever
is not plain is left to that.
"""

from __future__ import annotations

from typing import NamedTuple

from hvci.binary.arch.x86.stack.depth import NAMED, NEUTRAL, POINTERS, PUSH, STEPS, learn_step
from hvci.binary.form.code import NO_REGISTER, Architecture, Function, Memory

WORD = 4


class Push(NamedTuple):
    """What put a word on the stack."""

    i: int
    """Index of the instruction."""
    unsure: list[tuple[int, Memory]]
    """Stores through the frame pointer behind it: perhaps they hit the word."""


def find_push(arch: Architecture, function: Function, i: int, above: int) -> Push | None:
    """The instruction that wrote the word so many bytes above the stack pointer at `i`.

    None when the straight code before `i` does not show it.
    """
    flows, sources, instructions = function.flows, function.sources, function.instructions
    ends, entry, effects = function.ends, function.entry, function.effects
    unsure: list[tuple[int, Memory]] = []
    k = i
    while k not in sources and k != entry and k > 0:
        k -= 1
        if flows[k] or (k in ends and not function.follows(k + 1)):
            return None
        instruction = instructions[k]
        step = STEPS.get(instruction.code)
        if step is None:
            step = learn_step(instruction)
        if step == PUSH:
            if not above:
                return Push(k, unsure)
            above -= WORD
            continue
        if step != NEUTRAL and (step != NAMED or instruction.op0_register in POINTERS):
            return None
        effect = effects.get(k) or arch.effect(function, k)
        for memory in effect.stores:
            if memory.base == arch.frame_pointer and memory.index_register == NO_REGISTER:
                unsure.append((k, memory))
                continue
            writes = _writes(arch, function, memory, above)
            if writes is None or writes:
                return Push(k, unsure) if writes else None
    return None


def _writes(arch: Architecture, function: Function, memory: Memory, above: int) -> bool | None:
    """Whether a store writes a word over the stack pointer; None where that is not plain."""
    if memory.base < 0 or memory.index_register != NO_REGISTER:
        return False
    if memory.base != arch.stack_pointer:
        return None if arch.may_hold_stack_address(function, memory.base) else False
    if memory.displacement == above and memory.size == WORD:
        return True
    is_hit = memory.displacement <= above < memory.displacement + max(memory.size, 1)
    return None if is_hit else False
