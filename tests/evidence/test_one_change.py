"""A driver that is clean but for one thing: exactly one rule moves."""

import pytest

import build
from hvci.evaluate import Options, evaluate
from hvci.model import Answer, Outcome, Question, Verdict, WindowsVersion

FAIL, NOTE = Outcome.FAIL, Outcome.NOTE
MACHINES = ["x64", "x86", "arm64"]
OLD = Options(target_os=WindowsVersion.WINDOWS_10_1607)


def outcomes(data, options=None):
    return {result.rule: result.outcome for result in evaluate(data, options).results}


CLEAN = {machine: outcomes(build.driver(machine)) for machine in MACHINES}


def moved(machine, options=None, **change):
    found = outcomes(build.driver(machine, **change), options)
    return {rule: outcome for rule, outcome in found.items() if outcome != CLEAN[machine][rule]}


@pytest.mark.parametrize("machine", MACHINES)
def test_the_clean_driver_loads_and_is_ready(machine):
    report = evaluate(build.driver(machine))
    assert report.answers[Question.LOADS] is Answer.YES
    assert report.answers[Question.READINESS] is Answer.YES
    assert report.verdict is not Verdict.INCOMPATIBLE
    (judged,) = report.calls
    assert judged.call.ddi == "ExAllocatePoolWithTag"
    assert judged.call.arguments["PoolType"].possible == {0x200}
    assert not any(report.counters.values())


@pytest.mark.parametrize("machine", ["x64", "x86"])
def test_the_clean_driver_is_compatible(machine):
    report = evaluate(build.driver(machine))
    assert report.verdict is Verdict.COMPATIBLE
    assert not report.limits


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    "change",
    [
        {"section_alignment": 0x2000},
        {"section_alignment": 0x1_0000},
        {"pool_type": 1},
        {"pool_type": 0x204},
        {"sections": ((".code", build.CODE), (".data2", build.DATA))},
        {"sections": (("PAGE", build.CODE), ("INIT2", build.CODE | build.DISCARDABLE))},
        {"iat_directory": False},
        {"dll_characteristics": 0},
        {"dll_characteristics": 0xFFFF},
        {"signature": b"\x10\0\0\0\0\x02\x02\0" + bytes(8)},
        {"directories": {"relocation": (0, 0)}, "relocations": b"", "pointers": ()},
        {"overlay": b"anything behind the sections"},
    ],
    ids=lambda change: "-".join(change),
)
def test_what_plays_no_role_moves_nothing(machine, change):
    assert moved(machine, **change) == {}


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"pool_type": 0}, {"execute-pool-type": FAIL}),
        ({"pool_type": 4}, {"execute-pool-type": FAIL}),
        ({"sections": ((".hook", build.CODE | build.WRITE),)}, {"execute-write-section": FAIL}),
        ({"sections": (("PAGE", build.CODE | build.WRITE),)}, {"execute-write-section": FAIL}),
        ({"sections": (("INIT2", build.CODE | build.WRITE),)}, {"execute-write-section": FAIL}),
        ({"init": build.CODE | build.WRITE | build.DISCARDABLE}, {"execute-write-section": NOTE}),
        ({"section_alignment": 0x80}, {"section-alignment": FAIL}),
        ({"section_alignment": 0x20}, {"section-alignment": FAIL}),
        ({"section_alignment": 0x200}, {"section-alignment": FAIL}),
        ({"iat_in_text": True}, {"iat-in-executable-section": FAIL}),
        ({"iat_in_text": True, "iat_directory": False}, {"iat-in-executable-section": NOTE}),
    ],
    ids=str,
)
def test_one_change_moves_one_rule(machine, change, expected):
    assert moved(machine, **change) == expected


def test_straddling_pointers_matter_up_to_1607_and_on_64_bits():
    change = {"pointers": (0, 0xFFC)}
    assert moved("x64", OLD, **change) == {"unsupported-relocs": FAIL}
    assert moved("x64", **change) == {"unsupported-relocs": NOTE}
    assert moved("x86", OLD, **change) == {}


def test_alignment_counts_every_section():
    report = evaluate(build.driver(section_alignment=0x80))
    assert report.answers[Question.LOADS] is Answer.NO
    assert dict(report.counters)["section_alignment_failures"] == 6


def test_executable_pool_does_not_stop_loading():
    report = evaluate(build.driver(pool_type=0))
    assert report.answers[Question.LOADS] is Answer.YES
    assert report.answers[Question.READINESS] is Answer.NO


def test_code_without_unwind_data_is_found_from_the_entry_point():
    report = evaluate(build.driver("x64", pool_type=0, directories={"exception": (0, 0)}))
    assert report.verdict is Verdict.INCOMPATIBLE


def test_code_that_nothing_leads_to_is_never_called_compatible():
    hidden = build.driver("x64", pool_type=0, directories={"exception": (0, 0)})
    report = evaluate(build.patch(hidden, entry=0x1100))
    assert report.verdict is not Verdict.COMPATIBLE


@pytest.mark.parametrize("name", [".hexpthk", ".a64xrm"])
def test_arm64ec_code_without_a_load_configuration_is_not_plain_x64(name):
    report = evaluate(build.driver("x64", sections=((name, build.DATA),)))
    assert any("ARM64EC" in limit.reason for limit in report.limits)
    assert report.verdict is Verdict.UNDECIDED
    assert not evaluate(build.driver("x64", sections=((".hexpthy", build.DATA),))).limits
    assert not evaluate(build.driver("x86", sections=((name, build.DATA),))).limits
