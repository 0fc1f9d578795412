"""A baseline: the findings that were there when somebody looked, so that only new ones fail.

Knows fingerprints, never addresses; opens no file. A driver is known by its path as seen from the
baseline's folder, its machine and its configuration, so that builds of one name stay apart.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import field
from pathlib import PureWindowsPath
from typing import Any

from hvci.errors import InputError, UsageError
from hvci.model import Outcome, Report
from hvci.model.record import record
from hvci.report import Document
from hvci.report.fields import Fields, no_json, read
from hvci.report.identity import configuration, named_findings

SCHEMA_VERSION = 2
_OPEN = (Outcome.UNDECIDED, Outcome.NOT_CHECKED)


@record
class Known:
    """What is known of one driver."""

    findings: frozenset[str] = frozenset()
    """Fingerprints."""
    undecided: frozenset[str] = frozenset()
    """Rules that a limit left undecided."""


@record
class Baseline:
    """What is known of each driver, by its key."""

    name: str
    targets: Mapping[str, Known] = field(default_factory=dict)
    folder: str = ""
    """Where the file lies; paths of targets are seen from there."""

    @property
    def contents(self) -> str:
        """What stands in it, in one line."""
        findings = sum(len(known.findings) for known in self.targets.values())
        undecided = sum(len(known.undecided) for known in self.targets.values())
        return ", ".join(
            (
                _number(len(self.targets), "target"),
                _number(findings, "finding"),
                f"{_number(undecided, 'rule')} undecided",
            )
        )

    def _known(self, report: Report) -> Known:
        return self.targets.get(key_of(report, self.folder), Known())

    def has(self, report: Report) -> bool:
        """Whether the driver was there when the baseline was written."""
        return key_of(report, self.folder) in self.targets

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


def _number(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def key_of(report: Report, folder: str) -> str:
    """What a driver is called in a baseline that lies in a folder."""
    path = _relative(report.target.path, folder).replace("\\", "/")
    kind = report.target.machine or report.target.kind
    return " ".join(part for part in (path, f"[{kind}]", configuration(report)) if part)


def _relative(path: str, folder: str) -> str:
    """A path as seen from a folder; one on another drive, or none at all, stays what it is."""
    if path == "-" or (PureWindowsPath(path).drive and os.name != "nt"):
        return path
    try:
        return os.path.relpath(path, folder or os.curdir)
    except ValueError:
        return path


def baseline_of(document: Document, folder: str = "") -> str:
    """The baseline of these reports as JSON text, one readable line per finding."""
    targets: dict[str, dict[str, Any]] = {}
    for report in document.reports:
        known = targets.setdefault(key_of(report, folder), {"findings": {}, "undecided": []})
        known["findings"] |= {
            named.fingerprint: f"{named.result.rule}: {named.finding.message}"
            for named in named_findings(report)
        }
        known["undecided"] += [one.rule for one in report.results if one.outcome in _OPEN]
        # A limit can hide more of a rule that fails: without its findings it is undecided.
        known["undecided"] += [one.rule for one in report.results if one.findings and one.reason]
    for known in targets.values():
        known["findings"] = dict(sorted(known["findings"].items()))
        known["undecided"] = sorted(set(known["undecided"]))
    data = {"baseline_version": SCHEMA_VERSION, "targets": dict(sorted(targets.items()))}
    return json.dumps(data, indent=1) + "\n"


def parse_baseline(text: str, name: str, folder: str = "") -> Baseline:
    """Read a baseline; raise `UsageError` when it is none."""
    try:
        return Baseline(name, read(Fields("the baseline", json.loads(text)), _targets), folder)
    except (ValueError, RecursionError, InputError) as error:
        why = error if isinstance(error, InputError) else no_json(error)
        raise UsageError(f"{name}: this is not a baseline: {why}") from error


def _targets(fields: Fields) -> Mapping[str, Known]:
    if fields.take("baseline_version", int) != SCHEMA_VERSION:
        again = "hvci baseline write makes one"
        raise fields.refuse(f"needs baseline_version {SCHEMA_VERSION}; {again}")
    return fields.mapping("targets", lambda inner, name: inner.nested(name, _target))


def _target(fields: Fields) -> Known:
    findings = fields.mapping("findings", lambda inner, key: (inner.take(key, str), key)[1])
    return Known(frozenset(findings), frozenset(fields.plain("undecided", str)))
