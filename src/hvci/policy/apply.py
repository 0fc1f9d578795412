"""What a policy does to reports: accepts findings, says what is stale, and decides the exit code.

The verdict stays a statement of fact; only accepted findings leave it. What a team wants to fail
on beyond that is the exit code's business.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from fnmatch import fnmatchcase

from hvci.model import (
    Answer,
    Finding,
    ImageSite,
    Outcome,
    Question,
    Report,
    RuleResult,
    Suppression,
    Verdict,
)
from hvci.policy.baseline import Baseline
from hvci.policy.config import Acceptance, Level, Policy, Profile, Undecided
from hvci.report import Document, worst
from hvci.report.identity import Named, named_findings, short_name

COMPATIBLE, INCOMPATIBLE, UNDECIDED = 0, 1, 3
_STRICT_RULES = frozenset(("executable-by-default",))
_UNDECIDED_EXITS = {Undecided.FAIL: INCOMPATIBLE, Undecided.TELL: UNDECIDED, Undecided.PASS: 0}


def apply(
    document: Document, policy: Policy, today: date, baseline: Baseline | None = None
) -> Document:
    """Accept what the policy and the baseline accept; tell of what is expired or unused."""
    valid = [item for item in policy.accepted if item.expires is None or item.expires >= today]
    used: set[int] = set()
    reports = tuple(_report(report, policy, valid, used, baseline) for report in document.reports)
    stale = (*_expired(policy, today), *_unused(policy, valid, used))
    notices = (*stale, *_gone(baseline, reports))
    return replace(document, reports=reports, notices=(*document.notices, *notices))


def _expired(policy: Policy, today: date) -> Iterable[str]:
    for item in policy.accepted:
        if item.expires is not None and item.expires < today:
            yield f"{policy.file}: the suppression of {item.what} expired on {item.expires}"


def _unused(policy: Policy, valid: Iterable[Acceptance], used: set[int]) -> Iterable[str]:
    for item in valid:
        if id(item) not in used:
            yield f"{policy.file}: the suppression of {item.what} matches nothing; remove it"


def _gone(baseline: Baseline | None, reports: Iterable[Report]) -> Iterable[str]:
    if baseline is None:
        return
    for report in reports:
        if count := baseline.gone(report):
            name = short_name(report.target.path)
            yield f"{baseline.name}: {count} known findings of {name} are gone; write it again"


def _report(
    report: Report,
    policy: Policy,
    valid: list[Acceptance],
    used: set[int],
    baseline: Baseline | None,
) -> Report:
    accepted: dict[str, list[Finding]] = {result.rule: [] for result in report.results}
    for named in named_findings(report):
        reason = named.finding.suppressed
        for item in valid:
            if _matches(item, report, named):
                used.add(id(item))
                reason = reason or _suppression(item, policy.file)
        reason = reason or _by_level(policy, named) or _by_baseline(baseline, report, named)
        accepted[named.result.rule].append(replace(named.finding, suppressed=reason))
    results = (_with(result, accepted[result.rule]) for result in report.results)
    return replace(report, results=tuple(results))


def _with(result: RuleResult, findings: list[Finding]) -> RuleResult:
    return replace(result, findings=tuple(findings))


def _suppression(item: Acceptance, file: str) -> Suppression:
    expires = item.expires.isoformat() if item.expires else ""
    return Suppression(item.reason, file, item.owner, expires)


def _matches(item: Acceptance, report: Report, named: Named) -> bool:
    path = report.target.path.replace("\\", "/")
    conditions = (
        not item.rule or item.rule == named.result.rule,
        not item.ddi or item.ddi == named.finding.ddi,
        not item.fingerprint or item.fingerprint == named.fingerprint,
        not item.target or _any_matches(item.target, (path, short_name(path))),
        not item.place or _any_matches(item.place, _places(named.finding)),
    )
    return all(conditions)


def _any_matches(pattern: str, names: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for name in names if name)


def _places(finding: Finding) -> Iterable[str]:
    """What a place can be called: function, section, file, file name, and each with its line."""
    site = finding.site
    file = site.file if isinstance(site, ImageSite) else site.path
    yield site.function or ""
    if isinstance(site, ImageSite):
        yield site.section
    if file:
        for name in (file.replace("\\", "/"), short_name(file)):
            yield from (name, f"{name}:{site.line}")


def _by_level(policy: Policy, named: Named) -> Suppression | None:
    rule = named.result.rule
    if policy.levels.get(rule) is not Level.NOTE or named.finding.outcome is Outcome.NOTE:
        return None
    return Suppression(f'the level of {rule} is "note"', policy.file)


def _by_baseline(baseline: Baseline | None, report: Report, named: Named) -> Suppression | None:
    if baseline is None or named.finding.outcome is Outcome.NOTE:
        return None
    if not baseline.knows(report, named.fingerprint):
        return None
    return Suppression("known since the baseline was written", baseline.name)


# ---------------------------------------------------------------------- exit code


def exit_code(document: Document, policy: Policy, baseline: Baseline | None = None) -> int:
    """The exit code that the policy wants for the worst target."""
    codes = {_code(_without_known_limits(report, baseline), policy) for report in document.reports}
    return worst(codes | {error.exit_code for error in document.errors})


def _without_known_limits(report: Report, baseline: Baseline | None) -> Report:
    """Set aside rules that a limit left undecided when the baseline was written already."""
    if baseline is None:
        return report
    known = baseline.undecided_rules(report)
    results = tuple(
        replace(result, outcome=Outcome.PASS)
        if result.outcome is Outcome.UNDECIDED and not result.findings and result.rule in known
        else result
        for result in report.results
    )
    return replace(report, results=results)


def _code(report: Report, policy: Policy) -> int:
    if any(_must_fail(result, policy) for result in report.results):
        return INCOMPATIBLE
    verdict = report.verdict
    if policy.profile is Profile.LOAD_ONLY:
        verdict = _verdict_of(report.answers[Question.LOADS])
    if verdict is Verdict.UNDECIDED:
        strict = policy.profile is Profile.STRICT
        return INCOMPATIBLE if strict else _UNDECIDED_EXITS[policy.undecided]
    return INCOMPATIBLE if verdict is Verdict.INCOMPATIBLE else COMPATIBLE


def _verdict_of(answer: Answer | None) -> Verdict:
    if answer is Answer.NO:
        return Verdict.INCOMPATIBLE
    return Verdict.UNDECIDED if answer is Answer.UNDECIDED else Verdict.COMPATIBLE


def _must_fail(result: RuleResult, policy: Policy) -> bool:
    """Whether the policy fails on any finding of this rule."""
    level = policy.levels.get(result.rule, Level.DEFAULT)
    if level is Level.DEFAULT and policy.profile is Profile.STRICT:
        level = Level.FAIL if result.rule in _STRICT_RULES else level
    return level is Level.FAIL and any(finding.suppressed is None for finding in result.findings)
