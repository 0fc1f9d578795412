"""Calls of methods of the audio port driver's objects, with the proof of what the object is.

The object is a port when it came as the port argument of a miniport's Init, or was put somewhere by
PcNewPort or QueryInterface for the port's identifier. A call of the right shape on an object that
came from elsewhere is reported as doubtful, never dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from hvci.binary.analysis.wiring import Analysis
from hvci.binary.calls.audio import miniports as com
from hvci.binary.calls.audio.miniports import Miniports
from hvci.binary.calls.audio.stacked import WINDOW, StackedCalls
from hvci.binary.calls.imports.direct import ImportCalls
from hvci.binary.calls.indirect import PointerCalls
from hvci.binary.flow.atoms import Atom, Atoms, Kind
from hvci.binary.form.code import (
    ANY_POINTER_CALL,
    CALLS,
    NO_FALL_THROUGH,
    NO_REGISTER,
    Expr,
    Function,
    Load,
    Location,
    Memory,
    slot,
)
from hvci.catalog import Ddi
from hvci.model import Machine

CLASS_IDS = {"IPortWavePci": "b4c90a54-5791-11d0-86f9-00a0c911b544"}
"""CLSID_PortWavePci: what PcNewPort makes an object with the interface of."""
MINIPORT_OF = {"IPortWavePci": "IMiniportWavePci::NewStream"}
"""A method of the miniport whose Init receives such a port."""
INIT_SLOT, PORT_ARGUMENT = 5, 3
"""IMiniportX::Init(this, UnknownAdapter, ResourceList, Port, ...)."""
NEW_PORT = "PcNewPort"
MAX_DEPTH = 6


class MethodCall(NamedTuple):
    """One call through a slot of a method table."""

    function: Function
    i: int
    ddi: Ddi
    doubt: str
    """Why the object may be another one; empty when it is proven."""


class PortCalls:
    """Finds the calls of one method of a port interface in an image."""

    def __init__(
        self, analysis: Analysis, pointers: PointerCalls, miniports: Miniports, ddi: Ddi
    ) -> None:
        self.analysis = analysis
        self.image = analysis.image
        self.follow = analysis.flow.interprocedural
        self.pointers = pointers
        self.ddi = ddi
        of = MINIPORT_OF[ddi.interface]
        self.miniports = miniports
        self.tables = [method.table for method in miniports.methods if method.ddi.name == of]
        self.this: set[int] = set()
        """Starts of the methods whose first argument is such a miniport."""
        self.parameters: set[tuple[int, int]] = set()
        self.fields: set[int] = set()
        self.locals: set[tuple[int, int]] = set()
        self.globals: set[Atom] = set()

    def find(self) -> Iterator[MethodCall]:
        """Every call of the method, proven ones and doubtful ones, in order."""
        identifiers = (self.ddi.iid, CLASS_IDS[self.ddi.interface])
        known = any(com.user_starts(self.analysis, each) for each in identifiers)
        if not known and not self.tables:
            return
        self._learn()
        for function, indices in self._candidates():
            yield from self._calls_in(function, indices)

    def _candidates(self) -> list[tuple[Function, list[int]]]:
        """Functions with calls that may be such, and the indices of these, in order."""
        places = self.analysis.references.method_loads(self.ddi.slot * self.image.pointer_size)
        if self.image.machine is Machine.ARM64:
            found = (self.analysis.functions.at(place) for place in places)
            functions = {function.start: function for function in found if function is not None}
            return [
                (functions[start], functions[start].where(ANY_POINTER_CALL))
                for start in sorted(functions)
            ]
        return StackedCalls(self.analysis, self.ddi.slot, self._stacked).find(places)

    @property
    def _stacked(self) -> int:
        """Number of arguments on the stack."""
        return len(self.ddi.parameters) + 1 - len(self.analysis.arch.parameter_registers)

    def _calls_in(self, function: Function, indices: Iterable[int]) -> Iterator[MethodCall]:
        for i in indices:
            target = self.pointers.target(function, i, function.flows[i])
            if target is None or self._is_other_slot(target):
                continue
            if not self._has_shape(function, i, across_calls=True):
                continue
            objects = self._objects(function, i, target, self.ddi.slot)
            if objects and all(self.is_port(each) for each in objects):
                yield MethodCall(function, i, self.ddi, "")
            elif objects and self._has_shape(function, i, across_calls=False):
                yield MethodCall(function, i, self.ddi, self._doubt())

    def _is_other_slot(self, target: Expr) -> bool:
        """Whether a call plainly goes through another slot of a method table."""
        wanted = self.ddi.slot * self.image.pointer_size
        return isinstance(target, Load) and target.memory.displacement != wanted

    def _doubt(self) -> str:
        number = len(self.ddi.parameters)
        return (
            f"a call with {number} arguments through slot {self.ddi.slot} of an object; "
            f"that the object is an {self.ddi.interface} is not proven"
        )

    # ---- where ports are put

    def _learn(self) -> None:
        for table in self.tables:
            length = self.miniports.length(table)
            methods = [self.miniports.slot(table, number) for number in range(length)]
            self.this |= set(methods)
            init = self.analysis.functions.starting_at(methods[INIT_SLOT])
            if init is not None:
                place = self.follow.at_entry(PORT_ARGUMENT)
                self.parameters.add((init.start, place))
                self._learn_stores(init, Atom(Kind.PARAMETER, init.start, place))
        for function, i in self._new_ports():
            self._learn_output(function, i, 0)
        for function, i in self._queries():
            self._learn_output(function, i, 2)

    def _learn_stores(self, init: Function, port: Atom) -> None:
        """Fields of the miniport that Init keeps its port in."""
        arch, flow = self.analysis.arch, self.analysis.flow
        for i in reversed(range(len(init.rvas))):  # one answer holds for what is on its way
            for n, memory in enumerate(arch.effect(init, i).stores):
                known = memory.base >= 0 and memory.base != arch.stack_pointer
                is_pointer = memory.size == self.image.pointer_size
                if not known or not is_pointer or memory.index_register != NO_REGISTER:
                    continue
                flow.begin()
                if port in flow.evaluate(init, i, arch.stored(init, i, n), 0):
                    base = flow.value(init, i, Location(memory.base))
                    if any(self._is_this(atom) for atom in base):
                        self.fields.add(memory.displacement)

    def _learn_output(self, function: Function, i: int, position: int) -> None:
        """Where a call puts a port: a local variable, a global or a field of the miniport."""
        for atom in self._argument(function, i, position):
            rva = self.analysis.address_of(atom)
            if atom.kind is Kind.STACK:
                self.locals.add((function.rvas[i], atom.value))
            elif rva is not None:
                mark = Atom(Kind.UNKNOWN, rva, why=f"the port object in the global at {rva:#x}")
                self.analysis.flow.globals.known[rva] = frozenset((mark,))
                self.globals.add(mark)
            elif atom.ops and self._is_this(atom._replace(ops=())):
                name, constant, _ = atom.ops[0]
                self.fields |= {constant} if name == "add" and len(atom.ops) == 1 else set()

    def _new_ports(self) -> Iterator[tuple[Function, int]]:
        """Calls of PcNewPort for the port's class."""
        classes = set(com.places_of(self.analysis, CLASS_IDS[self.ddi.interface]))
        for function, i, *_ in ImportCalls(self.analysis).find({NEW_PORT}):
            asked = {self.analysis.address_of(atom) for atom in self._argument(function, i, 1)}
            if asked and asked <= classes:
                yield function, i

    def _queries(self) -> Iterator[tuple[Function, int]]:
        """Calls of QueryInterface for the port's interface."""
        identifiers = set(com.places_of(self.analysis, self.ddi.iid))
        users = {user[0].start: user[0] for user in com.users_of(self.analysis, self.ddi.iid)}
        for start in sorted(users):
            for i, _ in self._method_calls(users[start], 0):
                asked = {
                    self.analysis.address_of(atom) for atom in self._argument(users[start], i, 1)
                }
                if asked and asked <= identifiers:
                    yield users[start], i

    def _argument(self, function: Function, i: int, position: int) -> Atoms:
        self.analysis.flow.begin()
        held = self.follow.argument(function, i, position, self.image.pointer_size)
        local = {atom for atom in held if atom.kind is not Kind.PARAMETER or self._is_this(atom)}
        return frozenset(local) | self.follow.resolve(held - local)

    # ---- what an object is

    def is_port(self, atom: Atom, depth: int = 0) -> bool:
        """Whether an object is proven to be the port."""
        if depth > MAX_DEPTH:
            return False
        match atom.kind:
            case Kind.PARAMETER if not atom.ops:
                if (atom.value, atom.place) in self.parameters:
                    return True
                return self._all_ports(self._passed(atom), depth)
            case Kind.FIELD if atom.of is not None:
                return atom.value in self.fields and self._is_this(atom.of)
            case Kind.LEAKED:
                place = (atom.value, atom.place)
                return place in self.locals or self._all_ports(self._before_call(atom), depth)
        return atom in self.globals

    def _all_ports(self, atoms: Iterable[Atom], depth: int) -> bool:
        """Whether all of several possible objects are ports; a null pointer is not called."""
        objects = [atom for atom in atoms if (atom.kind, atom.value) != (Kind.CONST, 0)]
        return bool(objects) and all(self.is_port(each, depth + 1) for each in objects)

    def _passed(self, parameter: Atom) -> Atoms:
        """What all callers pass; nothing when there may be others."""
        start = parameter.value
        exported = start in self.image.exports or start == self.image.headers.entry
        if exported or self.analysis.functions.takes_address(start):
            return frozenset()
        found: set[Atom] = set()
        for function, i in self.analysis.functions.callers(start):
            found |= self.follow.passed(function, i, Location(parameter.place))
        return frozenset(found)

    def _before_call(self, leaked: Atom) -> Atoms:
        """What a local variable held before a call that does not receive its address."""
        found = self.analysis.functions.instruction_at(leaked.value)
        if found is None:
            return frozenset()
        function, i = found
        own = Atom(Kind.STACK, leaked.place)
        if any(own in self._argument(function, i, position) for position in range(4)):
            return frozenset()
        return self.analysis.flow.value(function, i, slot(leaked.place))

    def _is_this(self, atom: Atom, depth: int = 0) -> bool:
        """Whether an atom is the miniport itself, by the methods that it came through."""
        if atom.kind is not Kind.PARAMETER or atom.ops or depth > MAX_DEPTH:
            return False
        if atom.value in self.this:
            return atom.place == self.follow.at_entry(0)
        passed = self._passed(atom)
        return bool(passed) and all(self._is_this(each, depth + 1) for each in passed)

    # ---- shape

    def _method_calls(self, function: Function, number: int) -> Iterator[tuple[int, list[Atom]]]:
        """Calls through a slot of a method table that pass the object, with what it can be."""
        for i, target in self.pointers.targets(function):
            objects = self._objects(function, i, target, number)
            if objects:
                yield i, objects

    def _objects(self, function: Function, i: int, target: Expr, number: int) -> list[Atom]:
        """What the object of a method call can be; nothing when it is no such call."""
        flow = self.analysis.flow
        wanted = number * self.image.pointer_size
        if isinstance(target, Load) and target.memory.displacement != wanted:
            return []
        flow.begin()
        objects = [
            atom.of.of
            for atom in sorted(flow.evaluate(function, i, target, 0))
            if atom.kind is Kind.FIELD and atom.value == wanted and atom.of is not None
            if atom.of.kind is Kind.FIELD and atom.of.value == 0 and atom.of.of is not None
        ]
        passed = self.follow.argument(function, i, 0, self.image.pointer_size)
        return [] if passed.isdisjoint(objects) else objects

    def _has_shape(self, function: Function, i: int, across_calls: bool) -> bool:
        """Whether the code before a call stores as many stack arguments as the method takes."""
        arch, flow = self.analysis.arch, self.analysis.flow
        flow.begin()
        depth = flow.depth.before(function, i)
        count, registers = len(self.ddi.parameters) + 1, len(arch.parameter_registers)
        if depth is None:
            return False
        step, above = self.image.pointer_size, arch.arguments_above(is_call=True)
        missing = {depth + step * (position + above) for position in range(registers, count)}
        if not self._stores_enough(function, i, len(missing)):
            return False
        others: list[tuple[int, Memory]] = []
        for k in range(i - 1, max(-1, i - WINDOW), -1):
            effect = arch.effect(function, k)
            ends = function.flows[k] in CALLS and effect.registers and not across_calls
            if ends or function.flows[k] in NO_FALL_THROUGH:
                break
            for memory in effect.stores:
                if flow.frames.is_plain(function, k, memory):
                    missing.discard(flow.frames.offset(function, k, memory) or 0)
                elif memory.base >= 0 and arch.may_hold_stack_address(function, memory.base):
                    others.append((k, memory))
            if not missing:
                break
        # Other registers cost a question each: only where there are enough for what is missing.
        if len(missing) <= len(others):
            missing -= {flow.frames.offset(function, k, memory) or 0 for k, memory in others}
        return not missing

    def _stores_enough(self, function: Function, i: int, wanted: int) -> bool:
        """Whether so many stores before a call can go to the frame: most calls have fewer."""
        arch, count = self.analysis.arch, 0
        for k in range(i - 1, max(-1, i - WINDOW), -1):
            for memory in arch.effect(function, k).stores:
                base = memory.base
                is_frame = base in (arch.stack_pointer, arch.frame_pointer)
                count += is_frame or (base >= 0 and arch.may_hold_stack_address(function, base))
            if count >= wanted:
                return True
        return not wanted
