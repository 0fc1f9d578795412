"""Fixes sources: takes the edits of a report, makes them, and keeps only those that help.

Theory of operation: the edits are made in memory and the sources are evaluated again with the new
texts. A finding that is still there, or a new one, withdraws the edits of its call or its file,
until nothing has to be withdrawn. Knows evaluation and edits; prints nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hvci.errors import InputError
from hvci.evaluate import Options, evaluate_source
from hvci.model import Edit, Finding, Level, Outcome, Report, SourceSite
from hvci.source.text.apply import changed, chosen, read_text

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
class Left:
    """A finding that is still there, and what would help."""

    site: SourceSite
    what: str
    how: str


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What can be fixed."""

    files: tuple[Fixed, ...]
    fixed: int
    """Findings that are gone."""
    left: int
    """Findings that still fail or cannot be decided; those that the author accepted apart."""
    withdrawn: tuple[Withdrawn, ...]
    remaining: tuple[Left, ...] = ()
    """Those that are left, and notes for which an edit of another level is known."""


def fix(path: str, options: Options, level: Level = Level.SAFE) -> Outcomes:
    """Find the edits up to a level that make findings go away and bring no new ones.

    The path may be one that a report names: a list of targets with one of them behind a "#".
    Raises `InputError` when the path leads to no source.
    """
    path = path if Path(path).exists() else path.partition("#")[0]
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
            left = tuple(_left(after, level))
            return Outcomes(files, gone, _failing(after), tuple(withdrawn), left)
        for key, reason in sorted(bad.items()):
            del plan[key]
            withdrawn.append(Withdrawn(SourceSite(key[1], key[2]), reason))
    raise InputError(f"{path}: the edits disturb each other; fix it by hand")


def _plan(report: Report, level: Level) -> dict[Key, tuple[Edit, ...]]:
    """The edits of each line's findings; a finding whose edits go beyond the level has none."""
    plan: dict[Key, tuple[Edit, ...]] = {}
    for key, finding in _findings(report):
        levels = [LEVELS.index(edit.level) for edit in finding.edits]
        if levels and max(levels) <= LEVELS.index(level):
            plan[key] = tuple(sorted({*plan.get(key, ()), *finding.edits}))
    return plan


def _findings(report: Report) -> Iterator[tuple[Key, Finding]]:
    """The findings at source places that nobody accepted."""
    for result in report.results:
        for finding in result.findings:
            site = finding.site
            if isinstance(site, SourceSite) and finding.ddi and finding.suppressed is None:
                yield (result.rule, site.path, site.line, finding.ddi), finding


def _failing(report: Report) -> int:
    bad = (Outcome.FAIL, Outcome.UNDECIDED)
    return sum(finding.outcome in bad for _, finding in _findings(report))


def _left(report: Report, level: Level) -> Iterator[Left]:
    """What the edits did not reach, in order of place, with the level that would."""
    for _, finding in sorted(_findings(report), key=lambda item: item[0]):
        bad = finding.outcome in (Outcome.FAIL, Outcome.UNDECIDED)
        assert isinstance(finding.site, SourceSite)
        needed = max((LEVELS.index(edit.level) for edit in finding.edits), default=0)
        if needed > LEVELS.index(level):
            yield Left(finding.site, finding.message, f"--level {LEVELS[needed]} edits it")
        elif bad:
            yield Left(finding.site, finding.message, finding.fix or "no edit is known")


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
    """How many findings each key has; notes count, because an edit can make them go."""
    return Counter(key for key, _ in _findings(report))
