"""The value of a register or stack slot at an instruction, found by walking backwards.

Theory of operation
1. A question is (function, instruction, location): what can the location hold just before it?
2. The answer is a set of atoms (atoms.py), never a path: where paths join, sets are united.
3. The walk goes from the instruction to its predecessors until every way back has met a
   definition, an edge that fixes the value by comparison, or the entry of the function.
4. A definition is an expression over the state before it; its parts are questions again.
5. At the entry stands a parameter atom; `resolve` asks the callers, at most `MAX_CALLERS` deep.
6. A global in read-only memory is its content; a writable one is its content and all that the
   image's own code writes to it; one whose address is taken may be anything.
7. A 32-bit global that starts executable and that code reachable from the entry point sets to an
   NX constant is the NX opt-in: its start value is kept apart, as "before the opt-in".
8. What a callee or a store with an index may have written adds "not known" to numbers in the
   frame.
9. Every step costs; a question that costs too much is answered "work budget spent".

Blind spots: writes through pointers that were not seen to point into the frame or at the global,
such as to a field of a global structure whose address is kept in memory; values carried by a
structure whose address came from elsewhere; 64 bits read of what was written in halves;
self-modifying code; a jump table that is not read (jumptables.py), at a label that other code leads
to as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from hvci.binary.flow import atoms
from hvci.binary.flow.atoms import NOTHING, Atom, Atoms, Kind
from hvci.binary.flow.frames import Frames
from hvci.binary.flow.globals import Globals
from hvci.binary.flow.interprocedural import Interprocedural
from hvci.binary.flow.loops import changes
from hvci.binary.flow.made_addresses import LOST
from hvci.binary.flow.reaching import BUDGET, MAX_STEPS, Definition, Reaching
from hvci.binary.flow.versions.paths import CHOSEN, VARIABLE, Dead, suppose
from hvci.binary.form.code import (
    CALLS,
    IMAGE_BASE,
    NO_REGISTER,
    Address,
    Architecture,
    Binary,
    Choose,
    Const,
    Either,
    Expr,
    Function,
    ImageAddress,
    Insert,
    Load,
    Location,
    Memory,
    Opaque,
    Reg,
    SignExtend,
    is_low_byte,
    is_slot,
    low_byte,
    register_of,
)
from hvci.binary.form.functions import Functions
from hvci.binary.pe.image import PeImage
from hvci.binary.pe.sets import members

if TYPE_CHECKING:
    from hvci.binary.flow.versions.known import Versions
    from hvci.binary.form.depth import StackDepth

T = TypeVar("T")
MAX_DEPTH = 24
"""How deep questions may nest."""
TOO_DEEP = "the value comes through more steps than are followed"
FILE_STEPS, BYTES_A_STEP = 500_000, 4
"""Steps for one image, whatever its size, and bytes that give it one more.

