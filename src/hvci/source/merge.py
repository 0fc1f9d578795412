"""One fact for each call in the text, whatever number of products and configurations compile it.

Knows resolved calls; decides nothing about memory integrity.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from hvci.model import DdiCall, Value
from hvci.source.judge import Resolved
from hvci.source.optin import State
from hvci.source.values import shown

Spot = tuple[str, int, str]
"""Path, offset and shape of a call."""


def spot(one: Resolved) -> Spot:
    """Where a call stands in the text."""
    return one.call.unit.source.path, one.call.start, one.call.shape.value


def merged(calls: Iterable[Resolved]) -> list[DdiCall]:
    """The facts of all calls, in the order in which they were first met."""
    by_spot: dict[Spot, list[Resolved]] = {}
    for one in calls:
        by_spot.setdefault(spot(one), []).append(one)
    return [_joined(many) for many in by_spot.values()]


def _joined(many: list[Resolved]) -> DdiCall:
    """What holds in all contexts together; those in which it cannot run say nothing."""
    running = [one for one in many if not one.fact.dead] or many[:1]
    running = [one for one in running if one.fact.ddi == running[0].fact.ddi]
    first = running[0]
    arguments: dict[str, Value] = {}
    for one in running:
        for name, value in one.fact.arguments.items():
            arguments[name] = arguments[name].join(value) if name in arguments else value
    notes = dict.fromkeys(note for one in running for note in one.fact.note.split("; ") if note)
    deciding = arguments.get(first.call.ddi.deciding)
    if first.call.ddi.opt_in.value != "none" and deciding and len(deciding.possible) > 1:
        split = shown(_states(running))
        notes = dict.fromkeys(sorted((split, *notes), key=_OPERATOR.__ne__) if split else notes)
    edits = tuple(sorted({edit for one in running for edit in one.fact.edits}))
    return replace(first.fact, arguments=arguments, note="; ".join(notes), edits=edits)


_OPERATOR = "through operator new"
"""The note that comes first: it says what the call is."""


def _states(running: Iterable[Resolved]) -> list[State]:
    return [state for one in running for state in one.states]
