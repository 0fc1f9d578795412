"""Findings and reports: what the rules say about facts, and what anyone downstream sees."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from enum import StrEnum
from typing import NamedTuple

from hvci.model.facts import Confidence, DdiCall, Edit, Image, Limit, Machine, Origin, Site, Tier
from hvci.model.package import Package
from hvci.model.record import record
from hvci.model.signature import ListAnswer, Trust
from hvci.model.windows import WindowsVersion


class Outcome(StrEnum):
    """What one rule says about one target."""

    FAIL = "fail"
    UNDECIDED = "undecided"
    NOTE = "note"
    """Shown, and changes no verdict."""
    NOT_CHECKED = "not_checked"
    PASS = "pass"
    NOT_APPLICABLE = "not_applicable"


class Verdict(StrEnum):
    """What the whole report says."""

    INCOMPATIBLE = "incompatible"
    UNDECIDED = "undecided"
    COMPATIBLE = "compatible"


class Gate(StrEnum):
    """What is done with a report, once accepted findings are set aside and a policy has spoken."""

    PASS = "pass"
    FAIL = "fail"
    UNDECIDED = "undecided"


_GATES = {
    Verdict.COMPATIBLE: Gate.PASS,
    Verdict.INCOMPATIBLE: Gate.FAIL,
    Verdict.UNDECIDED: Gate.UNDECIDED,
}


class Question(StrEnum):
    """The questions that a report keeps apart."""

    LOADS = "loads"
    """Will the kernel accept the image with memory integrity on?"""
    READINESS = "readiness"
    """Would the HLK HyperVisor Code Integrity Readiness Test count nothing?"""
    RUNS = "runs"
    """Does the code keep working when no page is both writable and executable?"""


class Answer(StrEnum):
    """The answer to a `Question`."""

    YES = "yes"
    NO = "no"
    UNDECIDED = "undecided"


class Executable(StrEnum):
    """What the value rule says about one call: does the caller ask for executable memory?"""

    YES = "yes"
    NO = "no"
    UNDECIDED = "undecided"
    NOT_APPLICABLE = "n/a"


class Counter(StrEnum):
    """The seven counters of the readiness test; the value is the key in the JSON report."""

    EXECUTE_POOL_TYPE = "execute_pool_type"
    EXECUTE_PAGE_PROTECTION = "execute_page_protection"
    EXECUTE_PAGE_MAPPING = "execute_page_mapping"
    EXECUTE_WRITE_SECTION = "execute_write_section"
    SECTION_ALIGNMENT_FAILURES = "section_alignment_failures"
    UNSUPPORTED_RELOCS = "unsupported_relocs"
    IAT_IN_EXECUTABLE_SECTION = "iat_in_executable_section"

    @property
    def hlk_name(self) -> str:
        """The name in the readiness test and in `!verifier`, without "Count"."""
        return _HLK_NAMES[self]

    @property
    def rule(self) -> str:
        """Id of the rule that moves it."""
        return _RULE_IDS.get(self, self.value.replace("_", "-"))

    @property
    def subcode(self) -> int | None:
        """First parameter of bug check 0xC4; None for the relocations, which have none today."""
        return _SUBCODES.get(self)


_HLK_NAMES = {
    Counter.EXECUTE_POOL_TYPE: "Execute Pool Type",
    Counter.EXECUTE_PAGE_PROTECTION: "Execute Page Protection",
    Counter.EXECUTE_PAGE_MAPPING: "Execute Page Mapping",
    Counter.EXECUTE_WRITE_SECTION: "Execute-Write Section",
    Counter.SECTION_ALIGNMENT_FAILURES: "Section Alignment Failures",
    Counter.UNSUPPORTED_RELOCS: "Unsupported Relocs",
    Counter.IAT_IN_EXECUTABLE_SECTION: "IAT in Executable Section",
}

_RULE_IDS = {Counter.SECTION_ALIGNMENT_FAILURES: "section-alignment"}

_SUBCODES = {
    Counter.EXECUTE_POOL_TYPE: 0x2000,
    Counter.EXECUTE_PAGE_PROTECTION: 0x2001,
    Counter.EXECUTE_PAGE_MAPPING: 0x2002,
    Counter.EXECUTE_WRITE_SECTION: 0x2003,
    Counter.SECTION_ALIGNMENT_FAILURES: 0x2004,
    Counter.IAT_IN_EXECUTABLE_SECTION: 0x2005,
}


@record
class Suppression:
    """Why somebody accepted a finding."""

    reason: str
    by: str
    """Where it was said: a pragma, a comment, or the policy file."""
    owner: str = ""
    expires: str = ""
    """ISO date; empty when it never expires."""


@record
class Finding:
    """One place where a rule fails, cannot decide, or has something to say. A place is required."""

    outcome: Outcome
    message: str
    site: Site
    origin: Origin
    confidence: Confidence = Confidence.DOCUMENTED
    fix: str = ""
    ddi: str | None = None
    count: int = 1
    """How far the finding moves its rule's counter; 1 for a failure of a rule without one.

    0: it is told and not counted, as notes are.
    """
    excerpt: tuple[str, ...] = ()
    """The instructions or source lines that lead to the place; the last one is at it."""
    tier: Tier | None = None
    suppressed: Suppression | None = None
    edits: tuple[Edit, ...] = ()
    """What to write in the source; empty when there is no source or no edit is known."""


@record
class RuleResult:
    """What one rule says about one target; `reason` is why it could not say more."""

    rule: str
    outcome: Outcome
    findings: tuple[Finding, ...] = ()
    reason: str = ""
    subcode: int | None = None
    counter: Counter | None = None
    questions: frozenset[Question] = frozenset()


class JudgedCall(NamedTuple):
    """A call with the value rule's answer for it."""

    call: DdiCall
    executable: Executable


