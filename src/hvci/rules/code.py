"""Rules about what code does under W^X that no DDI argument shows.

What a detector proved or holds likely fails. What is only possible is a note: such bytes are data
as often as code, and a note costs no driver its answer. Some facts are true and break nothing
under memory integrity itself; they are notes as well, however sure they are:

- descriptor tables, system call entries and debug registers: memory integrity guards pages, not
  these. PatchGuard and HyperGuard stop the machine for some of them, on any Windows with or
  without memory integrity; hypervisors and debuggers write them and put them back.
- loading another driver: the system checks that driver by itself.
- calling what the kernel does not export: it breaks only where the driver is compiled with
  /guard:cf, which the text does not always say.

What a verifier run saw on a forced path only is a note: no caller may ever take that path.
"""

from __future__ import annotations

from collections.abc import Iterator

from hvci.model import (
    Behaviour,
    BehaviourFact,
    Confidence,
    Evidence,
    Finding,
    Origin,
    Outcome,
    PageEvent,
    Question,
    Tier,
)
from hvci.rules.rule import rule

CODE = {Origin.CALLSITE, Origin.SOURCE, Origin.VERIFIER}
RUNS = (Question.RUNS,)
WRITE_TO_READ_ONLY, EXECUTE_OF_DATA = 0xBE, 0xFC
"""Bug checks ATTEMPTED_WRITE_TO_READONLY_MEMORY and ATTEMPTED_EXECUTE_OF_NOEXECUTE_MEMORY."""
NO_EXECUTE = 1 << 63
"""The bit of a page table entry that forbids execution."""
_SURE = frozenset((Confidence.PROVEN, Confidence.LIKELY))
_NOTED = frozenset((Behaviour.PROCESSOR_STATE, Behaviour.DRIVER_LOAD, Behaviour.UNEXPORTED))
_FIXES = {
    Behaviour.STORE: "Move the data to a writable section that is not executable.",
    Behaviour.WRITE_PROTECTION: "Do not patch code; use the documented callbacks and filters.",
    Behaviour.ALIAS: "Do not map code a second time; keep what changes in data.",
    Behaviour.HOOK: "Use the documented callbacks, filters and notifications instead of hooks.",
    Behaviour.PROCESSOR_STATE: "Leave this register to the system.",
    Behaviour.USER_EXECUTION: "Do in the kernel's own code what the user page was called for.",
    Behaviour.GENERATED_CODE: "Put the code into the image, and choose between variants of it.",
    Behaviour.NOT_EXECUTABLE: "Give the section the execute right and take the write right away "
    "(/SECTION:name,ER), or put the code into .text.",
    Behaviour.UNEXPORTED: "Call routines that the kernel exports.",
    Behaviour.COPIED_CODE: "Call the function where it is.",
    Behaviour.EXECUTABLE_FILE: "Map the file as data: SEC_COMMIT or SEC_IMAGE_NO_EXECUTE and a "
    "protection without execution.",
    Behaviour.IMAGE_BY_HAND: "Ship the code as a signed driver or export driver.",
}


@rule(number=2020, questions=RUNS, sees=CODE)
def writes_executable_memory(evidence: Evidence) -> Iterator[Finding]:
    """The driver writes to executable memory.

    Why: with memory integrity on the hypervisor keeps executable pages read-only whatever the
        page tables and CR0.WP say; the write stops the machine with bug check 0xBE.
    Bad: `*(UCHAR *)KeBugCheckEx = 0xE9;` or a store into the driver's own `.text`
    Good: a documented callback or filter; what changes lies in a data section
    Fix: do not patch code, neither the driver's own nor another module's, and make no writable
        mapping of it.
    """
    yield from _judge(evidence, "writes-executable-memory", WRITE_TO_READ_ONLY)


