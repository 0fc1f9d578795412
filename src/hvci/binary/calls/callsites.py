"""Every call of a catalogued routine in machine code, with the arguments that matter.

The finders say where calls are, each one way to call; this asks the data flow for their arguments,
and the books what nobody signed for. Judges nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from hvci import catalog
from hvci.binary.analysis.wiring import Analysis
from hvci.binary.calls.audio.finder import Audio
from hvci.binary.calls.display import Display
from hvci.binary.calls.exporttables import ExportTables
from hvci.binary.calls.found import (
    Answer,
    Bound,
    Fallback,
    Finder,
    Found,
    Inbound,
    Open,
    Plain,
    Shared,
)
from hvci.binary.calls.framework.finder import Framework
from hvci.binary.calls.imports.accounts import Accounts
from hvci.binary.calls.imports.direct import ImportCalls
from hvci.binary.calls.imports.finder import Imports
from hvci.binary.calls.indirect import PointerCalls
from hvci.binary.calls.kept import FALLBACKS, KeptPointers
from hvci.binary.calls.versions.older import OlderWindows
from hvci.binary.flow import atoms
from hvci.binary.flow.atoms import Atoms, Kind
from hvci.binary.flow.globals import NX_CONSTANTS
from hvci.binary.flow.interprocedural import MAX_CALLERS
from hvci.binary.flow.reaching import BUDGET
from hvci.binary.form.code import (
    Function,
)
from hvci.catalog import Ddi, OptIn
from hvci.catalog.memory import LOOKUPS
from hvci.model import (
    NEWEST,
    BehaviourFact,
    Confidence,
    DdiCall,
    ImageSite,
    Limit,
    Origin,
    Value,
    Via,
    WindowsVersion,
)
from hvci.model.judged import CALL_RULES, COUNTED_RULES

FINDERS: tuple[type[Finder], ...] = (
    Imports,
    KeptPointers,
    Framework,
    Audio,
    Display,
    ExportTables,
)
"""Every way to call, in the order in which they are asked: a call that two see is the first's."""
EXTENDED_FUNCTION = "StorPortExtendedFunction"
"""The one import behind many routines: its first argument says which."""
MAX_TAG_CALLERS = 16
"""A pool tag only informs: where so many callers of a function pass several, the rest wait."""
NO_ARGUMENTS: Mapping[str, Value] = {}
"""Of the calls of what is not in the catalogue."""


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

    def __init__(self, analysis: Analysis, target: WindowsVersion = NEWEST) -> None:
        """`target` is the oldest Windows that the driver must work on."""
        self.analysis = analysis
        self.image = analysis.image
        self.target = target
        self._found: dict[tuple[int, str], Found] = {}
        self.calls: dict[tuple[int, str], DdiCall] = {}
        self.kmdf_version: str | None = None
        """The version of the framework that the image binds to."""
        self.limits: list[Limit] = []
        self.behaviours: list[BehaviourFact] = []
        self._unset: dict[int, list[tuple[Ddi, ImageSite]]] = {}
        self._questions: dict[str, list[Question]] = {}

    def find(self) -> list[DdiCall]:
        """All calls in order of RVA; `limits` and `behaviours` are filled on the way."""
        analysis = self.analysis
        shared = Shared(analysis, ImportCalls(analysis), PointerCalls(analysis))
        finders = [finder(shared) for finder in FINDERS]  # all teach before one is asked
        for finder in finders:
            for answer in finder.find():
                self._take(answer)
        self._account(catalog.exports())
        self._leave_out_older_windows()
        self.behaviours += self._forgotten_opt_in()
        if analysis.flow.exhausted:
            self._limit("the work budget was spent before all calls were looked at")
        return [self.calls[key] for key in sorted(self.calls)]

    def _take(self, answer: Answer) -> None:
        """Add what a finder found."""
        match answer:
            case Found():
                self._add(answer)
            case Plain():
                self._add_plain(answer)
            case Inbound():
                self._add_inbound(answer)
            case Fallback(function, name):
                self._mark_fallbacks(function, name)
            case Bound(version):
                self.kmdf_version = version
            case Open(reason, place, name):
                self._limit(reason, place, name)

    def _account(self, exports: Mapping[str, Ddi]) -> None:
        """Limits for what no finder of calls signed for."""
        listed: dict[str, set[int]] = {}
        for rva, name in self.calls:
            listed.setdefault(name, set()).add(rva)
        accounts = Accounts(self.analysis, {*exports, *LOOKUPS})
        for name, place, reason in accounts.unaccounted(exports, listed):
            self._limit(reason, place, name)
        for _, place, reason in accounts.unaccounted(LOOKUPS):
            self._limit(reason, place)

    def _mark_fallbacks(self, function: Function, name: str) -> None:
        """What a function calls where Windows lacks a routine that it looks up by name."""
        for (rva, ddi), call in self.calls.items():
            if FALLBACKS.get(ddi) == name and function.find(rva) is not None:
                dead = f"a fallback for Windows without {name}, which has no memory integrity"
                self.calls[rva, ddi] = replace(call, dead=dead)

    def _leave_out_older_windows(self) -> None:
        """Judge calls that ask for executable memory by what they do on the Windows aimed at.

        So too those that are good only because the driver opts in to NX: not where it does that on
        no Windows that there is.
        """
        asked = {key: each for key, each in self._found.items() if _may_change(self.calls[key])}
        older = OlderWindows(self.analysis, self.target)
        if not asked:
            return
        near = older.look((each.function, each.i) for each in asked.values())
        for key, each in asked.items() if near else ():
            call = self.calls[key]
            if older.is_dead(each.function, each.i):
                self.calls[key] = replace(call, dead=f"{_OTHER_WAY} {self.target.label}")
            elif each.function.start in near:
                anew = replace(call, arguments=self._arguments(each))
                self.calls[key] = anew if _is_better_known(anew, call) else call
        older.leave()

    def _limit(self, reason: str, rva: int | None = None, name: str = "") -> None:
        """Something that weakens the rule on a routine, or every rule on calls."""
        rules = catalog.ddis()[name].weakens if name else CALL_RULES
        if rules:
            site = None if rva is None else self.analysis.site(rva)
            self.limits.append(Limit(Origin.CALLSITE, rules, reason, site))

    # ---- one call

    def _add(self, found: Found) -> None:
        """Add a call of a routine by name; one that is not in the catalogue has no arguments."""
        ddi = catalog.ddis().get(found.name)
        if ddi is not None:
            self.add(found, ddi)
            return
        rva = found.function.rvas[found.i]
        site = self.analysis.site(rva, found.function)
        call = DdiCall(found.name, NO_ARGUMENTS, site, Origin.CALLSITE, found.via)
        self.calls.setdefault((rva, found.name), call)

    def _add_plain(self, plain: Plain) -> None:
        """Only a call with arguments to read needs its function decoded."""
        rva, start, name, via, hidden = plain
        if name in catalog.ddis():
            found = self.analysis.functions.instruction_at(rva)
            if found is not None:
                self._add(Found(*found, name, via, hidden))
        elif (rva, name) not in self.calls:
            site = self.analysis.site_within(rva, start)
            self.calls[rva, name] = DdiCall(name, NO_ARGUMENTS, site, Origin.CALLSITE, via)

    def _add_inbound(self, inbound: Inbound) -> None:
        """A routine that Windows calls stands for its call."""
        start, name, argument, reason = inbound
        site = self.analysis.site(start, self.analysis.functions.starting_at(start))
        value = {argument: Value.unknown(reason)}
        self.calls[start, name] = DdiCall(name, value, site, Origin.CALLSITE, Via.CALLBACK)

    def add(self, found: Found, ddi: Ddi) -> None:
        """Add a call site with its arguments."""
        function, i, _, via, _, doubt = found
        rva = function.rvas[i]
        if (rva, ddi.name) in self.calls:
            return
        held = self._held(found, ddi)
        self._found[rva, ddi.name] = found
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
            self._add_inline(found, held[ddi.deciding])

    def _held(self, found: Found, ddi: Ddi) -> dict[str, Atoms]:
        """What the arguments that matter can be."""
        questions = self._questions.get(ddi.name)
        if questions is None:
            questions = self._questions[ddi.name] = [*self._asked(ddi)]
        return {
            each.name: self._argument(found.function, found.i, each, found.hidden)
            for each in questions
        }

    def _arguments(self, found: Found) -> dict[str, Value]:
        """The same as values, for a routine of the catalogue."""
        held = self._held(found, catalog.ddis()[found.name])
        return {name: to_value(atoms_) for name, atoms_ in held.items()}

    def _add_inline(self, found: Found, codes: Atoms) -> None:
        """The inline routines of storport.h that are one import; the code is a hidden argument."""
        for ddi in catalog.with_line("storport_function = ").values():
            if ddi.storport_function >= 0 and atoms.const(ddi.storport_function) <= codes:
                self.add(found._replace(name=ddi.name, hidden=1), ddi)

    def _note_unset(self, held: Atoms, ddi: Ddi, site: ImageSite) -> None:
        """Remember a deciding argument from a variable that starts as 0 and that nothing sets."""
        if ddi.opt_in is not OptIn.NONE:
            for atom in held:
                if atom.kind is Kind.UNSET and ddi.rule.executable.holds(atom.value):
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
            size = ddi.parameters[position].size
            most = MAX_TAG_CALLERS if name == ddi.tag else MAX_CALLERS
            if self.image.bits == 32:
                position, size = ddi.x86_slot(name), min(size, 4)
            yield Question(name, position, size, most)

    def _argument(self, function: Function, i: int, asked: Question, hidden: int) -> Atoms:
        flow = self.analysis.flow
        flow.begin()
        if flow.is_spent:
            return atoms.unknown(BUDGET)
        position = asked.position + hidden
        held = flow.interprocedural.argument(function, i, position, asked.size)
        resolved = flow.interprocedural.resolve(held, most=asked.most)
        return held if resolved is held else atoms.truncate(resolved, asked.size)


