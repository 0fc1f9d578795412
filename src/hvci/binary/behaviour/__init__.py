"""What code does that no DDI argument shows: writes to code, generates it, takes files for it.

Facts only: what is found, where, and how sure that is. Judges nothing.
"""

from __future__ import annotations

from typing import NamedTuple

from hvci.binary.analysis.wiring import Analysis
from hvci.binary.behaviour import (
    aliases,
    emitted,
    files,
    generated,
    names,
    notexecutable,
    processor,
    searched,
    templates,
    writes,
)
from hvci.binary.behaviour.scene import Scene
from hvci.model import BehaviourFact, Limit, Origin
from hvci.model.judged import BEHAVIOUR_RULES

DETECTORS = (
    notexecutable.find,
    processor.find,
    writes.find,
    aliases.find,
    generated.find,
    emitted.find,
    templates.find,
    templates.handed,
    files.find,
    searched.find,
)


class Found(NamedTuple):
    """What was found, and what was not looked at."""

    facts: tuple[BehaviourFact, ...] = ()
    limits: tuple[Limit, ...] = ()


def find(analysis: Analysis) -> Found:
    """Every behaviour of an image, in order of rule and RVA."""
    scene = Scene(analysis)
    analysis.flow.globals.writes.of_pointers = True  # x86 options are as large as pointers
    for detector in DETECTORS:
        detector(scene)
        if analysis.flow.exhausted:
            break
    _account(scene)
    facts = tuple(scene.facts[key] for key in sorted(scene.facts))
    if analysis.flow.exhausted:
        scene.limits.append(_limit("the work budget was spent before all code was looked at"))
    return Found(facts, tuple(scene.limits))


def _account(scene: Scene) -> None:
    """Weaken the rules that need imports of which no use was found."""
    imported = [name for name in names.WATCHED if name in scene.image.import_slots]
    called = {call.name for call in scene.calls(*imported)}
    for name in imported:
        if name not in called and not scene.flow.exhausted:
            scene.calls_and_limits(names.WATCHED[name], name)


def _limit(reason: str) -> Limit:
    return Limit(Origin.CALLSITE, BEHAVIOUR_RULES, reason)


__all__ = ["Found", "find"]
