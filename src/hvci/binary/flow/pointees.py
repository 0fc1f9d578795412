"""What code does through a pointer that it has in a register or a slot of its frame.

One walk forward along the flow of control, through copies, sums with constants, the frame and the
image's own callees. Knows where a pointer goes, not what it points to.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import TYPE_CHECKING

from hvci.binary.flow.atoms import DISPATCH, Kind
from hvci.binary.flow.fates import (
    ANY_SIZE,
    LOST,
    MOVING,
    NOTHING,
    SINKING,
    STACK_ARGUMENTS,
    WITHIN_OBJECT,
    Fate,
    Held,
    Kept,
    Passed,
    Place,
    Read,
    Write,
    added,
    is_moving,
    joined,
    loaded,
    most_arguments,
    moved,
    parts,
    shifted,
    within,
)
from hvci.binary.flow.frame.names import Names
from hvci.binary.flow.loops import elements, takes_away
from hvci.binary.flow.ways import handlers, is_straight, onward
from hvci.binary.form.code import (
    BY_POINTER,
    CALLS,
    IMAGE_BASE,
    NO_REGISTER,
    Expr,
    Flow,
    Function,
    Location,
    Memory,
    Reg,
    is_slot,
    register_of,
    slot,
    slot_offset,
)
from hvci.binary.form.jumptables import leaves
from hvci.binary.pe.sets import members

if TYPE_CHECKING:
    from hvci.binary.flow.dataflow import Dataflow

MAX_WALKED = 1000
"""Instructions looked at for one pointer in one function."""
MAX_NESTED = 5
"""How deep a pointer is followed into callees."""
MAX_NESTING = 8
"""How deep the question for the target of a call may nest already."""
MAX_PARTS = 12
"""Different places around its start that one pointer may be moved to."""
MAX_CALLEE = 800
"""Instructions of a callee that is looked into."""
MAX_CALLERS = 16
"""Callers of a function that returns a pointer, in which it is followed on."""


class Pointees:
    """Follows pointers in one image."""

    def __init__(self, flow: Dataflow) -> None:
        self.flow = flow
        self.arch = flow.arch
        self._known: dict[tuple[int, Location], Fate] = {}
        self._busy: set[tuple[int, Location]] = set()
        self.walk = Walk

    def from_instruction(
        self, function: Function, i: int, held: Held, most: int = MAX_WALKED
    ) -> Fate:
        """What becomes of a pointer that instruction `i` leaves in some locations.

        `most` instructions are looked at in its function.
        """
        return self._from(function, i, held, 0, most)

    def _from(
        self, function: Function, i: int, held: Held, nesting: int, most: int = MAX_WALKED
    ) -> Fate:
        if leaves(function, i):  # what a routine returns that is jumped to
            fate = Fate(returned=frozenset(offset for _, offset in held))
        else:
            walk = self.walk(self, function, nesting, most)
            fate = walk.run() if walk.enter_behind(i, held) else LOST
        if not fate.returned:
            return fate
        start, functions = function.start, self.flow.functions
        callers = functions.callers(start)
        is_open = start in self.flow.image.exports or functions.takes_address(start)
        if is_open or len(callers) > MAX_CALLERS or nesting >= MAX_NESTED:
            # a result that is nothing but what is left of another use is none, as a rule
            is_used = fate.called or fate.landed
            return fate._replace(is_lost=True, is_gone=fate.is_gone or not is_used)
        result = Location(self.arch.result)
        fates = [fate]
        for caller, k in callers:
            back = frozenset((result, offset) for offset in fate.returned)
            is_call = caller.flows[k] in CALLS or leaves(caller, k)
            fates.append(self._from(caller, k, back, nesting + 1) if is_call else LOST)
        return joined(fates)

    def parameter(self, function: Function, place: Location, nesting: int, i: int = -1) -> Fate:
        """What a function does with a pointer that it has at a place where it begins, or at `i`."""
        i = function.entry if i < 0 else i
        key = function.rvas[i], place
        if key in self._known:
            return self._known[key]
        if key in self._busy:
            return NOTHING  # what a recursion passes on unchanged adds nothing
        if nesting > MAX_NESTED or len(function.instructions) > MAX_CALLEE:
            return LOST
        self._busy.add(key)
        walk = self.walk(self, function, nesting)
        walk.enter(i, frozenset(((place, 0),)))
        answer = walk.run()
        self._busy.discard(key)
        self._known[key] = answer
        return answer


class Walk(Names):
    """One walk over one function."""

    def __init__(
        self, pointees: Pointees, function: Function, nesting: int, most: int = MAX_WALKED
    ) -> None:
        super().__init__(pointees.flow, function)
        self.pointees, self.nesting, self.most = pointees, nesting, most
        self.states: dict[int, Held] = {}
        self.work: list[int] = []
        self.writes: set[Write] = set()
        self.reads: set[Read] = set()
        self.passed: set[Passed] = set()
        self.returned: set[int] = set()
        self.kept: set[Kept] = set()
        self.called: set[Place] = set()
        self.loads: set[Place] = set()
        self.within: set[Passed] = set()
        self.given: set[Place] = set()
        self.landed: set[Place] = set()
        self.is_lost = self.is_gone = False

    def enter(self, i: int, held: Held) -> bool:
        """Note what holds the pointer before an instruction; False where that grows too much."""
        known = self.states.get(i, frozenset())
        more = known | held
        if i not in self.states or more != known:
            if len(more) > MAX_PARTS:
                more = frozenset((place, SINKING if by < 0 else MOVING) for place, by in more)
            if len(more) > MAX_PARTS:
                return False
            self.states[i] = more
            self.work.append(i)
        return True

    def run(self) -> Fate:
        """Walk on until nothing new is met.

        What is written is of interest even where the pointer goes somewhere else as well.
        """
        steps = 0
        flows = self.function.flows
        while self.work:
            i = self.work.pop()
            held = self.states[i]
            registers, slots = parts(held)
            while True:
                steps += 1
                if flows[i] or not self.is_untouched(i, registers, slots):
                    held = self._behind(i, held)
                    registers, slots = parts(held)
                if not held or not is_straight(self.function, i):
                    break
                i += 1
            if steps > self.most or (held and not self.enter_behind(i, held)):
                self._lose()
                break
        self.flow.charge(steps)
        return Fate(
            frozenset(self.writes),
            frozenset(self.reads),
            frozenset(self.passed),
            frozenset(self.returned),
            frozenset(self.kept),
            self.is_lost,
            frozenset(self.called),
            frozenset(self.loads),
            frozenset(self.within),
            frozenset(self.given),
            frozenset(self.landed),
            self.is_gone,
        )

    def _lose(self) -> None:
        self.is_lost = self.is_gone = True

    def enter_behind(self, i: int, held: Held) -> bool:
        """Note what holds the pointer behind an instruction, and where handlers may read it."""
        kept = frozenset(each for each in held if is_slot(each[0]))
        if kept and not all(self.enter(j, kept) for j in handlers(self.arch, self.function)):
            return False
        return all(self.enter(j, held) for j in onward(self.function, i))

    # ---- one instruction

    def _behind(self, i: int, held: Held) -> Held:
        """What holds the pointer behind an instruction."""
        flow = self.function.flows[i]
        if flow in CALLS:
            return self._called(i, held)
        if flow == Flow.RETURN:
            self._leave(held)
            self.is_lost |= self._returns_to(i, held)
            return frozenset()
        if leaves(self.function, i) or (flow == Flow.BRANCH and i not in self.function.jumps):
            self._leave(self._called(i, held))
            return held if flow == Flow.BRANCH else frozenset()
        return self._moved(i, held)

    def _moved(self, i: int, held: Held) -> Held:
        """Copies and stores of the pointer, and what is written through it."""
        arch, function = self.arch, self.function
        registers, slots = parts(held)
        effect, (bases, others) = arch.effect(function, i), arch.reads(function, i)
        kept = {each for each in held if self._stays(each[0], effect.registers)}
        is_read = bool((bases | others) & registers)
        if not is_read and not (slots and self.use(i).names_memory):
            return frozenset(kept)
        made = {each: arch.define(function, i, each) for each in members(effect.registers)}
        is_explained = not others & registers
        if is_read:
            is_explained |= self._read(i, made.values(), held)
            for n, memory in enumerate(effect.stores):
                is_explained |= self._write(i, n, memory, held, fills=effect.fills)
        for n, memory in enumerate(effect.stores if not effect.fills else ()):
            is_explained |= self._put(i, n, memory, held, kept)
        for register, expr in made.items():
            found = self._values(i, expr, held)
            kept |= {(Location(register), offset) for offset in found}
            is_explained |= bool(found)
        if not is_explained and not arch.only_compares(function, i):
            self._lose()
        return frozenset(kept)

    def _stays(self, place: Location, written: int) -> bool:
        return is_slot(place) or not written >> register_of(place) & 1

    def _write(self, i: int, n: int, memory: Memory, held: Held, fills: bool) -> bool:
        """Note a store whose operand is based on the pointer; whether one by index is."""
        is_index = False
        bases, delta = self._bases(i, memory)
        for place, offset in held:
            if is_slot(place):
                continue
            number = register_of(place)
            if number in bases:
                is_open = fills or memory.index_register != NO_REGISTER
                at, size = within(offset, delta, ANY_SIZE if is_open else memory.size)
                ways: Iterable[tuple[int, int]] = ((0, size),)
                counter = memory.index_register
                if counter == number and memory.scale == 1:
                    counter = memory.base  # the pointer may be either
                if counter >= 0 and counter != number:
                    indexed = memory._replace(index_register=counter)
                    ways = elements(self.flow, self.function, i, indexed, MAX_NESTED)
                self.writes.update(Write(self.function, i, n, at + by, far) for by, far in ways)
                is_index |= is_open
        return is_index

    def _bases(self, i: int, memory: Memory) -> tuple[list[int], int]:
        """The registers that an operand may be based on, and what is added to them."""
        if memory.base != IMAGE_BASE or memory.index_register == NO_REGISTER:
            return [memory.base, memory.index_register], memory.displacement
        # a pointer to the image is known by what it points to
        return [memory.index_register, *members(self.arch.reads(self.function, i)[0])], 0

    def _read(self, i: int, made: Iterable[Expr], held: Held) -> bool:
        """Note the loads whose operand is based on the pointer; whether one by index is."""
        found = chain(self.arch.other_operands(self.function, i), *map(loaded, made))
        return self._note_reads(i, found, held)

    def _note_reads(self, i: int, found: Iterable[Memory], held: Held) -> bool:
        is_index = False
        for memory in found:
            bases, delta = self._bases(i, memory)
            for place, offset in held:
                if place in bases:
                    at = moved(offset, delta)
                    is_open = memory.index_register != NO_REGISTER or is_moving(at)
                    self.reads.add(Read(0, -memory.size) if is_open else Read(at, memory.size))
                    self.loads.add((self.function, i))
                    is_index |= memory.index_register != NO_REGISTER
        return is_index

    def _put(
        self, i: int, n: int, memory: Memory, held: Held, kept: set[tuple[Location, int]]
    ) -> bool:
        """A store into the frame or elsewhere; whether it stores the pointer."""
        values = self._values(i, self.arch.stored(self.function, i, n), held)
        is_named = memory.base == self.arch.frame_pointer
        if not (values or is_named or parts(kept)[1]):
            return False
        if (at := self._slot(i, memory)) is not None:
            kept -= {each for each in kept if each[0] == at}
            kept |= {(at, offset) for offset in values}
            if is_named:
                self.locals.add(at)
        elif values:
            self.landed.add((self.function, i))
            if memory.base == IMAGE_BASE and memory.index_register == NO_REGISTER:
                self.kept |= {Kept(memory.displacement, offset) for offset in values}
            else:
                self.is_lost = True
        return bool(values)

    def _values(self, i: int, expr: Expr, held: Held) -> set[int]:
        """What an expression adds to the pointer, for each way in which it is the pointer."""
        found = added(expr, held, self.arch.bits // 8, lambda memory: self._slot(i, memory))
        if MOVING in found and takes_away(self.flow, self.function, i, expr, MAX_NESTED):
            found.add(SINKING)
        return found

    # ---- calls and the end

    def _returns_to(self, i: int, held: Held) -> bool:
        """Whether the pointer was pushed to where x86 code returns; on x64, right before that."""
        slots = {slot_offset(place) for place, _ in held if is_slot(place)}
        is_told = self.arch.bits == 32 or self.arch.effect(self.function, i - 1).stores
        return bool(slots and is_told) and self.flow.depth.before(self.function, i) in slots

    def _leave(self, held: Held) -> None:
        """The function ends: its result may be the pointer."""
        self.returned |= {offset for place, offset in held if place == self.arch.result}

    def _called(self, i: int, held: Held) -> Held:
        """Follow the pointer into a callee; what holds it behind the call."""
        arch, function, is_through = self.arch, self.function, False
        if function.flows[i] in BY_POINTER:
            operand = self.flow.interprocedural.target(function, i)
            self._note_reads(i, loaded(operand), held)
            is_through = bool(self._values(i, operand, held))
            if arch.loads_call_targets:  # of which the operand is what was loaded
                is_through |= bool(arch.reads(function, i)[1] & parts(held)[0])
            is_through |= self._is_dispatched(i, operand, held)
            if is_through:
                # only calls of the function that has the pointer first are looked for
                self.is_lost |= bool(self.nesting)
                self.called.add((function, i))
                self.landed |= {(function, i)} if self.nesting else set()
        if function.flows[i] in CALLS and not self.nesting:
            self._pass_within(i, held)
        if function.flows[i] in (Flow.CALL, Flow.JUMP):
            self.is_lost |= bool(arch.goes_on(function, i) & parts(held)[0])
        clobbered = self.flow.interprocedural.clobbered(function, i)
        kept = {each for each in held if self._stays(each[0], clobbered)}
        if function.flows[i] in CALLS and (not self._may_pass(i, held) or self._is_check(i)):
            return frozenset(kept)
        name, callee = self.flow.interprocedural.callee(function, i, MAX_NESTING)
        if callee is None and name is None and function.flows[i] in (Flow.JUMP, Flow.BRANCH):
            self._lose()  # a part of the function that lies elsewhere
        for place, offset in held:
            entered = self._entry(i, place, name)
            if entered is None:
                continue
            if name is not None:
                self.given.add((function, i))
                self.passed.add(Passed(function, i, offset, name, entered[1]))
                self._give(i, offset, name, entered[1])
                continue
            pointed_to = self.flow.interprocedural.pointed_to
            callees = [callee] if callee is not None else pointed_to(function, i, MAX_NESTING)
            # a routine hardly gets its own address as well, nor what was left in other registers
            is_left = not is_slot(place) and register_of(place) not in arch.parameter_registers
            lost = LOST._replace(is_gone=not is_through and not is_left)
            parameter, deeper = self.pointees.parameter, self.nesting + 1
            for fate in [parameter(each, entered[0], deeper) for each in callees] or [lost]:
                self.given |= {(function, i)} if fate != NOTHING else set()
                self._add(fate, i, offset)
                kept |= {(Location(arch.result), moved(offset, more)) for more in fate.returned}
        return frozenset(kept)

    def _is_dispatched(self, i: int, operand: Expr, held: Held) -> bool:
        """Whether a call goes to the pointer by Control Flow Guard's dispatch, kept somewhere."""
        if not self.flow.image.guard_dispatches:
            return False
        if not self._values(i, Reg(self.arch.dispatch_register), held):
            return False
        targets = self.flow.evaluate(self.function, i, operand, MAX_NESTING)
        self.is_lost |= any(atom.kind is Kind.UNKNOWN for atom in targets)
        return DISPATCH in targets

    def _pass_within(self, i: int, held: Held) -> None:
        """Note that a call may get the pointer in an object of the frame."""
        for place, offset in held:
            if is_slot(place) and self.flow.frames.is_in_object(self.function, place, i):
                self.within.add(Passed(self.function, i, offset, WITHIN_OBJECT))

    def _give(self, i: int, offset: int, name: str, argument: int) -> None:
        """Follow the pointer into a routine that Windows calls with it."""
        given = self.flow.interprocedural.given(self.function, i, name, argument)
        self.is_lost |= given is None
        for routine, k, at in given or ():
            fate = self.pointees.parameter(routine, at, self.nesting + 1, k)
            self._add(fate, i, offset, calls=())

    def _add(self, fate: Fate, i: int, offset: int, calls: tuple[Place, ...] | None = None) -> None:
        """Note what a callee does with the pointer, moved by `offset`."""
        self.is_lost |= fate.is_lost
        self.is_gone |= fate.is_gone
        if fate.landed and self.nesting:
            self.landed.add((self.function, i))  # perhaps a local dispatcher
        there = shifted(fate, offset, ((self.function, i),) if calls is None else calls)
        for name in ("writes", "reads", "passed", "within", "kept", "loads", "landed"):
            getattr(self, name).update(getattr(there, name))

    def _is_check(self, i: int) -> bool:
        """Whether a call goes to the check of a call target, which returns nothing."""
        changed = self.arch.effect(self.function, i).registers
        return self.function.flows[i] == Flow.INDIRECT_CALL and not changed >> self.arch.result & 1

    def _may_pass(self, i: int, held: Held) -> bool:
        """Whether a location that holds the pointer may be an argument, whatever is called."""
        return any(
            self.flow.interprocedural.position(self.function, i, place) is not None
            if is_slot(place)
            else place in self.arch.entry_registers
            for place, _ in held
        )

    def _entry(self, i: int, place: Location, name: str | None) -> tuple[Location, int] | None:
        """Where the callee of an instruction finds what is at a place; None where it does not.

        And which of the documented arguments of a routine of others that is, below 0 for none.
        """
        arch, hidden = self.arch, name in self.flow.globals.framework
        registers = arch.parameter_registers
        if not is_slot(place):
            number = register_of(place)
            if name is None:
                return (place, -1) if number in arch.entry_registers else None
            at = registers.index(number) if number in registers else STACK_ARGUMENTS
            return (place, at - hidden) if at < most_arguments(name) else None
        interprocedural = self.flow.interprocedural
        found = interprocedural.position(self.function, i, place)
        if found is None or (arch.bits == 32 and place in self.locals):
            return None
        position, above = found
        is_argument = arch.bits == 64 or position < interprocedural.removed(self.function, i)
        if name is not None:
            is_argument = position < most_arguments(name)
        return (slot(above), position - hidden) if is_argument else None
