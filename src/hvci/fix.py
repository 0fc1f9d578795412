"""Fixes sources: takes the edits of a report, makes them, and keeps only those that help.

Theory of operation: the edits are made in memory and the sources are evaluated again with the new
texts. A finding that is still there, or a new one, withdraws the edits of its call or its file,
until nothing has to be withdrawn. Knows evaluation and edits; prints nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from hvci.errors import InputError
from hvci.evaluate import Options, evaluate_source
from hvci.model import Edit, Finding, Level, Outcome, Report, SourceSite
from hvci.source.apply import changed, chosen, read_text

MAX_ROUNDS = 6
LEVELS = tuple(Level)

Key = tuple[str, str, int, str]
"""Rule, path, line and DDI of a finding: what survives an edit in the same line."""


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """An edit that was not kept, and why."""

    site: SourceSite
    reason: str


@dataclass(frozen=True, slots=True)
class Fixed:
    """One file with its edits made."""

    path: str
    before: bytes
    after: bytes
    edits: tuple[Edit, ...]


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What can be fixed."""

    files: tuple[Fixed, ...]
    fixed: int
    """Findings that are gone."""
    left: int
    """Findings that still fail or cannot be decided; those that the author accepted apart."""
    withdrawn: tuple[Withdrawn, ...]


def fix(path: str, options: Options, level: Level = Level.SAFE) -> Outcomes:
    """Find the edits up to a level that make findings go away and bring no new ones.

    Raises `InputError` when the path leads to no source.
    """
    before = evaluate_source(path, options)
    plan = _plan(before, level)
    withdrawn: list[Withdrawn] = []
    for _ in range(MAX_ROUNDS):
        files = _made(edit for edits in plan.values() for edit in edits)
        texts = {file.path: file.after for file in files}
        after = evaluate_source(path, options, texts) if files else before
        bad = _bad(before, after, plan)
        if not bad:
            was, now = _counts(before), _counts(after)
            gone = sum(was[key] - now[key] for key in plan)
            return Outcomes(files, gone, len(_failing(after)), tuple(withdrawn))
        for key, reason in sorted(bad.items()):
            del plan[key]
            withdrawn.append(Withdrawn(SourceSite(key[1], key[2]), reason))
    raise InputError(f"{path}: the edits disturb each other; fix it by hand")


def _plan(report: Report, level: Level) -> dict[Key, tuple[Edit, ...]]:
    """The edits of each finding, all of them up to the level."""
    return {
        key: finding.edits
        for key, finding in _findings(report).items()
        if finding.edits
        and finding.suppressed is None
        and all(LEVELS.index(edit.level) <= LEVELS.index(level) for edit in finding.edits)
    }


def _findings(report: Report) -> dict[Key, Finding]:
    found: dict[Key, Finding] = {}
    for result in report.results:
        for finding in result.findings:
            if isinstance(finding.site, SourceSite) and finding.ddi:
                site = finding.site
                key = (result.rule, site.path, site.line, finding.ddi)
                first = found.get(key)
                found[key] = _together(first, finding) if first is not None else finding
    return found


def _together(first: Finding, second: Finding) -> Finding:
    """Two findings of one rule in one line."""
    return replace(first, edits=tuple(sorted({*first.edits, *second.edits})))


def _failing(report: Report) -> dict[Key, Finding]:
    bad = (Outcome.FAIL, Outcome.UNDECIDED)
    found = _findings(report).items()
    return {key: one for key, one in found if one.outcome in bad and one.suppressed is None}


def _made(edits: Iterable[Edit]) -> tuple[Fixed, ...]:
    by_path: dict[str, list[Edit]] = {}
    for edit in edits:
        by_path.setdefault(edit.path, []).append(edit)
    files = []
    for path, many in sorted(by_path.items()):
        before, _ = read_text(path)
        files.append(Fixed(path, before, changed(before, many), tuple(chosen(many))))
    return tuple(files)


def _bad(before: Report, after: Report, plan: dict[Key, tuple[Edit, ...]]) -> dict[Key, str]:
    """The planned keys whose edits do not help or do harm."""
    was, now = _counts(before), _counts(after)
    bad = {key: "the finding is still there after the edit" for key in plan if now[key] >= was[key]}
    for rule, path, line, ddi in (key for key in now if now[key] > was[key]):
        for key, edits in plan.items():
            if any(edit.path == path and edit.line == line for edit in edits):
                bad[key] = f"the edit makes {rule} complain about {ddi}"
    return bad


def _counts(report: Report) -> Counter[Key]:
    """How many findings each key has; notes count where an edit can make them go."""
    return Counter(
        (result.rule, finding.site.path, finding.site.line, finding.ddi)
        for result in report.results
        for finding in result.findings
        if isinstance(finding.site, SourceSite) and finding.ddi and finding.suppressed is None
    )
