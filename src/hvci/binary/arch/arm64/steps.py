"""ARM64 words as steps; each different word is taken apart once."""

from __future__ import annotations

from hvci.binary.arch.arm64.encoding import (
    FLOW_BY_TOP,
    ZERO,
    named_registers,
    remembered,
    row_of,
    written_registers,
)
from hvci.binary.arch.arm64.reads import reads
from hvci.binary.arch.arm64.values import signed_immediate
from hvci.binary.arch.arm64.words import access
from hvci.binary.form.code import NO_REGISTER, Flow, Function
from hvci.binary.form.step import NOT_FOLLOWED, Move, Moved, Step, Steps
from hvci.binary.form.straight import Held

POINTER = 8
"""Bytes of a whole register."""
_INDIRECT = frozenset((Flow.INDIRECT_CALL, Flow.INDIRECT_JUMP))
_BY_WORD = 0xFF
_FLOWS = FLOW_BY_TOP.tolist()
_STEPS: list[Step | None] = [
    Step(Flow(flow)) if flow and flow != _BY_WORD else None for flow in _FLOWS
]
"""The step of words of which the highest byte tells it: direct branches, each another word."""


def touched(word: int) -> int:
    """Mask of the registers that a word names; all of them where it may change the flow."""
    return -1 if _FLOWS[word >> 24] else named_registers(word)


def step(word: int) -> Step:
    """What a word does; what a direct branch compares is not said."""
    return _STEPS[word >> 24] or _taken_apart(word)


STEPS = Steps(touched, step)


def take(function: Function, k: int, held: Held) -> int | None:
    """Do what instruction `k` does; the offset of the routine when it calls one."""
    word = function.instructions[k]
    return held.take(step(word)) if touched(word) & held.registers else None


@remembered
def _taken_apart(word: int) -> Step:
    row = row_of(word)
    written, named = written_registers(word), named_registers(word)
    bases, others = reads(word)
    if row.flow:
        through = word >> 5 & 31 if row.flow in _INDIRECT else NOT_FOLLOWED
        return Step(row.flow, written, named, bases, others, through=through)
    if row.does & {"load", "store"}:
        return _moving(word, written, named, bases, others)
    moves: tuple[Move, ...] = ()
    if "copy" in row.does and word >> 16 & 31 != ZERO:
        moves = (Move(word & 31, word >> 16 & 31, 0),)
    elif "sum" in row.does:
        moves = (Move(word & 31, word >> 5 & 31, signed_immediate(word)),)
    return Step(Flow.NEXT, written, named, bases, others, moves)


def _moving(word: int, written: int, named: int, bases: int, others: int) -> Step:
    """A load or store."""
    moved = access(word)
    loads: tuple[Moved, ...] = ()
    if moved.is_load and not moved.is_vector:
        loads = tuple(
            Moved(register, memory.base, memory.displacement)
            for register, memory in zip(moved.registers, moved.memories, strict=True)
            if memory.size == POINTER
            and memory.index_register == NO_REGISTER != memory.base
            and register != ZERO
        )
    stores: tuple[Moved, ...] = ()
    if moved.is_store:
        registers = moved.registers or (NOT_FOLLOWED,)
        stores = tuple(
            Moved(
                NOT_FOLLOWED if moved.is_vector or each == ZERO else each,
                memory.base,
                memory.displacement,
            )
            for each, memory in zip(registers, moved.memories, strict=False)
        )
    base = word >> 5 & 31
    moves = () if moved.step is None else (Move(base, base, moved.step),)
    return Step(Flow.NEXT, written, named, bases, others, moves, loads, stores)
