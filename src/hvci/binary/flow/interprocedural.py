"""Values that cross calls: parameters through callers, results of callees."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from hvci.binary.arch.x86.stack.pushes import Push, find_push
from hvci.binary.flow import atoms
from hvci.binary.flow.atoms import NOTHING, Atom, Atoms, Kind, Operation
from hvci.binary.flow.far.bounds import count_of
from hvci.binary.flow.fates import (
    ANY_SIZE,
    STACK_ARGUMENTS,
    WITHIN_OBJECT,
    X86_SLOT,
    Passed,
    covers,
    is_moving,
    is_source,
    most_arguments,
    reach,
)
from hvci.binary.flow.readers import Readers
from hvci.binary.flow.versions.paths import never_runs
from hvci.binary.form.code import (
    BY_POINTER,
    CALLS,
    IMAGE_BASE,
    NO_REGISTER,
    Const,
    Expr,
    Flow,
    Function,
    Load,
    Location,
    Reg,
    is_slot,
    low_byte,
    slot,
)
from hvci.binary.form.code import slot_offset as offset_of
from hvci.binary.form.jumptables import leaves
from hvci.catalog.givers import GIVERS
from hvci.catalog.memory import BLOCKS

if TYPE_CHECKING:
    from hvci.binary.flow.dataflow import Dataflow

MAX_CALLERS = 1000
MAX_CALLER_DEPTH = 5
MAX_CALLEE = 1500
"""Instructions of a callee whose result is worked out."""
MAX_RESULTS = 12
MAX_TARGETS = 8
"""Functions that an indirect call may go to and that are looked into for what it returns."""
MAX_POINTED = 16
"""Functions that an indirect call may go to, as far as a pointer is followed into them."""
MAX_WITHIN = 32
"""Functions in which stores through a pointer that one of them gets in an object are looked for."""
MAX_LEAF = 300
"""Instructions of a callee of which is asked what it leaves alone."""
Given = tuple[Function, int, Location]
"""The first instruction of a routine, and where it finds what it is given."""
_MASKS = tuple((1 << 8 * size) - 1 for size in range(9))
"""By size in bytes."""

Place = tuple[int, int]
Trail = tuple[tuple[Place, tuple[Operation, ...]], ...]
"""The parameters that a question came through, each with what was done to it then."""


class Interprocedural:
    """Follows parameters to callers and results into callees."""

    def __init__(self, flow: Dataflow) -> None:
        self.flow = flow
        self.image = flow.image
        self.lookups: dict[int, Atoms] = {}
        """What calls that find a routine by its name return, by the RVA of the call."""
        self._stored: dict[int, frozenset[tuple[int, int]]] = {}
        """Where functions store behind pointers, by their start."""
        self.thunks: dict[int, str] = {}
        """Names of imports by the RVA of the jump that leads to them."""
        self.inbound: dict[Place, str] = {}
        """Who decides a parameter that comes from outside the image, in words."""
        self.results: dict[int, Atoms | None] = {}
        self._clobbered: dict[int, int] = {}
        """Masks of the registers that functions may change, by their starts."""

    @cached_property
    def readers(self) -> Readers:
        """The reads of tables of functions."""
        return Readers(self.flow)

    def forget(self) -> None:
        """Drop what was worked out before something new was learnt."""
        self.results.clear()

    # ---- arguments

    def argument(self, function: Function, i: int, position: int, size: int) -> Atoms:
        """Argument of a call or tail jump; `position` counts registers or stack slots."""
        return self._argument(function, i, position, size, 0)

    def _argument(
        self, function: Function, i: int, position: int, size: int, nesting: int
    ) -> Atoms:
        registers = self.flow.arch.parameter_registers
        if position < len(registers):
            register = registers[position]
            plain = self.flow.functions.plain_argument(function, i, register)
            if isinstance(plain, Const):
                return atoms.const(plain.value & _MASKS[size])
            if plain is not None:
                return atoms.truncate(self.flow.evaluate(function, i, plain, nesting), size)
            location = low_byte(register) if size == 1 else Location(register)
            return self._sized(function, i, location, size, nesting)
        step = self.image.pointer_size
        above = step * (position + self.flow.arch.arguments_above(function.flows[i] in CALLS))
        held = self._on_stack(function, i, above, nesting)
        if held is None:
            return atoms.unknown("the stack depth at the call is not known")
        return atoms.truncate(held, size)

    def position(self, function: Function, i: int, place: Location) -> tuple[int, int] | None:
        """Which argument of call or jump `i` a slot can be, and its offset for the callee.

        None where it is none.
        """
        arch, depth = self.flow.arch, self.flow.depth.before(function, i)
        if depth is None:
            return None
        first = arch.return_address_size
        above = offset_of(place) - depth + (first if function.flows[i] in CALLS else 0)
        found = (above - first) * 8 // arch.bits - arch.arguments_above(is_call=True)
        is_argument = len(arch.parameter_registers) <= found < STACK_ARGUMENTS
        return (found, above) if is_argument and above >= first else None

    def removed(self, function: Function, i: int) -> int:
        """How many arguments the callee of an x86 call removes; the most where that is not seen."""
        depth = self.flow.depth.before(function, i)
        is_followed = i + 1 < len(function.flows) and function.follows(i + 1)
        after = self.flow.depth.before(function, i + 1) if is_followed else None
        removed = 0 if after is None or depth is None else (after - depth) // X86_SLOT
        return removed if removed > 0 else STACK_ARGUMENTS

    def _sized(
        self, function: Function, i: int, location: Location, size: int, nesting: int
    ) -> Atoms:
        held = self.flow.value(function, i, location, nesting)
        return atoms.truncate(held, size)

    def _on_stack(self, function: Function, i: int, above: int, nesting: int) -> Atoms | None:
        """What lies some bytes above the stack pointer; None when its depth is not known."""
        if self.image.bits == 32 and above >= 0:
            push = find_push(self.flow.arch, function, i, above)
            if push is not None and not self._is_hit(function, i, above, push):
                return self.flow.stored(function, push.i, nesting)
        depth = self.flow.depth.before(function, i)
        return None if depth is None else self.flow.value(function, i, slot(depth + above), nesting)

    def _is_hit(self, function: Function, i: int, above: int, push: Push) -> bool:
        """Whether a store through the frame pointer may have changed what was pushed."""
        if not push.unsure:
            return False
        depth = self.flow.depth.before(function, i)
        if depth is None:
            return True
        for k, memory in push.unsure:
            frame = self.flow.depth.frame_pointer(function, k)
            first = None if frame is None else frame + memory.displacement
            if first is None or first <= depth + above < first + max(memory.size, 1):
                return True
        return False

    def at_entry(self, position: int) -> Location:
        """Where a function finds a parameter when it starts."""
        arch = self.flow.arch
        if position < len(arch.parameter_registers):
            return Location(arch.parameter_registers[position])
        above = arch.arguments_above(is_call=True)
        return slot(self.image.pointer_size * (position + above) + arch.return_address_size)

    def given(self, function: Function, i: int, name: str, argument: int) -> list[Given] | None:
        """Where Windows calls the image with what a routine got; None if elsewhere as well."""
        gives, found = GIVERS.get(name), list[Given]()
        if gives is None or gives.context != argument:
            return []
        for atom in self.passed(function, i, self.at_entry(gives.routine)):
            is_number = self.image.bits == 32 and atom.kind is Kind.CONST
            rva = atom.value - (self.image.base if is_number else 0)
            routine = (
                self.flow.functions.at(rva) if is_number or atom.kind is Kind.ADDRESS else None
            )
            k = None if routine is None else routine.find(rva)  # small ones lie in one with others
            if routine is None or k is None:
                return None
            found.append((routine, k, self.at_entry(gives.position(self.image.bits))))
        return found

    def may_write(self, passed: Passed, behind: int, nesting: int) -> bool:
        """Whether a routine of others may write so far behind a pointer.

        It writes what it is given; how far, is known of some. A function that gets the pointer in
        an object may write as far behind what it loads as it stores at all.
        """
        if is_source(passed):
            return False
        if passed.offset == behind or (is_moving(passed.offset) and not behind):
            return True
        if is_moving(passed.offset):
            return passed.name in BLOCKS
        if passed.name == WITHIN_OBJECT:
            _, callee = self.callee(passed.function, passed.i, nesting)
            spans = self._spans(callee) if callee is not None else ()
            return any(covers(passed.offset + at, size, behind, 4) for at, size in spans)
        if passed.offset > behind:
            return False
        written = reach(passed, self.image.bits)
        if written >= 0:
            return passed.offset + written > behind
        count = count_of(self.flow, passed, nesting)
        return not all(
            atom.kind is Kind.CONST and passed.offset + atom.value <= behind for atom in count
        )

    def _spans(self, start: Function) -> frozenset[tuple[int, int]]:
        """Where a function, and what it calls, stores behind any pointer: offset and size."""
        known = self._stored.get(start.start)
        if known is not None:
            return known
        found: set[tuple[int, int]] = set()
        work, seen = [start], {start.start}
        while work and len(seen) <= MAX_WITHIN:
            function = work.pop()
            for i in self.flow.arch.storing(function):
                for memory in self.flow.arch.effect(function, i).stores:
                    if memory.base >= 0 and not self.flow.frames.is_plain(function, i, memory):
                        is_open = memory.index_register != NO_REGISTER
                        found.add((memory.displacement, ANY_SIZE if is_open else memory.size))
            for i, flow in enumerate(function.flows):
                if flow == Flow.CALL:
                    target = self.flow.arch.direct_target(function, i)
                    callee = self.flow.functions.starting_at(target)
                    if callee is not None and callee.start not in seen:
                        seen.add(callee.start)
                        work.append(callee)
        if work:  # more than are looked at
            found.add((0, ANY_SIZE))
        self._stored[start.start] = frozenset(found)
        return self._stored[start.start]

    # ---- callers

    def resolve(self, values: Atoms, trail: Trail = (), most: int = MAX_CALLERS) -> Atoms:
        """Replace parameters by what all callers pass.

        Where more than `most` callers do not agree, the rest are not asked.
        """
        for atom in values:
            if atom.kind is Kind.PARAMETER:
                break
        else:
            return atoms.bounded(values)
        out: set[Atom] = set()
        for atom in values:
            if atom.kind is Kind.PARAMETER:
                out |= atoms.apply(self._from_callers(atom, trail, most), atom.ops)
            else:
                out.add(atom)
        return atoms.bounded(out)

    def _from_callers(self, atom: Atom, trail: Trail, most: int) -> Atoms:
        """What the callers pass, before anything is done with it."""
        start, place = atom.value, (atom.value, atom.place)
        if place in self.inbound:
            return atoms.unknown(self.inbound[place])
        asked = [known for known, _ in trail]
        if place in asked:  # a recursion; what it passes on unchanged adds nothing
            changed = atom.ops or any(ops for _, ops in trail[asked.index(place) + 1 :])
            return atoms.unknown("a parameter that a recursion changes") if changed else NOTHING
        if start == self.image.headers.entry:
            return atoms.unknown("a parameter of the entry point")
        if len(trail) >= MAX_CALLER_DEPTH:
            return atoms.unknown(f"a parameter passed through more than {MAX_CALLER_DEPTH} callers")
        callers = self.flow.functions.callers(start)
        many = f"a parameter of sub_{start:x}, which has over {most:,} callers"
        if len(callers) > MAX_CALLERS:
            return atoms.unknown(many)
        out: set[Atom] = set()
        is_open = start in self.image.exports
        if not is_open and self.flow.functions.takes_address(start):
            by_table = self.readers.calls_from_tables(start)
            is_open, callers = by_table is None, [*callers, *(by_table or ())]
        if is_open:
            out |= atoms.unknown(f"decided by an indirect caller of sub_{start:x}")
        elif not callers:
            out |= atoms.unknown(f"a parameter of sub_{start:x}, which nothing calls directly")
        for number, (function, i) in enumerate(callers):
            if never_runs(function, i):
                continue
            if number >= most and len(out) > 1:
                return atoms.unknown(many)
            passed = self.passed(function, i, Location(atom.place))
            out |= self.resolve(passed, (*trail, (place, atom.ops)), most)
            if len(out) > atoms.MAX_ATOMS:
                return atoms.bounded(out)
        return frozenset(out)

    def passed(self, function: Function, i: int, location: Location, nesting: int = 0) -> Atoms:
        """What a caller leaves in a location of its callee."""
        if not is_slot(location):
            return self.flow.value(function, i, location, nesting)
        pushed = self.flow.arch.return_address_size if function.flows[i] in CALLS else 0
        held = self._on_stack(function, i, offset_of(location) - pushed, nesting)
        if held is None:
            return atoms.unknown("the stack depth at a caller is not known")
        return held

    # ---- registers over calls

    def clobbered(self, function: Function, d: int) -> int:
        """Mask of the registers that a call or a jump out of a function destroys.

        Compilers that see a local callee keep values in volatile registers that it leaves alone.
        """
        if function.flows[d] not in (Flow.CALL, Flow.JUMP):
            return self.flow.arch.volatile
        target = self.flow.arch.direct_target(function, d)
        if target in self.thunks:
            return self.flow.arch.volatile
        return self._clobbered_by(target, 0) & self.flow.arch.volatile

    def _clobbered_by(self, start: int, depth: int) -> int:
        """What a function and its callees may change; all volatile registers where in doubt."""
        if start in self._clobbered:
            return self._clobbered[start]
        everything = self.flow.arch.volatile
        function = self.flow.functions.starting_at(start)
        if function is None or len(function.flows) > MAX_LEAF or depth > MAX_CALLER_DEPTH:
            return everything
        self._clobbered[start] = everything  # while it is asked for
        mask = 0
        for i, flow in enumerate(function.flows):
            if flow == Flow.CALL or (flow in (Flow.JUMP, Flow.BRANCH) and i not in function.jumps):
                target = self.flow.arch.direct_target(function, i)
                is_known = target not in self.thunks
                mask |= self._clobbered_by(target, depth + 1) if is_known else everything
            elif flow in BY_POINTER:
                mask |= everything
            else:
                mask |= self.flow.arch.effect(function, i).registers
            if mask & everything == everything:
                break
        self._clobbered[start] = mask
        return mask

    # ---- results

    def returned(self, function: Function, d: int, nesting: int) -> Atoms:
        """What the call at instruction `d` returns."""
        rva = function.rvas[d]
        if rva in self.lookups:
            return self.lookups[rva]
        if function.flows[d] == Flow.CALL:
            target = self.flow.arch.direct_target(function, d)
            name = self.thunks.get(target)
            if name is None:
                return self._of_callee(function, d, target, nesting)
        else:
            name = self.callee_name(function, d)
            if name is None:
                targets = self._pointed_to(function, d, nesting)
                results = [self._of_callee(function, d, each, nesting) for each in targets]
                if results:
                    return atoms.bounded(frozenset().union(*results))
        return frozenset((Atom(Kind.RESULT, rva, why=name or "an indirect call"),))

    def _of_tail_call(self, function: Function, i: int, nesting: int) -> Atoms:
        """What the function returns to which another one jumps at its end."""
        rva = function.rvas[i]
        if rva in self.lookups:
            return self.lookups[rva]
        if function.flows[i] == Flow.INDIRECT_JUMP:
            return atoms.unknown(f"the result of a tail call in sub_{function.start:x}")
        target = self.flow.arch.direct_target(function, i)
        name = self.thunks.get(target)
        if name is not None:
            return frozenset((Atom(Kind.RESULT, rva, why=name),))
        values = self._result(target, nesting) if target != function.start else None
        if values is None:
            return atoms.unknown(f"the result of a tail call in sub_{function.start:x}")
        return self._of_callee(function, i, target, nesting)

    def _pointed_to(self, function: Function, d: int, nesting: int) -> list[int]:
        """The functions that an indirect call goes to; none where it may go elsewhere as well."""
        operand = self.flow.arch.indirect_operand(function, d)
        if not isinstance(operand, Reg | Load):
            return []
        held = self.flow.evaluate(function, d, operand, nesting + 1)
        targets = sorted(atom.value for atom in held)
        is_known = len(held) <= MAX_TARGETS and all(
            atom.kind is Kind.ADDRESS and self.image.is_code(atom.value) for atom in held
        )
        return targets if is_known else []

    def target(self, function: Function, i: int) -> Expr:
        """Where an indirect call goes, behind the dispatch function of Control Flow Guard."""
        operand = self.flow.arch.indirect_operand(function, i)
        if not isinstance(operand, Load) or operand.memory.base != IMAGE_BASE:
            return operand
        memory = operand.memory
        is_plain = memory.index_register == NO_REGISTER
        is_dispatched = is_plain and memory.displacement in self.image.guard_dispatches
        return Reg(self.flow.arch.dispatch_register) if is_dispatched else operand

    def callee(
        self, function: Function, i: int, nesting: int
    ) -> tuple[str | None, Function | None]:
        """The routine of others, or the function of the image, that a call or jump goes to."""
        if function.flows[i] not in BY_POINTER:
            target = self.flow.arch.direct_target(function, i)
            name = self.thunks.get(target)
            return name, self.flow.functions.starting_at(target) if name is None else None
        operand = self.flow.arch.indirect_operand(function, i)
        held = self.flow.evaluate(function, i, operand, nesting)
        known = [name for atom in held if (name := self._routine(atom))]
        is_known = known and all(self._routine(atom) or not atom.value for atom in held)
        return (max(known, key=most_arguments) if is_known else None), None

    def _routine(self, atom: Atom) -> str | None:
        """The name of a routine of others whose address a value is."""
        if atom.kind is Kind.IMPORT:
            return self.image.imports[atom.value].name
        return atom.why if atom.kind is Kind.ROUTINE else None

    def pointed_to(self, function: Function, i: int, nesting: int) -> list[Function]:
        """The functions that an indirect call goes to; none where it may go elsewhere as well."""
        if function.flows[i] not in BY_POINTER:
            return []
        operand = self.flow.arch.indirect_operand(function, i)
        held = self.flow.evaluate(function, i, operand, nesting)
        if len(held) > MAX_POINTED or any(atom.kind is not Kind.ADDRESS for atom in held):
            return []
        found = [each for atom in held if (each := self.flow.functions.starting_at(atom.value))]
        return found if len(found) == len(held) else []

    def callee_name(self, function: Function, i: int) -> str | None:
        """Name of the import that an indirect call goes to, as far as its operand shows."""
        operand = self.flow.arch.indirect_operand(function, i)
        if isinstance(operand, Reg | Load):
            if isinstance(operand, Load) and operand.memory.base >= 0:
                return None
            target = atoms.single(self.flow.evaluate(function, i, operand, 8))
            if target is not None and target.kind is Kind.IMPORT:
                return self.image.imports[target.value].name
        return None

    def _of_callee(self, function: Function, d: int, target: int, nesting: int) -> Atoms:
        values = self._result(target, nesting)
        if values is None:
            return frozenset((Atom(Kind.RESULT, function.rvas[d], why=f"sub_{target:x}"),))
        out: set[Atom] = set()
        for atom in values:
            if atoms.is_handed(atom, target):
                out |= self.flow.passed_through(function, d, atom, nesting + 1)
            else:
                out.add(atom)
        return atoms.bounded(out)

    def _result(self, start: int, nesting: int) -> Atoms | None:
        """What a function returns; None when it is not worked out."""
        if start in self.results:
            return self.results[start]
        self.results[start] = None
        function = self.flow.functions.starting_at(start)
        if function is None or len(function.instructions) > MAX_CALLEE:
            return None
        answer = self.flow.apart(lambda: self.returned_by(function, nesting))
        self.results[start] = answer
        return answer

    def returned_by(self, function: Function, nesting: int) -> Atoms | None:
        """What the returns of a function leave, and its tail calls."""
        out: set[Atom] = set()
        returns = 0
        result = Location(self.flow.arch.result)
        for i, flow in enumerate(function.flows):
            if never_runs(function, i):
                continue
            if flow == Flow.RETURN:
                if self.flow.depth.before(function, i) is None:
                    continue
                out |= self.flow.value(function, i, result, nesting + 2)
                returns += 1
            elif leaves(function, i) or (flow == Flow.BRANCH and i not in function.jumps):
                out |= self._of_tail_call(function, i, nesting)
                returns += 1
        return frozenset(out) if returns and len(out) <= MAX_RESULTS else None
