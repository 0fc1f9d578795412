"""What hvci says of a driver beside the check of Windows that refused it: do the two agree?

Knows rows and reports. Only the check of the image, signatures and given lists can be compared.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from hvci.catalog.gates import gates
from hvci.logs.event_facts import Seen
from hvci.logs.rows import Refusal
from hvci.model import Answer, DriverPolicy, Finding, Outcome, Question, Report, Signed
from hvci.model.gates import Gate
from hvci.report import words
from hvci.report.safe import safe

MOST_CAUSES = 20


def compared_with(row: Refusal, report: Report, group: Sequence[Seen]) -> Refusal:
    """The row with what hvci says of the same driver, and whether that agrees."""
    hashes = {one.sha256 for one in group if one.sha256}
    own = report.trust.authentihash.lower() if report.trust else ""
    if hashes and own and own not in hashes:
        verdict = "the file given is another build: its hash is not that of the event"
        return replace(row, verdict=verdict)
    if row.gate is Gate.IMAGE:
        return _image(row, report, group)
    loads = report.answers[Question.LOADS]
    if row.gate in (Gate.RUN, Gate.KERNEL_CFG):
        rules = {one.rule for one in group if one.rule}
        causes = _failures(report, Question.RUNS, Question.READINESS, rules=rules)
        return replace(row, causes=tuple(causes))
    also = "; it finds that memory integrity would refuse it too" if loads is Answer.NO else ""
    agrees, said = _by_trust(row, report)
    return replace(row, verdict=f"{said}{also}", agrees=agrees)


_UNTRUSTED = (Signed.NONE, Signed.DAMAGED, Signed.TEST, Signed.OTHER)


def _by_trust(row: Refusal, report: Report) -> tuple[bool | None, str]:
    """What the signatures of the file and the lists that were given say of another check."""
    trust = report.trust
    if row.gate is Gate.BLOCK_LIST and report.blocklisted is not None:
        named = report.blocklisted is Answer.YES
        verb = "names" if named else "does not name"
        return named, f"{_AGREES[named]}: the given block list {verb} it"
    if trust is None or row.gate not in (Gate.SIGNING, Gate.DRIVER_POLICY):
        return None, "it looks at the image and the code, not at this check"
    if row.gate is Gate.DRIVER_POLICY:
        passes = trust.driver_policy is DriverPolicy.PASSES
        refused = trust.driver_policy in (DriverPolicy.REFUSED, DriverPolicy.ALLOW_LISTED)
        agrees = False if passes else True if refused else None
        return agrees, f"{_AGREES[agrees]}: {trust.policy_reason}"
    untrusted = True if trust.signed in _UNTRUSTED else None
    return untrusted, f"{_AGREES[untrusted]}: {trust.reason}"


_AGREES: Mapping[bool | None, str] = {True: "agrees", False: "disagrees", None: "cannot tell"}


def _image(row: Refusal, report: Report, group: Sequence[Seen]) -> Refusal:
    """The check that `loads` predicts: do Windows and hvci say the same?"""
    loads = report.answers[Question.LOADS]
    causes = tuple(_failures(report, Question.LOADS))
    by_rule = {result.rule: result.outcome for result in report.results}
    wanted = {gates().layouts[name] for name in row.layouts} - {""}
    wanted |= {rule for one in group if (rule := _RULE_OF_EVENT.get(one.sign.id))}
    missed = sorted(rule for rule in wanted if by_rule.get(rule) not in _SEEN)
    if loads is Answer.NO and not missed:
        return replace(row, verdict="agrees: it does not load", agrees=True, causes=causes)
    if loads is Answer.NO:
        verdict = (
            f"agrees that it does not load, but not why: it finds nothing for {', '.join(missed)}"
        )
        return replace(row, verdict=verdict, agrees=False, causes=causes)
    if loads is Answer.YES:
        verdict = (
            "disagrees: it finds nothing in this image that memory integrity refuses; is it the "
            "same file? If so, please report it (--bundle)"
        )
        return replace(row, verdict=verdict, agrees=False)
    return replace(row, verdict="could not decide whether it loads", causes=causes)


_SEEN = (Outcome.FAIL, Outcome.UNDECIDED, Outcome.NOTE, None)
"""A rule that says something of the image, or one that another version had, is not missing."""
_RULE_OF_EVENT: Mapping[int | str, str] = {3072: "section-alignment", 3073: "execute-write-section"}


def _failures(report: Report, *questions: Question, rules: Collection[str] = ()) -> Iterator[str]:
    """The failures that answer questions; of some rules only, if any are named."""
    found = (
        finding
        for result in report.results
        if result.questions & set(questions) and (not rules or result.rule in rules)
        for finding in result.findings
        if finding.outcome is Outcome.FAIL
    )
    for _, finding in zip(range(MOST_CAUSES), found, strict=False):
        yield _line(finding)


def _line(finding: Finding) -> str:
    return f"{words.place(finding.site)}  {safe(finding.message, 1000)}"
