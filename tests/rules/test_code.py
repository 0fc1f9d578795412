from dataclasses import replace

import pytest

from facts import SITE, evidence, moved, outcomes, results
from hvci.model import (
    Behaviour,
    BehaviourFact,
    Confidence,
    Origin,
    Outcome,
    PageEvent,
    Tier,
)

FAIL, NOTE, PASS, NOT_CHECKED = Outcome.FAIL, Outcome.NOTE, Outcome.PASS, Outcome.NOT_CHECKED
WRITES, DYNAMIC, FILES = "writes-executable-memory", "dynamic-code", "data-file-as-executable"
RULES = (WRITES, DYNAMIC, FILES)
HARMLESS = (Behaviour.PROCESSOR_STATE, Behaviour.DRIVER_LOAD, Behaviour.UNEXPORTED)


def fact(rule=WRITES, confidence=Confidence.PROVEN, kind=Behaviour.STORE):
    return BehaviourFact(rule, "does it", SITE, Origin.CALLSITE, confidence, "seen", "", kind)


def event(bugcheck, tier=Tier.NATURAL):
    return PageEvent(bugcheck, None, (0, 0, 0, 0), SITE, tier, "writes to .text")


def test_silence():
    clean = outcomes(evidence())
    assert {clean[rule] for rule in RULES} == {PASS}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("confidence", [Confidence.PROVEN, Confidence.LIKELY])
def test_what_is_proven_or_likely_fails_its_own_rule_only(rule, confidence):
    assert moved(evidence(behaviours=(fact(rule, confidence),))) == {rule: FAIL}


@pytest.mark.parametrize("rule", RULES)
def test_what_is_only_possible_is_a_note_and_says_so(rule):
    facts = evidence(behaviours=(fact(rule, Confidence.POSSIBLE),))
    assert moved(facts) == {rule: NOTE}
    (finding,) = results(facts)[rule].findings
    assert "(possible)" in finding.message


@pytest.mark.parametrize("kind", Behaviour)
def test_what_memory_integrity_does_not_forbid_is_a_note(kind):
    wanted = NOTE if kind in HARMLESS else FAIL
    assert moved(evidence(behaviours=(fact(kind=kind),))) == {WRITES: wanted}


@pytest.mark.parametrize("kind", [kind for kind in Behaviour if kind not in HARMLESS])
def test_every_failure_says_what_to_do(kind):
    (finding,) = results(evidence(behaviours=(fact(kind=kind),)))[WRITES].findings
    assert finding.fix.endswith(".")
    assert finding.message == "does it: seen"
    assert finding.confidence is Confidence.PROVEN


@pytest.mark.parametrize(("bugcheck", "rule"), [(0xBE, WRITES), (0xFC, DYNAMIC)])
def test_a_crash_that_the_driver_came_to_by_itself_fails(bugcheck, rule):
    assert moved(evidence(events=(event(bugcheck),))) == {rule: FAIL}
    assert not moved(evidence(events=(event(bugcheck, Tier.FORCED),)))


def test_a_verifier_report_is_no_crash():
    assert not moved(evidence(events=(replace(event(0xC4), subcode=0x2000),)))


def test_headers_alone_answer_nothing():
    answers = outcomes(evidence(origins=frozenset({Origin.IMAGE})))
    assert {answers[rule] for rule in RULES} == {NOT_CHECKED}
