"""What holds for all rules: their form, their names, and what they say without evidence."""

import re
from dataclasses import replace
from types import ModuleType

import pytest

from facts import call, evidence, moved, outcomes, results
from hvci.evaluate import report_on
from hvci.model import (
    BehaviourFact,
    Confidence,
    Counter,
    Evidence,
    Finding,
    Limit,
    Origin,
    Outcome,
    Question,
    SourceSite,
    Target,
    Verdict,
)
from hvci.rules import RULES, gather
from hvci.rules.rule import rule

TARGET = Target("x.sys", "0" * 64, 1, "image")
PARTS = ("Why", "Bad", "Good", "Fix")


@pytest.mark.parametrize("each", RULES.values(), ids=lambda each: each.id)
def test_every_rule_documents_itself_in_the_same_form(each):
    title, blank, *body = each.explanation.split("\n")
    assert title == each.title
    assert title.startswith("The ")
    assert title.endswith(".")
    assert blank == ""
    starts = [line.partition(":")[0] for line in body if re.match(r"[A-Z]\w+: ", line)]
    assert tuple(starts) == PARTS
    assert all(re.match(r"[A-Z]\w+: \S|    \S", line) for line in body)


@pytest.mark.parametrize("each", RULES.values(), ids=lambda each: each.id)
def test_every_rule_is_named_after_its_function(each):
    assert each.id == each.check.__name__.replace("_", "-")
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", each.id)


def test_every_counter_and_subcode_is_claimed_once():
    claimed = [each.counter for each in RULES.values() if each.counter]
    assert sorted(claimed) == sorted(Counter)
    assert all(RULES[counter.rule].counter is counter for counter in Counter)
    subcodes = [each.subcode for each in RULES.values() if each.subcode is not None]
    assert sorted(subcodes) == [0x2000, 0x2001, 0x2002, 0x2003, 0x2004, 0x2005]


def test_rules_that_count_decide_readiness_and_image_rules_decide_loading():
    for each in RULES.values():
        # The calls that nx-opt-in fails for are those that execute-pool-type counts.
        counts = each.counter is not None or each.id == "nx-opt-in"
        assert (Question.READINESS in each.questions) == counts, each.id
        of_layout = each.sees == {Origin.IMAGE, Origin.SOURCE}
        assert (Question.LOADS in each.questions) == of_layout, (
            f"{each.id}: what decides LOADS sees IMAGE_OR_PROJECT, and nothing else does"
        )


def test_rules_stand_in_order_of_id():
    assert list(RULES) == sorted(RULES)


def test_two_rules_may_not_share_an_id():
    room = ModuleType("room")
    room.first, room.second = (rule(number=n, sees={Origin.IMAGE})(some_rule) for n in (1, 2))
    with pytest.raises(AssertionError, match="share an id"):
        gather((room,))


def test_two_rules_may_not_share_a_number():
    def other_rule(facts):
        """The other."""
        yield from ()

    room = ModuleType("room")
    room.first, room.second = (
        rule(number=1, sees={Origin.IMAGE})(check) for check in (some_rule, other_rule)
    )
    with pytest.raises(AssertionError, match="share a number"):
        gather((room,))


@pytest.mark.parametrize("counter", [counter for counter in Counter if counter.subcode])
def test_a_rule_with_a_sub_code_is_numbered_by_it(counter):
    assert RULES[counter.rule].number == int(f"{counter.subcode:x}")


def some_rule(facts):
    """The one."""
    yield from ()


def test_what_fails_counts_unless_a_counter_says_how_far():
    """Else the report would say "0 x" of it."""
    finding = Finding(Outcome.FAIL, "it fails", SourceSite("a.c", 1), Origin.SOURCE, count=0)

    def made_up(evidence):
        """The driver is made up."""
        yield finding

    facts = evidence(calls=())
    counted = rule(number=1, sees=set(Origin), counter=Counter.EXECUTE_POOL_TYPE)(made_up)
    assert counted.judge(facts).outcome is Outcome.FAIL
    with pytest.raises(AssertionError, match="made-up: count of a failure"):
        rule(number=1, sees=set(Origin))(made_up).judge(facts)


def test_without_evidence_nothing_is_called_compatible():
    report = report_on(TARGET, Evidence(frozenset()))
    assert {result.outcome for result in report.results} == {Outcome.NOT_CHECKED}
    assert all(result.reason.startswith("needs ") for result in report.results)
    assert report.verdict is Verdict.UNDECIDED


def test_headers_alone_are_not_enough_for_compatible():
    report = report_on(TARGET, evidence(origins=frozenset({Origin.IMAGE}), calls=()))
    assert report.verdict is Verdict.UNDECIDED


def test_the_clean_target_is_compatible():
    assert report_on(TARGET, evidence()).verdict is Verdict.COMPATIBLE


@pytest.mark.parametrize("name", [name for name in RULES if RULES[name].questions])
def test_a_limit_forbids_compatible_and_weakens_only_its_rule(name):
    limit = Limit(Origin.CALLSITE, (name,), "a function was not decoded")
    facts = evidence(limits=(limit, limit))
    assert moved(facts) == {name: Outcome.UNDECIDED}
    assert results(facts)[name].reason == "a function was not decoded"
    assert report_on(TARGET, facts).verdict is Verdict.UNDECIDED


def test_a_limit_that_names_no_rule_changes_nothing():
    assert not moved(evidence(limits=(Limit(Origin.CALLSITE, (), "no symbols"),)))


def test_a_failure_stays_one_beside_a_limit_and_keeps_its_reason():
    limit = Limit(Origin.CALLSITE, ("execute-pool-type",), "a budget was spent")
    facts = evidence(limits=(limit,), calls=(call("ExAllocatePool", PoolType=0),))
    assert outcomes(facts)["execute-pool-type"] is Outcome.FAIL
    assert results(facts)["execute-pool-type"].reason == "a budget was spent"


def test_an_undecided_call_and_a_limit_share_a_result():
    limit = Limit(Origin.CALLSITE, ("execute-pool-type",), "a budget was spent")
    facts = evidence(limits=(limit,), calls=(call("ExAllocatePool"),))
    assert outcomes(facts)["execute-pool-type"] is Outcome.UNDECIDED


def seen_by_the_way(*outcomes):
    """What a rule that wants code says about a fact from source text."""

    @rule(number=1, sees={Origin.CALLSITE})
    def some_rule(facts):
        """The text is not looked at."""
        for outcome in outcomes:
            yield Finding(outcome, "", SourceSite("a.c", 1), Origin.SOURCE)

    fact = BehaviourFact("some-rule", "", SourceSite("a.c", 1), Origin.SOURCE, Confidence.LIKELY)
    return some_rule, fact


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ([Outcome.FAIL], Outcome.FAIL),
        ([Outcome.NOTE, Outcome.FAIL], Outcome.FAIL),
        ([Outcome.NOTE], Outcome.NOT_CHECKED),
    ],
)
def test_a_fact_of_another_origin_can_fail_a_rule_but_never_pass_it(outcomes, expected):
    one, fact = seen_by_the_way(*outcomes)
    target = Evidence(frozenset({Origin.SOURCE}), behaviours=(fact,))
    result = one.judge(target)
    assert (result.outcome, len(result.findings)) == (expected, len(outcomes))
    assert one.judge(replace(target, behaviours=())).outcome is Outcome.NOT_CHECKED
    assert one.judge(replace(target, behaviours=())).findings == ()
