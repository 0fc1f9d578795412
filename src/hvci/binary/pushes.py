"""What x86 code pushes right before a call, without asking where the stack pointer is.

Most arguments are pushed in the straight code before their call: counting back from there names the
instruction, and the walk from the function's entry that stack depths take is not needed. Whatever
is not plain is left to that.
"""

from __future__ import annotations

from hvci.binary.code import NO_REGISTER, Architecture, Effect, Function
from hvci.binary.stack import NAMED, NEUTRAL, POINTERS, PUSH, STEPS, learn_step

WORD = 4


def find_push(arch: Architecture, function: Function, i: int, above: int) -> int | None:
    """The instruction that wrote the word so many bytes above the stack pointer at `i`.

    None when the straight code before `i` does not show it.
    """
    flows, sources, instructions = function.flows, function.sources, function.instructions
    ends, entry, effects = function.ends, function.entry, function.effects
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
                return k
            above -= WORD
            continue
        if step != NEUTRAL and (step != NAMED or instruction.op0_register in POINTERS):
            return None
        effect = effects.get(k) or arch.effect(function, k)
        if effect.stores:
            writes = _writes(arch, function, effect, above)
            if writes is None or writes:
                return k if writes else None
    return None


def _writes(arch: Architecture, function: Function, effect: Effect, above: int) -> bool | None:
    """Whether an instruction stores a word over the stack pointer; None where that is not plain."""
    for memory in effect.stores:
        if memory.base < 0 or memory.index_register != NO_REGISTER:
            continue
        if memory.base != arch.stack_pointer:
            if memory.base == arch.frame_pointer:
                return None
            if arch.may_hold_stack_address(function, memory.base):
                return None
        elif memory.displacement == above and memory.size == WORD:
            return True
        elif memory.displacement <= above < memory.displacement + max(memory.size, 1):
            return None
    return False
