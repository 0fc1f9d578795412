"""Where a pointer goes from one function to another: as an argument, and as what is returned.

In code order, as `follow` goes in one function: it only proposes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

from hvci.binary.behaviour.scene import Place, Scene
from hvci.binary.behaviour.trace import Step, Use, argument_of, follow, shallow
from hvci.binary.behaviour.writes.callees import written_through
from hvci.binary.behaviour.writes.own import WRITES
from hvci.binary.flow.atoms import Atoms, Kind
from hvci.binary.form.code import Flow, Function, Load, is_slot, slot_offset
from hvci.binary.pe.sets import members

MAX_STARTS = 256
"""Places that one pointer is followed from."""
MAX_CALLERS = 64
"""Calls of a function that returns it."""
MAX_CALLEE = 1000
"""Instructions of a function in which its argument on the stack is looked for."""
POSITIONS = 4
"""Arguments that are passed on the stack."""
_JUMPS = frozenset((Flow.JUMP, Flow.INDIRECT_JUMP))


class Start(NamedTuple):
    """An instruction that leaves the pointer in some registers, as a mask."""

    function: Function
    i: int
    registers: int


def carry(
    scene: Scene, first: Start, is_pointer: Callable[[Atoms], bool]
) -> Iterator[tuple[Function, Step]]:
    """Uses of a pointer, in the functions that get it as well.

    `is_pointer` tells it by what an argument on the stack can be.
    """
    work, seen = deque((first,)), set[tuple[int, int, int]]()
    while work and not scene.flow.exhausted:
        start = work.popleft()
        key = start.function.start, start.i, start.registers
        if key in seen:
            continue
        if len(seen) == MAX_STARTS:
            _leave_open(scene, first)
            return
        seen.add(key)
        if start.i >= 0 and start.function.flows[start.i] in _JUMPS:
            work += _behind_calls(scene, first, start.function)
            continue
        for step in follow(scene, *start, set()):
            yield start.function, step
            if step.use is Use.RETURN:
                work += _behind_calls(scene, first, start.function)
            elif step.use is Use.CALL:
                work += _into(scene, (start.function, step.i), step.registers, is_pointer)


def _behind_calls(scene: Scene, first: Start, function: Function) -> Iterator[Start]:
    """Behind the calls of a function that returns the pointer; a jump there returns it as well."""
    callers = scene.analysis.functions.callers(function.start)
    if len(callers) > MAX_CALLERS:
        _leave_open(scene, first)
    for caller, k in callers[:MAX_CALLERS]:
        yield Start(caller, k, 1 << scene.arch.result)


def _leave_open(scene: Scene, first: Start) -> None:
    """Weaken the rule where a pointer goes to more places than are looked at."""
    rva = first.function.rvas[first.i]
    reason = f"the address that {rva:#x} gets goes to more places than are followed"
    scene.leave_open(WRITES, (first.function, first.i), reason)


def _into(
    scene: Scene, call: Place, registers: int, is_pointer: Callable[[Atoms], bool]
) -> Iterator[Start]:
    """Where a function of the image gets the pointer from a call, unless it writes there.

    Then the call itself is told.
    """
    function, i = call
    if function.flows[i] not in (Flow.CALL, Flow.JUMP) or i in function.jumps:
        return
    target = scene.arch.direct_target(function, i)
    callee = scene.analysis.functions.starting_at(target)
    if callee is None or target in scene.flow.interprocedural.thunks:
        return
    parameters = scene.arch.parameter_registers
    for register in members(registers):
        is_told = register in parameters and written_through(
            scene, target, parameters.index(register)
        )
        if register in scene.arch.entry_registers and not is_told:
            yield Start(callee, callee.entry - 1, 1 << register)
    for position in positions(scene, call, registers, is_pointer) if not parameters else ():
        if not written_through(scene, target, position):
            yield from _loads(scene, callee, position)


def positions(
    scene: Scene, call: Place, registers: int, is_pointer: Callable[[Atoms], bool]
) -> Iterator[int]:
    """Which arguments of a call are the pointer, which some registers hold before it."""
    parameters = scene.arch.parameter_registers
    if parameters:
        yield from (n for n, register in enumerate(parameters) if registers >> register & 1)
    else:
        yield from (n for n in range(POSITIONS) if _is_given(scene, call, n, is_pointer))


def _is_given(scene: Scene, call: Place, n: int, is_pointer: Callable[[Atoms], bool]) -> bool:
    """Whether an argument on the stack is the pointer.

    Callers and the data flow are asked where it, or a parameter, is what the argument is made of:
    what variables hold is followed from those.
    """
    made = frozenset(root.atom for root in shallow(scene, *call, argument_of(scene, n)))
    is_open = any(atom.kind is Kind.PARAMETER for atom in made)
    return (is_open or is_pointer(made)) and is_pointer(scene.argument(*call, n))


def _loads(scene: Scene, callee: Function, position: int) -> Iterator[Start]:
    """The instructions that load an argument from the stack."""
    place = scene.flow.interprocedural.at_entry(position)
    if not is_slot(place) or len(callee.flows) > MAX_CALLEE:
        return
    for k, flow in enumerate(callee.flows):
        written = scene.arch.effect(callee, k).registers if flow == Flow.NEXT else 0
        for register in members(written):
            loaded = scene.arch.define(callee, k, register)
            if not isinstance(loaded, Load) or loaded.memory.base < 0:
                continue
            if scene.flow.frames.offset(callee, k, loaded.memory) == slot_offset(place):
                yield Start(callee, k, 1 << register)


__all__ = ["Start", "carry", "positions"]
