"""Rules about the arguments that a driver gives to impacted DDIs.

One judge for calls seen in machine code, in source text and in a verifier run.
"""

from __future__ import annotations

from collections.abc import Iterator

from hvci import catalog
from hvci.catalog import Ddi
from hvci.model import (
    Confidence,
    Counter,
    DdiCall,
    Evidence,
    Executable,
    Finding,
    ImageSite,
    Origin,
    Outcome,
    Question,
    Site,
    Tier,
    Via,
    WindowsVersion,
)
from hvci.rules import wording
from hvci.rules.rule import rule

ANY_CALL = {Origin.CALLSITE, Origin.SOURCE, Origin.VERIFIER}
READINESS = (Question.READINESS,)
USER_MODE = 1


def executable(call: DdiCall) -> Executable:
    """Say whether a call asks for executable memory, by the value rule of its DDI."""
    ddi = catalog.ddis().get(call.ddi)
    if ddi is None or not ddi.rule.judged_by or call.dead:
        return Executable.NOT_APPLICABLE
    answer = _reached(ddi, call)
    if call.unreached:
        return _WHEN_UNREACHED.get(answer, answer)
    return Executable.UNDECIDED if call.doubt and answer is Executable.YES else answer


_WHEN_UNREACHED = {
    Executable.YES: Executable.UNDECIDED,
    Executable.UNDECIDED: Executable.NOT_APPLICABLE,
}
"""Bytes that nothing leads to prove nothing; only a plain request for execution is worth a look."""


def _reached(ddi: Ddi, call: DdiCall) -> Executable:
    """Answer for a call that can run."""
    if ddi.rule.kernel_mode_only and _is_user_mode(ddi, call):
        return Executable.NO
    value = wording.deciding_value(call, ddi)
    if ddi.rule.executable.kind == "always" or any(map(ddi.rule.executable.holds, value.lasting)):
        return Executable.YES
    return Executable.NO if value.complete else Executable.UNDECIDED


def _is_user_mode(ddi: Ddi, call: DdiCall) -> bool:
    mode = call.arguments.get(ddi.access_mode)
    return mode is not None and mode.complete and mode.possible == {USER_MODE}


def _opted_in(evidence: Evidence) -> str:
    """Say that the driver opts in, for the rules that pass because of it."""
    opted = [
        call
        for call, ddi in _calls(evidence, "execute-pool-type", "execute-page-mapping")
        if wording.deciding_value(call, ddi).opt_in and not call.dead
    ]
    if not opted:
        return ""
    calls = "1 call takes its" if len(opted) == 1 else f"{len(opted)} calls take their"
    return (
        f"{calls} value from a variable that the driver itself sets to the NX value at its start "
        "on Windows 8 and later (NX opt-in)"
    )


@rule(
    number=2000,
    counter=Counter.EXECUTE_POOL_TYPE,
    questions=READINESS,
    sees=ANY_CALL,
    because=_opted_in,
)
def execute_pool_type(evidence: Evidence) -> Iterator[Finding]:
    """The driver asks for pool memory that can execute.

    Why: with memory integrity on no pool is executable; Driver Verifier reports the request as
        bug check 0xC4 0x2000 and the readiness test counts it when the call runs.
    Bad: `ExAllocatePoolWithTag(NonPagedPool, size, tag)`
    Good: `ExAllocatePool2(POOL_FLAG_NON_PAGED, size, tag)`
    Fix: Windows 10 2004 and later: ExAllocatePool2. Earlier: NonPagedPoolNx, or define
        POOL_NX_OPTIN and call ExInitializeDriverRuntime(DrvRtPoolNxOptIn) first in DriverEntry.
    """
    yield from _judge(evidence, "execute-pool-type")


@rule(number=2001, counter=Counter.EXECUTE_PAGE_PROTECTION, questions=READINESS, sees=ANY_CALL)
def execute_page_protection(evidence: Evidence) -> Iterator[Finding]:
    """The driver asks for a page protection that allows execution.

    Why: memory integrity gives no driver executable memory at run time; Driver Verifier reports
        bug check 0xC4 0x2001 and the readiness test counts it when the call runs.
    Bad: `ZwAllocateVirtualMemory(process, &base, 0, &size, MEM_COMMIT, PAGE_EXECUTE_READWRITE)`
    Good: `ZwAllocateVirtualMemory(process, &base, 0, &size, MEM_COMMIT, PAGE_READWRITE)`
    Fix: ask for PAGE_READONLY or PAGE_READWRITE; keep code in the driver image.
    """
    yield from _judge(evidence, "execute-page-protection")


