"""What a rule is, and how one is made from a documented function."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator

from hvci.model import (
    Counter,
    Evidence,
    Finding,
    Origin,
    Outcome,
    Question,
    RuleResult,
)
from hvci.model.record import record

Check = Callable[[Evidence], Iterator[Finding]]
Applies = Callable[[Evidence], str]
"""Says why a rule does not apply to a target; the empty string when it does."""
Because = Callable[[Evidence], str]
"""Says why a rule passes, where silence would not tell; the empty string otherwise."""


@record
class Rule:
    """One question about a target, with the names that Microsoft gives it."""

    id: str
    number: int
    """For tools that want one; where Driver Verifier has a sub-code, its hexadecimal digits."""
    counter: Counter | None
    questions: frozenset[Question]
    """The answers that it decides; empty for rules that only note."""
    sees: frozenset[Origin]
    """Any one of these origins is enough to answer."""
    explanation: str
    check: Check
    not_applicable: Applies
    because: Because

    @property
    def subcode(self) -> int | None:
        """First parameter of bug check 0xC4; None when Driver Verifier has none."""
        return self.counter.subcode if self.counter else None

    @property
    def title(self) -> str:
        """The finding as one sentence."""
        return self.explanation.partition("\n")[0]

    def judge(self, evidence: Evidence) -> RuleResult:
        """Answer for one target."""
        if not self.sees & evidence.origins:
            return self._by_the_way(evidence)
        if reason := self.not_applicable(evidence):
            return self._result(Outcome.NOT_APPLICABLE, reason=reason)
        findings = tuple(self.check(evidence))
        limits = [limit.reason for limit in evidence.limits if self.id in limit.rules]
        if not findings and not limits:
            return self._result(Outcome.PASS, reason=self.because(evidence))
        outcomes = {finding.outcome for finding in findings}
        reason = "; ".join(dict.fromkeys(limits))
        if Outcome.FAIL in outcomes:
            fails = [finding for finding in findings if finding.outcome is Outcome.FAIL]
            assert self.counter or all(one.count for one in fails), f"{self.id}: count of a failure"
            return self._result(Outcome.FAIL, findings, reason)
        if Outcome.UNDECIDED in outcomes or limits:
            return self._result(Outcome.UNDECIDED, findings, reason)
        return self._result(Outcome.NOTE, findings, self.because(evidence))

    def _by_the_way(self, evidence: Evidence) -> RuleResult:
        """Answer without the evidence that is needed: what somebody saw all the same can fail."""
        told = any(fact.rule == self.id for fact in evidence.behaviours)
        findings = tuple(self.check(evidence)) if told else ()
        failed = any(finding.outcome is Outcome.FAIL for finding in findings)
        reason = f"needs {' or '.join(sorted(self.sees))} evidence"
        return self._result(Outcome.FAIL if failed else Outcome.NOT_CHECKED, findings, reason)

    def _result(
        self, outcome: Outcome, findings: tuple[Finding, ...] = (), reason: str = ""
    ) -> RuleResult:
        return RuleResult(
            self.id, outcome, findings, reason, self.subcode, self.counter, self.questions
        )


def _nothing_to_say(evidence: Evidence) -> str:
    return ""


def rule(
    *,
    number: int,
    sees: Iterable[Origin],
    counter: Counter | None = None,
    questions: Iterable[Question] = (),
    not_applicable: Applies = _nothing_to_say,
    because: Because = _nothing_to_say,
) -> Callable[[Check], Rule]:
    """Make a rule of a function: its name is the id, its docstring the documentation."""

    def make(check: Check) -> Rule:
        name = check.__name__.replace("_", "-")
        explanation = inspect.getdoc(check) or ""
        return Rule(
            name,
            number,
            counter,
            frozenset(questions),
            frozenset(sees),
            explanation,
            check,
            not_applicable,
            because,
        )

    return make
