"""What a policy does to reports: accepts findings, says what is stale, and sets the gate.

It changes no fact: verdict, answers, counters and sentences are about the driver, whoever accepts
what. An accepted finding is marked, and the gate, which makes the exit code, sets it aside.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from fnmatch import fnmatchcase

from hvci.model import Finding, ImageSite, Outcome, Report, RuleResult, Suppression
from hvci.policy.baseline import Baseline
from hvci.policy.config import Acceptance, Level, Policy
from hvci.policy.gate import gate_of, must_fail
from hvci.policy.paths import matches
from hvci.report import Document
from hvci.report.identity import Named, named_findings, short_name


def apply(
    document: Document, policy: Policy, today: date, baseline: Baseline | None = None
) -> Document:
    """Accept what the policy and the baseline accept; tell of what is expired or unused."""
    valid = [item for item in policy.accepted if item.expires is None or item.expires >= today]
    used: set[int] = set()
    reports = tuple(_report(report, policy, valid, used, baseline) for report in document.reports)
    stale = (*_expired(policy, today), *_unused(policy, valid, used))
    notices = (*document.notices, *stale, *_gone(baseline, reports))  # a saved report has some
    return replace(document, reports=reports, notices=tuple(dict.fromkeys(notices)))


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
            if _matches(item, report, named, policy.folder):
                used.add(id(item))
                reason = reason or _suppression(item, policy.file)
        reason = (
            reason
            or _by_command_line(policy, named)
            or _by_level(policy, named)
            or _by_baseline(baseline, policy, report, named)
        )
        accepted[named.result.rule].append(replace(named.finding, suppressed=reason))
    results = (_with(result, accepted[result.rule]) for result in report.results)
    left_out = frozenset(one.rule for one in report.results if policy.leaves_out(one.rule))
    judged = replace(report, results=tuple(results), policy_gate=None, left_out=left_out)
    gate = gate_of(judged, policy, baseline)
    return judged if gate is judged.gate else replace(judged, policy_gate=gate)


def _with(result: RuleResult, findings: list[Finding]) -> RuleResult:
    return replace(result, findings=tuple(findings))


def _suppression(item: Acceptance, file: str) -> Suppression:
    expires = item.expires.isoformat() if item.expires else ""
    return Suppression(item.reason, file, item.owner, expires)


def _matches(item: Acceptance, report: Report, named: Named, folder: str) -> bool:
    path = report.target.path
    conditions = (
        not item.rule or item.rule == named.result.rule,
        not item.ddi or item.ddi == named.finding.ddi,
        not item.fingerprint or item.fingerprint == named.fingerprint,
        not item.target
        or fnmatchcase(short_name(path), item.target)
        or matches(item.target, path, folder),
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


def _by_command_line(policy: Policy, named: Named) -> Suppression | None:
    option = policy.leaves_out(named.result.rule)
    return Suppression("left out on the command line", option) if option else None


def _by_level(policy: Policy, named: Named) -> Suppression | None:
    rule = named.result.rule
    if policy.levels.get(rule) is not Level.NOTE or named.finding.outcome is Outcome.NOTE:
        return None
    return Suppression(f'the level of {rule} is "note"', policy.file)


def _by_baseline(
    baseline: Baseline | None, policy: Policy, report: Report, named: Named
) -> Suppression | None:
    """What the baseline knows; a note needs no acceptance unless the policy fails on it."""
    is_note = named.finding.outcome is Outcome.NOTE
    if baseline is None or (is_note and not must_fail(named.result.rule, policy)):
        return None
    if not baseline.knows(report, named.fingerprint):
        return None
    return Suppression("known since the baseline was written", baseline.name)
