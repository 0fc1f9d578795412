"""Every call of a catalogued import in x64 and x86 code, with the arguments that matter.

"Xref first": one scan finds operands that name an import slot; only functions around hits are
decoded. Knows how imports are called; judges nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from hvci import catalog
from hvci.binary import atoms, kmdf
from hvci.binary.analysis import Analysis
from hvci.binary.atoms import Atom, Atoms, Kind, Lookup
from hvci.binary.code import (
    IMAGE_BASE,
    NO_REGISTER,
    Flow,
    Function,
    Load,
    Reg,
)
from hvci.binary.directories import IMPORT_RULES as CALL_RULES
from hvci.binary.indirect import PointerCalls
from hvci.catalog import Ddi, OptIn
from hvci.model import (
    BehaviourFact,
    Confidence,
    DdiCall,
    ImageSite,
    Limit,
    Origin,
    Value,
    Via,
)

_ONE_BYTE = frozenset(("BOOLEAN", "UCHAR", "CHAR", "KPROCESSOR_MODE", "LOGICAL8"))
_POINTER_SIZED = frozenset(("SIZE_T", "ULONG_PTR", "POOL_FLAGS", "ULONG64", "ULONGLONG"))


def argument_size(type_: str) -> int:
    """Bytes of a parameter that matter to its value."""
    if type_ in _ONE_BYTE:
        return 1
    return 8 if type_ in _POINTER_SIZED or "*" in type_ or type_.startswith("P") else 4


class CallSites:
    """The call sites of one image."""

    def __init__(self, analysis: Analysis) -> None:
        self.analysis = analysis
        self.image = analysis.image
        self.calls: dict[tuple[int, str], DdiCall] = {}
        self.pointers = PointerCalls(analysis)
        self.kmdf_version: str | None = None
        self.limits: list[Limit] = []
        self.behaviours: list[BehaviourFact] = []
        self._followed: set[tuple[int, int]] = set()
        self._unset: dict[int, list[tuple[Ddi, ImageSite]]] = {}

    def find(self) -> list[DdiCall]:
        """All calls in order of RVA; `limits` and `behaviours` are filled on the way."""
        exports = catalog.exports()
        imports = self.image.imports
        hits = self.analysis.references.to_slots(imports)
        thunks = self.analysis.flow.interprocedural.thunks
        for place, slot in hits:
            thunk = self.analysis.references.thunk(place)
            if thunk is not None:
                thunks.setdefault(thunk, imports[slot].name)
        for place, slot in hits:
            ddi = exports.get(imports[slot].name)
            if ddi is not None:
                self._use(place, slot, ddi)
        self._framework()
        self.behaviours += self._forgotten_opt_in()
        return [self.calls[key] for key in sorted(self.calls)]

    def _framework(self) -> None:
        """Calls through the KMDF function table; the framework's globals are a hidden argument."""
        binding = kmdf.find_binding(self.analysis)
        if binding is None:
            if kmdf.BIND in self.image.import_slots:
                self._limit_all("the KMDF bind information was not found")
            return
        self.kmdf_version = binding.version
        functions = kmdf.teach(self.analysis, binding)
        for function, i, routine in self.pointers.within(functions):
            if routine.value == Lookup.KMDF:
                self.add_routine(function, i, routine.why, Via.KMDF, hidden=1)

    def _limit_all(self, reason: str) -> None:
        """Something that weakens every rule on calls."""
        self.limits.append(Limit(Origin.CALLSITE, CALL_RULES, reason))

    # ---- shapes

    def _use(self, place: int, slot: int, ddi: Ddi) -> None:
        """One operand that may name the slot of a DDI."""
        thunk = self.analysis.references.thunk(place)
        if thunk is not None and self._through_thunk(thunk, ddi):
            return
        found = self.analysis.functions.instruction_at(place)
        if found is None:
            return
        function, i = found
        if function.kind == "gap":
            self._check_gap(function, i, place, ddi)
        flow = function.flows[i]
        if flow in (Flow.INDIRECT_CALL, Flow.INDIRECT_JUMP):
            operand = self.analysis.arch.indirect_operand(function, i)
            if self._names_slot(function, i, operand, slot):
                self.add(function, i, ddi, Via.IAT if flow == Flow.INDIRECT_CALL else Via.TAIL)
        elif self._loads_slot(function, i, slot):
            self._through_register(function, i, slot, ddi)

    def _check_gap(self, function: Function, i: int, place: int, ddi: Ddi) -> None:
        """Outside known functions the decoding can be out of step: say so, where it looks so."""
        starts = self.analysis.references.call_starts(place)
        if starts and function.rvas[i] not in starts:
            self.limits.append(
                Limit(
                    Origin.CALLSITE,
                    (ddi.rule.judged_by,) if ddi.rule.judged_by else (),
                    f"bytes outside known functions look like a call of {ddi.name}",
                    self.analysis.site(starts[0]),
                )
            )

    def _names_slot(self, function: Function, i: int, expr: object, slot: int) -> bool:
        if not isinstance(expr, Load) or expr.memory.index_register != NO_REGISTER:
            return False
        if expr.memory.base == IMAGE_BASE:
            return expr.memory.displacement == slot
        self.analysis.flow.begin()
        return Atom(Kind.IMPORT, slot) in self.analysis.flow.evaluate(function, i, expr, 0)

    def _loads_slot(self, function: Function, i: int, slot: int) -> bool:
        """Whether an instruction reads the slot into a register or pushes it."""
        arch = self.analysis.arch
        effect = arch.effect(function, i)
        for register in range(32):
            if effect.registers >> register & 1 and register != arch.stack_pointer:
                return self._names_slot(function, i, arch.define(function, i, register), slot)
        return any(
            self._names_slot(function, i, arch.stored(function, i, n), slot)
            for n in range(len(effect.stores))
        )

    def _through_thunk(self, thunk: int, ddi: Ddi) -> bool:
        """Add the callers of an import thunk; False when the jump is a tail call instead."""
        functions, references = self.analysis.functions, self.analysis.references
        callers = references.to_code(thunk)
        if not callers and self._is_within_function(thunk):
            return False
        if functions.takes_address(thunk):
            self._escapes(ddi, thunk)
        for site in callers:
            caller = functions.at(site)
            i = caller.index.get(site) if caller is not None else None
            if caller is None or i is None:
                continue
            if self.analysis.arch.direct_target(caller, i) == thunk:
                self.add(caller, i, ddi, Via.THUNK if caller.flows[i] == Flow.CALL else Via.TAIL)
        return True

    def _is_within_function(self, thunk: int) -> bool:
        """Whether control reaches a `jmp [slot]` from the instruction before it or by a branch."""
        function = self.analysis.functions.at(thunk)
        i = function.index.get(thunk) if function is not None else None
        if function is None or i is None:
            return False
        if function.kind == "unwind":
            return True
        before = function.predecessors(i)
        return any(not self.analysis.arch.is_padding(function, p) for p in before)

    def _through_register(self, function: Function, i: int, slot: int, ddi: Ddi) -> None:
        """Find the calls that use a slot's content kept in a register or local variable."""
        if self._calls_next(function, i, ddi) or (function.start, slot) in self._followed:
            return
        self._followed.add((function.start, slot))
        wanted = Atom(Kind.IMPORT, slot)
        flow, arch = self.analysis.flow, self.analysis.arch
        found = False
        for k, kind in enumerate(function.flows):
            if kind not in (Flow.INDIRECT_CALL, Flow.INDIRECT_JUMP):
                continue
            operand = arch.indirect_operand(function, k)
            in_frame = isinstance(operand, Load) and operand.memory.base >= 0
            if not (isinstance(operand, Reg) or in_frame):
                continue
            flow.begin()
            if wanted in flow.evaluate(function, k, operand, 0):
                self.add(function, k, ddi, Via.REGISTER if kind == Flow.INDIRECT_CALL else Via.TAIL)
                found = True
        if not found:
            self._escapes(ddi, function.rvas[i])

    def _calls_next(self, function: Function, i: int, ddi: Ddi) -> bool:
        """Whether the loaded register is called, and then lost, by the code that follows."""
        arch = self.analysis.arch
        if not arch.loads_call_targets:
            return False
        loaded = arch.effect(function, i).registers & arch.volatile
        for k in range(i + 1, len(function.rvas)):
            kind = function.flows[k]
            if kind in (Flow.INDIRECT_CALL, Flow.INDIRECT_JUMP):
                operand = arch.indirect_operand(function, k)
                if not isinstance(operand, Reg) or not loaded >> operand.number & 1:
                    return False
                self.add(function, k, ddi, Via.IAT if kind == Flow.INDIRECT_CALL else Via.TAIL)
                return True
            if kind != Flow.NEXT or arch.effect(function, k).registers & loaded:
                return False
            if self._copies(function, k, loaded):
                return False
        return False

    def _copies(self, function: Function, k: int, registers: int) -> bool:
        """Whether an instruction moves or stores one of some registers."""
        arch = self.analysis.arch
        effect = arch.effect(function, k)
        moved = [arch.stored(function, k, n) for n in range(len(effect.stores))]
        moved += [arch.define(function, k, n) for n in range(31) if effect.registers >> n & 1]
        return any(isinstance(item, Reg) and registers >> item.number & 1 for item in moved)

    def _escapes(self, ddi: Ddi, rva: int) -> None:
        """The address of a DDI is stored where calls through it are not followed."""
        rule = ddi.rule.judged_by
        if rule:
            self.limits.append(
                Limit(
                    Origin.CALLSITE,
                    (rule,),
                    f"the address of {ddi.name} is stored; calls through it are not followed",
                    self.analysis.site(rva),
                )
            )

    # ---- one call

    def add_routine(self, function: Function, i: int, name: str, via: Via, hidden: int = 0) -> None:
        """Add a call of a routine by name; one that is not in the catalogue has no arguments."""
        ddi = catalog.ddis().get(name)
        if ddi is not None:
            self.add(function, i, ddi, via, hidden)
            return
        rva = function.rvas[i]
        call = DdiCall(name, {}, self.analysis.site(rva, function), Origin.CALLSITE, via)
        self.calls.setdefault((rva, name), call)

    def add(self, function: Function, i: int, ddi: Ddi, via: Via, hidden: int = 0) -> None:
        """Add a call site with its arguments; `hidden` ones come before the documented ones."""
        rva = function.rvas[i]
        if (rva, ddi.name) in self.calls:
            return
        held = {name: self._argument(function, i, ddi, name, hidden) for name in ddi.watched}
        site = self.analysis.site(rva, function)
        self.calls[rva, ddi.name] = DdiCall(
            ddi.name,
            {name: to_value(atoms_) for name, atoms_ in held.items()},
            site,
            Origin.CALLSITE,
            via,
            unreached=not self.analysis.is_reached(function),
        )
        self._note_unset(held.get(ddi.deciding, atoms.NOTHING), ddi, site)

    def _note_unset(self, held: Atoms, ddi: Ddi, site: ImageSite) -> None:
        """Remember a deciding argument from a variable that starts as 0 and that nothing sets."""
        if ddi.opt_in is not OptIn.NONE and ddi.rule.executable.holds(0):
            for atom in held:
                if atom.kind is Kind.UNSET:
                    self._unset.setdefault(atom.place, []).append((ddi, site))

    def _forgotten_opt_in(self) -> Iterator[BehaviourFact]:
        """POOL_NX_OPTIN without its call: calls read a variable that nothing sets."""
        for variable, uses in sorted(self._unset.items()):
            number = "1 call reads" if len(uses) == 1 else f"{len(uses)} calls read"
            for ddi, site in uses:
                yield BehaviourFact(
                    "nx-opt-in",
                    f"{ddi.name} takes its {ddi.deciding} from a variable that starts as 0 and "
                    "that nothing in the image sets",
                    site,
                    Origin.CALLSITE,
                    Confidence.LIKELY,
                    f"{number} the variable at {variable:#x}, as POOL_NX_OPTIN "
                    "makes them, and ExInitializeDriverRuntime was not called",
                    "Call ExInitializeDriverRuntime(DrvRtPoolNxOptIn) first in DriverEntry.",
                )

    def _argument(self, function: Function, i: int, ddi: Ddi, name: str, hidden: int) -> Atoms:
        flow = self.analysis.flow
        position = ddi.position(name)
        size = argument_size(ddi.parameters[position].type)
        if self.image.bits == 32:
            position, size = ddi.x86_slot(name), min(size, 4)
        flow.begin()
        held = flow.interprocedural.argument(function, i, position + hidden, size)
        resolved = flow.interprocedural.resolve(held)
        return atoms.truncate(resolved, size)


def to_value(held: Atoms) -> Value:
    """What a person can read in a set of atoms."""
    constants = {atom.value for atom in held if atom.kind in (Kind.CONST, Kind.UNSET)}
    before = {atom.value for atom in held if atom.kind is Kind.BEFORE_OPT_IN} - constants
    others = sorted({atoms.describe(atom) for atom in held if atom.kind not in atoms.NUMERIC})
    possible = frozenset(constants | before)
    if others or not possible:
        reason = "; ".join(others[:3]) or "no path leads to this call"
        return Value(possible, complete=False, reason=reason, opt_in=frozenset(before))
    reason = "a variable that the driver sets to the NX value at its start" if before else ""
    return Value(possible, complete=True, reason=reason, opt_in=frozenset(before))
