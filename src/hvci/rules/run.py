"""Rules about what the code does while it runs: writes to code, and code of its own making.

A natural bug check of a verifier run decides; a forced one never becomes a finding.
"""

from __future__ import annotations

from collections.abc import Iterator

from hvci.model import (
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

RUN = {Origin.VERIFIER}
RUNS = (Question.RUNS,)
WRITE, EXECUTE = 0xBE, 0xFC
NO_EXECUTE = 1 << 63
"""The bit of a page table entry that forbids execution: such a page holds no code."""
_OUTCOMES = {Confidence.PROVEN: Outcome.FAIL, Confidence.LIKELY: Outcome.UNDECIDED}


@rule(questions=RUNS, sees=RUN)
def writes_executable_memory(evidence: Evidence) -> Iterator[Finding]:
    """The driver writes to executable memory or turns write protection off.

    Why: with memory integrity on, the hypervisor makes every page of kernel code read-only, for
        any mapping of it; the write ends in bug check 0xBE, a change of CR0.WP in an exception.
    Bad: `__writecr0(__readcr0() & ~0x10000); *(UCHAR *)function = 0xE9;`
    Good: a documented callback, such as PsSetCreateProcessNotifyRoutineEx, instead of a patch.
    Fix: do not patch code; keep data out of executable sections; use documented callbacks.
    """
    rule_id = "writes-executable-memory"
    yield from _behaviours(evidence, rule_id)
    for event in _events(evidence, WRITE):
        if not event.parameters[1] & NO_EXECUTE:
            yield _bug_check(event, "keep code as the linker made it; use documented callbacks")


@rule(questions=RUNS, sees=RUN)
def dynamic_code(evidence: Evidence) -> Iterator[Finding]:
    """The driver runs code that is not part of a verified image.

    Why: with memory integrity on, only pages of verified images are executable; code in pool, in
        mappings or on the stack ends in bug check 0xFC.
    Bad: copy instructions to `ExAllocatePool2(POOL_FLAG_NON_PAGED_EXECUTE, ...)` and call them
    Good: compile the code into the driver image.
    Fix: move generated or unpacked code into the image, or into a second signed driver.
    """
    yield from _behaviours(evidence, "dynamic-code")
    for event in _events(evidence, EXECUTE):
        yield _bug_check(event, "compile the code into the driver image")


def _behaviours(evidence: Evidence, rule_id: str) -> Iterator[Finding]:
    """What the run did that no page shows, such as a write to a control register."""
    for fact in evidence.behaviours:
        if fact.rule == rule_id and fact.origin is Origin.VERIFIER:
            yield _behaviour(fact)


def _behaviour(fact: BehaviourFact) -> Finding:
    return Finding(
        _OUTCOMES.get(fact.confidence, Outcome.NOTE),
        f"the driver {fact.what} ({fact.why})",
        fact.site,
        fact.origin,
        fact.confidence,
        fact.fix,
        tier=Tier.NATURAL if fact.confidence is Confidence.PROVEN else Tier.FORCED,
    )


def _events(evidence: Evidence, bugcheck: int) -> Iterator[PageEvent]:
    for event in evidence.events:
        if event.bugcheck == bugcheck and event.tier is Tier.NATURAL:
            yield event


def _bug_check(event: PageEvent, fix: str) -> Finding:
    return Finding(
        Outcome.FAIL,
        f"bug check {event.bugcheck:#x}: {event.message}",
        event.site,
        Origin.VERIFIER,
        Confidence.PROVEN,
        fix[0].upper() + fix[1:] + ".",
        tier=event.tier,
    )
