"""References to the framework's function table that lead to no call that was found.

A call that follows its load in plain sight is signed for where it is found (kmdf.py). The rest goes
through the data flow: here the calls that it found are followed back to the loads they come from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hvci import catalog
from hvci.binary.analysis.ledger import Fate, Reference
from hvci.binary.analysis.wiring import Analysis
from hvci.binary.calls.imports.addresses import Arithmetic, KeptAddresses
from hvci.binary.calls.imports.plausible import sort_out
from hvci.binary.flow.atoms import Kind
from hvci.binary.form.code import (
    CALLS,
    NO_REGISTER,
    Address,
    Binary,
    Choose,
    Either,
    Expr,
    Function,
    Insert,
    Load,
    Location,
    Memory,
    Reg,
    SignExtend,
    is_slot,
    register_of,
    slot,
)
from hvci.binary.pe.sets import members

MAX_ORIGINS = 2000
"""Definitions that are looked at for one call."""
STACK_ARGUMENTS = 4
"""Arguments on the stack of a call through which a pointer may come back."""
TABLE = "the KMDF function table"


def is_judged(name: str) -> bool:
    """Whether a rule judges the calls of a routine of the framework."""
    ddi = catalog.ddis().get(name)
    return ddi is not None and bool(ddi.rule.judged_by)


class FrameworkAccounts:
    """What becomes of the references to the table of one image."""

    def __init__(self, analysis: Analysis, calls: Iterable[tuple[Function, int]]) -> None:
        self.analysis = analysis
        self._calls: dict[int, list[int]] = {}
        """Indices of the calls of the framework that were found, by start of the function."""
        for function, i in calls:
            self._calls.setdefault(function.start, []).append(i)
        self._table = analysis.framework_table
        self._origins: dict[int, tuple[set[int], set[int]]] = {}

    def unaccounted(self, references: Iterable[Reference]) -> Iterator[Reference]:
        """The references that lead to no call, or also elsewhere."""
        for used in self.analysis.ledger.open(references):
            if self.analysis.flow.exhausted:
                return  # that is a limit of its own
            at = self.analysis.functions.instruction_at(used.place)
            fate = self._fate(used, *at) if at is not None else None
            if fate is None:
                yield used
            else:
                self.analysis.ledger.sign(used, fate)

    def _fate(self, used: Reference, function: Function, i: int) -> Fate | None:
        fate = sort_out(self.analysis, used, function, i)
        if fate is not None:
            return fate
        made = self._first_made(function, i)
        is_table = self.analysis.flow.globals.known.get(used.target) == self._table
        is_kept = is_table or self.analysis.arch.loads_call_targets
        if is_kept and not isinstance(made, Load):
            return self._of_pointer(used, function, i)
        if is_table and made is not None and not self._may_be_table(function, i, made):
            return Fate.NOTHING  # a loop over what lies before it
        if isinstance(made, Load) and not is_table and self._leads_elsewhere(function, i, made):
            return Fate.FOLLOWED
        origins, through = self._made_from(function)
        if not is_table and i not in origins:
            return None

        def is_called(k: int, expr: Expr) -> bool:
            return k in origins or self._leads_elsewhere(function, k, expr)

        kept = KeptAddresses(self.analysis, Arithmetic(through, is_called))
        return Fate.FOLLOWED if kept.is_only_read(function, i) else None

    def _may_be_table(self, function: Function, i: int, expr: Expr) -> bool:
        """Whether an instruction may load the table, by the ways that lead to it."""
        self.analysis.flow.begin()
        held = self.analysis.flow.evaluate(function, i, expr, 0)
        return self._table <= held or all(atom.kind is Kind.UNKNOWN for atom in held)

    def _of_pointer(self, used: Reference, function: Function, i: int) -> Fate | None:
        """The address of the pointer to the table; what is read by it are other references."""
        kept = KeptAddresses(self.analysis)
        is_kept = kept.is_made(function, i, used.target)
        is_read = is_kept and kept.is_only_read(function, i, used.target)
        return Fate.FOLLOWED if is_read else None

    def _first_made(self, function: Function, i: int) -> Expr | None:
        """What an instruction puts into the first register that it changes."""
        arch = self.analysis.arch
        made = (
            arch.define(function, i, each) for each in members(arch.effect(function, i).registers)
        )
        return next(made, None)

    def _leads_elsewhere(self, function: Function, k: int, expr: Expr) -> bool:
        """Whether an instruction surely reads entries of the table that ask for no memory."""
        self.analysis.flow.begin()
        held = self.analysis.flow.evaluate(function, k, expr, 0)
        return all(atom.kind is Kind.ROUTINE and not is_judged(atom.why) for atom in held)

    def _made_from(self, function: Function) -> tuple[set[int], set[int]]:
        """The instructions that the targets of a function's framework calls come from.

        And those among them that are calls.
        """
        known = self._origins.get(function.start)
        if known is None:
            found: set[int] = set()
            for k in self._calls.get(function.start, ()):
                found |= self._of_call(function, k)
            through = {d for d in found if function.flows[d] in CALLS}
            through.update(self._calls.get(function.start, ()))
            known = self._origins[function.start] = found, through
        return known

    def _of_call(self, function: Function, k: int) -> set[int]:
        """The instructions that the target of one call comes from."""
        flow, arch = self.analysis.flow, self.analysis.arch
        work: list[tuple[int, Expr]] = [(k, arch.indirect_operand(function, k))]
        if self.analysis.image.guard_dispatches:
            work.append((k, Reg(arch.dispatch_register)))
        seen: set[tuple[int, Location]] = set()
        while work and len(seen) < MAX_ORIGINS:
            at, expr = work.pop()
            for location in self._locations(function, at, expr):
                flow.begin()
                for d in flow.definitions(function, at, location):
                    if isinstance(d, int) and (d, location) not in seen:
                        seen.add((d, location))
                        work += [(d, each) for each in self._parts(function, d, location)]
        return {d for d, _ in seen}

    def _parts(self, function: Function, d: int, location: Location) -> Iterator[Expr]:
        """What a location is made of by the instruction that defines it."""
        arch = self.analysis.arch
        if is_slot(location):
            for n in range(len(arch.effect(function, d).stores)):
                yield arch.stored(function, d, n)
        elif function.flows[d] in CALLS:
            yield from map(Reg, arch.parameter_registers)
            if not arch.parameter_registers:
                for n in range(STACK_ARGUMENTS):
                    yield Load(Memory(arch.stack_pointer, NO_REGISTER, 1, 4 * n, 4))
        else:
            yield arch.define(function, d, register_of(location))

    def _locations(self, function: Function, at: int, expr: Expr) -> Iterator[Location]:
        """The registers and slots of the frame that an expression reads."""
        match expr:
            case Reg(number):
                yield Location(number)
            case Load(memory) | Address(memory):
                offset = self.analysis.flow.frames.offset(function, at, memory)
                if offset is not None and isinstance(expr, Load):
                    yield slot(offset)
                    return
                for register in (memory.base, memory.index_register):
                    if register >= 0:
                        yield Location(register)
            case Binary(_, left, right) | Either(left, right) | Choose(_, left, right):
                yield from self._locations(function, at, left)
                yield from self._locations(function, at, right)
            case Insert(left, right):
                yield from self._locations(function, at, left)
                yield from self._locations(function, at, right)
            case SignExtend(operand):
                yield from self._locations(function, at, operand)
