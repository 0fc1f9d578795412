"""The rules. A rule reads `Evidence` and yields findings; it opens no file and prints nothing."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType, ModuleType

from hvci.model import Evidence, RuleResult
from hvci.rules import calls, code, image, loading, source
from hvci.rules.allowed import mark
from hvci.rules.calls import executable
from hvci.rules.joined import joined
from hvci.rules.rule import Rule

ROOMS = (image, loading, calls, code, source)


def gather(rooms: tuple[ModuleType, ...]) -> Mapping[str, Rule]:
    """All rules of these modules by id, sorted; two rules share neither id nor number."""
    found = [value for room in rooms for value in vars(room).values() if isinstance(value, Rule)]
    rules = {rule.id: rule for rule in sorted(found, key=lambda rule: rule.id)}
    assert len(rules) == len(found), "two rules share an id"
    assert len({rule.number for rule in found}) == len(found), "two rules share a number"
    return MappingProxyType(rules)


RULES = gather(ROOMS)


def judge(evidence: Evidence) -> tuple[RuleResult, ...]:
    """Run every rule, in order of id."""
    return mark((rule.judge(evidence) for rule in RULES.values()), evidence.allowances)


__all__ = ["RULES", "Rule", "executable", "gather", "joined", "judge"]
