"""What the database keeps of one driver: the columns that questions are about, and the report.

Every text that comes from a driver is made printable here, before it comes near a database.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hvci.model import Answer, Finding, Outcome, Question, Report, RuleResult, Signed
from hvci.report.document import TargetError
from hvci.report.encode import report_fields
from hvci.report.safe import safe
from hvci.report.sentence import summary, told_answers

LONGEST = 1000
TOLD = (Outcome.FAIL, Outcome.UNDECIDED, Outcome.NOTE)
PACKAGE = "package"
"""The kind of a row that stands for other rows."""
NOTHING = "-"
"""A question that nobody answered: SQL's NULL would drop out of every comparison."""


@dataclass(frozen=True, slots=True)
class Row:
    """A result, as plain data."""

    columns: Mapping[str, Any]
    findings: tuple[tuple[str, str, str, int], ...] = ()
    """Rule, outcome, DDI and number of places."""


def row_of(report: Report, sha256: str) -> Row:
    """The row of a report."""
    answers = told_answers(report)
    tally = _findings(report)
    columns = {
        "sha256": sha256,
        "kind": "report",
        "verdict": report.verdict.value,
        **{question.value: _word(answers[question.value]) for question in Question},
        "summary": safe(summary(report), LONGEST),
        "machine": report.target.machine.value if report.target.machine else NOTHING,
        "size": report.target.size_bytes,
        "signed": report.trust.signed.value if report.trust else NOTHING,
        "driver_policy": report.trust.driver_policy.value if report.trust else NOTHING,
        "vendor": _vendor(report),
        "failures": _places(tally, Outcome.FAIL),
        "doubts": _places(tally, Outcome.UNDECIDED),
    }
    return Row(columns, tuple((*key, places) for key, places in sorted(tally.items())))


def refused(error: Exception, sha256: str, size: int) -> Row:
    """The row of bytes that no report can be made of."""
    told = TargetError.of("", error)
    words = dict.fromkeys(("verdict", "loads", "readiness", "runs"), NOTHING)
    texts = dict.fromkeys(("machine", "signed", "driver_policy", "vendor"), NOTHING)
    columns: dict[str, Any] = {**words, **texts, "sha256": sha256, "size": size}
    columns |= {"kind": told.kind, "summary": safe(told.message, LONGEST)}
    return Row(columns | {"failures": 0, "doubts": 0})


def package_row(sha256: str, size: int, summary: str) -> Row:
    """The row of an archive, which has no verdict of its own."""
    words = dict.fromkeys(("verdict", "loads", "readiness", "runs"), NOTHING)
    texts = dict.fromkeys(("machine", "signed", "driver_policy", "vendor"), NOTHING)
    columns: dict[str, Any] = {**words, **texts, "sha256": sha256, "size": size}
    columns |= {"kind": PACKAGE, "summary": safe(summary, LONGEST), "failures": 0, "doubts": 0}
    return Row(columns)


def stored_fields(report: Report) -> dict[str, Any]:
    """The report as it is kept: without the times, which differ from run to run.

    The digest stands in the row, and nothing compresses it.
    """
    fields = report_fields(report)
    return {**fields, "target": {**fields["target"], "sha256": ""}, "seconds": {}}


def _word(answer: Answer | None) -> str:
    return answer.value if answer else NOTHING


def _vendor(report: Report) -> str:
    """Whom the first good signature names: for Microsoft's programs, who submitted the driver."""
    for one in report.trust.signatures if report.trust else ():
        if one.signed is not Signed.DAMAGED and (one.submitter or one.signer):
            return safe(one.submitter or one.signer)
    return NOTHING


def _findings(report: Report) -> Tally[tuple[str, str, str]]:
    tally: Tally[tuple[str, str, str]] = Tally()
    for result in report.results:
        if result.outcome in TOLD and not result.findings:
            tally[_key(result, None)] = 0  # a limit without a place
        for one in result.findings:
            tally[_key(result, one)] += one.count
    return tally


def _key(result: RuleResult, finding: Finding | None) -> tuple[str, str, str]:
    outcome = finding.outcome if finding else result.outcome
    ddi = finding.ddi if finding else None
    return result.rule, outcome.value, safe(ddi or NOTHING)


def _places(tally: Tally[tuple[str, str, str]], outcome: Outcome) -> int:
    return sum(max(places, 1) for (_, said, _), places in tally.items() if said == outcome)