@rule(
    number=2002,
    counter=Counter.EXECUTE_PAGE_MAPPING,
    questions=READINESS,
    sees=ANY_CALL,
    because=_opted_in,
)
def execute_page_mapping(evidence: Evidence) -> Iterator[Finding]:
    """The driver maps an MDL without MdlMappingNoExecute.

    Why: a kernel mapping without this bit asks for executable memory; Driver Verifier reports
        bug check 0xC4 0x2002 and the readiness test counts it when the call runs.
    Bad: `MmGetSystemAddressForMdlSafe(mdl, NormalPagePriority)`
    Good: `MmGetSystemAddressForMdlSafe(mdl, NormalPagePriority | MdlMappingNoExecute)`
    Fix: OR MdlMappingNoExecute into the priority (Windows 8 and later), or opt in with
        POOL_NX_OPTIN and ExInitializeDriverRuntime(DrvRtPoolNxOptIn).
    """
    yield from _judge(evidence, "execute-page-mapping")
    for call, ddi in _calls(evidence, "execute-page-mapping"):
        if executable(call) is Executable.NO and _moves_counter(call, ddi):
            yield _finding(
                call,
                ddi,
                Outcome.NOTE,
                f"{call.ddi}: a user-mode mapping without MdlMappingNoExecute; it is never "
                "executable, yet Driver Verifier was observed to count it",
                evidence,
                Confidence.OBSERVED,
            )


@rule(number=2010, sees=ANY_CALL)
def executable_by_default(evidence: Evidence) -> Iterator[Finding]:
    """The driver calls a DDI whose memory is executable whatever the caller asks.

    Why: warning C30029 bans these DDIs. With memory integrity on the memory is not executable;
        Driver Verifier makes it so silently and no counter moves, so this is a note.
    Bad: `MmMapIoSpace(address, size, MmNonCached)`
    Good: `MmMapIoSpaceEx(address, size, PAGE_READWRITE | PAGE_NOCACHE)`
    Fix: use the DDI that takes a page protection or MdlMappingNoExecute.
    """
    for call, ddi in _calls(evidence, "executable-by-default"):
        if executable(call) in (Executable.YES, Executable.UNDECIDED):
            yield _finding(call, ddi, Outcome.NOTE, wording.by_default(call, ddi), evidence)
    for call, ddi in _calls(evidence, "execute-page-protection"):
        if call.ordinary and not call.dead:
            message = f"{call.ddi}: {wording.of_ordinary_memory(call)}"
            site, origin = call.site, call.origin
            yield Finding(Outcome.NOTE, message, site, origin, ddi=ddi.name, fix=_COPY, count=0)


_COPY = "Read physical memory with MmCopyMemory (Windows 8.1 and later), which reports an error."


@rule(number=2011, sees=ANY_CALL, questions={Question.READINESS}, because=_opted_in)
def nx_opt_in(evidence: Evidence) -> Iterator[Finding]:
    """The driver reads its pool type from the NX opt-in variable but never opts in.

    Why: POOL_NX_OPTIN makes NonPagedPool a variable that starts executable; only
        ExInitializeDriverRuntime(DrvRtPoolNxOptIn) sets it to the non-executable value, on
        Windows 8 and later. What the driver allocates before that call is executable.
    Bad: `#define POOL_NX_OPTIN 1` and no call of ExInitializeDriverRuntime
    Good: `ExInitializeDriverRuntime(DrvRtPoolNxOptIn);` as the first statement of DriverEntry
    Fix: call ExInitializeDriverRuntime(DrvRtPoolNxOptIn) before the first allocation. A driver for
        Windows 8 and later only can define POOL_NX_OPTIN_AUTO instead, which needs no call.
    """
    for fact in evidence.behaviours:
        if fact.rule == "nx-opt-in":
            yield Finding(
                Outcome.FAIL,
                f"{fact.what}{f': {fact.why}' if fact.why else ''}",
                fact.site,
                fact.origin,
                fact.confidence,
                fact.fix,
            )


