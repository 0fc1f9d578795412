"""What a run proves: one outcome, one sentence and one exit code for each thing that can happen."""

import pytest

from hvci.model import Counter
from hvci.model.conclusion import Proof, conclude, violation_line
from hvci.verifier.block import counter_lines, statistics_lines

ZERO = {counter.value: 0 for counter in Counter}
RETURNED = {"name": "DriverEntry", "tier": "natural", "returned": True, "status": "0x0"}
COVERED = {"call_sites": 3, "call_sites_natural": 2, "call_sites_total": 5, "blocks": 1}
OWN = {"bugcheck": "0xc4", "subcode": "0x2000", "tier": "natural", "site": {"rva": 1}}
FORCED = OWN | {"tier": "forced"}
WRITE = OWN | {"bugcheck": "0xbe", "subcode": None}


def block(**changes):
    clean = {
        "counters": ZERO,
        "entry_points": [RETURNED],
        "coverage": COVERED,
        "events": [],
        "statistics": {},
        "stopped": [],
        "without_model": [],
        "not_executed": [],
        "limits": [],
    }
    return clean | changes


def entry(**changes):
    return [RETURNED | changes]


@pytest.mark.parametrize(
    ("run", "proof", "code", "words"),
    [
        (block(), Proof.CLEAN, 0, "2 of 5 call sites of impacted DDIs were reached"),
        (
            block(coverage={"call_sites_total": 0}),
            Proof.CLEAN,
            0,
            "the code shows no call of an impacted DDI",
        ),
        (block(entry_points=entry(status="0x103")), Proof.CLEAN, 0, "returned 0x103"),
        (block(events=[OWN, OWN]), Proof.VIOLATION, 1, "bug check 0xc4 0x2000 at 2 places"),
        (block(events=[WRITE]), Proof.VIOLATION, 1, "bug check 0xbe at 1 place"),
        (block(events=[OWN, FORCED]), Proof.VIOLATION, 1, "on forced paths only: bug check 0xc4"),
        (block(counters=ZERO | {"execute_pool_type": 1}), Proof.VIOLATION, 1, "counted"),
        (
            block(entry_points=entry(status="0xc0000001"), events=[OWN]),
            Proof.VIOLATION,
            1,
            "violation",
        ),
        (block(events=[FORCED]), Proof.NOTHING, 3, "but on forced paths bug check 0xc4 0x2000"),
        (
            block(entry_points=entry(status="0xc0000001")),
            Proof.NOTHING,
            3,
            "DriverEntry failed with 0xc0000001",
        ),
        (block(entry_points=entry(status="0x80000005")), Proof.NOTHING, 3, "failed"),
        (block(entry_points=entry(status="odd")), Proof.NOTHING, 3, "failed with odd"),
        (
            block(
                entry_points=entry(returned=False, status=None),
                stopped=[{"entry": "DriverEntry", "why": "budget spent"}],
            ),
            Proof.NOTHING,
            3,
            "DriverEntry did not return (ended: budget spent)",
        ),
        (
            block(entry_points=entry(returned=False, status=None)),
            Proof.NOTHING,
            3,
            "not known why",
        ),
        (
            block(entry_points=[], limits=["the emulator crashed (signal 11)"]),
            Proof.NOTHING,
            3,
            "the driver did not run: the emulator crashed (signal 11)",
        ),
        (block(entry_points=[]), Proof.NOTHING, 3, "the emulator gave no answer"),
        (
            block(coverage=COVERED | {"call_sites_natural": 0}),
            Proof.NOTHING,
            3,
            "reached none of the 5 call sites of impacted DDIs, 3 on forced paths",
        ),
        (
            block(coverage={"call_sites_total": 5}, events=[FORCED]),
            Proof.NOTHING,
            3,
            "call sites of impacted DDIs; on forced paths only: bug check 0xc4 0x2000 at 1 place",
        ),
        (
            block(not_executed=[{"instruction": "VMXON", "rva": 1, "tier": "natural"}]),
            Proof.NOTHING,
            3,
            "cannot execute VMXON",
        ),
        (
            block(not_executed=[{"instruction": "VMXON", "rva": 1, "tier": "forced"}]),
            Proof.CLEAN,
            0,
            "no violation was seen",
        ),
        ({"limits": 5, "events": 7, "counters": []}, Proof.NOTHING, 3, "did not run"),
    ],
)
def test_each_outcome_has_its_sentence_and_exit_code(run, proof, code, words):
    conclusion = conclude(run)
    assert (conclusion.proof, conclusion.exit_code) == (proof, code)
    assert words in conclusion.summary


def test_natural_and_forced_are_told_apart_in_one_line():
    run = block(events=[OWN, WRITE, FORCED])
    assert violation_line(run) == "2 by the driver itself, 1 on forced paths only"


def as_windows_scripts_read(text):
    """Drivers and their counters, as the parser of the readiness tool finds them."""
    found = {}
    for chunk in text.lower().split("module:")[1:]:
        name = chunk[: chunk.index("(") - 1].strip()
        counters = chunk[chunk.index("code integrity statistics:") :]
        counters = counters[counters.index("execute pool type count:") :]
        pairs = [line.split(":") for line in counters.splitlines()]
        found[name] = [pair[1].strip() for pair in pairs if len(pair) == 2]
    return found


def test_scripts_made_for_windows_read_the_statistics():
    bad = block(counters=ZERO | {"execute_page_mapping": 12})
    odd = block(
        entry_points=[],
        limits=["a: b"] * 20,
        not_executed=[{"instruction": "X", "rva": 1, "tier": "forced"}],
        without_model=[{"ddi": f"Zw{number}", "calls": 1} for number in range(9)],
    )
    lines = [
        *statistics_lines("Good.sys", block()),
        *statistics_lines("bad.sys", bad),
        *statistics_lines("odd.sys", odd),
    ]
    zeros = ["0"] * 7
    assert as_windows_scripts_read("\n".join(lines)) == {
        "good.sys": zeros,
        "bad.sys": [*zeros[:2], "12", *zeros[3:]],
        "odd.sys": zeros,
    }
    assert "MODULE: odd.sys (load: 0 / unload: 0)" in lines
    assert lines.count("MODULE: Good.sys (load: 1 / unload: 0)") == 1


def test_zeros_never_stand_alone():
    for run in (block(), block(entry_points=[]), block(entry_points=entry(status="0xc0000001"))):
        lines = statistics_lines("x.sys", run)
        assert any(conclude(run).summary in line for line in lines)


def test_an_unload_that_returned_counts():
    unload = RETURNED | {"name": "DriverUnload"}
    assert statistics_lines("x.sys", block(entry_points=[RETURNED, unload]))[0].endswith(
        "(load: 1 / unload: 1)"
    )


def test_counters_have_the_names_of_windows():
    assert counter_lines(ZERO)[0] == "Execute Pool Type Count:                0"
    assert counter_lines(ZERO)[4].startswith("Section Alignment Failures:  ")
