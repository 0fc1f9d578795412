"""What a global variable of the image can hold: its content and all that the code writes to it."""

from __future__ import annotations

from collections.abc import Collection, Container
from functools import cached_property
from typing import TYPE_CHECKING

from hvci.binary.flow import atoms
from hvci.binary.flow.atoms import Atom, Atoms, Kind, Lookup
from hvci.binary.flow.fates import Place
from hvci.binary.flow.versions.opting import by_chance, runs_by_chance
from hvci.binary.flow.ways import ahead, behind
from hvci.binary.flow.written import Change, Writer, Writes
from hvci.binary.form.code import (
    IMAGE_BASE,
    NO_REGISTER,
    Flow,
    Function,
    Location,
    Memory,
)

if TYPE_CHECKING:
    from hvci.binary.flow.dataflow import Dataflow

NX_CONSTANTS = frozenset((0x200, 0x4000_0000))
"""What ExInitializeDriverRuntime stores: POOL_NX_ALLOCATION and MdlMappingNoExecute."""
FLAGS = ("ExDefaultNonPagedPoolType", "ExDefaultMdlProtection")
FLAG = frozenset((1,))
MAX_TABLE = 64
MAX_STRIDE = 64
"""Bytes of an entry in a table of structures."""
MAX_CHANGES = 4
"""Rounds in which changes of a variable must come to an end; a counter does not."""
MAX_UNDONE = 4
"""Calls that lead to what sets an option back."""
MAX_REACH = 400
"""Functions visited when looking for a way from the entry point."""