Of 486 real drivers none needed more than 200,000, and none asked more than 2,000 questions.
"""
NO_CYCLE = 1 << 30
NO_CHOICE: dict[int, bool] = {}
MAX_LEARNT = 4000
"""Instructions of a function of which `learn` asks."""
QUESTION_COST = 40
"""What a question costs besides the instructions looked at, in steps: both take time."""


class Dataflow:
    """Answers what locations hold, for one image."""

    def __init__(
        self,
        image: PeImage,
        architecture: Architecture,
        functions: Functions,
        depth: StackDepth,
    ) -> None:
        self.image = image
        self.arch = architecture
        self.functions = functions
        self.depth = depth
        self.reaching = Reaching(self)
        self.frames = Frames(self)
        self.globals = Globals(self)
        self.interprocedural = Interprocedural(self)
        self.steps = 0
        self.total_steps = 0
        self._most_steps = FILE_STEPS + image.size // BYTES_A_STEP
        self.generation = 0
        """How often answers were dropped."""
        self.versions: Versions | None = None
        """What is known of the Windows version, for who asks about the kernels aimed at only."""
        self._spent = 0
        self._memo: dict[tuple[int, int, int], Atoms] = {}
        self._busy: dict[tuple[int, int, int], int] = {}
        """The questions that are being asked, each with how many were before it."""
        self._cycle = NO_CYCLE
        """The outermost of those that what is being worked out came back to."""
        self._loops: set[tuple[int, int, int]] = set()
        """(function, instruction, parameter) to which a loop comes back with another value."""

    def begin(self, budget: int = MAX_STEPS) -> None:
        """Start a new question: its budget is full again while the file's lasts."""
        self.total_steps += QUESTION_COST
        if self.steps > self._spent:
            self.total_steps += self.steps - self._spent
        self._spent = self.steps = MAX_STEPS + 1 if self.exhausted else MAX_STEPS - budget

    def charge(self, steps: int) -> None:
        """Count work that was done outside of questions."""
        self.total_steps += steps

    def spend(self) -> None:
        """Spend the budget of the whole image: there is more than can be looked at."""
        self.total_steps = self._most_steps

    def forget(self) -> None:
        """Drop all answers: something new was learnt that can change them."""
        self.generation += 1
        self._memo.clear()
        self._loops.clear()
        self.globals.forget()
        self.interprocedural.forget()

    @property
    def exhausted(self) -> bool:
        """Whether the budget of the whole image is spent."""
        return self.total_steps >= self._most_steps or self.functions.is_overworked

    @property
    def is_spent(self) -> bool:
        """Whether the budget of the question is spent."""
        return self.steps > MAX_STEPS

    def note_cycle(self) -> None:
        """Say that an answer depends on a question that is being asked: it is not kept."""
        self._cycle = 0

    def apart(self, work: Callable[[], T]) -> T:
        """The result of some work that is good for every question, not just the one being asked.

        Without what is being asked an answer would lack what that leads to.
        """
        outer = self._busy, self._cycle
        self._busy, self._cycle = {}, NO_CYCLE
        result = work()
        self._busy, self._cycle = outer
        return result

    def supposing(
        self, function: Function, dead: Dead, results: dict[int, Atoms], work: Callable[[], T]
    ) -> T:
        """The result of some work where control goes some ways only and calls return something.

        Nothing of what is worked out then is kept.
        """
        kept = self._memo, self._loops, self.globals.memo, self.interprocedural.results
        lookups = self.interprocedural.lookups
        self._memo, self._loops, self.interprocedural.results = {}, set(), {}
        self.globals.memo = {**self.globals.memo}
        self.interprocedural.lookups = lookups | results
        with suppose(function, dead):
            result = self.apart(work)
        self._memo, self._loops, self.globals.memo, self.interprocedural.results = kept
        self.interprocedural.lookups = lookups
        return result

    # ---- questions

    def value(self, function: Function, i: int, location: Location, nesting: int = 0) -> Atoms:
        """What a location can hold just before instruction `i`."""
        if nesting > MAX_DEPTH:
            return atoms.unknown(TOO_DEEP)
        if location == self.arch.stack_pointer:
            depth = self.depth.before(function, i)
            return (
                atoms.unknown("the stack depth is not known")
                if depth is None
                else (atoms.stack(depth))
            )
        key = (function.start, i, location)
        known = self._memo.get(key)
        if known is not None:
            return known
        asked = self._busy.get(key)
        if asked is not None:
            self._cycle = min(self._cycle, asked)
            return NOTHING
        return self._answer(key, function, i, location, nesting)

    def stored(self, function: Function, d: int, nesting: int) -> Atoms:
        """What a location holds that only instruction `d` writes: what that pushes or stores."""
        if nesting > MAX_DEPTH:
            return atoms.unknown(TOO_DEEP)
        return atoms.bounded(self.evaluate(function, d, self.arch.stored(function, d), nesting + 1))

    def learn(self, function: Function) -> None:
        """Ask what the calls and the slots of a function hold one by one, in code order.

        The answers are kept: a value that goes through many slots is not too deep then.
        """
        self.forget()  # what was too deep is among the answers
        for k in range(min(len(function.flows), MAX_LEARNT)):
            if self.exhausted:
                return
            if function.flows[k] in CALLS:
                self.begin()
                self.interprocedural.returned(function, k, 0)
                continue
            for register in members(self.arch.effect(function, k).registers):
                expr = self.arch.define(function, k, register)
                if isinstance(expr, Load) and expr.memory.base >= 0:
                    self.begin()
                    self.evaluate(function, k, expr, 0)

    def definitions(self, function: Function, i: int, location: Location) -> list[Definition]:
        """Instructions whose result a location can hold before `i`, and what else it can hold."""
        return self.reaching.definitions(function, i, location, 0).definitions

    def _answer(
        self,
        key: tuple[int, int, int],
        function: Function,
        i: int,
        location: Location,
        nesting: int,
    ) -> Atoms:
        """Collect the definitions.

        An answer that came back to an outer question lacks what that leads to, and is not kept.
        """
        depth = self._busy[key] = len(self._busy)
        outer, self._cycle = self._cycle, NO_CYCLE
        reached = self.reaching.definitions(function, i, location, nesting)
        definitions, doubts = reached.definitions, reached.doubts
        if len(definitions) == 1:
            answer = atoms.bounded(self._of(definitions[0], function, location, nesting))
        else:
            answer = self._united(definitions, function, location, nesting)
        if is_slot(location) and any(atom.kind in atoms.NUMERIC for atom in answer):
            # a pointer is no option that a callee would change
            doubts = self.reaching.doubts(function, location, reached)
            answer = atoms.bounded(answer | doubts)
        del self._busy[key]
        is_whole = self._cycle >= depth
        if is_whole or nesting == 0:
            self._memo[key] = answer
            if len(definitions) == 1 and isinstance(definitions[0], int) and not doubts:
                for j in reached.passed:
                    self._memo[function.start, j, location] = answer
        self._cycle = outer if is_whole else min(outer, self._cycle)
        return answer

    def _united(
        self, definitions: list[Definition], function: Function, location: Location, nesting: int
    ) -> Atoms:
        """What one of several definitions leaves in a location."""
        out: set[Atom] = set()
        for definition in definitions:
            if self.steps > MAX_STEPS:
                out |= atoms.unknown(BUDGET)
                return atoms.bounded(out)
            out |= self._of(definition, function, location, nesting)
            if len(out) > atoms.MAX_ATOMS:
                return atoms.bounded(out)
        return frozenset(out)

    def _of(
        self, definition: Definition, function: Function, location: Location, nesting: int
    ) -> Atoms:
        """What one definition leaves in a location."""
        if isinstance(definition, int):
            return self._defined(function, definition, location, nesting + 1)
        return definition

    # ---- definitions

    def _defined(self, function: Function, d: int, location: Location, nesting: int) -> Atoms:
        """What instruction `d` leaves in a location."""
        if is_slot(location):
            return self.frames.stored(function, d, location, nesting)
        if function.flows[d] in CALLS:
            if register_of(location) == self.arch.result:
                return self.interprocedural.returned(function, d, nesting)
            if not self.arch.volatile >> register_of(location) & 1:
                return atoms.unknown("a register that a call of a part of the function changes")
            if not self.interprocedural.clobbered(function, d) >> register_of(location) & 1:
                return self.value(function, d, location, nesting)
            return atoms.unknown(LOST)
        expr = self.arch.define(function, d, register_of(location))
        if is_low_byte(location) and isinstance(expr, Insert) and not expr.shift:
            expr = expr.new
        return self.made(function, d, expr, nesting)

    def made(self, function: Function, d: int, expr: Expr, nesting: int) -> Atoms:
        """What instruction `d` makes of what it reads, and writes; one round of a loop is not all.

        A value that comes back to its own definition as it was adds nothing; one that is changed
        on the way can be anything.
        """
        outer, self._cycle = self._cycle, NO_CYCLE
        answer = self.evaluate(function, d, expr, nesting)
        if self._comes_back((function.start, d, NO_REGISTER)) and (
            changes(expr, lambda memory: self.frames.offset(function, d, memory, nesting))
        ):
            # what was read in the first round is one of the values; a first sum need not be
            more = self._loop((function.start, d, NO_REGISTER), answer)
            answer = atoms.bounded(answer | more) if isinstance(expr, Load) else more
        if outer < self._cycle:
            self._cycle = outer
        return answer

    def passed_through(self, function: Function, d: int, atom: Atom, nesting: int) -> Atoms:
        """What call `d` returns of a parameter of its callee; a loop may change it as well."""
        outer, self._cycle = self._cycle, NO_CYCLE
        held = self.interprocedural.passed(function, d, Location(atom.place), nesting)
        answer = atoms.apply(held, atom.ops)
        if atom.ops and self._comes_back((function.start, d, atom.place)):
            answer = self._loop((function.start, d, atom.place), answer)
        self._cycle = min(outer, self._cycle)
        return answer

    def _comes_back(self, place: tuple[int, int, int]) -> bool:
        """Whether a loop comes back to a place whose answer was just worked out."""
        return self._cycle < len(self._busy) or place in self._loops

    def _loop(self, place: tuple[int, int, int], first: Atoms) -> Atoms:
        """What is left there: the next who asks, from outside the loop, must be told as well."""
        self._loops.add(place)
        return atoms.looped(first)

    def evaluate(self, function: Function, i: int, expr: Expr, nesting: int) -> Atoms:
        """What an expression can be, in the state before instruction `i`."""
        match expr:
            case Const(value):
                return atoms.const(value)
            case Reg(number, size, shift):
                low = size == 1 and not shift
                place = low_byte(number) if low else Location(number)
                held = self.value(function, i, place, nesting)
                return atoms.truncate(held, size, shift) if size < 8 or shift else held
            case Load(memory):
                return self._load(function, i, memory, nesting)
            case ImageAddress(rva):
                return atoms.address(rva)
            case Address(memory):
                return self._address(function, i, memory, nesting)
            case Binary(name, left, right, size):
                a = self.evaluate(function, i, left, nesting)
                return atoms.combine(
                    name,
                    atoms.truncate(a, size),
                    self.evaluate(function, i, right, nesting),
                    8 * size,
                )
            case Either(left, right):
                if (chosen := function.cache.get(CHOSEN, NO_CHOICE).get(i)) is not None:
                    return self.evaluate(function, i, right if chosen else left, nesting)
                return self.evaluate(function, i, left, nesting) | self.evaluate(
                    function, i, right, nesting
                )
            case Choose():
                return self._chosen(function, i, expr, nesting)
            case Insert(old, new, size, shift):
                return atoms.insert(
                    self.evaluate(function, i, old, nesting),
                    self.evaluate(function, i, new, nesting),
                    size,
                    shift,
                )
            case SignExtend(operand, from_size, to_size):
                return atoms.extend(
                    self.evaluate(function, i, operand, nesting), from_size, to_size
                )
            case Opaque(why):
                return atoms.unknown(why)

    def _chosen(self, function: Function, i: int, expr: Choose, nesting: int) -> Atoms:
        """The outcomes that what was compared allows."""
        equal = self.evaluate(function, i, expr.equal, nesting)
        other = self.evaluate(function, i, expr.other, nesting)
        register, constant, size, since = expr.comparison
        held = self.value(function, since, Location(register), nesting + 1)
        out: set[Atom] = set()
        for atom in atoms.truncate(held, size):
            if atom.kind not in atoms.NUMERIC:
                return equal | other
            out |= atoms.marked_like(atom, equal if atom.value == constant else other)
        return frozenset(out) or equal | other

    def _address(self, function: Function, i: int, memory: Memory, nesting: int) -> Atoms:
        """Base, index and displacement added up, in the width that `memory.size` gives."""
        width = 8 * memory.size
        total = atoms.const(memory.displacement & ((1 << width) - 1))
        if memory.base == IMAGE_BASE:
            total = atoms.address(memory.displacement)
        elif memory.base != NO_REGISTER:
            base = self.value(function, i, Location(memory.base), nesting)
            total = atoms.combine("add", base, total, width)
        if memory.index_register != NO_REGISTER:
            index = self.value(function, i, Location(memory.index_register), nesting)
            index = atoms.combine("mul", index, atoms.const(memory.scale), width)
            total = atoms.combine("add", total, index, width)
        return atoms.truncate(total, memory.size)

    def _load(self, function: Function, i: int, memory: Memory, nesting: int) -> Atoms:
        """What memory holds."""
        size = memory.size or 8
        if memory.index_register != NO_REGISTER:
            return self._element(function, i, memory, nesting)
        if memory.base == IMAGE_BASE:
            return self.globals.seen(function, i, memory.displacement, size, nesting)
        if memory.base == NO_REGISTER:
            return atoms.unknown("a field of the processor's or thread's own data")
        rva = memory.displacement - self.image.base
        if self.image.bits == 32 and memory.displacement > 0 and self.image.holds(rva, size):
            # `[esi+table]`: the register is the index
            table = Memory(IMAGE_BASE, memory.base, 1, rva, memory.size)
            return self._element(function, i, table, nesting)
        offset = self.frames.offset(function, i, memory, nesting)
        if offset is not None:
            return self.frames.held(function, i, offset, size, nesting)
        base = self.value(function, i, Location(memory.base), nesting + 1)
        out: set[Atom] = set()
        for atom in base:
            out |= self._through(atom, memory.displacement, size, function, i, nesting)
        return atoms.bounded(out)

    def _through(
        self, base: Atom, displacement: int, size: int, function: Function, i: int, nesting: int
    ) -> Atoms:
        """What lies behind one possible pointer."""
        if base.kind is Kind.ADDRESS:
            rva = (base.value + displacement) & 0xFFFFFFFF
            return self.globals.seen(function, i, rva, size, nesting)
        if base.kind is Kind.STACK:
            return self.frames.held(function, i, base.value + displacement, size, nesting + 1)
        if base.kind is Kind.CONST and self.image.bits == 32:
            rva = base.value + displacement - self.image.base
            if self.image.holds(rva, size):
                return self.globals.seen(function, i, rva, size, nesting)
        if base.kind is Kind.TABLE:
            return self.globals.framework_routine(base.value + displacement)
        is_told = self.versions is not None and base.kind is Kind.IMPORT and not displacement
        if is_told and self.image.imports[base.value].name == VARIABLE:
            assert self.versions is not None
            return self.versions.telling.build_number(size)
        where = atoms.describe(base)
        words = f"{where}, field {displacement:#x}"
        return frozenset((Atom(Kind.FIELD, displacement, why=words, of=base),))

    def _element(self, function: Function, i: int, memory: Memory, nesting: int) -> Atoms:
        """An element of a table in read-only memory: all of them, when the table is small.

        Or of the framework's, where the index is known.
        """
        if self.globals.framework and memory.size == self.image.pointer_size:
            held = self._address(function, i, memory, nesting + 1)
            if held and all(atom.kind is Kind.TABLE for atom in held):
                routines = (self.globals.framework_routine(atom.value) for atom in held)
                return atoms.bounded(frozenset().union(*routines))
        return self.globals.table(function, i, memory, nesting)