@rule(number=2021, questions=RUNS, sees=CODE)
def dynamic_code(evidence: Evidence) -> Iterator[Finding]:
    """The driver runs code that is not part of its image.

    Why: with memory integrity on only pages of images that the hypervisor has verified execute in
        kernel mode; a call into pool or mapped memory stops the machine with bug check 0xFC. So
        does a call into a section of the driver that is not executable, such as INIT linked with
        `/SECTION:INIT,D`.
    Bad: `memcpy(pool, stub, size); ((ROUTINE)pool)();`
    Good: call the function in the image
    Fix: compile what was generated into the image; choose between variants through a pointer.
    """
    yield from _judge(evidence, "dynamic-code", EXECUTE_OF_DATA)


@rule(number=2022, questions=RUNS, sees=CODE)
def data_file_as_executable(evidence: Evidence) -> Iterator[Finding]:
    """The driver uses a file as code without the system's driver loader.

    Why: a driver that works with memory integrity must not load data files as executable: what
        the system has not verified as a driver image never executes in kernel mode.
    Bad: `ZwCreateSection(&section, access, NULL, NULL, PAGE_EXECUTE_READ, SEC_IMAGE, file)`
    Good: `ZwCreateSection(&section, access, NULL, NULL, PAGE_READONLY, SEC_COMMIT, file)`
    Fix: map files as data (SEC_COMMIT, or SEC_IMAGE_NO_EXECUTE to read an image); ship code as a
        signed driver.
    """
    yield from _judge(evidence, "data-file-as-executable", None)


GUARD_CF = 0x4000
"""The image checks its indirect calls."""


def _unguarded(evidence: Evidence) -> str:
    image, found = evidence.image, (fact.rule for fact in evidence.behaviours)
    if Origin.SOURCE not in evidence.origins and "unexported-call" not in found:
        return "only source text can show this"
    guarded = image is None or image.dll_characteristics & GUARD_CF
    return "" if guarded else "the image is not compiled with /guard:cf"


@rule(number=2015, sees=frozenset(Origin), not_applicable=_unguarded)
def unexported_call(evidence: Evidence) -> Iterator[Finding]:
    """The driver calls a routine that it searched for in the code of another module.

    Why: kernel Control Flow Guard is enforced only while memory integrity runs. Code compiled with
        /guard:cf then stops the computer with bug check 0x139 (first parameter 0xA) when an
        indirect call leads to what is no valid target, and only exported routines and routines
        whose address is taken are.
    Bad: `inner = (INNER)(at + i + 5 + *(INT32 *)(at + i + 1)); inner();`
    Good: `inner = (INNER)MmGetSystemRoutineAddress(&name); inner();`
    Fix: call routines that the kernel exports.
    """
    yield from _judge(evidence, "unexported-call", None)


def _judge(evidence: Evidence, rule_id: str, bugcheck: int | None) -> Iterator[Finding]:
    """Facts of one rule, and the page events of a run that the driver came to by itself."""
    for fact in evidence.behaviours:
        if fact.rule == rule_id:
            yield _finding(fact)
    for event in evidence.events:
        is_natural = event.bugcheck == bugcheck and event.tier is Tier.NATURAL
        if is_natural and not (bugcheck == WRITE_TO_READ_ONLY and _is_data(event)):
            yield _crash(event)


def _is_data(event: PageEvent) -> bool:
    """Whether the page that was written forbids execution: such a page holds no code."""
    return bool(event.parameters[1] & NO_EXECUTE)


def _finding(fact: BehaviourFact) -> Finding:
    sure = _SURE if fact.origin is not Origin.VERIFIER else {Confidence.PROVEN}
    fails = fact.confidence in sure and fact.kind not in _NOTED
    doubt = "" if fact.confidence is Confidence.PROVEN else f" ({fact.confidence})"
    return Finding(
        Outcome.FAIL if fails else Outcome.NOTE,
        f"{fact.what}{doubt}{f': {fact.why}' if fact.why else ''}",
        fact.site,
        fact.origin,
        fact.confidence,
        fact.fix or (_FIXES.get(fact.kind, "") if fact.kind else ""),
    )


def _crash(event: PageEvent) -> Finding:
    return Finding(
        Outcome.FAIL,
        f"{event.message} (bug check {event.bugcheck:#x} in the verifier run)",
        event.site,
        Origin.VERIFIER,
        Confidence.PROVEN,
        tier=event.tier,
    )
