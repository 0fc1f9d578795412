"""Microsoft's driver security checklist: one change of the facts, one item."""

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

from hvci.cli import main
from hvci.model import (
    Answer,
    BehaviourFact,
    Confidence,
    DriverPolicy,
    ImageSite,
    Origin,
    Rva,
    Signed,
    Trust,
)
from hvci.report.checklist import Status, checklist, to_text
from patched import BUILT
from reports import image, pool_call, report

NINE = {1, 4, 7, 8, 9, 10, 11, 18, 19}
HARDWARE = Trust(Signed.HARDWARE, "signed by Microsoft", DriverPolicy.PASSES, "WHCP")


def built(**changes):
    return replace(report(), image=image(), trust=HARDWARE, **changes)


def statuses(given, imports=frozenset()):
    return {item.number: item.status for item in checklist(given, imports)}


def changed(given, imports=frozenset()):
    before, after = statuses(built()), statuses(given, imports)
    return {number: after[number] for number in before if before[number] is not after[number]}


def evidence(given, number, imports=frozenset()):
    return next(item.evidence for item in checklist(given, imports) if item.number == number)


def test_nineteen_items_of_which_nine_are_not_by_this_tool():
    found = statuses(built(blocklisted=Answer.NO))
    assert list(found) == list(range(1, 20))
    assert {number for number, status in found.items() if status is Status.NOT_HERE} == NINE
    assert all(item.title and item.evidence for item in checklist(built()))


@pytest.mark.parametrize(
    ("given", "items"),
    [
        (replace(built(), image=image(kmdf_version=None)), {2: Status.NO}),
        (
            replace(built(), image=image(kmdf_version=None, import_tables=(("NDIS.SYS", Rva(1)),))),
            {},
        ),
        (replace(built(), image=None), {2: Status.PARTLY}),
        (built(blocklisted=Answer.YES), {17: Status.NO}),
        (built(blocklisted=Answer.NO), {17: Status.YES}),
        (built(verifier={}), {}),
        (built(verifier={"events": [{"tier": "natural", "bugcheck": "0xbe"}]}), {12: Status.NO}),
        (replace(built(), trust=None), {16: Status.PARTLY}),
    ],
)
def test_one_fact_moves_one_item(given, items):
    assert changed(given) == items


@pytest.mark.parametrize(
    ("signed", "policy", "catalogs", "status"),
    [
        (Signed.HARDWARE, DriverPolicy.PASSES, 0, Status.YES),
        (Signed.HARDWARE, DriverPolicy.REFUSED, 0, Status.NO),
        (Signed.ATTESTATION, DriverPolicy.UNDECIDED, 0, Status.PARTLY),
        (Signed.CROSS_SIGNED, DriverPolicy.ALLOW_LISTED, 0, Status.NO),
        (Signed.NONE, DriverPolicy.REFUSED, 0, Status.UNDECIDED),
        (Signed.NONE, DriverPolicy.REFUSED, 1, Status.NO),
        (Signed.TEST, DriverPolicy.REFUSED, 0, Status.NO),
    ],
)
def test_the_signature_of_a_release(signed, policy, catalogs, status):
    trust = Trust(signed, "why", policy, "because", catalogs=catalogs)
    assert statuses(replace(built(), trust=trust))[16] is status


def test_the_three_answers_decide_the_item_of_memory_integrity():
    given = report(pool_call(0x1020, 0), pool_call(0x1030, 0))
    assert statuses(given)[6] is Status.NO
    assert statuses(given)[13] is Status.NO
    assert "pool memory is asked for that may execute" in evidence(given, 5)
    assert statuses(replace(report(), results=()))[6] is Status.UNDECIDED
    assert statuses(report())[6] is not Status.NO


@pytest.mark.parametrize(
    ("imports", "words"),
    [
        ({"IoCreateDevice"}, "is safer"),
        ({"IoCreateDevice", "WdmlibIoCreateDeviceSecure"}, "which device gets which is open"),
        (set(), "does not import IoCreateDevice"),
    ],
)
def test_what_makes_devices(imports, words):
    assert words in evidence(built(), 3, imports)


def test_calls_that_reach_physical_memory_are_named():
    mapped = replace(pool_call(0x1000, 0), ddi="MmMapIoSpace")
    assert "MmMapIoSpace" in evidence(report(mapped), 15)
    assert "no call was found" in evidence(report(), 15)


def test_registers_that_are_written_are_counted():
    site = ImageSite(Rva(0x1000), ".text")
    what = "writes the MSR LSTAR"
    fact = BehaviourFact(
        "writes-executable-memory", what, site, Origin.CALLSITE, Confidence.POSSIBLE
    )
    from facts import evidence as facts_of
    from hvci.evaluate import report_on

    given = report_on(report().target, facts_of(behaviours=(fact,)))
    assert "1 places write model-specific registers" in evidence(given, 5)


def test_text_is_harmless():
    assert "\x1b" not in to_text("a\x1b[31m.sys", checklist(built()))


def test_the_command():
    driver = str(BUILT / "calls_bad.x64.o2.sys")
    done = CliRunner().invoke(main, ["checklist", "--no-config", driver])
    assert done.exit_code == 1
    assert " 6  no " in done.stdout
    shown = CliRunner().invoke(main, ["checklist", "--no-config", driver, "--format", "json"])
    (row,) = json.loads(shown.stdout)
    assert [item["number"] for item in row["items"]] == list(range(1, 20))
    clean = str(BUILT / "sample_clean.x64.o2.sys")
    assert CliRunner().invoke(main, ["checklist", "--no-config", clean]).exit_code == 1
    gone = CliRunner().invoke(main, ["checklist", "--no-config", "gone.sys"])
    assert gone.exit_code == 4
