"""Calls that ask for executable memory on Windows without memory integrity only.

Theory of operation: where a driver has such calls and asks for the version, each comparison is
decided that goes one way on every kernel aimed at; what is behind the other way is left out, and
the arguments are asked for again. A call that never runs is told so, a value that changes nothing
of the answer stays as it was. Knows calls and functions; judges nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from hvci.binary.analysis.wiring import Analysis
from hvci.binary.calls.versions.concerned import Concerned
from hvci.binary.calls.versions.questions import Questions
from hvci.binary.calls.versions.starts import Starts
from hvci.binary.flow.versions.deciding import Deciding
from hvci.binary.flow.versions.known import Place, Versions
from hvci.binary.flow.versions.paths import CHOSEN, DEAD, STRETCHES, Dead, never_runs
from hvci.binary.flow.versions.telling import Telling, kernels
from hvci.binary.flow.ways import handlers
from hvci.binary.form.code import Flow, Function
from hvci.model import WindowsVersion

MAX_FUNCTIONS, MAX_CONDITIONS = 64, 80
"""Functions in which comparisons are looked for, and comparisons that are decided."""
MAX_STEPS, FEW_STEPS = 20_000, 2_000
"""Steps of the data flow for all of that, and where it can change no more than a part."""
MAX_ROUNDS = 4
"""Flags that depend on flags."""


class OlderWindows:
    """What one image does on the kernels aimed at, where it asks for the version."""

    def __init__(self, analysis: Analysis, target: WindowsVersion) -> None:
        self.analysis = analysis
        self.flow, self.arch = analysis.flow, analysis.arch
        self.versions = Versions(Telling(kernels(target)))
        self.questions = Questions(analysis, self.versions)
        self.deciding = Deciding(self.flow, self.versions.telling.is_something)
        self._conditions: list[Place] = []
        self._decided: dict[Place, bool] = {}
        self._most = MAX_STEPS
        self._before = 0
        """Steps of the data flow that were taken before, which are what it goes on with."""

    def look(self, calls: Iterable[Place]) -> set[int]:
        """Learn what is needed to judge some calls: where of their functions it may matter start.

        Nothing where nothing is known of the version.
        """
        self._before = self.flow.total_steps
        if not self.questions.may_ask():
            return set()
        self.questions.find()
        near = self._find_conditions([function for function, _ in calls])
        if not near or not (self._conditions or self.questions.points):
            return set()
        self._speak()
        starts = Starts(self.analysis, self.questions)
        for _ in range(MAX_ROUNDS):
            before = len(self._decided)
            self._decide()
            are_more = len(self._decided) > before
            if not self.has_steps() or not (starts.find(bool(self._decided)) or are_more):
                break
        is_known = self._decided or self.versions.started
        return {function.start for function in near} if is_known else set()

    def leave(self) -> None:
        """Make the data flow speak of every Windows again."""
        self.flow.total_steps = self._before
        if self.flow.versions is None:
            return  # nothing was learnt: what the data flow worked out holds
        self.flow.versions = None
        for rva in self.questions.returned:
            self.flow.interprocedural.lookups.pop(rva, None)
        for function, _ in self._decided:
            function.cache.pop(DEAD, None)
            function.cache.pop(CHOSEN, None)
            _drop_ways(function)
        self.flow.forget()

    def is_dead(self, function: Function, i: int, hops: int = 2) -> bool:
        """Whether an instruction never runs, or its function, which others only call there."""
        if never_runs(function, i):
            return True
        start, functions = function.start, self.analysis.functions
        if not hops or start in self.analysis.image.exports or functions.takes_address(start):
            return False
        callers = functions.callers(start)
        return bool(callers) and all(self.is_dead(*caller, hops - 1) for caller in callers)

    def _speak(self) -> None:
        """Make the data flow speak of the kernels aimed at."""
        self.flow.versions = self.versions
        self.flow.interprocedural.lookups.update(self.questions.returned)
        self.flow.forget()

    def has_steps(self) -> bool:
        """Whether some of the work that is allowed is left."""
        return not self.flow.exhausted and self.flow.total_steps <= self._before + self._most

    def _find_conditions(self, failing: list[Function]) -> list[Function]:
        """The comparisons that may depend on the version: where it is asked for, and near calls."""
        self.questions.find_variables()
        if self.questions.fail_anyway(failing):
            self._most = FEW_STEPS
        if not self.questions.connect(failing):
            return []
        concerned = Concerned(self.flow, self.questions, self.has_steps)
        found = {
            start: [*concerned.conditions(function)]
            for start, function in [*self.questions.asking.items()][:MAX_FUNCTIONS]
        }
        self.questions.keep_variables(concerned.is_told, concerned.is_chosen)
        near = self.questions.connect(failing)
        concerned = Concerned(self.flow, self.questions, self.has_steps)
        concerned.follows_parameters = True
        for function in near[:MAX_FUNCTIONS]:
            found[function.start] = [*concerned.conditions(function)]
        functions = self.questions.asking | {function.start: function for function in near}
        self._conditions = [
            (function, i) for start, function in functions.items() for i in found.get(start, ())
        ][:MAX_CONDITIONS]
        return near

    def _decide(self) -> None:
        """Decide what can be decided now, and leave out what that leads away from."""
        for function, places in groupby(self._conditions, lambda each: each[0]):
            before = len(self._decided)
            for _, i in places:
                condition = self.arch.condition(function, i)
                if (function, i) in self._decided or condition is None or not self.has_steps():
                    continue
                truth = self.deciding.holds(function, condition)
                if truth is not None:
                    self._decided[function, i] = truth
            if len(self._decided) > before:
                self._apply(function)

    def _apply(self, function: Function) -> None:
        decided = {i: truth for (each, i), truth in self._decided.items() if each is function}
        branches = {i: truth for i, truth in decided.items() if function.flows[i] == Flow.BRANCH}
        function.cache[DEAD] = Dead(function, branches, handlers(self.arch, function))
        function.cache[CHOSEN] = {i: decided[i] for i in decided if i not in branches}
        _drop_ways(function)
        self.flow.forget()


def _drop_ways(function: Function) -> None:
    """Forget how control comes to the places of a function."""
    function.joins.clear()
    for key in [key for key in function.cache if key[0] == STRETCHES]:
        del function.cache[key]