@record
class Target:
    """What was evaluated."""

    path: str
    sha256: str
    size_bytes: int
    kind: str
    """"image" or "source"."""
    machine: Machine | None = None


@record
class Report:
    """The whole answer about one target."""

    target: Target
    target_os: WindowsVersion
    results: tuple[RuleResult, ...]
    calls: tuple[JudgedCall, ...] = ()
    limits: tuple[Limit, ...] = ()
    image: Image | None = None
    blocklisted: Answer | None = None
    """YES when a given block list names the driver; None when no list was given."""
    verifier: Mapping[str, object] | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    left_out: frozenset[str] = frozenset()
    """Rules that somebody asked to leave out of what people read; in no saved report."""
    policy_gate: Gate | None = None
    """What a policy decided; None when none was asked."""
    trust: Trust | None = None
    """Who signed an image; None for sources, and in reports of older versions."""
    package: Package | None = None
    """What the INF of its package says of a driver that was found in one."""
    lists: tuple[ListAnswer, ...] = ()
    """What the lists that were given say about an image."""

    @property
    def answers(self) -> dict[Question, Answer | None]:
        """One answer for each question; None when nothing was asked that could answer it.

        They are about the driver: who accepts a finding changes nothing here.
        """
        return {
            question: _answer(
                {result.outcome for result in self.results if question in result.questions}
            )
            for question in Question
        }

    @property
    def verdict(self) -> Verdict:
        """The worst of the answers; never compatible by silence."""
        return worst_answer(self.answers.values())

    @property
    def open_answers(self) -> dict[Question, Answer | None]:
        """The answers that are left when accepted findings are set aside."""
        return {
            question: _answer(
                {open_outcome(one) for one in self.results if question in one.questions}
            )
            for question in Question
        }

    @property
    def gate(self) -> Gate:
        """What is done with it: what a policy decided, else what the open answers say."""
        return self.policy_gate or _GATES[worst_answer(self.open_answers.values())]

    @property
    def counters(self) -> dict[Counter, int]:
        """The seven counters, as the findings would move them.

        The sources of an image show the same calls once more, so beside one they do not count.
        """
        counts = dict.fromkeys(Counter, 0)
        for result in self.results:
            if result.counter is not None:
                counts[result.counter] += sum(
                    self.counted(result, finding) for finding in result.findings
                )
        return counts

    def counted(self, result: RuleResult, finding: Finding) -> int:
        """How far a finding moves the counter of its rule."""
        fails = result.counter is not None and finding.outcome is Outcome.FAIL
        again = self.image is not None and finding.origin is Origin.SOURCE
        return finding.count if fails and not again else 0

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings, in the order of the rules."""
        return tuple(finding for result in self.results for finding in result.findings)


def _answer(outcomes: set[Outcome]) -> Answer | None:
    """The answer to a question from the outcomes of its rules."""
    if Outcome.FAIL in outcomes:
        return Answer.NO
    if Outcome.UNDECIDED in outcomes:
        return Answer.UNDECIDED
    if not outcomes - {Outcome.NOT_CHECKED, Outcome.NOT_APPLICABLE}:
        return None
    return Answer.UNDECIDED if Outcome.NOT_CHECKED in outcomes else Answer.YES


def worst_answer(answers: Iterable[Answer | None]) -> Verdict:
    """The verdict that answers give together; nothing asked is nothing decided."""
    given = set(answers)
    if Answer.NO in given:
        return Verdict.INCOMPATIBLE
    if Answer.UNDECIDED in given or given <= {None}:
        return Verdict.UNDECIDED
    return Verdict.COMPATIBLE


def open_outcome(result: RuleResult) -> Outcome:
    """The outcome that is left when suppressed findings are set aside."""
    if not any(finding.suppressed for finding in result.findings):
        return result.outcome
    left = {finding.outcome for finding in result.findings if finding.suppressed is None}
    if Outcome.FAIL in left:
        return Outcome.FAIL
    if Outcome.UNDECIDED in left or result.reason:  # a limit stands whatever was suppressed
        return Outcome.UNDECIDED
    return Outcome.NOTE if left else Outcome.PASS