class Globals:
    """Values of globals, each worked out once."""

    def __init__(self, flow: Dataflow) -> None:
        self.flow = flow
        self.image = flow.image
        self.known: dict[int, Atoms] = {}
        """What other readers know about globals, by RVA."""
        self.written: dict[int, set[Atom]] = {}
        """Writes through pointers that others have followed, by RVA."""
        self.tables: dict[Atoms, tuple[Atom, ...]] = {}
        """The elements, in order, behind a value that any element of a table can be."""
        self.framework: tuple[str, ...] = ()
        """Names of the KMDF functions, by index."""
        self.writes = Writes(flow)
        self.memo: dict[tuple[int, int], Atoms] = {}
        self._writers: dict[tuple[int, int], list[Writer]] = {}
        self._reachable: dict[int, bool] = {}
        self._early: dict[int, dict[int, Container[int]]] = {}
        """By the RVA of an opt-in variable and the start of a function: what runs before that."""

    def value(self, rva: int, size: int, nesting: int) -> Atoms:
        """What a global of `size` bytes can hold when some code reads it."""
        item = self.image.imports.get(rva)
        if item is not None:
            return frozenset((Atom(Kind.IMPORT, rva),))
        if rva in self.known:
            return self.known[rva]
        if not self.image.holds(rva, size):
            return atoms.unknown(f"a global outside the image ({rva:#x})")
        key = rva, size
        known = self.memo.get(key)
        if known is None:
            self.memo[key] = atoms.unknown(f"the global at {rva:#x} depends on itself")
            known = self.flow.apart(lambda: self._work_out(rva, size, nesting))
            self.memo[key] = known
        return known

    def seen(self, function: Function, i: int, rva: int, size: int, nesting: int) -> Atoms:
        """What one instruction reads of a global: surely the first value where nobody opted in."""
        held = self.value(rva, size, nesting)
        if self.flow.versions is not None and (started := self.flow.versions.start_of(rva, size)):
            is_early = i in started.early.get(function.start, ())
            return held | atoms.truncate(started.initial, size) if is_early else held
        if not any(atom.kind is Kind.BEFORE_OPT_IN for atom in held):
            return held
        if rva not in self._early:
            self._early[rva] = {}  # for what asks again on the way
            self._early[rva] = self.flow.apart(lambda: self._before_opt_in(rva, size))
        early = self._early[rva].get(function.start)
        if early is None or i not in early:
            return held
        return frozenset(
            atom._replace(kind=Kind.CONST) if atom.kind is Kind.BEFORE_OPT_IN else atom
            for atom in held
        )

    def may_hold(self, rva: int, size: int, kind: Kind) -> bool:
        """Whether a value of some kind is among what `value` would say of a global.

        Not one of the frame of a writer, which means nothing to a reader.
        """
        known = self.known.get(rva, self.memo.get((rva, size)))
        if known is None and rva not in self.image.imports and self.image.holds(rva, size):
            if any(atom.kind is kind for atom in self.written.get(rva, ())):
                return True
            stores = self.writes.stored(rva, size) if self.image.is_writable(rva) else ()
            return self.flow.apart(
                lambda: any(atom.kind is kind for stored in stores for atom in stored)
            )
        return any(atom.kind is kind for atom in known or self.value(rva, size, 0))

    def forget(self) -> None:
        """Drop what was worked out before something new was learnt."""
        self.memo.clear()

    def framework_routine(self, offset: int) -> Atoms:
        """The KMDF function whose address lies at an offset in the function table."""
        index, rest = divmod(offset, self.image.pointer_size)
        if rest or not 0 <= index < len(self.framework):
            return atoms.unknown(f"KMDF function {index}, which is not known")
        return frozenset((Atom(Kind.ROUTINE, Lookup.KMDF, why=self.framework[index]),))

    def _work_out(self, rva: int, size: int, nesting: int) -> Atoms:
        initial = self._content(rva, size)
        if not self.image.is_writable(rva):
            return initial
        found = self.writes.find(rva, size, nesting)
        self._writers[rva, size] = found.writers
        if self.flow.versions is not None and self.flow.versions.start_of(rva, size):
            initial = atoms.NOTHING
        written = (found.values | _changed(initial | found.values, found.changes)) - initial
        written |= self.written.get(rva, set())
        if self._is_opt_in(rva, initial, written, size):
            before = {atom._replace(kind=Kind.BEFORE_OPT_IN) for atom in initial}
            return frozenset(before) | (written - initial)
        if size == 4 and not written and initial == atoms.const(0):
            return frozenset((Atom(Kind.UNSET, 0, rva),))
        return atoms.bounded(initial | written)

    def _content(self, rva: int, size: int) -> Atoms:
        """What the file holds; a relocated pointer is an address."""
        number = self.image.number(rva, size)
        if size == self.image.pointer_size and self.image.base <= number:
            target = number - self.image.base
            if self.image.holds(target) and rva in self._pointer_places:
                return atoms.address(target)
        return atoms.const(number)

    @cached_property
    def _pointer_places(self) -> frozenset[int]:
        return frozenset(self.image.relocations.rvas.tolist())

    # ---- the NX opt-in

    def writers(self, rva: int, size: int) -> list[Writer]:
        """What stores into a global of which `value` told."""
        return self._writers.get((rva, size), [])

    def setting(self, rva: int, size: int, values: Collection[int]) -> list[tuple[Place, ...]]:
        """The ways to what may store one of some numbers into a global of which `value` told."""
        return [
            writer.way
            for writer in self.writers(rva, size)
            if any(atom.kind is Kind.CONST and atom.value in values for atom in writer.values)
        ]

    def _is_opt_in(self, rva: int, initial: Atoms, written: Atoms, size: int) -> bool:
        """A variable that starts as 0 and that start-up code sets to the NX constant only.

        Where that does not surely hang on something else than the version of Windows, and nothing
        sets it back.
        """
        values = {atom.value for atom in written if atom.kind is Kind.CONST}
        wanted = NX_CONSTANTS if size == 4 else FLAG if size == 1 else frozenset()
        if initial != atoms.const(0) or not values & wanted or values - wanted - {0}:
            return False
        if any(atom.kind is not Kind.CONST for atom in written):
            return False
        writers = self._writers[rva, size]
        if size == 1 and not any(self._sets_two_flags(each.way[-1][0]) for each in writers):
            return False
        setting = self.setting(rva, size, wanted)
        if self._is_undone(rva, size):
            return False
        return any(
            self._is_reachable(each[0][0]) for each in setting if not by_chance(self.flow, each)
        )

    def _points(self, rva: int, size: int) -> dict[int, set[int]]:
        """The stores that set a variable to NX, and the calls that lead there, by function."""
        points: dict[int, set[int]] = {}
        for (function, i), *_ in self.setting(rva, size, NX_CONSTANTS | FLAG):
            points.setdefault(function.start, set()).add(i)
        work = [*points]
        while work and len(points) < MAX_REACH:
            for caller, k in self.flow.functions.callers(work.pop()):
                if caller.start not in points:
                    work.append(caller.start)
                points.setdefault(caller.start, set()).add(k)
        return points

    def _is_undone(self, rva: int, size: int) -> bool:
        """Whether a variable may be set back to 0 after it was set to NX.

        Not by what start-up code does before, or instead on Windows that has no such option.
        """
        back = [way[0] for way in self.setting(rva, size, {0})]
        points = self._points(rva, size) if back else {}
        return any(not self._comes_before(*place, points, 0) for place in back)

    def _comes_before(
        self, function: Function, i: int, points: dict[int, set[int]], depth: int
    ) -> bool:
        """Whether nothing leads from some points of functions to an instruction."""
        if function.start in points:
            own = points[function.start]
            return i in own or i not in behind(function, own)
        callers = self.flow.functions.callers(function.start)
        if not callers or depth > MAX_UNDONE or self.flow.functions.takes_address(function.start):
            return False
        return all(self._comes_before(*caller, points, depth + 1) for caller in callers)

    def _before_opt_in(self, rva: int, size: int) -> dict[int, Container[int]]:
        """The instructions of functions that run at the start before a variable is set to NX.

        Those from which ways lead there and that none leads back to: not what runs instead, as on
        Windows that has no such option. All that start-up code calls before is among them.
        """
        functions, points = self.flow.functions, self._points(rva, size)
        early: dict[int, Container[int]] = {}
        entry = functions.at(int(self.image.headers.entry))
        reached = [] if entry is None or entry.start not in points else [entry]
        while reached and len(early) < MAX_REACH:
            function = reached.pop()
            before = behind(function, [function.entry]) | {function.entry}
            if opting := points.get(function.start):
                before &= ahead(function, opting) - behind(function, opting)
            early[function.start] = before
            for j in before:
                is_jump = function.flows[j] == Flow.JUMP and j not in function.jumps
                if is_jump or function.flows[j] == Flow.CALL:
                    callee = functions.starting_at(self.flow.arch.direct_target(function, j))
                    if callee is not None and callee.start not in early:
                        reached.append(callee)
        return early

    def _sets_two_flags(self, function: Function) -> bool:
        """Link-time optimisation can shrink both opt-in variables to flags, set side by side."""
        arch = self.flow.arch
        flags = {
            memory.displacement
            for i in range(len(function.instructions))
            for n, memory in enumerate(arch.effect(function, i).stores)
            if memory.base == IMAGE_BASE and memory.size == 1
            if self.flow.evaluate(function, i, arch.stored(function, i, n), 1) == atoms.const(1)
        }
        return len(flags) >= len(FLAGS)

    def _is_reachable(self, function: Function) -> bool:
        """Whether direct calls lead from the entry point to a function."""
        known = self._reachable.get(function.start)
        if known is None:
            known = self._search(function)
            self._reachable[function.start] = known
        return known

    def _search(self, function: Function) -> bool:
        entry = self.flow.functions.at(int(self.image.headers.entry))
        goal = entry.start if entry is not None else -1
        seen = {function.start}
        work = [function.start]
        while work and len(seen) < MAX_REACH:
            start = work.pop()
            if start == goal:
                return True
            for caller, k in self.flow.functions.callers(start):
                if caller.start not in seen and not runs_by_chance(self.flow, caller, k):
                    seen.add(caller.start)
                    work.append(caller.start)
        return goal in seen

    # ---- tables

    def table(self, function: Function, i: int, memory: Memory, nesting: int) -> Atoms:
        """An indexed element; known when base and index are."""
        flow = self.flow
        if memory.base == IMAGE_BASE:
            base: Atoms = atoms.address(memory.displacement)
        elif memory.base == NO_REGISTER:
            return atoms.unknown("an element of a table at an absolute address")
        else:
            held = flow.value(function, i, Location(memory.base), nesting + 1)
            base = atoms.combine("add", held, atoms.const(memory.displacement & atoms.MASK64), 64)
        index = flow.value(function, i, Location(memory.index_register), nesting + 1)
        if memory.scale == 1 and _are_numbers(base):
            base, index = index, base  # either register may hold where the table lies
        out: set[Atom] = set()
        if memory.size == self.image.pointer_size:
            elements = self._pointers_of(base, index, memory.scale)
            elements = elements or self._pointers_of(index, base, 1)
            if elements:
                return elements
        for start in base:
            for step in index:
                if step.kind is not Kind.CONST:
                    return atoms.unknown("an element of a table whose index is not known")
                at = start.value + atoms.signed(step.value, 32) * memory.scale
                if start.kind is Kind.ADDRESS:
                    out |= self.value(at, memory.size, nesting + 1)
                elif start.kind is Kind.STACK:
                    out |= flow.frames.held(function, i, at, memory.size, nesting + 1)
                else:
                    return atoms.unknown("an element of a table that is not known")
                if len(out) > MAX_TABLE:
                    return atoms.unknown("an element of a large table")
        return atoms.bounded(out)

    def _pointers_of(self, base: Atoms, index: Atoms, stride: int) -> Atoms:
        """All elements of a table of pointers, when the index may be anything."""
        start = atoms.single(base)
        if start is None or start.kind is not Kind.ADDRESS:
            return atoms.NOTHING
        if _are_numbers(index):
            return atoms.NOTHING
        at = start.value + atoms.first_index(index) * stride
        step = self._stride(at, stride)
        elements: list[Atom] = []
        while step and at in self._pointer_places and len(elements) < MAX_TABLE:
            elements += self._content(at, self.image.pointer_size)
            at += step
        found = frozenset(elements)
        if len(elements) < 2 or len(found) > atoms.MAX_ATOMS:
            return atoms.NOTHING
        self.tables[found] = tuple(elements)
        return found

    def _stride(self, at: int, scale: int) -> int:
        """Bytes between the pointers of a table; 0 when there is no second one."""
        size = self.image.pointer_size
        if scale > size:
            return scale
        steps = range(size, MAX_STRIDE + 1, size)
        return next((step for step in steps if at + step in self._pointer_places), 0)


def _are_numbers(values: Atoms) -> bool:
    return bool(values) and all(value.kind is Kind.CONST for value in values)


def _changed(values: Atoms, changes: list[Change]) -> Atoms:
    """All that a variable with some values can hold when changes happen in any order, and often."""
    known = values
    for _ in range(MAX_CHANGES):
        more = known
        for name, right, size in changes:
            more |= atoms.combine(name, known, right, 8 * size)
        if more == known:
            return known
        known = atoms.bounded(more)
    return known | atoms.unknown("a variable that changes again and again")
