"""Every call of a catalogued import in x64 and x86 code, with the arguments that matter.

"Xref first": one scan finds operands that name an import slot; only functions around hits are
decoded. Knows how imports are called; judges nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from hvci import catalog
from hvci.binary.analysis.wiring import Analysis
from hvci.binary.calls.accounts import Accounts
from hvci.binary.calls.audio import miniports as com
from hvci.binary.calls.audio.miniports import Miniports
from hvci.binary.calls.audio.ports import PortCalls
from hvci.binary.calls.byname import LOOKUPS, ByName
from hvci.binary.calls.display import Display
from hvci.binary.calls.framework import table as kmdf
from hvci.binary.calls.framework.accounts import FrameworkAccounts
from hvci.binary.calls.importcalls import ImportCalls
from hvci.binary.calls.indirect import PointerCalls
from hvci.binary.flow import atoms
from hvci.binary.flow.atoms import Atom, Atoms, Kind, Lookup
from hvci.binary.flow.interprocedural import MAX_CALLERS
from hvci.binary.form.code import (
    Function,
)
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

CALL_RULES = ("execute-page-mapping", "execute-page-protection", "execute-pool-type")
"""The rules that a call which was not found can break."""
FALLBACKS = {"MmMapIoSpace": "MmMapIoSpaceEx"}
"""What drivers call on Windows versions without the better routine."""
EXTENDED_FUNCTION = "StorPortExtendedFunction"
"""The one import behind many routines: its first argument says which."""
MAX_TAG_CALLERS = 16
"""A pool tag only informs: where so many callers of a function pass several, the rest wait."""
NO_ARGUMENTS: Mapping[str, Value] = {}
"""Of the calls of what is not in the catalogue."""
_ONE_BYTE = frozenset(("BOOLEAN", "UCHAR", "CHAR", "KPROCESSOR_MODE", "LOGICAL8"))
_POINTER_SIZED = frozenset(("SIZE_T", "ULONG_PTR", "POOL_FLAGS", "ULONG64", "ULONGLONG"))


def argument_size(type_: str) -> int:
    """Bytes of a parameter that matter to its value."""
    if type_ in _ONE_BYTE:
        return 1
    is_pointer = "*" in type_ or (type_.startswith("P") and not type_.endswith("_TYPE"))
    return 8 if type_ in _POINTER_SIZED or is_pointer else 4


class Question(NamedTuple):
    """An argument of a DDI to recover."""

    name: str
    position: int
    """Among the registers or stack slots of the documented arguments."""
    size: int
    """Bytes that matter."""
    most: int
    """Callers that are asked where they do not agree."""


class CallSites:
    """The call sites of one image."""

    def __init__(self, analysis: Analysis) -> None:
        self.analysis = analysis
        self.image = analysis.image
        self.calls: dict[tuple[int, str], DdiCall] = {}
        self.imports = ImportCalls(analysis)
        self.pointers = PointerCalls(analysis)
        self.kmdf_version: str | None = None
        self.limits: list[Limit] = []
        self.behaviours: list[BehaviourFact] = []
        self._unset: dict[int, list[tuple[Ddi, ImageSite]]] = {}
        self._questions: dict[str, list[Question]] = {}

    def find(self) -> list[DdiCall]:
        """All calls in order of RVA; `limits` and `behaviours` are filled on the way."""
        exports, miniports = catalog.exports(), Miniports(self.analysis)
        display = Display(self.analysis).teach()
        for call in self.imports.find(exports):
            self.add(call.function, call.i, exports[call.name], call.via)
        for name, rva in self.imports.doubts:
            self._limit(exports[name], rva, f"bytes that look like a call of {name}")
        self._pointers()
        self._framework()
        self._audio(miniports)
        for function, i, routine in self.pointers.within(display):
            if (routine.kind, routine.value) == (Kind.ROUTINE, Lookup.CALLBACK):
                self.add_routine(function, i, routine.why, Via.CALLBACK)
        self._account(exports)
        self.behaviours += self._forgotten_opt_in()
        if self.analysis.flow.exhausted:
            self._limit_all("the work budget was spent before all calls were looked at")
        return [self.calls[key] for key in sorted(self.calls)]

    def _account(self, exports: Mapping[str, Ddi]) -> None:
        """Limits for what no finder of calls signed for."""
        listed: dict[str, set[int]] = {}
        for rva, name in self.calls:
            listed.setdefault(name, set()).add(rva)
        accounts = Accounts(self.analysis, {*exports, *LOOKUPS})
        for name, place, reason in accounts.unaccounted(exports, listed):
            self._limit(exports[name], place, reason)
        for _, place, reason in accounts.unaccounted(LOOKUPS):
            self._limit_all(reason, place)

    def _framework(self) -> None:
        """Calls through the KMDF function table; the framework's globals are a hidden argument."""
        binding = kmdf.find_binding(self.analysis)
        if binding is None:
            if kmdf.BIND in self.image.import_slots:
                self._limit_all("the KMDF bind information was not found")
            return
        self.kmdf_version = binding.version
        uses = kmdf.uses(self.analysis, binding)
        found = [(function, i) for function, i, _ in uses.calls]
        for function, i, name in uses.calls:
            self.add_routine(function, i, name, Via.KMDF, hidden=1)
        self._add_plain(uses.plain)
        for function, i, routine in self.pointers.within(uses.others):
            if routine.value == Lookup.KMDF:
                self.add_routine(function, i, routine.why, Via.KMDF, hidden=1)
                found.append((function, i))
        accounts = FrameworkAccounts(self.analysis, found)
        for used in accounts.unaccounted(uses.references):
            self._limit_all(f"a use of {used.name} that is not followed", used.place)
        if not found and not uses.plain:
            self._limit_all("the image binds to KMDF, and no call of the framework was found")

    def _audio(self, miniports: Miniports) -> None:
        """Methods that the port driver calls, and methods of ports that the image calls."""
        for method in miniports.methods:
            function = self.analysis.functions.starting_at(method.start)
            value = Value.unknown(com.inbound_reason(method.ddi))
            self.calls[method.start, method.ddi.name] = DdiCall(
                method.ddi.name,
                {method.ddi.deciding: value},
                self.analysis.site(method.start, function),
                Origin.CALLSITE,
                Via.CALLBACK,
            )
        for ddi in com.interface_methods(com.OUTBOUND) if miniports.is_audio else ():
            for call in PortCalls(self.analysis, self.pointers, miniports, ddi).find():
                self.add(call.function, call.i, ddi, Via.COM, 1, call.doubt)

    def _pointers(self) -> None:
        """Calls through pointers that the driver looked up by name or copied from its imports."""
        by_name = ByName(self.analysis)
        functions = by_name.learn()
        followed: set[Atom] = set()
        if functions or self.imports.escapes:
            users = by_name.users(functions, self.imports.escapes)
            for function, i, pointer in self.pointers.within(users):
                name = self._pointer_name(pointer)
                is_loaded = self.analysis.arch.loads_call_targets
                if is_loaded or self.imports.comes_from_memory(function, i):
                    followed.add(pointer)
                if name in FALLBACKS.values():
                    self._mark_fallbacks(function, name)
                if name in catalog.ddis() and pointer.value != Lookup.KMDF:
                    is_import = pointer.kind is Kind.IMPORT
                    self.add_routine(function, i, name, Via.REGISTER if is_import else Via.BY_NAME)
        for rva, reason in by_name.unread:
            self._limit_all(f"a routine is looked up by a name that is not known: {reason}", rva)
        for rva, name in by_name.handed_on:
            self._limit_all(f"the address of {name} is stored or passed on, or may be called", rva)
        lost = [(rva, self._pointer_name(pointer)) for rva, pointer in by_name.lost]
        lost += [
            (escape.rva, escape.name)
            for escape in self.imports.escapes
            if not escape.is_known
            and (escape.of_address or Atom(Kind.IMPORT, escape.slot) not in followed)
        ]
        for rva, name in sorted(set(lost)):
            if name in catalog.ddis():
                what = f"the address of {name} is stored or passed on"
                self._limit(catalog.ddis()[name], rva, f"{what}; calls through it are not followed")

    def _mark_fallbacks(self, function: Function, name: str) -> None:
        """What a function calls where Windows lacks a routine that it looks up by name."""
        for (rva, ddi), call in self.calls.items():
            if FALLBACKS.get(ddi) == name and function.find(rva) is not None:
                dead = f"a fallback for Windows without {name}, which has no memory integrity"
                self.calls[rva, ddi] = replace(call, dead=dead)

    def _pointer_name(self, pointer: Atom) -> str:
        """The routine that a pointer leads to."""
        if pointer.kind is Kind.IMPORT:
            return self.image.imports[pointer.value].name
        return pointer.why

    def _limit(self, ddi: Ddi, rva: int | None, reason: str) -> None:
        """Something that weakens the rule that judges a DDI."""
        if ddi.rule.judged_by:
            site = None if rva is None else self.analysis.site(rva)
            self.limits.append(Limit(Origin.CALLSITE, (ddi.rule.judged_by,), reason, site))

    def _limit_all(self, reason: str, rva: int | None = None) -> None:
        """Something that weakens every rule on calls."""
        site = None if rva is None else self.analysis.site(rva)
        self.limits.append(Limit(Origin.CALLSITE, CALL_RULES, reason, site))

    # ---- one call

    def add_routine(self, function: Function, i: int, name: str, via: Via, hidden: int = 0) -> None:
        """Add a call of a routine by name; one that is not in the catalogue has no arguments."""
        ddi = catalog.ddis().get(name)
        if ddi is not None:
            self.add(function, i, ddi, via, hidden)
            return
        rva = function.rvas[i]
        call = DdiCall(name, NO_ARGUMENTS, self.analysis.site(rva, function), Origin.CALLSITE, via)
        self.calls.setdefault((rva, name), call)

    def _add_plain(self, plain: list[tuple[int, int, str]]) -> None:
        """Add framework calls; only one with arguments to read needs its function decoded."""
        known, calls, site_of = catalog.ddis(), self.calls, self.analysis.site_within
        origin, via = Origin.CALLSITE, Via.KMDF
        for rva, start, name in plain:
            if name in known:
                found = self.analysis.functions.instruction_at(rva)
                if found is not None:
                    self.add_routine(*found, name, via, hidden=1)
            elif (rva, name) not in calls:
                calls[rva, name] = DdiCall(name, NO_ARGUMENTS, site_of(rva, start), origin, via)

    def add(
        self, function: Function, i: int, ddi: Ddi, via: Via, hidden: int = 0, doubt: str = ""
    ) -> None:
        """Add a call site with its arguments; `hidden` ones come before the documented ones."""
        rva = function.rvas[i]
        if (rva, ddi.name) in self.calls:
            return
        questions = self._questions.get(ddi.name)
        if questions is None:
            questions = self._questions[ddi.name] = [*self._asked(ddi)]
        held = {each.name: self._argument(function, i, each, hidden) for each in questions}
        site = self.analysis.site(rva, function)
        self.calls[rva, ddi.name] = DdiCall(
            ddi.name,
            {name: to_value(atoms_) for name, atoms_ in held.items()},
            site,
            Origin.CALLSITE,
            via,
            unreached=not self.analysis.is_reached(function),
            doubt=doubt,
        )
        self._note_unset(held.get(ddi.deciding, atoms.NOTHING), ddi, site)
        if ddi.name == EXTENDED_FUNCTION:
            self._add_inline(function, i, held[ddi.deciding], via)

    def _add_inline(self, function: Function, i: int, codes: Atoms, via: Via) -> None:
        """The inline routines of storport.h that are one import; the code is a hidden argument."""
        for ddi in catalog.ddis().values():
            if ddi.storport_function >= 0 and atoms.const(ddi.storport_function) <= codes:
                self.add(function, i, ddi, via, hidden=1)

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

    def _asked(self, ddi: Ddi) -> Iterator[Question]:
        """The arguments of a DDI that matter, the deciding one first."""
        for name in ddi.watched:
            position = ddi.position(name)
            size = argument_size(ddi.parameters[position].type)
            most = MAX_TAG_CALLERS if name == ddi.tag else MAX_CALLERS
            if self.image.bits == 32:
                position, size = ddi.x86_slot(name), min(size, 4)
            yield Question(name, position, size, most)

    def _argument(self, function: Function, i: int, asked: Question, hidden: int) -> Atoms:
        flow = self.analysis.flow
        flow.begin()
        position = asked.position + hidden
        held = flow.interprocedural.argument(function, i, position, asked.size)
        resolved = flow.interprocedural.resolve(held, most=asked.most)
        return held if resolved is held else atoms.truncate(resolved, asked.size)


_NO_WAY = (
    "no known way through the driver leads to this call: it may never run, or run in a way that "
    "was not seen"
)


def to_value(held: Atoms) -> Value:
    """What a person can read in a set of atoms."""
    only = atoms.single(held)
    if only is not None and only.kind is Kind.CONST:
        return Value(frozenset((only.value,)), complete=True)
    constants = {atom.value for atom in held if atom.kind in (Kind.CONST, Kind.UNSET)}
    before = {atom.value for atom in held if atom.kind is Kind.BEFORE_OPT_IN} - constants
    others = sorted({atoms.describe(atom) for atom in held if atom.kind not in atoms.NUMERIC})
    possible = frozenset(constants | before)
    if others or not possible:
        reason = "; ".join(others[:3]) or _NO_WAY
        return Value(possible, complete=False, reason=reason, opt_in=frozenset(before))
    reason = "a variable that the driver sets to the NX value at its start" if before else ""
    return Value(possible, complete=True, reason=reason, opt_in=frozenset(before))
