"""What x86 code pushes right before a call, without asking where the stack pointer is.

Most arguments are pushed in the straight code before their call: counting back from there names the
instruction, and the walk from the function's entry that stack depths take is not needed. Whatever
is not plain is left to that.
"""

from __future__ import annotations

from enum import IntEnum

from iced_x86 import FlowControl, Instruction, Mnemonic, Register

from hvci.binary.code import NO_REGISTER, Architecture, Effect, Function

WORD = 4


class _Step(IntEnum):
    """What instructions of one encoding do to the stack pointer and the frame pointer."""

    NOTHING = 0
    NAMED = 1
    """Something when one is the first operand."""
    PUSH = 2
    OTHER = 3


_STEPS: dict[int, _Step] = {}
_POINTERS: frozenset[int] = frozenset((Register.ESP, Register.EBP, Register.RSP, Register.RBP))
_FRAMING = (Mnemonic.LEAVE, Mnemonic.ENTER)


def _learn(instruction: Instruction) -> _Step:
    """Ask iced once per encoding."""
    moved = instruction.stack_pointer_increment
    if instruction.mnemonic == Mnemonic.PUSH and moved == -WORD:
        step = _Step.PUSH
    elif moved or instruction.mnemonic in _FRAMING or instruction.flow_control != FlowControl.NEXT:
        step = _Step.OTHER
    else:
        step = _Step.NAMED if instruction.op_count else _Step.NOTHING
    _STEPS[instruction.code] = step
    return step


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
        step = _STEPS.get(instruction.code)
        if step is None:
            step = _learn(instruction)
        if step == _Step.PUSH:
            if not above:
                return k
            above -= WORD
            continue
        if step == _Step.OTHER or (step and instruction.op0_register in _POINTERS):
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
