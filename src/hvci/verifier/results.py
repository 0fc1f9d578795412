"""Turns what a run recorded into facts: calls, limits. Runs nothing, judges nothing."""

from __future__ import annotations

from collections.abc import Sequence

from hvci.model import (
    BehaviourFact,
    Confidence,
    DdiCall,
    ImageSite,
    Limit,
    Origin,
    PageEvent,
    Rva,
    Tier,
    Value,
    Via,
)
from hvci.verifier.checks import CODE_INTEGRITY, ObservedCall, Recorder
from hvci.verifier.loader import Loaded
from hvci.verifier.outcome import Ending, EntryResult

RUN_RULES = ("dynamic-code", "writes-executable-memory")


def calls_of(recorder: Recorder) -> tuple[DdiCall, ...]:
    """One call fact for each site, DDI and tier, with all values that were seen there."""
    groups: dict[tuple[int, str, Tier], dict[str, set[int]]] = {}
    natural = {(seen.rva, seen.ddi, seen.values) for seen in recorder.calls if _natural(seen)}
    for seen in recorder.calls:
        if not _natural(seen) and (seen.rva, seen.ddi, seen.values) in natural:
            continue
        arguments = groups.setdefault((seen.rva, seen.ddi, seen.tier), {})
        for name, value in seen.values:
            arguments.setdefault(name, set()).add(value)
    return tuple(
        DdiCall(
            ddi,
            {name: _value(values, tier) for name, values in arguments.items()},
            ImageSite(Rva(rva), recorder.image.section_name(rva)),
            Origin.VERIFIER,
            Via.EMULATED,
            tier,
        )
        for (rva, ddi, tier), arguments in sorted(groups.items())
    )


def events_of(recorder: Recorder) -> tuple[PageEvent, ...]:
    """The bug checks, sorted.

    A forced check is left out where a natural one says the same. A forced 0xBE or 0xFC is left
    out always: on invented arguments it proves nothing.
    """
    events = sorted(
        recorder.events.values(),
        key=lambda event: (event.bugcheck, event.site.rva, event.tier, event.parameters),
    )
    natural = {_same(event) for event in events if event.tier is Tier.NATURAL}
    return tuple(
        event
        for event in events
        if event.tier is Tier.NATURAL
        or (event.bugcheck == CODE_INTEGRITY and _same(event) not in natural)
    )


def _same(event: PageEvent) -> tuple[object, ...]:
    return event.bugcheck, event.subcode, event.site.rva, event.message


def _natural(seen: ObservedCall) -> bool:
    return seen.tier is Tier.NATURAL


def _value(values: set[int], tier: Tier) -> Value:
    where = "in natural calls" if tier is Tier.NATURAL else "on forced paths"
    return Value(frozenset(values), complete=True, reason=f"seen {where} of the verifier run")


def behaviours_of(recorder: Recorder) -> tuple[BehaviourFact, ...]:
    """Instructions that change the processor's own state, as facts for the rules."""
    facts = []
    for (rva, what), tier in sorted(recorder.special.items()):
        natural = tier is Tier.NATURAL
        facts.append(
            BehaviourFact(
                "writes-executable-memory",
                what,
                ImageSite(Rva(rva), recorder.image.section_name(rva)),
                Origin.VERIFIER,
                Confidence.PROVEN if natural else Confidence.POSSIBLE,
                "executed in the verifier run" if natural else "reached on a forced path",
            )
        )
    return tuple(facts)


def limits_of(results: Sequence[EntryResult], loaded: Loaded) -> tuple[Limit, ...]:
    """What the run could not examine."""
    limits = []
    if loaded.shares_pages:
        reason = "code and data share pages, so writes into code were not seen by the verifier run"
        limits.append(Limit(Origin.VERIFIER, RUN_RULES, reason))
    first = results[0].outcome
    if first.ending is Ending.STOPPED:
        limits.append(Limit(Origin.VERIFIER, (), f"DriverEntry did not return: {first.reason}"))
    return tuple(limits)
