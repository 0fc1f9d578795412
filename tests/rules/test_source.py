"""Rules that need source text, and what an author accepted in it."""

from dataclasses import replace

import pytest

from facts import SITE, call, evidence, results
from hvci.evaluate import report_on
from hvci.model import (
    Allowance,
    BehaviourFact,
    Confidence,
    Evidence,
    Gate,
    ImageSite,
    Origin,
    Outcome,
    Rva,
    SourceSite,
    Target,
    Verdict,
)

ENUM, MISMATCH, POOL = "wrong-pool-enum", "source-image-mismatch", "execute-pool-type"
HERE = SourceSite("a.c", 10)


def source_call(ddi, site=HERE, **arguments):
    return replace(call(ddi, origin=Origin.SOURCE, **arguments), site=site)


def source(**change):
    return replace(Evidence(frozenset({Origin.SOURCE})), **change)


def both(*calls):
    return evidence(origins=frozenset(Origin), calls=calls)


# ---- wrong-pool-enum

MIXED = BehaviourFact(
    ENUM, "POOL_FLAG_NON_PAGED is no POOL_TYPE", HERE, Origin.SOURCE, Confidence.PROVEN, "0x40"
)


def test_it_needs_source():
    assert results(evidence())[ENUM].outcome is Outcome.NOT_APPLICABLE


def test_a_wrong_family_fails_where_the_request_is_executable_and_is_a_note_elsewhere():
    bad = source_call("ExAllocatePoolWithTag", PoolType=0x40)
    good = source_call("ExAllocatePool2", Flags=0x200)
    assert results(source(behaviours=(MIXED,), calls=(bad,)))[ENUM].outcome is Outcome.FAIL
    assert results(source(behaviours=(MIXED,), calls=(good,)))[ENUM].outcome is Outcome.NOTE
    assert results(source(calls=(good,)))[ENUM].outcome is Outcome.PASS
    other = replace(MIXED, rule="nx-opt-in")
    assert results(source(behaviours=(other,)))[ENUM].outcome is Outcome.PASS


# ---- source-image-mismatch


def test_it_needs_a_source_and_its_image():
    assert results(evidence())[MISMATCH].outcome is Outcome.NOT_APPLICABLE
    assert results(source())[MISMATCH].outcome is Outcome.NOT_APPLICABLE


@pytest.mark.parametrize(
    ("in_source", "in_image"),
    [
        (("ExAllocatePoolWithTag", {"PoolType": 0}), ("ExAllocatePoolWithTag", {"PoolType": 4})),
        (("ExAllocatePoolZero", {"PoolType": 0}), ("ExAllocatePoolWithTag", {"PoolType": 0x400})),
        (("operator new", {"poolType": 0}), ("ExAllocatePoolWithTag", {"PoolType": 0})),
        (
            ("MmGetSystemAddressForMdlSafe", {"Priority": 16}),
            ("MmMapLockedPagesSpecifyCache", {"Priority": 16}),
        ),
        (("MmGetSystemAddressForMdl", {}), ("MmMapLockedPages", {})),
        (("ExAllocatePool", {"PoolType": 1}), ("ExAllocatePool", {"PoolType": 0x200})),
    ],
    ids=str,
)
def test_the_same_requests_are_silent(in_source, in_image):
    facts = both(source_call(in_source[0], **in_source[1]), call(in_image[0], **in_image[1]))
    assert results(facts)[MISMATCH].outcome is Outcome.PASS


def test_a_request_on_one_side_only_is_a_note_at_that_side():
    bad, good = {"PoolType": 0}, {"PoolType": 0x200}
    facts = both(source_call("ExAllocatePool", **good), call("ExAllocatePool", **bad))
    (finding,) = results(facts)[MISMATCH].findings
    assert finding.outcome is Outcome.NOTE
    assert finding.site == SITE
    assert "the source does not" in finding.message
    facts = both(source_call("ExAllocatePool", **bad), call("ExAllocatePool", **good))
    (finding,) = results(facts)[MISMATCH].findings
    assert finding.site == HERE
    assert "the image does not" in finding.message


# ---- accepted in the source

ACCEPTED = Allowance(frozenset({POOL}), "a.c", 9, 10, "measured", "#pragma warning(suppress)")
BAD = source_call("ExAllocatePool", PoolType=0)


def test_an_accepted_finding_is_marked_and_still_shown():
    facts = source(calls=(BAD,), allowances=(ACCEPTED,))
    (finding,) = results(facts)[POOL].findings
    assert finding.suppressed.reason == "measured"
    target = Target("x", "0" * 64, 1, "source")
    one = report_on(target, facts)
    assert (one.verdict, one.gate) == (Verdict.INCOMPATIBLE, Gate.PASS)


def test_the_first_allowance_that_covers_a_finding_counts():
    second = replace(ACCEPTED, reason="again")
    facts = source(calls=(BAD,), allowances=(ACCEPTED, second))
    (finding,) = results(facts)[POOL].findings
    assert finding.suppressed.reason == "measured"


@pytest.mark.parametrize(
    "allowance",
    [
        replace(ACCEPTED, rules=frozenset({"execute-page-mapping"})),
        replace(ACCEPTED, path="b.c"),
        replace(ACCEPTED, first=11, last=12),
        replace(ACCEPTED, first=1, last=9),
    ],
)
def test_an_allowance_covers_its_rules_and_lines_only(allowance):
    (finding,) = results(source(calls=(BAD,), allowances=(allowance,)))[POOL].findings
    assert finding.suppressed is None


def test_an_allowance_in_source_covers_nothing_in_the_image():
    assert not ACCEPTED.covers(POOL, ImageSite(Rva(10), "a.c"))
