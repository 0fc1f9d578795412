"""Many drivers at a glance: one row for each target, the worst first, and totals.

Knows the document; every output lays the same rows out in its own way.
"""

from __future__ import annotations

from collections import Counter as Tally
from enum import StrEnum

from hvci.model import Answer, Counter, Question, Report, Verdict
from hvci.model.record import record
from hvci.report import words
from hvci.report.document import Document, TargetError
from hvci.report.sentence import places, summary


class Fate(StrEnum):
    """What becomes of a target, the worst first."""

    WILL_NOT_LOAD = "will not load"
    BREAKS = "breaks when it runs"
    FAILS = "fails the readiness test"
    UNREADABLE = "could not be read"
    UNDECIDED = "undecided"
    NOT_TRIED = "not evaluated"
    PASSES = "loads and runs, passes the readiness test"
    NOT_A_DRIVER = "not a driver for memory integrity"

    @property
    def of_many(self) -> str:
        """The same of several targets."""
        return _OF_MANY.get(self, self.value)


_OF_MANY = {
    Fate.BREAKS: "break when they run",
    Fate.FAILS: "fail the readiness test",
    Fate.PASSES: "load and run, pass the readiness test",
    Fate.NOT_A_DRIVER: "not drivers for memory integrity",
}
_RANKS = {fate: rank for rank, fate in enumerate(Fate)}
SHORT_NAMES = {
    Counter.EXECUTE_POOL_TYPE: "pool",
    Counter.EXECUTE_PAGE_PROTECTION: "protection",
    Counter.EXECUTE_PAGE_MAPPING: "mapping",
    Counter.EXECUTE_WRITE_SECTION: "W+X section",
    Counter.SECTION_ALIGNMENT_FAILURES: "alignment",
    Counter.UNSUPPORTED_RELOCS: "relocations",
    Counter.IAT_IN_EXECUTABLE_SECTION: "IAT in code",
}
"""The counters where room is short."""
HEADS = ("target", "machine", "loads", "readiness", "runs", "counters", "gate")
"""The columns of the table."""


@record
class Row:
    """One target of a run."""

    path: str
    fate: Fate
    sentence: str
    report: Report | None = None
    error: TargetError | None = None
    index: int = -1
    """Position of the report in the document."""

    @property
    def machine(self) -> str:
        """The machine, or "source"; empty where nothing was read."""
        if self.report is None:
            return ""
        return self.report.target.machine or self.report.target.kind

    @property
    def answers(self) -> tuple[str, str, str]:
        """The three answers in a word each; empty where nothing was read."""
        if self.report is None:
            return ("", "", "")
        loads, readiness, runs = (words.answer_word(self.report, one) for one in Question)
        return (loads, readiness, runs)

    @property
    def counters(self) -> str:
        """The counters that are not zero."""
        counts = self.report.counters.items() if self.report else ()
        return ", ".join(f"{SHORT_NAMES[counter]} {count}" for counter, count in counts if count)

    @property
    def gate(self) -> str:
        """What the exit code is made of."""
        if self.report is not None:
            return self.report.gate.value
        return "-" if self.fate is Fate.NOT_A_DRIVER else "fail"

    @property
    def cells(self) -> tuple[str, ...]:
        """The row of the table; what could not be read says why in the place of its counters."""
        if self.report is None:
            return (self.path, "-", "-", "-", "-", self.sentence, self.gate)
        return (self.path, self.machine, *self.answers, self.counters or "-", self.gate)


def rows(document: Document) -> list[Row]:
    """The targets, the worst first; those that are as bad as each other by path."""
    made = [_of_report(report, index) for index, report in enumerate(document.reports)]
    made += [_of_error(error) for error in document.errors]
    return sorted(made, key=_badness)


def _badness(row: Row) -> tuple[int, int, str]:
    counted = places(row.report) if row.report else 0
    return (_RANKS[row.fate], -counted, row.path)


def _of_report(report: Report, index: int) -> Row:
    return Row(report.target.path, fate_of(report), summary(report), report, None, index)


def fate_of(report: Report) -> Fate:
    """What becomes of a driver; whoever accepts what changes nothing."""
    for question, fate in (
        (Question.LOADS, Fate.WILL_NOT_LOAD),
        (Question.RUNS, Fate.BREAKS),
        (Question.READINESS, Fate.FAILS),
    ):
        if report.answers[question] is Answer.NO:
            return fate
    return Fate.PASSES if report.verdict is Verdict.COMPATIBLE else Fate.UNDECIDED


def _of_error(error: TargetError) -> Row:
    fate = fate_of_error(error)
    return Row(error.path, fate, f"{fate}: {error.message.rstrip('.')}", error=error)


def fate_of_error(error: TargetError) -> Fate:
    """Why there is no report for a target."""
    if not error.was_tried:
        return Fate.NOT_TRIED
    return Fate.UNREADABLE if error.applies else Fate.NOT_A_DRIVER


def totals(document: Document) -> str:
    """How many targets there are of each fate, in one line."""
    fates = Tally(row.fate for row in rows(document))
    counted = [
        f"{fates[fate]} {fate if fates[fate] == 1 else fate.of_many}"
        for fate in Fate
        if fates[fate]
    ]
    total = fates.total()
    return f"{total} {'target' if total == 1 else 'targets'}: {'; '.join(counted)}"


def is_wanted(document: Document) -> bool:
    """Whether there is more than one target to look at."""
    return len(document.reports) + len(document.errors) > 1
