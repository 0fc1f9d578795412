"""Rules about the arguments that a driver gives to impacted DDIs.

One judge for calls seen in machine code, in source text and in a verifier run.
"""

from __future__ import annotations

from collections.abc import Iterator

from hvci import catalog
from hvci.catalog import Ddi, OptIn
from hvci.model import (
    Counter,
    DdiCall,
    Evidence,
    Executable,
    Finding,
    Origin,
    Outcome,
    Question,
    Value,
    WindowsVersion,
)
from hvci.rules.rule import rule

ANY_CALL = {Origin.CALLSITE, Origin.SOURCE, Origin.VERIFIER}
READINESS = (Question.READINESS,)
USER_MODE = 1


def executable(call: DdiCall) -> Executable:
    """Say whether a call asks for executable memory, by the value rule of its DDI."""
    ddi = catalog.ddis().get(call.ddi)
    if ddi is None or not ddi.rule.judged_by:
        return Executable.NOT_APPLICABLE
    if ddi.rule.kernel_mode_only and _is_user_mode(ddi, call):
        return Executable.NO
    if ddi.rule.executable.kind == "always":
        return Executable.YES
    value = call.arguments.get(ddi.deciding)
    if value is None:
        return Executable.UNDECIDED
    if any(ddi.rule.executable.holds(v) for v in value.lasting):
        return Executable.YES
    return Executable.NO if value.complete else Executable.UNDECIDED


def _is_user_mode(ddi: Ddi, call: DdiCall) -> bool:
    mode = call.arguments.get(ddi.access_mode)
    return mode is not None and mode.complete and mode.possible == {USER_MODE}


@rule(counter=Counter.EXECUTE_POOL_TYPE, questions=READINESS, sees=ANY_CALL)
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


@rule(counter=Counter.EXECUTE_PAGE_PROTECTION, questions=READINESS, sees=ANY_CALL)
def execute_page_protection(evidence: Evidence) -> Iterator[Finding]:
    """The driver asks for a page protection that allows execution.

    Why: memory integrity gives no driver executable memory at run time; Driver Verifier reports
        bug check 0xC4 0x2001 and the readiness test counts it when the call runs.
    Bad: `ZwAllocateVirtualMemory(process, &base, 0, &size, MEM_COMMIT, PAGE_EXECUTE_READWRITE)`
    Good: `ZwAllocateVirtualMemory(process, &base, 0, &size, MEM_COMMIT, PAGE_READWRITE)`
    Fix: ask for PAGE_READONLY or PAGE_READWRITE; keep code in the driver image.
    """
    yield from _judge(evidence, "execute-page-protection")


@rule(counter=Counter.EXECUTE_PAGE_MAPPING, questions=READINESS, sees=ANY_CALL)
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


@rule(sees=ANY_CALL)
def executable_by_default(evidence: Evidence) -> Iterator[Finding]:
    """The driver calls a DDI whose memory is executable whatever the caller asks.

    Why: warning C30029 bans these DDIs. With memory integrity on the memory is not executable;
        Driver Verifier makes it so silently and no counter moves, so this is a note.
    Bad: `MmMapIoSpace(address, size, MmNonCached)`
    Good: `MmMapIoSpaceEx(address, size, PAGE_READWRITE | PAGE_NOCACHE)`
    Fix: use the DDI that takes a page protection or MdlMappingNoExecute.
    """
    for call, ddi in _calls(evidence, "executable-by-default"):
        if executable(call) is Executable.NO:
            continue
        yield Finding(
            Outcome.NOTE,
            f"{call.ddi} gives executable memory{_by_default_detail(call, ddi)}; Windows makes it "
            "non-executable silently and no counter moves",
            call.site,
            call.origin,
            ddi.confidence,
            _fix(ddi, evidence.target_os),
            call.ddi,
            tier=call.tier,
        )


def _by_default_detail(call: DdiCall, ddi: Ddi) -> str:
    value = call.arguments.get(ddi.deciding)
    if value is None or ddi.rule.executable.kind == "always":
        return " whatever the arguments"
    bad = sorted(v for v in value.lasting if ddi.rule.executable.holds(v))
    if bad:
        return f" for {ddi.deciding} {_spell(ddi, bad)}"
    return f" for some {ddi.deciding}; its value is not known: {value.reason}"


