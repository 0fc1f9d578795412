"""What is wrong with a driver's NX opt-in as a whole: said once for a build, not at every call.

Knows resolved calls and opt-in states; says it only where a call depends on the opt-in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hvci.catalog import OptIn as Affected
from hvci.model import BehaviourFact, Confidence, Origin, SourceSite
from hvci.source.judge.facts import Judge, Resolved
from hvci.source.judge.optin import Nx, State
from hvci.source.judge.values import listed

RULE = "nx-opt-in"
_NEVER_CALLED = (
    "POOL_NX_OPTIN is defined, but ExInitializeDriverRuntime(DrvRtPoolNxOptIn) is never called"
)
_NOT_DEFINED = "ExInitializeDriverRuntime(DrvRtPoolNxOptIn) does nothing without POOL_NX_OPTIN"
_CALL_FIX = "Call ExInitializeDriverRuntime(DrvRtPoolNxOptIn) first in DriverEntry."
_DEFINE_FIX = "Define POOL_NX_OPTIN=1 in the project, for every configuration."


def opt_in_facts(judge: Judge, calls: Iterable[Resolved]) -> Iterator[BehaviourFact]:
    """Opt-ins that are half done, in order of place."""
    inert: dict[SourceSite, list[str]] = {}
    idle: dict[SourceSite, list[str]] = {}
    for one in calls:
        if one.fact.dead or not _depends(one):
            continue
        for state in one.states:
            label = state.build.label if state.build else "the sources"
            if state.nx is Nx.INERT and state.why and "runs before" not in state.why:
                inert.setdefault(_defined_at(judge, one, state), []).append(label)
            elif state.nx is Nx.NONE and (site := _runtime_call(judge, one, state)) is not None:
                idle.setdefault(site, []).append(label)
    for site, labels in sorted(inert.items()):
        yield _fact(site, _NEVER_CALLED, labels, _CALL_FIX)
    for site, labels in sorted(idle.items()):
        yield _fact(site, _NOT_DEFINED, labels, _DEFINE_FIX)


def _fact(site: SourceSite, what: str, labels: list[str], fix: str) -> BehaviourFact:
    where = f"in {listed(labels)}; NonPagedPool stays executable there"
    return BehaviourFact(RULE, what, site, Origin.SOURCE, Confidence.DOCUMENTED, where, fix)


def _depends(one: Resolved) -> bool:
    """Whether the opt-in would change what the call asks for."""
    if one.guess is None:
        return False
    if one.call.ddi.opt_in is Affected.HEADER_WRAPPER:
        return any(one.call.ddi.rule.executable.holds(atom.bits) for atom in one.guess.atoms)
    return any(atom.opted & ~atom.bits for atom in one.guess.atoms)


def _defined_at(judge: Judge, one: Resolved, state: State) -> SourceSite:
    """The line that defines the macro: of a source, else of the project."""
    source, macro = one.call.unit.source, state.defined
    if macro is not None and macro.source.path:
        return SourceSite(macro.source.path, macro.source.position(macro.start)[0])
    if state.build is not None:
        text = judge.workspace.shelf.project_text(state.build.file)
        at = text.find("POOL_NX_OPTIN")
        return SourceSite(state.build.file, text.count("\n", 0, max(at, 0)) + 1)
    return SourceSite(source.path, 1)


def _runtime_call(judge: Judge, one: Resolved, state: State) -> SourceSite | None:
    """Where the program makes a runtime call that opts in nothing, when it does."""
    found = state.runtime
    if found is None or found.use is None:
        return None
    path = found.use.source.path
    program, builds = one.context.program, one.context.builds
    for unit in program.units_of(path):
        if any(other.nx is not Nx.NONE for other in judge.opt_in.states(unit, program, builds)):
            return None
    return SourceSite(path, *found.use.source.position(found.use.offset))
