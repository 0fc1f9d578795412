"""Turns what a run recorded into facts: calls, limits. Runs nothing, judges nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

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
from hvci.verifier.checks import CODE_INTEGRITY, Recorder
from hvci.verifier.loader import Loaded
from hvci.verifier.outcome import Ending, EntryResult, Trust, UnknownInstruction

RUN_RULES = ("dynamic-code", "writes-executable-memory")


def calls_of(recorder: Recorder) -> tuple[DdiCall, ...]:
    """One call fact for each site, DDI and tier, with all values that were seen there.

    What was seen naturally is not repeated as forced; what was seen only with invented arguments
    gives the place, but no values.
    """
    best: dict[tuple[int, str, tuple[tuple[str, int], ...]], Trust] = {}
    for seen in recorder.calls:
        key = (seen.rva, seen.ddi, seen.values)
        best[key] = min(seen.trust, best.get(key, seen.trust))
    groups: dict[tuple[int, str, Trust], dict[str, set[int]]] = {}
    for (rva, ddi, values), trust in best.items():
        arguments = groups.setdefault((rva, ddi, trust), {})
        for name, value in values:
            arguments.setdefault(name, set()).add(value)
    known = {(rva, ddi) for rva, ddi, trust in groups if trust is not Trust.INVENTED}
    return tuple(
        _call(recorder, rva, ddi, trust, arguments)
        for (rva, ddi, trust), arguments in sorted(groups.items())
        if trust is not Trust.INVENTED or (rva, ddi) not in known
    )


def _call(
    recorder: Recorder, rva: int, ddi: str, trust: Trust, arguments: dict[str, set[int]]
) -> DdiCall:
    return DdiCall(
        ddi,
        {name: _value(values, trust) for name, values in arguments.items()},
        ImageSite(Rva(rva), recorder.image.section_name(rva)),
        Origin.VERIFIER,
        Via.EMULATED,
        trust.tier,
        "" if trust is Trust.NATURAL else "on a forced path",
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


def _value(values: set[int], trust: Trust) -> Value:
    if trust is Trust.INVENTED:
        return Value.unknown("the verifier run came here with invented arguments only")
    where = "in natural calls" if trust is Trust.NATURAL else "on forced paths"
    return Value(frozenset(values), complete=True, reason=f"seen {where} of the verifier run")


def behaviours_of(recorder: Recorder) -> tuple[BehaviourFact, ...]:
    """Instructions that change the processor's own state, as facts for the rules."""
    facts = []
    for (rva, rule, what), tier in sorted(recorder.special.items()):
        natural = tier is Tier.NATURAL
        facts.append(
            BehaviourFact(
                rule,
                what,
                ImageSite(Rva(rva), recorder.image.section_name(rva)),
                Origin.VERIFIER,
                Confidence.PROVEN if natural else Confidence.POSSIBLE,
                "executed in the verifier run" if natural else "reached on a forced path",
            )
        )
    return tuple(facts)


class Bounds(NamedTuple):
    """How much of everything was left out, where a bound was reached."""

    instructions: int
    """Places that may change the processor's state."""
    readings: int
    """Places that may read the host's clock."""
    codes: int
    """I/O control codes."""
    events: int
    """Bug checks."""
    trace: bool
    """Whether the trace may miss its end."""


def unsupported_of(recorder: Recorder) -> tuple[UnknownInstruction, ...]:
    """Instructions that nobody executed, by place."""
    return tuple(
        UnknownInstruction(name, rva, tier)
        for (rva, name), tier in sorted(recorder.unknown.items())
    )


def _unsupported(recorder: Recorder) -> Iterator[Limit]:
    """One limit for each kind of instruction at which the driver's own way was left."""
    places: dict[str, list[int]] = {}
    for each in unsupported_of(recorder):
        if each.tier is Tier.NATURAL:
            places.setdefault(each.name, []).append(each.rva)
    for name, rvas in sorted(places.items()):
        more = f" and {len(rvas) - 1} more places" if len(rvas) > 1 else ""
        site = ImageSite(Rva(rvas[0]), recorder.image.section_name(rvas[0]))
        reason = (
            f"the emulated processor cannot execute {name} (RVA {rvas[0]:#x}{more}): what the "
            "driver does behind it counts as forced"
        )
        yield Limit(Origin.VERIFIER, (), reason, site)


def limits_of(
    recorder: Recorder, results: Sequence[EntryResult], loaded: Loaded, bounds: Bounds
) -> tuple[Limit, ...]:
    """What the run could not examine."""
    limits = [*_bounds(bounds), *_unsupported(recorder)]
    if loaded.shares_pages:
        reason = "code and data share pages, so writes into code were not seen by the verifier run"
        limits.append(Limit(Origin.VERIFIER, RUN_RULES, reason))
    first = results[0].outcome
    if first.ending is Ending.STOPPED:
        limits.append(Limit(Origin.VERIFIER, (), f"DriverEntry did not return: {first.reason}"))
    return tuple(limits)


def _bounds(bounds: Bounds) -> Iterator[Limit]:
    """A limit for each bound that was reached."""
    counts = (
        (bounds.instructions, RUN_RULES, "that may change the processor's state were not watched"),
        (bounds.readings, (), "that may read the clock show the host's, so two runs may differ"),
    )
    for count, rules, what in counts:
        if count:
            yield Limit(Origin.VERIFIER, rules, f"{count} places {what}")
    if bounds.codes:
        yield Limit(
            Origin.VERIFIER, (), f"{bounds.codes} I/O control codes of the code were not sent"
        )
    if bounds.events:
        yield Limit(Origin.VERIFIER, (), f"{bounds.events} more bug checks were seen than are kept")
    if bounds.trace:
        yield Limit(Origin.VERIFIER, (), "the trace has as many lines as it may have, and ends")