@rule(questions=READINESS, sees=ANY_CALL)
def nx_opt_in(evidence: Evidence) -> Iterator[Finding]:
    """The driver reads its pool type from the NX opt-in variable but never opts in.

    Why: POOL_NX_OPTIN makes NonPagedPool a variable that starts executable; only
        ExInitializeDriverRuntime(DrvRtPoolNxOptIn) sets it to the non-executable value.
    Bad: define POOL_NX_OPTIN=1 and do not call ExInitializeDriverRuntime
    Good: `ExInitializeDriverRuntime(DrvRtPoolNxOptIn);` as the first statement of DriverEntry
    Fix: call ExInitializeDriverRuntime(DrvRtPoolNxOptIn) before the first allocation, or use
        POOL_NX_OPTIN_AUTO when the driver supports Windows 8 and later only.
    """
    opted = [
        (call, ddi)
        for call, ddi in _calls(evidence, "execute-pool-type", "execute-page-mapping")
        if (value := call.arguments.get(ddi.deciding)) is not None and value.opt_in
    ]
    if opted:
        call, ddi = opted[0]
        yield Finding(
            Outcome.NOTE,
            f"the driver opts in to NX pool: {len(opted)} calls take their value from a variable "
            f"that the image sets to the NX value on Windows 8 and later "
            f"({call.arguments[ddi.deciding].reason})",
            call.site,
            call.origin,
            ddi.confidence,
        )


def _calls(evidence: Evidence, *judged_by: str) -> Iterator[tuple[DdiCall, Ddi]]:
    ddis = catalog.ddis()
    for call in evidence.calls:
        ddi = ddis.get(call.ddi)
        if ddi is not None and ddi.rule.judged_by in judged_by:
            yield call, ddi


def _judge(evidence: Evidence, rule_id: str) -> Iterator[Finding]:
    """Fail a call that can ask for executable memory; leave undecided one that is not known."""
    for call, ddi in _calls(evidence, rule_id):
        answer = executable(call)
        if answer is Executable.YES:
            yield _finding(call, ddi, Outcome.FAIL, evidence)
        elif answer is Executable.UNDECIDED:
            yield _finding(call, ddi, Outcome.UNDECIDED, evidence)


def _finding(call: DdiCall, ddi: Ddi, outcome: Outcome, evidence: Evidence) -> Finding:
    value = call.arguments.get(ddi.deciding, Value.unknown("the argument was not recovered"))
    bad = sorted(v for v in value.lasting if ddi.rule.executable.holds(v))
    if outcome is Outcome.FAIL:
        what = f"{ddi.deciding} is {_spell(ddi, bad)}"
        others = sorted(value.possible - set(bad))
        if others:
            what += f", or {_spell(ddi, others)} on other paths"
    else:
        what = f"{ddi.deciding} is not known: {value.reason}"
    origin = f" ({call.note})" if call.note else ""
    return Finding(
        outcome,
        f"{call.ddi}: {what}{_tag(call, ddi)}{origin}",
        call.site,
        call.origin,
        ddi.confidence,
        _fix(ddi, evidence.target_os),
        call.ddi,
        tier=call.tier,
    )


def _tag(call: DdiCall, ddi: Ddi) -> str:
    value = call.arguments.get(ddi.tag)
    if value is None or not value.complete or len(value.possible) != 1:
        return ""
    tag = next(iter(value.possible)).to_bytes(8, "little")[:4].rstrip(b"\0")
    text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in tag)
    return f", tag '{text}'" if text else ""


def _spell(ddi: Ddi, values: list[int]) -> str:
    return " or ".join(ddi.rule.spell(value) for value in values[:4])


def _fix(ddi: Ddi, target: WindowsVersion) -> str:
    use = ddi.replacement_for(target)
    if ddi.opt_in is not OptIn.NONE and target < WindowsVersion.WINDOWS_10_2004 and use:
        use += "; or opt in with POOL_NX_OPTIN and ExInitializeDriverRuntime(DrvRtPoolNxOptIn)"
    return use
