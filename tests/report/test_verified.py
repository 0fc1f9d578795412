"""A verifier run in plain English, whatever a saved report says of it."""

from dataclasses import replace

import pytest

from hvci.model import Counter, Finding, ImageSite, Origin, Outcome, RuleResult, Rva
from hvci.report import Document, Format, render
from hvci.report.verified import event_lines, run_lines
from reports import HOSTILE, report

EVENT = {
    "bugcheck": "0xc4",
    "subcode": "0x2000",
    "parameters": [0x2000, 1, 0, 0],
    "site": {"rva": 0x1234},
    "tier": "natural",
    "message": "executable pool",
}
BLOCK = {
    "counters": {counter.value: 0 for counter in Counter} | {"execute_pool_type": 2},
    "entry_points": [
        {"name": "DriverEntry", "tier": "natural", "returned": True, "status": "0x0"},
        {"name": "DriverUnload", "tier": "natural", "returned": False, "status": None},
    ],
    "coverage": {
        "blocks": 10,
        "blocks_total": 40,
        "call_sites": 3,
        "call_sites_natural": 2,
        "call_sites_total": 5,
        "call_sites_missed": [1],
    },
    "events": [EVENT, {**EVENT, "bugcheck": "0xbe", "subcode": None, "tier": "forced"}],
    "statistics": {"allocations": 1},
    "stopped": [{"entry": "DriverUnload", "why": "budget spent"}],
    "without_model": [{"ddi": "ZwOdd", "calls": 3}],
    "agreement": {"agreed": 2, "disagreed": 0, "only_in_run": 1},
}


def verified(block):
    return replace(report(), verifier=block)


def test_the_run_in_words():
    assert run_lines(verified(BLOCK)) == [
        "violation: bug check 0xc4 0x2000 at 1 place; on forced paths only: bug check 0xbe at 1 "
        "place",
        "violations: 1 by the driver itself, 1 on forced paths only",
        "2 entry points ran, 1 returned; DriverEntry returned 0x0",
        "DriverUnload did not return: budget spent",
        "counted: Execute Pool Type 2",
        "covered: 10 of 40 blocks, 3 of 5 call sites of impacted DDIs (2 by themselves)",
        "compared with the code: 2 call sites agree, 0 disagree, 1 were seen in the run only",
        "answered with a guess: ZwOdd",
        "Execute Pool Type: the code shows 0, the run counted 2: the code does not show what the "
        "run saw; see the calls of the run",
    ]
    assert event_lines(verified(BLOCK)) == [
        "0x1234  bug check 0xc4 0x2000: executable pool [natural path]",
        "0x1234  bug check 0xbe: executable pool [forced path]",
    ]


def test_counters_that_differ_say_why():
    page, mapping = Counter.EXECUTE_PAGE_PROTECTION, Counter.EXECUTE_PAGE_MAPPING
    ran = {page.value: 0, mapping.value: 1}
    site = ImageSite(Rva(0x1000), ".text")

    def result(counter, outcome):
        finding = Finding(outcome, "x", site, Origin.CALLSITE)
        return RuleResult(counter.rule, outcome, (finding,), counter=counter)

    results = (result(page, Outcome.FAIL), result(mapping, Outcome.NOTE))
    lines = run_lines(replace(report(), results=results, verifier=BLOCK | {"counters": ran}))
    assert lines[-2:] == [
        "Execute Page Protection: the code shows 1, the run counted 0: the run did not come to "
        "such a call by itself",
        "Execute Page Mapping: the code shows 0, the run counted 1: Driver Verifier counts "
        "user-mode mappings without the NX bit (1 noted), though none of them executes",
    ]


def test_no_run_no_words():
    assert run_lines(report()) == event_lines(report()) == []
    assert "Verifier run" not in render(Document((report(),)), Format.TEXT)


@pytest.mark.parametrize("form", [Format.TEXT, Format.HTML, Format.MARKDOWN])
def test_people_see_the_run(form):
    text = render(Document((verified(BLOCK),)), form)
    assert "Verifier run" in text
    assert "entry points ran" in text


def test_many_events_are_cut():
    assert event_lines(verified({"events": [EVENT] * 30}))[-1] == "and 10 more"


@pytest.mark.parametrize("form", Format)
@pytest.mark.parametrize(
    "block",
    [
        {},
        {"events": 5, "counters": [], "coverage": None, "entry_points": [1, {}], "stopped": {}},
        {"events": [{"site": None}, {"site": {"rva": "x"}}, {"message": HOSTILE}]},
        {"stopped": [{"entry": HOSTILE, "why": HOSTILE}], "without_model": [{"ddi": HOSTILE}]},
    ],
)
def test_odd_blocks_are_shown_harmless(form, block):
    assert "\x1b" not in render(Document((verified(block),)), form)