def _may_change(call: DdiCall) -> bool:
    """Whether the version of Windows that a driver asks for may decide about a call."""
    value = call.arguments.get(catalog.ddis()[call.ddi].deciding)
    return _fails(call) or (value is not None and value.complete and bool(value.opt_in))


def _is_better_known(anew: DdiCall, call: DdiCall) -> bool:
    """Whether the Windows aimed at decides otherwise: a call is good there, or never opts in."""
    deciding = catalog.ddis()[call.ddi].deciding
    value = anew.arguments[deciding]
    if not value.complete or _fails(anew) is _fails(call):
        return False
    return _fails(call) or value.possible.isdisjoint(call.arguments[deciding].lasting)


def _fails(call: DdiCall) -> bool:
    """Whether a call surely counts as one that can ask for executable memory."""
    ddi = catalog.ddis()[call.ddi]
    if call.dead or call.unreached or call.doubt or ddi.rule.judged_by not in COUNTED_RULES:
        return False
    mode = call.arguments.get(ddi.access_mode)
    if ddi.rule.kernel_mode_only and mode is not None and mode.possible == {USER_MODE}:
        return False
    value = call.arguments.get(ddi.deciding)
    return value is not None and any(map(ddi.rule.executable.holds, value.lasting))


USER_MODE = 1
_OTHER_WAY = "the check of the Windows version goes the other way on"
_NO_WAY = (
    "no known way through the driver leads to this call: it may never run, or run in a way that "
    "was not seen"
)


def to_value(held: Atoms) -> Value:
    """What a person can read in a set of atoms.

    A flag that start-up code sets may choose between values that have nothing to do with NX: the
    first of two is told apart only where the other is the same with NX.
    """
    only = atoms.single(held)
    if only is not None and only.kind is Kind.CONST:
        return Value(frozenset((only.value,)), complete=True)
    constants = {atom.value for atom in held if atom.kind in (Kind.CONST, Kind.UNSET)}
    before = {atom.value for atom in held if atom.kind is Kind.BEFORE_OPT_IN} - constants
    opted = frozenset(each for each in before if any(each | nx in constants for nx in NX_CONSTANTS))
    others = sorted({atoms.describe(atom) for atom in held if atom.kind not in atoms.NUMERIC})
    possible = frozenset(constants | before)
    if others or not possible:
        reason = "; ".join(others[:3]) or _NO_WAY
        return Value(possible, complete=False, reason=reason, opt_in=opted)
    reason = "a variable that the driver sets to the NX value at its start" if opted else ""
    return Value(possible, complete=True, reason=reason, opt_in=opted)
