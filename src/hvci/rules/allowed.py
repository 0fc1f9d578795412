"""Marks the findings that the author of a source accepted in the source itself.

Knows rule results and allowances; judges nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from hvci.model import Allowance, Finding, RuleResult, Suppression


def mark(
    results: Iterable[RuleResult], allowances: tuple[Allowance, ...]
) -> tuple[RuleResult, ...]:
    """The same results, with accepted findings marked as suppressed."""
    if not allowances:
        return tuple(results)
    return tuple(
        replace(
            result, findings=tuple(_marked(one, result.rule, allowances) for one in result.findings)
        )
        for result in results
    )


def _marked(finding: Finding, rule: str, allowances: tuple[Allowance, ...]) -> Finding:
    for allowance in allowances:
        if finding.suppressed is None and allowance.covers(rule, finding.site):
            said = Suppression(allowance.reason, allowance.by)
            return replace(finding, suppressed=said)
    return finding
