"""Static and emulated values at one site: agreement, disagreement, settled doubt."""

from dataclasses import replace

import pytest

from hvci.model import (
    Counter,
    DdiCall,
    Evidence,
    Executable,
    ImageSite,
    Origin,
    Outcome,
    Rva,
    Tier,
    Value,
    Via,
)
from hvci.rules import executable, judge
from hvci.verifier.merge import merge
from hvci.verifier.outcome import Coverage, VerifierRun

DDI = "ExAllocatePoolWithTag"


def call(value, origin=Origin.CALLSITE, tier=None, rva=0x1000):
    via = Via.EMULATED if origin is Origin.VERIFIER else Via.IAT
    return DdiCall(DDI, {"PoolType": value}, ImageSite(Rva(rva), ".text"), origin, via, tier)


def joined(static, *emulated):
    run = VerifierRun(
        tuple(emulated), (), dict.fromkeys(Counter, 0), (), Coverage(0, 0, 0, 0, 0, ()), (),
        0, 0, 0, 0, (),
    )  # fmt: skip
    return merge(Evidence(frozenset({Origin.CALLSITE}), calls=(static,)), run)


def natural(*values):
    return call(Value.exactly(*values), Origin.VERIFIER, Tier.NATURAL)


def forced(*values):
    return call(Value.exactly(*values), Origin.VERIFIER, Tier.FORCED)


def findings(evidence):
    return [
        finding
        for result in judge(evidence)
        if result.rule == "execute-pool-type"
        for finding in result.findings
    ]


def test_equal_values_agree_and_are_judged_once():
    evidence, agreement = joined(call(Value.exactly(0)), natural(0))
    assert (agreement.agreed, agreement.disagreements) == (1, [])
    assert [finding.origin for finding in findings(evidence)] == [Origin.CALLSITE]


def test_a_natural_value_that_the_code_denies_is_a_disagreement_and_judged():
    evidence, agreement = joined(call(Value.exactly(512)), natural(0))
    assert agreement.disagreements == [{"ddi": DDI, "rva": 0x1000, "code": [512], "run": [0]}]
    assert [finding.origin for finding in findings(evidence)] == [Origin.VERIFIER]


def test_a_forced_value_never_contradicts_the_code():
    evidence, agreement = joined(call(Value.exactly(512)), forced(0))
    assert agreement.disagreements == []
    assert findings(evidence) == []


def test_an_open_value_is_settled_by_a_natural_call():
    evidence, agreement = joined(call(Value.unknown("a field")), natural(512), forced(0))
    assert agreement.settled_naturally == 1
    assert executable(evidence.calls[0]) is Executable.NO
    assert "by itself" in evidence.calls[0].arguments["PoolType"].reason


def test_an_open_value_is_settled_by_a_forced_call_and_says_so():
    evidence, agreement = joined(call(Value.unknown("a field")), forced(0))
    assert agreement.settled_forced == 1
    assert executable(evidence.calls[0]) is Executable.YES
    assert "forced path" in evidence.calls[0].arguments["PoolType"].reason


def test_a_call_that_only_the_run_saw_is_judged():
    other = call(Value.exactly(0), Origin.VERIFIER, Tier.NATURAL, rva=0x2000)
    evidence, agreement = joined(call(Value.exactly(512)), other)
    assert agreement.only_in_run == 1
    (limit,) = evidence.limits
    assert limit.rules == ("execute-pool-type", "nx-opt-in")
    assert "0x2000" in limit.reason
    assert [finding.site.rva for finding in findings(evidence)] == [0x2000]


@pytest.mark.parametrize("tier", list(Tier))
def test_a_harmless_call_that_only_the_run_saw_weakens_its_rule(tier):
    """The code was not read whole, so it may hold a harmful one too."""
    other = call(Value.exactly(512), Origin.VERIFIER, tier, rva=0x2000)
    evidence, _ = joined(call(Value.exactly(512)), other)
    outcomes = {result.rule: result.outcome for result in judge(evidence)}
    assert outcomes["execute-pool-type"] is Outcome.UNDECIDED
    assert outcomes["execute-page-mapping"] is not Outcome.UNDECIDED


def test_what_both_saw_weakens_nothing():
    evidence, _ = joined(call(Value.exactly(512)), natural(512))
    assert evidence.limits == ()


@pytest.mark.parametrize(
    "open_question",
    [{"doubt": "another routine may be called"}, {"unreached": True}, {"dead": "for Windows 7"}],
    ids=["doubt", "unreached", "dead"],
)
def test_a_natural_call_proves_that_the_site_calls_the_ddi(open_question):
    static = replace(call(Value.exactly(0)), **open_question)
    assert not any(finding.outcome is Outcome.FAIL for finding in findings(joined(static)[0]))
    evidence, agreement = joined(static, natural(0))
    assert agreement.settled_naturally == 1
    (finding,) = findings(evidence)
    assert (finding.origin, finding.outcome) == (Origin.CALLSITE, Outcome.FAIL)


def test_a_forced_call_proves_nothing_about_the_site():
    static = replace(call(Value.exactly(0)), doubt="another routine may be called")
    evidence, _ = joined(static, forced(0))
    assert evidence.calls[0].doubt
