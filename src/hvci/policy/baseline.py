"""A baseline: the findings that were there when somebody looked, so that only new ones fail.

Knows fingerprints, never addresses; opens no file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from hvci.errors import InputError, UsageError
from hvci.model import Outcome, Report
from hvci.report import Document
from hvci.report.fields import Fields, read
from hvci.report.identity import named_findings, short_name

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one driver."""

    findings: frozenset[str] = frozenset()
    """Fingerprints."""
    undecided: frozenset[str] = frozenset()
    """Rules that a limit left undecided."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """What is known of each driver, by file name."""

    name: str
    targets: Mapping[str, Known] = field(default_factory=dict)

    def _known(self, report: Report) -> Known:
        return self.targets.get(short_name(report.target.path), Known())

    def knows(self, report: Report, fingerprint: str) -> bool:
        """Whether the finding was there already."""
        return fingerprint in self._known(report).findings

    def gone(self, report: Report) -> int:
        """How many known findings of the driver are there no more."""
        there = {named.fingerprint for named in named_findings(report)}
        return len(self._known(report).findings - there)

    def undecided_rules(self, report: Report) -> frozenset[str]:
        """Rules that were undecided already."""
        return self._known(report).undecided


def baseline_of(document: Document) -> str:
    """The baseline of these reports as JSON text, one readable line per finding."""
    targets = {}
    for report in sorted(document.reports, key=lambda report: report.target.path):
        findings = {
            named.fingerprint: f"{named.result.rule}: {named.finding.message}"
            for named in named_findings(report)
            if named.finding.outcome is not Outcome.NOTE
        }
        undecided = sorted(
            result.rule for result in report.results if result.outcome is Outcome.UNDECIDED
        )
        name = short_name(report.target.path)
        targets[name] = {"findings": dict(sorted(findings.items())), "undecided": undecided}
    data = {"baseline_version": SCHEMA_VERSION, "targets": targets}
    return json.dumps(data, indent=1) + "\n"


def parse_baseline(text: str, name: str) -> Baseline:
    """Read a baseline; raise `UsageError` when it is none."""
    try:
        return Baseline(name, read(Fields("the baseline", json.loads(text)), _targets))
    except (ValueError, RecursionError, InputError) as error:
        raise UsageError(f"{name}: this is not a baseline: {error}") from error


def _targets(fields: Fields) -> Mapping[str, Known]:
    if fields.take("baseline_version", int) != SCHEMA_VERSION:
        raise fields.refuse(f"needs baseline_version {SCHEMA_VERSION}")
    return fields.mapping("targets", lambda inner, name: inner.nested(name, _target))


def _target(fields: Fields) -> Known:
    findings = fields.mapping("findings", lambda inner, key: (inner.take(key, str), key)[1])
    return Known(frozenset(findings), frozenset(fields.plain("undecided", str)))
