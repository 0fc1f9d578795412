"""What a policy lets through: the gate of one report, once accepted findings are set aside.

Knows facts, acceptances and what the baseline knows; changes none of them.
"""

from __future__ import annotations

from dataclasses import replace

from hvci.model import (
    Gate,
    Outcome,
    Question,
    Report,
    RuleResult,
    Verdict,
    open_outcome,
    worst_answer,
)
from hvci.policy.baseline import Baseline
from hvci.policy.config import Level, Policy, Profile, Undecided

_SELECTED = RuleResult("", Outcome.PASS, questions=frozenset(Question))
"""Answers what rules would that were left out; what the others leave open stays open."""
_STRICT_RULES = frozenset(("executable-by-default",))
_UNDECIDED = {
    Undecided.FAIL: Gate.FAIL,
    Undecided.TELL: Gate.UNDECIDED,
    Undecided.PASS: Gate.PASS,
}


def gate_of(report: Report, policy: Policy, baseline: Baseline | None = None) -> Gate:
    """Whether the policy lets the driver pass."""
    left = tuple(one for one in report.results if not policy.leaves_out(one.rule))
    if len(left) < len(report.results):
        return _gate(replace(report, results=(*left, _SELECTED)), policy, baseline)
    return _gate(report, policy, baseline)


def _gate(report: Report, policy: Policy, baseline: Baseline | None) -> Gate:
    if any(must_fail(result.rule, policy) and _is_open(result) for result in report.results):
        return Gate.FAIL
    verdict = _verdict(_without_known_limits(report, baseline), policy, baseline)
    if verdict is Verdict.UNDECIDED:
        return Gate.FAIL if policy.profile is Profile.STRICT else _UNDECIDED[policy.undecided]
    return Gate.FAIL if verdict is Verdict.INCOMPATIBLE else Gate.PASS


def must_fail(rule: str, policy: Policy) -> bool:
    """Whether the policy fails on any finding of this rule, a note as well."""
    level = policy.levels.get(rule, Level.DEFAULT)
    if level is Level.DEFAULT and policy.profile is Profile.STRICT:
        level = Level.FAIL if rule in _STRICT_RULES else level
    return level is Level.FAIL


def _is_open(result: RuleResult) -> bool:
    return any(finding.suppressed is None for finding in result.findings)


def _verdict(report: Report, policy: Policy, baseline: Baseline | None) -> Verdict:
    """The verdict on what is left open."""
    answers = report.open_answers
    if policy.profile is Profile.LOAD_ONLY:
        loads = answers[Question.LOADS]
        return Verdict.COMPATIBLE if loads is None else worst_answer((loads,))
    if baseline is not None and baseline.has(report) and set(answers.values()) == {None}:
        return Verdict.COMPATIBLE  # nothing could be examined then either
    return worst_answer(answers.values())


def _without_known_limits(report: Report, baseline: Baseline | None) -> Report:
    """Set aside what a limit left open when the baseline was written already."""
    if baseline is None:
        return report
    known = baseline.undecided_rules(report)
    results = tuple(_known(result) if result.rule in known else result for result in report.results)
    return replace(report, results=results)


def _known(result: RuleResult) -> RuleResult:
    """The result without its limit: only findings that nobody accepted still count."""
    left = [one for one in result.findings if one.suppressed is None]
    is_open = any(one.outcome in (Outcome.FAIL, Outcome.UNDECIDED) for one in left)
    outcome = open_outcome(replace(result, reason="")) if is_open else Outcome.PASS
    return replace(result, reason="", outcome=outcome)
