"""Every call of given imports, however compilers make it: direct, kept, through a thunk, tail.

"Xref first": one scan finds operands that name an import slot; only functions around hits are
decoded. Knows how imports are called; knows no DDI and no argument.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import NamedTuple, cast

from hvci.binary.analysis.ledger import Fate, ImportCall, Reference
from hvci.binary.analysis.wiring import Analysis
from hvci.binary.calls.imports.addresses import KeptAddresses
from hvci.binary.calls.imports.plausible import sort_out
from hvci.binary.calls.imports.pointerstores import PointerStores
from hvci.binary.calls.imports.stackarguments import StackArguments
from hvci.binary.flow.atoms import DISPATCH, Atom, Atoms, Kind
from hvci.binary.flow.made_addresses import made
from hvci.binary.flow.readers import Readers
from hvci.binary.form.code import (
    IMAGE_BASE,
    NO_REGISTER,
    Address,
    Flow,
    Function,
    Load,
    Reg,
    any_of,
)
from hvci.binary.pe.sets import members
from hvci.model import Via

_INDIRECT = any_of(Flow.INDIRECT_JUMP, Flow.INDIRECT_CALL)


class Escape(NamedTuple):
    """A place that takes the address of an import for something else than a call."""

    name: str
    rva: int
    function: Function | None = None
    slot: int = 0
    """0 for the address of a thunk."""
    is_known: bool = False
    """Whether all that becomes of it is known: it is only called."""
    of_address: bool = False
    """Whether it is the address of the slot that is taken, and not what the slot holds."""


class ImportCalls:
    """The calls of some imports in one image.

    `thorough` goes on where the work budget is spent: what is plain to see is found even then.
    """

    def __init__(self, analysis: Analysis, thorough: bool = True) -> None:
        self.analysis = analysis
        self.thorough = thorough
        self.image = analysis.image
        self.calls: list[ImportCall] = []
        self.escapes: list[Escape] = []
        self.doubts: list[tuple[str, int]] = []
        """(name, RVA) of bytes that look like a call where the decoding is not sure."""
        self._within: Sequence[tuple[int, int]] = ()
        self._followed: dict[tuple[Function, int, bool], bool] = {}
        self._escaped: set[Escape] = set()
        self._stores = PointerStores(analysis)
        self._on_stack = StackArguments(analysis, self._stores)
        self._kept = KeptAddresses(analysis)
        self._readers = Readers(analysis.flow)

    def find(self, names: Container[str], within: Function | None = None) -> list[ImportCall]:
        """All calls of the named imports, in one function when that is given.

        `escapes` and `doubts` are filled on the way.
        """
        self._within = within.fragments if within is not None else ()
        for name, hits in self.analysis.import_hits.items():
            if name in names:
                for place, slot in hits:
                    if not self.thorough and self.analysis.flow.exhausted:
                        return self.calls
                    self._use(place, slot, name)
        return self.calls

    def _is_wanted(self, rva: int) -> bool:
        """Whether calls at an RVA are asked for."""
        return not self._within or any(start <= rva < end for start, end in self._within)

    def _add(self, function: Function, i: int, used: Reference, via: Via) -> None:
        """Add a call, and sign for the reference that it uses."""
        self.calls.append(ImportCall(function, i, used.name, via))
        self.analysis.ledger.call(used, function.rvas[i])

    def _use(self, place: int, slot: int, name: str) -> None:
        """One operand that may name the slot of an import: the first finder that knows it signs."""
        used = Reference(place, slot, name)
        fate = self._through_thunk(used)
        if fate is None and not self._is_wanted(place):
            return
        if fate is None:
            fate = self._as_before(used)
        if fate is None:
            found = self.analysis.functions.instruction_at(place)
            fate = self._undecoded(used) if found is None else self._decoded(used, *found)
        if fate is not None:
            self.analysis.ledger.sign(used, fate)

    def _decoded(self, used: Reference, function: Function, i: int) -> Fate | None:
        """What the instruction around a reference does with it."""
        if function.kind == "gap":
            self._check_gap(function, i, used)
        finders = (
            self._plainly,
            self._directly,
            self._loaded,
            self._read_through,
            self._otherwise,
            self._addressed,
        )
        for finder in (*finders, self._no_use):
            fate = finder(used, function, i)
            if fate is not None:
                return fate
        return None

    def _as_before(self, used: Reference) -> Fate | None:
        """A call that was plain to see when somebody else asked."""
        known = self.analysis.plain_calls.get(used.place)
        if known is None or known.name != used.name:  # a pair names two
            return None
        self._add(known.function, known.i, used, known.via)
        return Fate.CALL

    def _undecoded(self, used: Reference) -> Fate | None:
        """A reference where no function is known."""
        self.doubts.append((used.name, used.place))
        return Fate.LIMIT

    def _plainly(self, used: Reference, function: Function, i: int) -> Fate | None:
        """A call that the words around a load of the slot give away."""
        plain = self.analysis.functions.import_call(function, i, used.target)
        return None if plain is None else self._add_plain(function, *plain, used)

    def _directly(self, used: Reference, function: Function, i: int) -> Fate | None:
        """A call or jump through the slot itself."""
        flow, place = function.flows[i], used.place
        if flow not in (Flow.INDIRECT_CALL, Flow.INDIRECT_JUMP):
            return None
        via = Via.IAT if flow == Flow.INDIRECT_CALL else Via.TAIL
        if function.rvas[i] == place - 2 and self.analysis.references.call_starts(place):
            self._add(function, i, used, via)  # without prefixes its bytes leave no doubt
            if function.kind != "gap":
                self.analysis.plain_calls[place] = self.calls[-1]
            return Fate.CALL
        operand = self.analysis.arch.indirect_operand(function, i)
        if not self._names_slot(function, i, operand, used.target):
            return None
        self._add(function, i, used, via)
        return Fate.CALL

    def _loaded(self, used: Reference, function: Function, i: int) -> Fate | None:
        """A load of the slot's content."""
        registers = self._loads_slot(function, i, used.target)
        if registers is None:
            return None
        return self._through_register(function, i, registers, used)

    def _read_through(self, used: Reference, function: Function, i: int) -> Fate | None:
        """The address of the slot, through which code loads or calls; where that is all."""
        arch, slot = self.analysis.arch, used.target
        if arch.loads_call_targets or not self._kept.is_made(function, i, slot):
            return None
        if not self._kept.is_only_read(function, i, slot):
            return None
        bases = self._stores.reach(function, i)
        fates = [
            self._through_register(function, k, registers, used)
            for k in range(len(function.flows))
            if self._kept.loads_by(function, k, bases)
            and (registers := self._loads_slot(function, k, slot)) is not None
        ]
        if self._add_kept(function, used, deep=True):
            fates.append(Fate.FOLLOWED)
        return max(fates) if fates else None

    def _otherwise(self, used: Reference, function: Function, i: int) -> Fate | None:
        """Any other instruction that hands the slot or its content on."""
        if not self._names_otherwise(function, i, used.target):
            return None
        if self._kept.is_made(function, i, used.target):
            return self._escape_address(function, i, used)
        return self._escape(function, i, used)

    def _addressed(self, used: Reference, function: Function, i: int) -> Fate | None:
        """The address of the slot, kept in a register to read through it."""
        if not self._kept.is_made(function, i, used.target):
            return None
        if self._kept.is_only_read(function, i, used.target):
            return Fate.FOLLOWED
        return self._escape_address(function, i, used)

    def _escape_address(self, function: Function, i: int, used: Reference) -> Fate:
        """Note that a function hands the address of a slot on; calls by it here are listed."""
        if not self.analysis.arch.loads_call_targets:
            self._add_kept(function, used, deep=True)
        return self._escape(function, i, used, of_address=True)

    def _no_use(self, used: Reference, function: Function, i: int) -> Fate | None:
        """Bytes of something else, or an instruction that hands nothing on."""
        return sort_out(self.analysis, used, function, i)

    def _names_otherwise(self, function: Function, i: int, slot: int) -> bool:
        """Whether an instruction reads the slot into a vector register or takes its address."""
        flow = self.analysis.flow
        for memory in self.analysis.arch.other_operands(function, i):
            if memory.base == IMAGE_BASE:
                if memory.displacement == slot:
                    return True
            elif memory.base >= 0:
                flow.begin()
                if slot in made(flow, function, i, Address(memory)).rvas:
                    return True
        return False

    def _escape(
        self,
        function: Function,
        i: int,
        used: Reference,
        is_known: bool = False,
        of_address: bool = False,
    ) -> Fate:
        """Note, once for a function, that it hands the content of a slot on."""
        rva = function.rvas[i]
        escape = Escape(used.name, rva, function, used.target, is_known, of_address)
        key = escape._replace(rva=0)
        if key not in self._escaped:
            self._escaped.add(key)
            self.escapes.append(escape)
        return Fate.FOLLOWED if is_known else Fate.LIMIT

    def _check_gap(self, function: Function, i: int, used: Reference) -> None:
        """Outside known functions the decoding can be out of step: say so, where it looks so."""
        starts = self.analysis.references.call_starts(used.place)
        if starts and function.rvas[i] not in starts:
            self.doubts.append((used.name, starts[0]))
            self.analysis.ledger.sign(used, Fate.LIMIT)

    def _names_slot(self, function: Function, i: int, expr: object, slot: int) -> bool:
        if not isinstance(expr, Load):
            return False
        if expr.memory.index_register != NO_REGISTER:
            if not self.analysis.arch.loads_call_targets:
                return False
        elif expr.memory.base == IMAGE_BASE:
            return expr.memory.displacement == slot
        self.analysis.flow.begin()
        return Atom(Kind.IMPORT, slot) in self.analysis.flow.evaluate(function, i, expr, 0)

    def _loads_slot(self, function: Function, i: int, slot: int) -> int | None:
        """The registers (a mask) into which an instruction reads the slot; None for none.

        0 where it pushes the content.
        """
        arch = self.analysis.arch
        effect = arch.effect(function, i)
        written = effect.registers & ~(1 << arch.stack_pointer)
        if written:
            found = 0
            for register in members(written):
                if self._names_slot(function, i, arch.define(function, i, register), slot):
                    found |= 1 << register
            return found or None
        is_pushed = any(
            self._names_slot(function, i, arch.stored(function, i, n), slot)
            for n in range(len(effect.stores))
        )
        return 0 if is_pushed else None

    def _through_thunk(self, used: Reference) -> Fate | None:
        """Add the callers of an import thunk; None for what is no thunk, but a tail call."""
        functions, references = self.analysis.functions, self.analysis.references
        thunk = self.analysis.thunk_at.get(used.place)
        if thunk is None:
            return None
        callers = references.to_code(thunk)
        if not callers and self._is_within_function(thunk):
            return None
        fate, ledger = Fate.NOTHING, self.analysis.ledger
        if functions.takes_address(thunk):
            fate = Fate.COMPARED
            named = Reference(thunk, thunk, used.name)
            for function, i in self._readers.calls_of_thunk(thunk):
                if self._is_wanted(function.rvas[i]):
                    self._add(function, i, named, Via.REGISTER)
            if not self._readers.never_read_thunk(thunk):
                self.escapes.append(Escape(used.name, thunk))
                fate = Fate.LIMIT
            ledger.sign(Reference(thunk, thunk, used.name), fate)
        for site in filter(self._is_wanted, callers):
            caller = Reference(site, thunk, used.name)
            found = self._from(caller)
            ledger.sign(caller, found)
            fate = max(fate, found)
        return Fate.FOLLOWED if fate is Fate.CALL else fate

    def _from(self, used: Reference) -> Fate:
        """Add the direct call or jump to a thunk."""
        caller = self.analysis.functions.at(used.place)
        i = caller.find(used.place) if caller is not None else None
        if caller is not None and i is not None:
            if self.analysis.arch.direct_target(caller, i) != used.target:
                return Fate.NOTHING
            via = Via.THUNK if caller.flows[i] == Flow.CALL else Via.TAIL
            self._add(caller, i, used, via)
            return Fate.CALL
        if caller is not None and caller.kind == "unwind":
            return Fate.NOTHING  # bytes inside another instruction
        self.doubts.append((used.name, used.place))
        return Fate.LIMIT

    def comes_from_memory(self, function: Function, i: int) -> bool:
        """Whether a call may go through a pointer that was kept outside the frame."""
        return self._stores.comes_from_memory(function, i)

    def _is_within_function(self, thunk: int) -> bool:
        """Whether control reaches a `jmp [slot]` from the instruction before it or by a branch."""
        function = self.analysis.functions.at(thunk)
        i = function.find(thunk) if function is not None else None
        if function is None or i is None:
            return False
        if function.kind == "unwind":
            return True
        before = function.predecessors(i)
        return any(not self.analysis.arch.is_padding(function, p) for p in before)

    def _through_register(
        self, function: Function, i: int, registers: int, used: Reference
    ) -> Fate:
        """Find the calls that use a slot's content kept in a register or local variable."""
        slot = used.target
        if self._calls_next(function, i, registers, used):
            return Fate.CALL
        found = self._add_kept(function, used, deep=False)
        is_known = False
        if not self.analysis.flow.exhausted:
            stores = self._stores.of(function, i)
            if stores:
                found |= self._add_kept(function, used, deep=True)
            leaves = self._stores.leave(function, slot, stores)
            is_passed = leaves or self._stores.is_passed(function, i, slot)
            if self.thorough and found and not is_passed:  # where escapes matter
                is_passed = self._on_stack.get(function, i, slot, stores)
                is_passed = is_passed or self._readers.goes_elsewhere(function, i)
            if found and not is_passed:
                return Fate.FOLLOWED
            is_known = not self._stores.share(function, stores)
            if is_known and not found:  # called in a way that was not looked for
                found = self._add_kept(function, used, deep=True)
            is_known = is_known and self._readers.only_call_loaded(function, i, found)
        if registers and not self.analysis.arch.hands_on(function, i, registers):
            return Fate.FOLLOWED if found else Fate.COMPARED
        return self._escape(function, i, used, is_known)

    def _add_kept(self, function: Function, used: Reference, deep: bool) -> bool:
        """Add the calls through a slot's content, once for all loads of it; whether any are."""
        slot = used.target
        known = self._followed.get((function, slot, deep))
        if known is None:
            wanted, known = Atom(Kind.IMPORT, slot), False
            for k, held in self._pointers(function, deep):
                if wanted in held:
                    is_call = function.flows[k] == Flow.INDIRECT_CALL
                    self._add(function, k, used, Via.REGISTER if is_call else Via.TAIL)
                    known = True
            self._followed[function, slot, deep] = known
        return known

    def _pointers(self, function: Function, deep: bool) -> list[tuple[int, Atoms]]:
        """What the indirect calls and jumps of a function can go to: the same for every slot.

        The deep ones go through memory that is not plainly the frame: they can reach the content
        of a slot only where the function puts it into memory.
        """
        flow, arch = self.analysis.flow, self.analysis.arch
        generation, known = function.cache.get(("called", deep), (-1, []))
        if generation == flow.generation:
            return cast("list[tuple[int, Atoms]]", known)
        frame = (arch.stack_pointer, arch.frame_pointer)
        found: list[tuple[int, Atoms]] = []
        function.cache["called", deep] = flow.generation, found
        for k in function.where(_INDIRECT):
            if flow.exhausted:
                break
            operand = arch.indirect_operand(function, k)
            base = operand.memory.base if isinstance(operand, Load) else NO_REGISTER
            is_plain = isinstance(operand, Reg) or base in frame or arch.loads_call_targets
            if is_plain is not deep and (is_plain or base >= 0):
                flow.begin()
                held = flow.evaluate(function, k, operand, 0)
                if DISPATCH in held:
                    held = flow.evaluate(function, k, Reg(arch.dispatch_register), 0)
                found.append((k, held))
        return found

    def _calls_next(self, function: Function, i: int, registers: int, used: Reference) -> bool:
        """Whether the loaded register is called, and then lost, by the code that follows."""
        arch = self.analysis.arch
        if not arch.loads_call_targets:
            return False
        loaded = registers & arch.volatile
        k = arch.use_behind(function, i, loaded)
        kind = function.flows[k] if k is not None else Flow.NEXT
        if k is None or kind not in (Flow.INDIRECT_CALL, Flow.INDIRECT_JUMP):
            return False
        operand = arch.indirect_operand(function, k)
        is_loaded = isinstance(operand, Reg) and loaded >> operand.number & 1
        if not loaded or not (is_loaded or self._names_slot(function, k, operand, used.target)):
            return False
        self._add_plain(function, k, kind, used)
        return True

    def _add_plain(self, function: Function, k: int, flow: int, used: Reference) -> Fate:
        """Add a call through what is loaded at an RVA, and remember it for the next who asks."""
        via = Via.IAT if flow == Flow.INDIRECT_CALL else Via.TAIL
        self._add(function, k, used, via)
        if function.kind != "gap":
            self.analysis.plain_calls[used.place] = self.calls[-1]
        return Fate.CALL
