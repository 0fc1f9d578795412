"""What every behaviour detector asks of an image: calls of imports by name, and proof of reach.

Knows how imports are called; knows nothing of what a behaviour means.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hvci.binary.analysis.ledger import ImportCall
from hvci.binary.analysis.wiring import Analysis
from hvci.binary.calls.imports.accounts import Accounts
from hvci.binary.calls.imports.direct import ImportCalls
from hvci.binary.flow.atoms import Atom, Atoms, Kind
from hvci.binary.form.code import (
    CALLS,
    IMAGE_BASE,
    NO_FALL_THROUGH,
    NO_REGISTER,
    Architecture,
    Expr,
    Flow,
    Function,
    Load,
    Reg,
)
from hvci.model import Behaviour, BehaviourFact, Confidence, Limit, Origin

_WEAKER = (Confidence.PROVEN, Confidence.LIKELY, Confidence.POSSIBLE)
PROLOGUE, HOT_PATCHED = b"\x55\x8b\xec", b"\x8b\xff\x55\x8b\xec"
MAX_WALKED = 4000
"""Instructions looked at when asking whether control gets to a place."""
MAX_LEAVES = 3
"""Functions without unwind data that lead to one another, in the question for what leads there."""
Place = tuple[Function, int]


class Scene:
    """One image's analysis, and the facts found so far."""

    def __init__(self, analysis: Analysis) -> None:
        self.analysis = analysis
        self.image = analysis.image
        self.flow = analysis.flow
        self.arch = analysis.arch
        self.facts: dict[tuple[str, int, str], BehaviourFact] = {}
        self.limits: list[Limit] = []
        self.copy_sites: frozenset[int] = frozenset()
        """RVAs of the instructions that may call a block copy or fill."""
        self.call_places: dict[frozenset[str], npt.NDArray[np.int64]] = {}
        """RVAs of the instructions that may call one of some imports, as far as asked for."""
        self.around: object = None
        """Where pointers to allocated memory come up, once asked for: for `around.of`."""
        self.unexplained: int | None = None
        """RVA of a call whose target nothing explains, once asked for; below 0 for none."""

    # ---- facts

    def add(
        self,
        rule: str,
        kind: Behaviour,
        what: str,
        place: Place,
        confidence: Confidence,
        why: str = "",
        fix: str = "",
    ) -> None:
        """Add a fact, no surer than the proof that its code can run."""
        function, i = place
        site = self.analysis.site(function.rvas[i], function)
        sure = max(confidence, self.reach(function, i), key=_WEAKER.index)
        fact = BehaviourFact(rule, what, site, Origin.CALLSITE, sure, why, fix, kind)
        self.facts.setdefault((rule, int(site.rva), what), fact)

    def leave_open(self, rule: str, place: Place, reason: str) -> None:
        """Weaken a rule by something that is seen at a place and not followed; told once."""
        function, i = place
        site = self.analysis.site(function.rvas[i], function)
        limit = Limit(Origin.CALLSITE, (rule,), reason, site)
        if limit not in self.limits:
            self.limits.append(limit)

    def reach(self, function: Function, i: int, deep: int = 0) -> Confidence:
        """How sure it is that bytes are code that runs: outside known functions, what leads there.

        Such bytes are data as often as not (4 of 14 hits of byte patterns in real drivers).
        """
        if not self._is_flow(function, i):
            return Confidence.POSSIBLE
        if function.kind != "gap":
            return Confidence.PROVEN
        start = function.rvas[_block_start(self.arch, function, i)]
        if start == self.image.headers.entry or start in self.image.exports:
            return Confidence.PROVEN
        callers = self.analysis.functions.callers(start)
        if any(caller.kind != "gap" for caller, _ in callers):
            return Confidence.PROVEN
        if deep < MAX_LEAVES and any(
            self.reach(caller, k, deep + 1) is Confidence.PROVEN for caller, k in callers
        ):
            return Confidence.PROVEN
        if self.analysis.references.takes_address(start):
            return Confidence.LIKELY
        return Confidence.POSSIBLE

    def _is_flow(self, function: Function, i: int) -> bool:
        """Whether control gets to an instruction: data between functions decodes as well."""
        known: dict[int, bool] = function.cache.setdefault("flow", {})
        seen: set[int] = set()
        work = [i]
        while work and len(seen) < MAX_WALKED and not self.flow.exhausted:
            j = work.pop()
            if j in seen or known.get(j) is False:
                continue
            seen.add(j)
            before = function.predecessors(j)
            if j in known or j == function.entry or (not before and self._is_entered(function, j)):
                known[i] = True
                break
            work += before
        else:
            if not work:
                known.update(dict.fromkeys(seen, False))
        self.flow.charge(len(seen))
        return known.get(i, False)

    def _is_entered(self, function: Function, j: int) -> bool:
        """Whether a pointer, a handler table or a jump table leads to a block."""
        rva = function.rvas[j]
        if self.image.bits == 32:
            return bool(self.analysis.references.pointers_to(rva))
        if self.analysis.references.is_named(rva):
            return True
        return bool(function.indirect_jumps) and self._ends_well(function, j)

    def _ends_well(self, function: Function, j: int) -> bool:
        """Whether a block goes back into its function, as a case of a switch does."""
        for k in range(j, len(function.flows)):
            flow = function.flows[k]
            if flow in (Flow.JUMP, Flow.BRANCH) and k not in function.jumps:
                return False
            if flow in NO_FALL_THROUGH:
                return flow != Flow.STOP
        return False

    # ---- calls

    def places(self, name: str) -> list[int]:
        """RVAs of the displacements that may name an import of this name."""
        return [place for place, _ in self.analysis.import_hits.get(name, ())]

    def imports_any(self, *names: str) -> bool:
        """Whether the image imports one of these functions."""
        return not self.image.import_slots.keys().isdisjoint(names)

    def calls(self, *names: str) -> list[ImportCall]:
        """Every call and tail jump to an import of one of these names, in order of RVA."""
        if not self.imports_any(*names):
            return []
        found = ImportCalls(self.analysis, thorough=False).find(frozenset(names))
        return sorted(found, key=lambda call: call.function.rvas[call.i])

    def calls_and_limits(self, rule: str, *names: str) -> list[ImportCall]:
        """The same calls; each use of the imports that is none weakens a rule."""
        if not self.imports_any(*names):
            return []
        imports = ImportCalls(self.analysis)
        found = imports.find(frozenset(names))
        open_ = [(each.rva, each.name) for each in imports.escapes if not each.is_known]
        open_ += [(rva, name) for name, rva in imports.doubts]
        accounts = Accounts(self.analysis, frozenset(names))
        listed: dict[str, set[int]] = {}
        for call in found:
            listed.setdefault(call.name, set()).add(call.function.rvas[call.i])
        lost = [(each.rva, each.reason) for each in accounts.unaccounted(names, listed)]
        lost += [(rva, f"the address of {name} is stored or passed on") for rva, name in open_]
        for rva, reason in sorted(set(lost), key=str):
            site = None if rva is None else self.analysis.site(rva)
            self.limits.append(Limit(Origin.CALLSITE, (rule,), reason, site))
        return sorted(found, key=lambda call: call.function.rvas[call.i])

    def is_within(self, function: Function, i: int) -> bool:
        """Whether a call or jump belongs to its function: a spare import thunk does not."""
        if function.flows[i] in CALLS or function.kind == "unwind":
            return True
        return any(not self.arch.is_padding(function, p) for p in function.predecessors(i))

    def slot_of(self, expr: object) -> int | None:
        """The import slot that an operand reads; None when it reads none."""
        if isinstance(expr, Load) and expr.memory.base == IMAGE_BASE:
            memory = expr.memory
            if memory.index_register == NO_REGISTER and memory.displacement in self.image.imports:
                return memory.displacement
        return None

    def target(self, function: Function, i: int) -> Expr:
        """Where an indirect call or jump goes, behind Control Flow Guard's dispatch function."""
        return self.flow.interprocedural.target(function, i)

    def callee(self, function: Function, i: int) -> str | None:
        """Name of the import that a call or tail jump goes to; None when it goes elsewhere."""
        kind = function.flows[i]
        if kind in (Flow.CALL, Flow.JUMP):
            target = self.arch.direct_target(function, i)
            return self.flow.interprocedural.thunks.get(target)
        if kind not in (Flow.INDIRECT_CALL, Flow.INDIRECT_JUMP):
            return None
        operand = self.arch.indirect_operand(function, i)
        slot = self.slot_of(operand)
        if slot is None and isinstance(operand, Reg):
            held = self.flow.evaluate(function, i, operand, 0)
            slots = {atom.value for atom in held if atom.kind is Kind.IMPORT}
            slot = slots.pop() if len(slots) == 1 else None
        return self.image.imports[slot].name if slot is not None else None

    def argument(self, function: Function, i: int, position: int, size: int = 8) -> Atoms:
        """What an argument can be, its callers asked; `position` counts x86 slots on x86."""
        self.flow.begin()
        size = min(size, self.image.pointer_size)
        held = self.flow.interprocedural.argument(function, i, position, size)
        return self.flow.interprocedural.resolve(held)

    def call_name(self, rva: int) -> str:
        """Name of the import that the call at an RVA goes to; empty when it goes elsewhere."""
        found = self.analysis.functions.instruction_at(rva)
        return (self.callee(*found) or "") if found is not None else ""

    # ---- addresses

    def code_address(self, held: Atoms) -> int | None:
        """The address in an executable section among a set of atoms, the lowest one."""
        found = [
            rva for atom in held if (rva := self.rva_of(atom)) >= 0 and self.image.is_code(rva)
        ]
        return min(found, default=None)

    def rva_of(self, atom: Atom) -> int:
        """The RVA that an atom points at; -1 when it points at nothing in the image."""
        if atom.kind is Kind.ADDRESS:
            return atom.value
        if atom.kind is Kind.CONST and self.image.bits == 32:
            rva = atom.value - self.image.base
            return rva if self.image.holds(rva) and rva >= 0x1000 else -1
        return -1

    def starts_function(self, rva: int) -> bool:
        """Whether a function is known to start at an RVA: a string kept among code does not."""
        function = self.analysis.functions.starting_at(rva)
        if function is None or function.kind == "gap":
            return False
        opening = bytes(self.image.memory[rva : rva + 5])
        if function.kind == "unwind" or opening.startswith(PROLOGUE) or opening == HOT_PATCHED:
            return True
        return bool(self.analysis.functions.callers(rva))


def _block_start(arch: Architecture, function: Function, i: int) -> int:
    """The start of the routine that holds an instruction of a run of code without unwind data."""
    known: dict[int, int] = function.cache.setdefault("block starts", {})
    j = i
    while j > 0 and j not in known and (function.follows(j) or _jumped_over(function, j)):
        if _is_behind_padding(arch, function, j):
            break
        j -= 1
    known[i] = known.get(j, j)
    return known[i]


def _is_behind_padding(arch: Architecture, function: Function, i: int) -> bool:
    """Whether what stands before an instruction only fills up, behind the end of a routine."""
    k = i - 1
    while k >= 0 and arch.is_padding(function, k) and k not in function.sources:
        k -= 1
    return k < i - 1 and (k < 0 or not function.falls_through(k))


def _jumped_over(function: Function, i: int) -> bool:
    """Whether a branch from before an instruction leads to it or behind it."""
    return min(function.sources.get(i, ()), default=i) < i


__all__ = ["CALLS", "Place", "Scene"]
