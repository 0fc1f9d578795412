"""Calls through pointers whose content the data flow knows: framework tables, looked-up routines.

Knows how compilers call through a pointer, Control Flow Guard's dispatch included; judges nothing.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from typing import NamedTuple

from hvci.binary.analysis.wiring import Analysis
from hvci.binary.flow.atoms import DISPATCH, Atom, Atoms, Kind
from hvci.binary.flow.dataflow import TOO_DEEP
from hvci.binary.form.code import (
    ANY_POINTER_CALL,
    BY_POINTER,
    IMAGE_BASE,
    Expr,
    Flow,
    Function,
    Load,
    Reg,
)

_ROUTINES = frozenset((Kind.ROUTINE, Kind.IMPORT))


class PointerCall(NamedTuple):
    """One call or tail jump through a pointer."""

    function: Function
    i: int
    routine: Atom


class PointerCalls:
    """Finds calls through pointers in given functions."""

    def __init__(self, analysis: Analysis) -> None:
        self.analysis = analysis
        self.image = analysis.image
        self._dispatchers: dict[int, bool] = {}
        self._learnt: set[int] = set()
        for slot in analysis.image.guard_dispatches:
            analysis.flow.globals.known[slot] = frozenset((DISPATCH,))

    def within(
        self,
        functions: Iterable[Function],
        told: Container[int] = (),
        takers: Container[Function] = (),
    ) -> Iterator[PointerCall]:
        """Every call of a known routine in the functions, in order, but for some RVAs.

        Of what the takers get as parameters their callers are asked.
        """
        flow = self.analysis.flow
        for function in sorted(set(functions), key=lambda each: each.start):
            if flow.exhausted:
                return
            for i, target in self.targets(function):
                if function.rvas[i] in told or self._is_check(function, i):
                    continue
                held = self._held(function, i, target)
                if function in takers:
                    held = flow.interprocedural.resolve(held)
                if held and all(atom.kind in _ROUTINES for atom in held - {DISPATCH}):
                    self.analysis.known_calls.add(function.rvas[i])
                for atom in sorted(held - {DISPATCH}):
                    if atom.kind in _ROUTINES:
                        yield PointerCall(function, i, atom)

    def _is_check(self, function: Function, i: int) -> bool:
        """Whether an instruction calls the check of Control Flow Guard, which returns nothing."""
        if function.flows[i] != Flow.INDIRECT_CALL:
            return False
        changed = self.analysis.arch.effect(function, i).registers
        return not changed >> self.analysis.arch.result & 1

    def _held(self, function: Function, i: int, target: Expr) -> Atoms:
        """What a pointer can be that is called."""
        flow, dispatched = self.analysis.flow, Reg(self.analysis.arch.dispatch_register)
        for is_learnt in (False, True):
            flow.begin()
            held = flow.evaluate(function, i, target, 0)
            if DISPATCH in held:
                held = flow.evaluate(function, i, dispatched, 0)
            if is_learnt or function.start in self._learnt:
                break
            if not any(TOO_DEEP in atom.why for atom in held):
                break
            self._learnt.add(function.start)
            flow.learn(function)
        return held

    def targets(self, function: Function) -> Iterator[tuple[int, Expr]]:
        """Every instruction of a function that calls through a pointer, and where that is."""
        for i in function.where(ANY_POINTER_CALL):
            target = self.target(function, i, function.flows[i])
            if target is not None:
                yield i, target

    def target(self, function: Function, i: int, kind: int) -> Expr | None:
        """Where the pointer is that an instruction calls through; None for other instructions."""
        arch = self.analysis.arch
        if kind in BY_POINTER:
            operand = arch.indirect_operand(function, i)
            if not isinstance(operand, Load) or operand.memory.base != IMAGE_BASE:
                return operand
            if operand.memory.displacement in self.image.guard_dispatches:
                return Reg(arch.dispatch_register)
            is_import = operand.memory.displacement in self.image.imports
            return None if is_import else operand
        if kind == Flow.CALL and self._dispatches(arch.direct_target(function, i)):
            return Reg(arch.dispatch_register)
        return None

    def _dispatches(self, target: int) -> bool:
        """Whether a local function only jumps on to where the dispatch register points."""
        known = self._dispatchers.get(target)
        if known is None:
            known = self._is_dispatcher(target)
            self._dispatchers[target] = known
        return known

    def _is_dispatcher(self, target: int) -> bool:
        if not self.analysis.references.jumps_on(target):
            return False
        function = self.analysis.functions.at(target)
        i = function.find(target) if function is not None else None
        if function is None or i is None or function.flows[i] != Flow.INDIRECT_JUMP:
            return False
        operand = self.analysis.arch.indirect_operand(function, i)
        if isinstance(operand, Load):
            is_global = operand.memory.base == IMAGE_BASE
            return is_global and operand.memory.displacement in self.image.guard_dispatches
        return isinstance(operand, Reg) and operand.number == self.analysis.arch.dispatch_register
