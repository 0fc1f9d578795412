"""Variables that start-up code surely sets by the Windows version, before most code runs.

Knows how the entry point leads to stores; judges nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from hvci.binary.analysis.wiring import Analysis
from hvci.binary.calls.versions.questions import Questions
from hvci.binary.flow import atoms
from hvci.binary.flow.atoms import Atoms
from hvci.binary.flow.reaching import TOLD
from hvci.binary.flow.versions.known import Place, Started
from hvci.binary.flow.versions.paths import behind, leaves, never_runs, until
from hvci.binary.flow.ways import handlers
from hvci.binary.form.code import Flow, Function

MAX_HOPS = 5
"""Calls between the entry point and what it surely runs."""
MAX_EARLY = 400
"""Functions that may run before a variable is set."""


class Starts:
    """The variables of one image that its start sets."""

    def __init__(self, analysis: Analysis, questions: Questions) -> None:
        self.analysis, self.questions = analysis, questions
        self.flow, self.arch = analysis.flow, analysis.arch
        self.versions = questions.versions

    def find(self, are_decided: bool) -> bool:
        """Note each variable that depends on the version; whether more is known than before.

        What a function chooses does, once `are_decided` says that comparisons are.
        """
        before = self._known
        for rva, points in self.questions.points.items():
            if are_decided or rva not in self.questions.chosen:
                self._start(rva, points)
        self.flow.forget()
        return before != self._known

    @property
    def _known(self) -> list[int]:
        return [1 + len(each.replaced) for each in self.versions.started.values()]

    def _start(self, rva: int, points: list[Place]) -> None:
        """Note that a variable is surely set before most code runs."""
        sure = [
            (function, i, early)
            for function, i in points
            if not never_runs(function, i) and (early := self._early(function, i)) is not None
        ]
        if not sure:
            return
        function, i, early = max(sure, key=lambda each: (len(each[2]), len(each[2][each[0].start])))
        size = self._size(function, i, rva)
        held = atoms.const(self.analysis.image.number(rva, size))
        replaced = self._replaced(function, i, early[function.start], points)
        for each in replaced:
            held |= self._left(*each, rva)
        self.versions.started[rva] = Started(size, held, early, frozenset(replaced))

    def _replaced(
        self, function: Function, i: int, before: set[int], points: list[Place]
    ) -> list[Place]:
        """What sets the same variable earlier in the same function, and never later."""
        later = behind(function, i)
        return [
            (each, k) for each, k in points if each is function and k in before and k not in later
        ]

    def _left(self, function: Function, i: int, rva: int) -> Atoms:
        """What an instruction leaves in a variable."""
        told = self.versions.in_variable(function, i, rva)
        if told is not None:
            return told
        stored = [
            expr for memory, expr in self.questions.sets(function, i) if memory.displacement == rva
        ]
        self.flow.begin()
        return atoms.NOTHING.union(*(self.flow.evaluate(function, i, each, 0) for each in stored))

    def _size(self, function: Function, i: int, rva: int) -> int:
        """Bytes of a variable that an instruction sets."""
        sizes = [
            each.size for each, _ in self.questions.sets(function, i) if each.displacement == rva
        ]
        return sizes[0] if sizes else TOLD

    def _early(self, function: Function, i: int) -> dict[int, set[int]] | None:
        """What may run before an instruction that the entry point surely comes to, else None.

        Of each function on the way what comes before, and all that is called there.
        """
        early: dict[int, set[int]] = {}
        entry = int(self.analysis.image.headers.entry)
        while True:
            before = until(function, (), i)
            if function.start in early or any(leaves(function, j) for j in before):
                return None
            early[function.start] = until(function, handlers(self.arch, function), i)
            if function.start == entry:
                return self._with_callees(early)
            callers = [
                each
                for each in self.analysis.functions.callers(function.start)
                if not never_runs(*each)
            ]
            if len(callers) != 1 or len(early) > MAX_HOPS:
                return None
            function, i = callers[0]

    def _with_callees(self, early: dict[int, set[int]]) -> dict[int, set[int]] | None:
        """The same with all functions that are called there; None where there are many."""
        functions = self.analysis.functions
        work = [*self._callees(early)]
        while work:
            start = work.pop()
            function = functions.starting_at(start)
            if function is None or start in early:
                continue
            if len(early) >= MAX_EARLY:
                return None
            early[start] = {*range(len(function.flows))}
            work += self._callees({start: early[start]})
        return early

    def _callees(self, early: dict[int, set[int]]) -> Iterator[int]:
        for start, places in early.items():
            function = self.analysis.functions.starting_at(start)
            for j in places if function is not None else ():
                assert function is not None
                is_jump = function.flows[j] == Flow.JUMP and j not in function.jumps
                if is_jump or function.flows[j] == Flow.CALL:
                    yield self.arch.direct_target(function, j)
