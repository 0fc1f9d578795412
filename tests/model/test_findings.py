from dataclasses import replace

import pytest

from facts import SITE, call, evidence, image
from hvci.evaluate import report_on
from hvci.model import (
    Answer,
    Counter,
    Finding,
    Origin,
    Outcome,
    Question,
    Report,
    RuleResult,
    Suppression,
    Target,
    Verdict,
    WindowsVersion,
)

TARGET = Target("x.sys", "0" * 64, 1, "image")
ACCEPTED = Suppression("known", "policy")
LOADS, READINESS, RUNS = Question


def finding(outcome, suppressed=None, count=1):
    return Finding(outcome, "m", SITE, Origin.IMAGE, suppressed=suppressed, count=count)


def result(outcome, *findings, reason="", questions=(READINESS,), counter=None):
    return RuleResult("r", outcome, findings, reason, None, counter, frozenset(questions))


def report(*results):
    return Report(TARGET, WindowsVersion.WINDOWS_11_24H2, results)


@pytest.mark.parametrize(
    ("outcomes", "answer"),
    [
        ((), None),
        ((Outcome.NOT_CHECKED,), None),
        ((Outcome.NOT_APPLICABLE,), None),
        ((Outcome.NOT_CHECKED, Outcome.NOT_APPLICABLE), None),
        ((Outcome.PASS,), Answer.YES),
        ((Outcome.NOTE,), Answer.YES),
        ((Outcome.PASS, Outcome.NOT_APPLICABLE), Answer.YES),
        ((Outcome.PASS, Outcome.NOT_CHECKED), Answer.UNDECIDED),
        ((Outcome.PASS, Outcome.UNDECIDED), Answer.UNDECIDED),
        ((Outcome.PASS, Outcome.UNDECIDED, Outcome.FAIL), Answer.NO),
        ((Outcome.FAIL, Outcome.NOT_CHECKED), Answer.NO),
    ],
)
def test_an_answer_is_the_worst_of_its_rules(outcomes, answer):
    answers = report(*map(result, outcomes)).answers
    assert answers == {LOADS: None, READINESS: answer, RUNS: None}


@pytest.mark.parametrize(
    ("outcome", "verdict"),
    [
        (Outcome.PASS, Verdict.COMPATIBLE),
        (Outcome.NOTE, Verdict.COMPATIBLE),
        (Outcome.UNDECIDED, Verdict.UNDECIDED),
        (Outcome.NOT_CHECKED, Verdict.UNDECIDED),
        (Outcome.FAIL, Verdict.INCOMPATIBLE),
    ],
)
def test_the_verdict_is_the_worst_answer(outcome, verdict):
    assert report(result(outcome)).verdict is verdict
    loads = result(Outcome.PASS, questions=(LOADS,))
    if outcome is not Outcome.NOT_CHECKED:
        assert report(result(outcome), loads).verdict is verdict


def test_questions_are_never_mixed():
    bad_pool = report_on(TARGET, evidence(calls=(call("ExAllocatePool", PoolType=0),)))
    assert bad_pool.answers == {LOADS: Answer.YES, READINESS: Answer.NO, RUNS: Answer.YES}
    bad_alignment = report_on(TARGET, evidence(image=image(section_alignment=0x80)))
    assert bad_alignment.answers == {LOADS: Answer.NO, READINESS: Answer.NO, RUNS: Answer.YES}


@pytest.mark.parametrize(
    ("before", "answer"),
    [
        (result(Outcome.FAIL, finding(Outcome.FAIL, ACCEPTED)), Answer.YES),
        (result(Outcome.UNDECIDED, finding(Outcome.UNDECIDED, ACCEPTED)), Answer.YES),
        (
            result(Outcome.FAIL, finding(Outcome.FAIL, ACCEPTED), finding(Outcome.NOTE)),
            Answer.YES,
        ),
        (
            result(Outcome.FAIL, finding(Outcome.FAIL, ACCEPTED), finding(Outcome.UNDECIDED)),
            Answer.UNDECIDED,
        ),
        (result(Outcome.FAIL, finding(Outcome.FAIL, ACCEPTED), finding(Outcome.FAIL)), Answer.NO),
        (
            result(Outcome.FAIL, finding(Outcome.FAIL, ACCEPTED), reason="a limit"),
            Answer.UNDECIDED,
        ),
        (
            result(Outcome.UNDECIDED, finding(Outcome.UNDECIDED, ACCEPTED), reason="a limit"),
            Answer.UNDECIDED,
        ),
    ],
)
def test_a_suppressed_finding_is_set_aside_and_a_limit_is_not(before, answer):
    one = report(before)
    assert one.open_answers[READINESS] is answer
    facts = replace(before, findings=(), reason="")
    assert one.answers == report(facts).answers


def test_counters_sum_failures_only():
    counted = report(
        result(
            Outcome.FAIL,
            finding(Outcome.FAIL),
            finding(Outcome.FAIL, count=41),
            finding(Outcome.NOTE, count=7),
            finding(Outcome.UNDECIDED),
            counter=Counter.UNSUPPORTED_RELOCS,
        ),
        result(Outcome.FAIL, finding(Outcome.FAIL)),
    )
    assert counted.counters == {**dict.fromkeys(Counter, 0), Counter.UNSUPPORTED_RELOCS: 42}
    assert len(counted.findings) == 5


def test_the_seven_counters_have_the_names_of_the_readiness_test():
    assert [counter.hlk_name for counter in Counter] == [
        "Execute Pool Type",
        "Execute Page Protection",
        "Execute Page Mapping",
        "Execute-Write Section",
        "Section Alignment Failures",
        "Unsupported Relocs",
        "IAT in Executable Section",
    ]


def test_alignment_is_counted_once_for_each_section():
    counted = report_on(TARGET, evidence(image=image(section_alignment=0x80))).counters
    assert counted[Counter.SECTION_ALIGNMENT_FAILURES] == 3