@rule(number=2014, sees=ANY_CALL)
def newer_than_target(evidence: Evidence) -> Iterator[Finding]:
    """The driver calls or asks for what the oldest Windows aimed at does not have.

    Why: an image that imports a routine which Windows lacks does not load there, and a flag that
        Windows does not know is refused or ignored. Memory integrity has no part in it: a note.
    Bad: `ExAllocatePoolWithTag(NonPagedPoolNx, size, tag)` in a driver for Windows 7
    Good: POOL_NX_OPTIN and `ExInitializeDriverRuntime(DrvRtPoolNxOptIn)`, or a check at run time
    Fix: choose at run time, or opt in with POOL_NX_OPTIN.
    """
    for call in evidence.calls:
        ddi = catalog.ddis().get(call.ddi)
        since = _SINCE.get(ddi.since) if ddi is not None else None
        if since is None or since <= evidence.target_os or call.dead or call.via not in _LINKED:
            continue
        what = f"{call.ddi} came with {since.label}; the driver is for {evidence.target_os.label}"
        use = "Look it up at run time with MmGetSystemRoutineAddress."
        yield Finding(Outcome.NOTE, what, call.site, call.origin, fix=use, ddi=call.ddi, count=0)
    for fact in evidence.behaviours:
        if fact.rule == "newer-than-target":
            yield Finding(
                Outcome.NOTE, fact.what, fact.site, fact.origin, fact.confidence, fact.fix
            )


_SINCE = {version.label: version for version in WindowsVersion}
_LINKED = frozenset((Via.IAT, Via.REGISTER, Via.THUNK, Via.TAIL, Via.SOURCE))


def _calls(evidence: Evidence, *judged_by: str) -> Iterator[tuple[DdiCall, Ddi]]:
    find, known = catalog.ddis().get, _known_places(evidence)
    named = {name: find(name) for name in {call.ddi for call in evidence.calls}}
    wanted = {name: ddi for name, ddi in named.items() if ddi and ddi.rule.judged_by in judged_by}
    for call in evidence.calls if wanted else ():
        ddi = wanted.get(call.ddi)
        if ddi is not None and not (known and _repeats(call, ddi, known)):
            yield call, ddi


Places = dict[tuple[str, Site], DdiCall]


def _known_places(evidence: Evidence) -> Places:
    """The calls that a reader of code found, by DDI and RVA, when there was a verifier run too."""
    if Origin.VERIFIER not in evidence.origins:
        return {}
    return {
        (call.ddi, _bare(call.site)): call
        for call in evidence.calls
        if call.origin is not Origin.VERIFIER
    }


def _bare(site: Site) -> Site:
    return ImageSite(site.rva) if isinstance(site, ImageSite) else site


def _repeats(call: DdiCall, ddi: Ddi, known: Places) -> bool:
    """Whether an emulated call shows nothing that the code did not show: it is judged there.

    A forced path proves nothing against the code; a natural value that the code denies does.
    """
    if call.origin is not Origin.VERIFIER:
        return False
    static = known.get((call.ddi, _bare(call.site)))
    if static is None:
        return False
    seen, shown = (wording.deciding_value(item, ddi) for item in (call, static))
    return call.tier is not Tier.NATURAL or seen.possible <= shown.possible


_OUTCOMES = {Executable.YES: Outcome.FAIL, Executable.UNDECIDED: Outcome.UNDECIDED}


def _judge(evidence: Evidence, rule_id: str) -> Iterator[Finding]:
    """Fail a call that can ask for executable memory; leave undecided one that is not known."""
    for call, ddi in _calls(evidence, rule_id):
        answer = executable(call)
        outcome = _OUTCOMES.get(answer)
        if outcome is not None:
            yield _finding(call, ddi, outcome, wording.request(call, ddi, answer), evidence)


def _moves_counter(call: DdiCall, ddi: Ddi) -> bool:
    value = wording.deciding_value(call, ddi)
    return any(ddi.rule.counted.holds(each) for each in value.lasting)


def _by_gnu(call: DdiCall, evidence: Evidence) -> bool:
    """Whether a call stands in an image of GNU ld, or is compiled with MinGW-w64's headers."""
    image = evidence.image
    return call.gnu or (
        image is not None and image.linked_by_gnu and call.origin is not Origin.SOURCE
    )


def _finding(
    call: DdiCall,
    ddi: Ddi,
    outcome: Outcome,
    message: str,
    evidence: Evidence,
    confidence: Confidence | None = None,
) -> Finding:
    return Finding(
        outcome,
        message,
        call.site,
        call.origin,
        confidence or wording.confidence(ddi),
        wording.fix(call, ddi, evidence.target_os, _by_gnu(call, evidence)),
        call.ddi,
        count=int(_moves_counter(call, ddi)),
        tier=call.tier,
        edits=call.edits,
    )
