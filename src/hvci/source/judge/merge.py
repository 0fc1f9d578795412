"""One fact for each call in the text, whatever number of products and configurations compile it.

Knows resolved calls; decides nothing about memory integrity.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from hvci.model import DdiCall, Value
from hvci.source.builds.products import Product
from hvci.source.judge.facts import Resolved
from hvci.source.judge.optin import State
from hvci.source.judge.values import shown

Spot = tuple[str, int, str]
"""Path, offset and shape of a call."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of a resolved call when its text is let go of."""

    fact: DdiCall
    spot: Spot
    deciding: str
    """The parameter that decides, when an opt-in can change what it means."""
    states: tuple[State, ...]
    product: Product | None
    labels: tuple[str, ...] = ()
    """The configurations in which it is compiled so."""
    decided_by: str = ""


def kept(one: Resolved) -> Kept:
    """A call without its text."""
    ddi = one.call.ddi
    return Kept(
        one.fact,
        (one.call.unit.source.path, one.call.start, one.call.shape.value),
        ddi.deciding if ddi.opt_in.value != "none" else "",
        tuple(replace(state, runtime=None, defined=None) for state in one.states),
        one.context.product,
        tuple(build.label for build in one.context.builds),
        ddi.deciding or "",
    )


def merged(calls: Iterable[Kept]) -> list[DdiCall]:
    """The facts of all calls, in the order in which they were first met."""
    by_spot: dict[Spot, list[Kept]] = {}
    for one in calls:
        by_spot.setdefault(one.spot, []).append(one)
    return [_joined(many) for many in by_spot.values()]


def _joined(many: list[Kept]) -> DdiCall:
    """What holds in all contexts together; those in which it cannot run say nothing."""
    running = [one for one in many if not one.fact.dead] or many[:1]
    running = [one for one in running if one.fact.ddi == running[0].fact.ddi]
    first = running[0]
    arguments: dict[str, Value] = {}
    for one in running:
        for name, value in one.fact.arguments.items():
            arguments[name] = arguments[name].join(value) if name in arguments else value
    notes = dict.fromkeys(note for one in running for note in one.fact.note.split("; ") if note)
    deciding = arguments.get(first.deciding)
    if deciding is not None and len(deciding.possible) > 1:
        split = shown(state for one in running for state in one.states)
        notes = dict.fromkeys(sorted((split, *notes), key=_OPERATOR.__ne__) if split else notes)
    builds = _by_build(running)
    edits = tuple(sorted({edit for one in running for edit in one.fact.edits}))
    joined = replace(first.fact, arguments=arguments, note="; ".join(notes), edits=edits)
    joined = replace(joined, gnu=all(one.fact.gnu for one in running))
    return replace(joined, builds=builds) if builds else joined


def _by_build(running: list[Kept]) -> tuple[tuple[str, Value], ...]:
    """The deciding value in each configuration; empty where all pass the same."""
    values: dict[str, Value] = {}
    for one in running:
        if (value := one.fact.arguments.get(one.decided_by)) is not None:
            for label in one.labels:
                values[label] = values[label].join(value) if label in values else value
    different = {(value.possible, value.complete) for value in values.values()}
    return tuple(values.items()) if len(different) > 1 else ()


_OPERATOR = "through operator new"
"""The note that comes first: it says what the call is."""
