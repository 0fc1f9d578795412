"""Which comparisons may depend on the Windows version; all others need no evaluation.

Follows copies and arithmetic from what tells it. One too few only leaves a comparison undecided.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from hvci.binary.calls.versions.questions import Questions
from hvci.binary.flow.atoms import Kind
from hvci.binary.form.code import (
    CALLS,
    IMAGE_BASE,
    Address,
    Binary,
    Choose,
    Condition,
    Const,
    Either,
    Expr,
    Flow,
    Function,
    Insert,
    Load,
    Location,
    Memory,
    Reg,
    SignExtend,
    low_byte,
    slot,
)

if TYPE_CHECKING:
    from hvci.binary.flow.dataflow import Dataflow

MAX_STEPS = 8
"""Copies and sums between what tells and what is compared."""
Key = tuple[int, int, Location]


class Concerned:
    """Answers for the functions of one image that ask, or get an answer."""

    def __init__(self, flow: Dataflow, questions: Questions, has_steps: Callable[[], bool]) -> None:
        self.flow, self.questions, self.has_steps = flow, questions, has_steps
        self._known: dict[Key, bool] = {}
        self.follows_parameters = False
        """Whether what callers pass may tell."""
        self._slots: dict[int, dict[int, list[tuple[int, int]]]] = {}
        self._choosing: set[int] = set()
        """The functions, by their start, in which something depends on the version."""

    def conditions(self, function: Function) -> Iterator[int]:
        """The instructions of a function that jump or choose by the version, maybe."""
        for i, flow in enumerate(function.flows):
            if not self.has_steps():
                return
            if flow in (Flow.NEXT, Flow.BRANCH):
                condition = self.flow.arch.condition(function, i)
                if condition is not None and self._depends(function, condition):
                    self._choosing.add(function.start)
                    yield i

    def is_told(self, function: Function, i: int, expr: Expr) -> bool:
        """Whether what an instruction stores may be made of the version."""
        self.flow.begin()
        return self._tells(function, i, expr, 0)

    def is_chosen(self, function: Function, i: int, expr: Expr) -> bool:
        """Whether an instruction stores a number where a function may choose by the version."""
        return function.start in self._choosing and self._is_number(function, i, expr)

    def _is_number(self, function: Function, i: int, expr: Expr) -> bool:
        if not isinstance(expr, Reg):
            return isinstance(expr, Const)
        self.flow.begin()
        found = self.flow.definitions(function, i, Location(expr.number))
        define = self.flow.arch.define
        return all(
            isinstance(each, int) and isinstance(define(function, each, expr.number), Const)
            for each in found
            if isinstance(each, int) or any(atom.kind is not Kind.CONST for atom in each)
        )

    def _depends(self, function: Function, condition: Condition) -> bool:
        self.flow.begin()
        since = condition.since
        return (
            self._tells(function, since, condition.left, 0)
            or self._tells(function, since, condition.right, 0)
            or (condition.guard is not None and self._depends(function, condition.guard))
        )

    def _tells(self, function: Function, i: int, expr: Expr, steps: int) -> bool:
        match expr:
            case Reg(number, size, shift):
                place = low_byte(number) if size == 1 and not shift else Location(number)
                return self._holds(function, i, place, steps)
            case Load(memory):
                return self._loads(function, i, memory, steps)
            case Either() | Choose() if function.start in self._choosing:
                return True
            case Binary(_, left, right, _) | Either(left, right) | Insert(left, right, _, _):
                parts: tuple[Expr, ...] = (left, right)
            case Choose(_, left, right):
                parts = (left, right)
            case SignExtend(operand, _, _):
                parts = (operand,)
            case Address(memory):
                parts = tuple(Reg(each) for each in memory[:2] if each >= 0)
            case _:
                return False
        return any(self._tells(function, i, part, steps) for part in parts)

    def _loads(self, function: Function, i: int, memory: Memory, steps: int) -> bool:
        if memory.base == IMAGE_BASE:
            name = self.flow.image.imports.get(memory.displacement)
            return memory.displacement in self.questions.points or name is not None
        if memory.base < 0:
            return False
        offset = self._offset(function, i, memory)
        if offset is not None:
            return self._is_kept(function, offset, steps)
        return self._tells(function, i, Reg(memory.base), steps)

    def _offset(self, function: Function, i: int, memory: Memory) -> int | None:
        """Where in the frame an operand lies, as far as that takes no question."""
        frames, arch = self.flow.frames, self.flow.arch
        if frames.is_plain(function, i, memory):
            return frames.offset(function, i, memory)
        if not arch.may_hold_stack_address(function, memory.base):
            return None
        found = self.flow.definitions(function, i, Location(memory.base))
        if len(found) != 1 or not isinstance(found[0], int) or function.flows[found[0]] in CALLS:
            return None
        match arch.define(function, found[0], memory.base):
            case Address(Memory(base, -1, _, displacement, _)):
                made = memory._replace(base=base, displacement=displacement)
            case Binary("add", Reg(base), Const(displacement), _):
                made = memory._replace(base=base, displacement=displacement)
            case Reg(base):
                made = memory._replace(base=base, displacement=0)
            case _:
                return None
        if base < 0 or not frames.is_plain(function, found[0], made):
            return None
        start = frames.offset(function, found[0], made)
        return None if start is None else start + memory.displacement

    def _is_kept(self, function: Function, offset: int, steps: int) -> bool:
        """Whether a slot of the frame is told, or any store to it may be."""
        if self.questions.versions.is_told(function, offset):
            return True
        key = function.start, -1, slot(offset)
        if key not in self._known:
            self._known[key] = offset >= 0 and self.follows_parameters
            stores = self._stores(function).get(offset, ())
            is_chosen = len(stores) > 1 and function.start in self._choosing
            self._known[key] = (
                self._known[key]
                or is_chosen
                or any(
                    self._tells(function, d, self.flow.arch.stored(function, d, n), steps + 1)
                    for d, n in stores
                )
            )
        return self._known[key]

    def _stores(self, function: Function) -> dict[int, list[tuple[int, int]]]:
        """The plain stores to each slot of the frame."""
        if function.start not in self._slots:
            found: dict[int, list[tuple[int, int]]] = {}
            frames, arch = self.flow.frames, self.flow.arch
            for d in arch.storing(function):
                for n, memory in enumerate(arch.effect(function, d).stores):
                    if memory.base >= 0 and frames.is_plain(function, d, memory):
                        offset = frames.offset(function, d, memory)
                        if offset is not None:
                            found.setdefault(offset, []).append((d, n))
            self._slots[function.start] = found
        return self._slots[function.start]

    def _holds(self, function: Function, i: int, place: Location, steps: int) -> bool:
        key = function.start, i, place
        if key not in self._known:
            if steps >= MAX_STEPS:
                return False
            self._known[key] = False  # for what comes back to it
            found = self.flow.definitions(function, i, place)
            is_chosen = len(found) > 1 and function.start in self._choosing
            self._known[key] = is_chosen or any(
                self._defines(function, each, place, steps + 1)
                if isinstance(each, int)
                else self.follows_parameters and any(a.kind is Kind.PARAMETER for a in each)
                for each in found
            )
        return self._known[key]

    def _defines(self, function: Function, d: int, place: Location, steps: int) -> bool:
        arch = self.flow.arch
        if function.flows[d] in CALLS:
            if function.rvas[d] in self.questions.returned:
                return True
            if function.flows[d] != Flow.CALL:
                return function.rvas[d] in self.flow.interprocedural.lookups
            return arch.direct_target(function, d) in self.questions.asking
        register = place & (1 << 20) - 1
        return self._tells(function, d, arch.define(function, d, register), steps)
