"""The rules. A rule reads `Evidence` and yields findings; it opens no file and prints nothing."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType, ModuleType

from hvci.model import Evidence, Origin, RuleResult
from hvci.rules import calls, image, run, source
from hvci.rules.allowed import mark
from hvci.rules.calls import executable
from hvci.rules.rule import Rule

ROOMS = (image, calls, source)


def gather(rooms: tuple[ModuleType, ...]) -> Mapping[str, Rule]:
    """All rules of these modules by id, sorted; two rules may not share an id."""
    found = [value for room in rooms for value in vars(room).values() if isinstance(value, Rule)]
    rules = {rule.id: rule for rule in sorted(found, key=lambda rule: rule.id)}
    assert len(rules) == len(found), "two rules share an id"
    return MappingProxyType(rules)


RULES = gather(ROOMS)
RUN_RULES = gather((run,))
"""Judged only where there was a verifier run: code that was not run has no bug checks."""


def judge(evidence: Evidence) -> tuple[RuleResult, ...]:
    """Run every rule, in order of id."""
    rules = dict(RULES)
    if Origin.VERIFIER in evidence.origins:
        rules |= RUN_RULES
    return mark((rules[name].judge(evidence) for name in sorted(rules)), evidence.allowances)


__all__ = ["RULES", "RUN_RULES", "Rule", "executable", "gather", "judge"]
