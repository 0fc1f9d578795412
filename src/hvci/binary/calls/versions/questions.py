"""Where one image asks for the Windows version, and what may depend on the answer.

Knows calls, stores and who names a variable; decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from hvci.binary.analysis.wiring import Analysis
from hvci.binary.calls.imports.direct import ImportCalls
from hvci.binary.flow import atoms
from hvci.binary.flow.atoms import Atoms, Kind
from hvci.binary.flow.versions.known import Place, Versions
from hvci.binary.flow.versions.paths import VARIABLE
from hvci.binary.flow.versions.telling import TELLING
from hvci.binary.form.code import (
    BY_POINTER,
    IMAGE_BASE,
    Binary,
    Expr,
    Flow,
    Function,
    Memory,
    Opaque,
    any_of,
)

MAX_CALLERS = 8
"""Callers of a function that asks which are taken to keep the answer."""
_POINTER_CALLS = any_of(*BY_POINTER)


class Questions:
    """What is asked in one image, by the start of the function that does."""

    def __init__(self, analysis: Analysis, versions: Versions) -> None:
        self.analysis = analysis
        self.flow, self.arch = analysis.flow, analysis.arch
        self.versions = versions
        self.asking: dict[int, Function] = {}
        """The functions that ask, and those that may keep the answer of one."""
        self.returned: dict[int, Atoms] = {}
        """What calls return, by their RVA."""
        self.points: dict[int, list[Place]] = {}
        """What sets a variable in these functions, by its RVA."""
        self._named: dict[int, set[int]] = {}
        self._called: dict[int, list[Place]] = {}
        self.chosen: set[int] = set()
        """Those of them that get one number or another."""

    def may_ask(self) -> bool:
        """Whether the image imports, or looks up, what could tell."""
        names = {item.name for item in self.analysis.image.imports.values()}
        return bool(names & {*TELLING, VARIABLE}) or any(map(self._tells, self._looked_up.values()))

    def find(self) -> None:
        """The calls that ask for the version, by import or by name, and what is known of each."""
        functions = self.analysis.functions
        for call in ImportCalls(self.analysis).find(TELLING):
            self._note(call.function, call.i, call.name)
        for place, _ in self.analysis.import_hits.get(VARIABLE, ()):
            found = functions.instruction_at(place)
            self.asking |= {found[0].start: found[0]} if found is not None else {}
        for rva, held in [*self._looked_up.items()]:
            found = functions.instruction_at(rva)
            if found is not None and self._tells(held):
                self.asking[found[0].start] = found[0]
                self._find_pointed(found[0], held)
        for start in [*self.asking]:
            callers = self._callers(start)
            if len(callers) <= MAX_CALLERS:
                self.asking |= {function.start: function for function, _ in callers}

    def find_variables(self) -> None:
        """What the functions that ask set, whatever decides it."""
        for function in self.asking.values():
            for i in self.arch.storing(function):
                for memory, _ in self.sets(function, i):
                    self.points.setdefault(memory.displacement, []).append((function, i))

    def keep_variables(
        self,
        is_told: Callable[[Function, int, Expr], bool],
        is_chosen: Callable[[Function, int, Expr], bool],
    ) -> None:
        """Forget the variables that have nothing to do with the version."""
        told = {rva for rva in self.points if self._any_sets(rva, is_told)}
        self.chosen = {rva for rva in self.points if self._any_sets(rva, is_chosen)} - told
        kept = told | self.chosen
        self.points = {rva: points for rva, points in self.points.items() if rva in kept}

    def _any_sets(self, rva: int, holds: Callable[[Function, int, Expr], bool]) -> bool:
        return any(
            self.versions.in_variable(function, i, rva) is not None
            or any(holds(function, i, expr) for _, expr in self.sets(function, i))
            for function, i in self.points[rva]
        )

    def fail_anyway(self, failing: list[Function]) -> bool:
        """Whether one of some functions has nothing to do with the version: it fails anyway."""
        related = {*self.asking}
        for start in self.asking:
            related |= {caller.start for caller, _ in self._callers(start)}
        for rva in self.points:
            related |= self._naming(rva)
        return any(
            function.start not in related
            and related.isdisjoint(caller.start for caller, _ in self._callers(function.start))
            for function in failing
        )

    def connect(self, failing: list[Function]) -> list[Function]:
        """Forget what has nothing to do with some functions; return those where it matters.

        They and their callers ask, call what asks, or name a variable that is set there. Where one
        fails anyway, only what stands where it is asked is worth a look.
        """
        if self.fail_anyway(failing):
            self.points.clear()
            asking = {each.start: each for each in failing if each.start in self.asking}
            self.asking = asking
            return [*asking.values()]
        near = {function.start: function for function in failing}
        for start in [*near]:
            near |= {caller.start: caller for caller, _ in self._callers(start)}
        named = {rva: self._naming(rva) & near.keys() for rva in self.points}
        self.points = {rva: points for rva, points in self.points.items() if named[rva]}
        keeping = {function.start for points in self.points.values() for function, _ in points}
        calling = {
            start: {caller.start for caller, _ in self._callers(start)} & near.keys()
            for start in self.asking
        }
        self.asking = {
            start: function
            for start, function in self.asking.items()
            if start in near or start in keeping or calling[start]
        }
        wanted = (near.keys() & self.asking.keys()).union(
            *(named[rva] for rva in self.points), *(calling[start] for start in self.asking)
        )
        wanted |= {
            function.start
            for function in failing
            if any(caller.start in wanted for caller, _ in self._callers(function.start))
        }
        return [near[start] for start in sorted(wanted)]

    def sets(self, function: Function, i: int) -> Iterator[tuple[Memory, Expr]]:
        """The variables that an instruction sets, whatever they held, and to what."""
        effect = self.arch.effect(function, i)
        for n, memory in enumerate(effect.stores if function.flows[i] == Flow.NEXT else ()):
            if memory.base == IMAGE_BASE and memory.index_register < 0 and not effect.fills:
                expr = self.arch.stored(function, i, n)
                if not isinstance(expr, Binary | Opaque):
                    yield memory, expr

    # ---- questions

    @property
    def _looked_up(self) -> dict[int, Atoms]:
        return self.flow.interprocedural.lookups

    def _tells(self, held: Atoms) -> bool:
        """Whether a look-up finds what tells a version, or tells one by being found."""
        found = self.versions.telling.is_something
        return any(
            atom.kind is Kind.ROUTINE and (atom.why in TELLING or found(atom)) for atom in held
        )

    def _find_pointed(self, function: Function, held: Atoms) -> None:
        """Calls of such a routine through what a look-up returned."""
        if not {atom.why for atom in held} & TELLING:
            return
        for i in function.where(_POINTER_CALLS):
            self.flow.begin()
            target = self.flow.evaluate(function, i, self.arch.indirect_operand(function, i), 0)
            named = {atom.why for atom in target if atom.kind is Kind.ROUTINE}
            others = [atom for atom in target if atom.kind is not Kind.ROUTINE and atom.value]
            if len(named) == 1 and not others and named <= TELLING:
                self._note(function, i, named.pop())

    def _note(self, function: Function, i: int, name: str) -> None:
        """Work out what a call writes, and returns."""
        self.asking[function.start] = function
        telling = self.versions.telling
        slots: dict[int, Atoms] = {}
        variables: dict[int, Atoms] = {}
        for argument, offset in telling.outputs(name):
            base = atoms.single(self._argument(function, i, argument))
            told = telling.written(name, argument, offset)
            rva = None if base is None else self.analysis.address_of(base)
            if told is None or base is None:
                continue
            if base.kind is Kind.STACK:
                slots[base.value + offset] = told
            elif rva is not None:
                variables[rva + offset] = told
                self.points.setdefault(rva + offset, []).append((function, i))
        if slots or variables:
            self.versions.add(function, i, slots, variables)
        returned = telling.returned(name, lambda n: self._argument(function, i, n))
        if returned is not None:
            self.returned[function.rvas[i]] = returned

    def _argument(self, function: Function, i: int, position: int) -> Atoms:
        self.flow.begin()
        size = self.analysis.image.pointer_size
        return self.flow.interprocedural.argument(function, i, position, size)

    def _naming(self, rva: int) -> set[int]:
        """The functions that name a variable, by their start."""
        if rva not in self._named:
            found = map(self.analysis.functions.at, self.analysis.references.to_data(rva))
            self._named[rva] = {function.start for function in found if function is not None}
        return self._named[rva]

    def _callers(self, start: int) -> list[Place]:
        if start not in self._called:
            self._called[start] = self.analysis.functions.callers(start)
        return self._called[start]
