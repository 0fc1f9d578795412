"""Logs of Windows tools: what is read from them, and which findings explain them."""

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from hvci.cli import main
from hvci.evaluate import evaluate
from hvci.logs import Counted, Crash, Joined, Listed, decode_text, gather, join, parse_log, to_text
from hvci.logs.join import SEVERAL
from hvci.model import (
    Confidence,
    Counter,
    Finding,
    ImageSite,
    Origin,
    Outcome,
    RuleResult,
    Rva,
)
from hvci.report import Document, Format, render
from hvci.report.identity import short_name
from hvci.report.pairs import pairs
from reports import HOSTILE, everything, pool_call, report, unknown_call

VERIFIER = """\
Verify Flags Level 0x02000000

Code Integrity Statistics

  Execute Pool Type Count:                3
  Execute Page Protection Count:          0
  Execute Page Mapping Count:             0x1
  Execute-Write Section Count:            0
  Section Alignment Failures:             0
  Unsupported Relocs Count:               0
  IAT in Executable Section Count:        0
"""
READINESS = """\
 InCompatible HVCI Kernel Driver Modules found
 Module: driver.sys
         Reason: execute pool type count:            3
 Module: other.sys
         Reason: section alignment failures:         9
"""
ANALYZE = """\
DRIVER_VERIFIER_DETECTED_VIOLATION (c4)
A device driver attempting to corrupt the system has been caught.
Arguments:
Arg1: 0000000000002000, Code Integrity Issue: The caller specified an executable pool type.
Arg2: fffff80112341025, The address in the driver's code where the error was detected.
Arg3: 0000000000000000, Pool Type.
Arg4: 0000000064636261, Pool Tag (if provided).

STACK_TEXT:
ffffd000`2 fffff801`1 : 00000000`000000c4 00000000`00002000 : nt!KeBugCheckEx+0x107
ffffd000`3 fffff801`2 : ffffe000`1 ffffe000`2 : nt!VerifierBugCheckIfAppropriate+0xdf
SYMBOL_NAME:  driver+1025
MODULE_NAME: driver
IMAGE_NAME:  driver.sys
"""
WRITE = """\
BUGCHECK_CODE:  be
BUGCHECK_P1: fffff80112341000
BUGCHECK_P2: 8a00000012345021
BUGCHECK_P3: 0
BUGCHECK_P4: b
start             end                 module name
fffff801`12340000 fffff801`12350000   driver     (no symbols)
fffff801`10000000 fffff801`11000000   nt         (pdb symbols)
"""
HVCISCAN = """\
VbsGetIssues: 0x10
VbsIsRecommended: 1
HVCI incompatible driver scan start
 C:\\Windows\\System32\\drivers\\driver.sys  (oem12.inf)
 plain.sys
HVCI incompatible driver scan failed
"""


def entries(text):
    return parse_log(text).entries


def test_verifier_counters():
    (one,) = entries(VERIFIER)
    assert one.driver == ""
    assert list(one.counters) == list(Counter)
    assert one.counters[Counter.EXECUTE_POOL_TYPE] == 3
    assert one.counters[Counter.EXECUTE_PAGE_MAPPING] == 1
    assert len(entries(VERIFIER * 2)) == 2


def test_our_own_readiness_output_is_read_back():
    document = Document((everything(),))
    text = render(document, Format.READINESS)
    first = entries(text)[0]
    assert first.driver == "driver.sys"
    assert first.counters == everything().counters


def test_readiness_tool():
    assert entries(READINESS) == (
        Counted({Counter.EXECUTE_POOL_TYPE: 3}, "driver.sys"),
        Counted({Counter.SECTION_ALIGNMENT_FAILURES: 9}, "other.sys"),
    )


def test_analyze():
    (crash,) = entries(ANALYZE)
    assert (crash.code, crash.driver) == (0xC4, "driver.sys")
    assert crash.parameters == (0x2000, 0xFFFFF80112341025, 0, 0x64636261)
    assert ("driver", 0x1025) in crash.offsets
    assert ("nt", "KeBugCheckEx") in crash.functions


def test_analyze_of_newer_windbg_and_modules():
    log = parse_log(WRITE)
    (crash,) = log.entries
    assert (crash.code, crash.parameters[0]) == (0xBE, 0xFFFFF80112341000)
    assert log.bases["driver"] == (0xFFFFF80112340000, 0xFFFFF80112350000)


@pytest.mark.parametrize(
    "text",
    [
        "BugCheck FC, {fffff801`12341000, 8a00000012345063, 1, 2}",
        "*** STOP: 0x000000FC (0xFFFFF80112341000, 0x8A00000012345063,1,2)",
    ],
)
def test_short_bug_check_lines(text):
    assert entries(text) == (Crash(0xFC, (0xFFFFF80112341000, 0x8A00000012345063, 1, 2)),)


def test_several_analyses_in_one_log():
    second = ANALYZE.replace("driver+1025", "driver+2025").replace("(c4)", "(fc)")
    crashes = entries(f"0: kd> !analyze -v\n{ANALYZE}\n{second}\n{ANALYZE}")
    assert [crash.code for crash in crashes] == [0xC4, 0xFC]
    assert ("driver", 0x2025) in crashes[1].offsets
    assert ("driver", 0x1025) not in crashes[1].offsets


def test_statistics_name_their_driver():
    (one,) = entries("Name: driver.sys, loads: 1, unloads: 0\n" + VERIFIER)
    assert one.driver == "driver.sys"


def test_what_our_own_verifier_prints_leads_back_to_the_call_sites():
    driver = Path(__file__).parents[1] / "fixtures/built/sample_bad.x64.o2.sys"
    log = run("verify", driver, "--no-force").stdout
    report = evaluate(driver)
    pool = [
        one
        for one in join(parse_log(log), [report])
        if "0x2000" in one.title and "bug check" in one.title
    ]
    assert pool
    assert all(one.sure and "ExAllocatePoolWithTag" in one.causes[0] for one in pool)


def test_other_bug_checks_are_not_ours():
    log = parse_log("BugCheck 7F, {1, 2, 3, 4}\nDRIVER_POWER_STATE_FAILURE (9f)\nArg1: 1")
    assert (log.entries, log.others) == ((), (0x7F, 0x9F))


def test_hvciscan():
    assert entries(HVCISCAN) == (Listed("driver.sys", "oem12.inf"), Listed("plain.sys"))


def test_utf16_logs():
    data = "\ufeff".encode("utf-16-le") + VERIFIER.encode("utf-16-le")
    assert entries(decode_text(data)) == entries(VERIFIER)
    assert decode_text(b"\xef\xbb\xbfa\xff") == "a\ufffd"


@given(st.text())
def test_any_text_is_a_log(text):
    to_text(join(parse_log(text), [everything()]))


# ---------------------------------------------------------------------- joined


def joined(text, *reports):
    return join(parse_log(text), reports)


def test_counters_lead_to_call_sites():
    one, two = joined(VERIFIER, everything())
    assert one.title == "driver not named: Execute Pool Type Count: 3"
    assert [cause.split()[0] for cause in one.causes] == ["0x1010", "0x1020", "0x1040"]
    assert two.causes == ()
    assert "no finding of hvci explains it" in to_text([two])


def test_only_the_named_driver_explains():
    one, two = joined(READINESS, everything())
    assert one.causes
    assert two.causes == ()


def test_a_return_address_names_the_call_site():
    (crash,) = joined(ANALYZE, report(pool_call(0x1020, 0), pool_call(0x1030, 0)))
    assert crash.sure
    assert crash.causes == (
        "0x1020 .text DriverEntry  ExAllocatePoolWithTag(PoolType 0x0, Tag 0x64636261)",
    )
    assert "the log names this place:" in to_text([crash])
    assert "Pool tag: 'abcd' (0x64636261)" in crash.facts


def test_loaded_ranges_map_addresses():
    finding = Finding(
        Outcome.FAIL,
        "writes to code",
        ImageSite(Rva(0x1000), ".text"),
        Origin.CALLSITE,
        Confidence.PROVEN,
    )
    one = replace(report(), results=(RuleResult("x", Outcome.FAIL, (finding,)),))
    (crash,) = joined(WRITE, one)
    assert crash.sure
    assert crash.causes == ("0x1000 .text  writes to code",)


def test_without_an_address_arguments_tell_candidates_apart():
    text = ANALYZE.replace("driver+1025", "driver+9999")
    other = replace(pool_call(0x1100, 4), ddi="ExAllocatePoolWithTag")
    (crash,) = joined(text, report(pool_call(0x1020, 0), other, unknown_call(0x1200)))
    assert not crash.sure
    assert [cause.split()[0] for cause in crash.causes] == ["0x1020", "0x1200"]
    tagless = text.replace("0000000064636261", "0000000000000001")
    (crash,) = joined(tagless, report(pool_call(0x1020, 0)))
    assert crash.causes == ()


def test_symbols_name_the_function():
    text = ANALYZE.replace("driver+1025", "driver!Second+0x12")
    calls = (pool_call(0x1020, 0, function="First"), pool_call(0x1100, 0, function="Second"))
    (crash,) = joined(text, report(*calls))
    assert [cause.split()[0] for cause in crash.causes] == ["0x1100"]


def test_listed_drivers():
    one, two = joined(HVCISCAN, everything())
    assert one.title == "driver.sys: listed as incompatible"
    assert one.facts == ("installed by oem12.inf",)
    assert len(one.causes) == 3
    assert two.causes == ()


def other(path, digit, *calls):
    one = report(*calls)
    return replace(one, target=replace(one.target, path=path, sha256=digit * 64))


def test_several_drivers_of_one_name_are_told_apart():
    first = other("new/driver.sys", "1", pool_call(0x1020, 0))
    second = other("old/DRIVER.SYS", "2", pool_call(0x1022, 0))
    copy = other("copy/driver.sys", "1", pool_call(0x1020, 0))
    for text in (ANALYZE, READINESS, HVCISCAN):
        found, *_ = join(parse_log(text), (first, second, copy))
        assert SEVERAL in found.facts
        assert not found.sure
        assert [cause.partition(":")[0] for cause in found.causes] == [
            "new/driver.sys",
            "old/DRIVER.SYS",
        ]
        alone, *_ = join(parse_log(text), (first, copy))
        assert SEVERAL not in alone.facts
        assert alone.causes[0].startswith("0x1020")
        assert alone.sure is (text is ANALYZE)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("in/x-1.0.zip!driver.sys", "driver.sys"),
        ("in/x.zip!p/driver.sys", "driver.sys"),
        ("x.msi!cabinet 1!driver.sys", "driver.sys"),
        ("in\\we!rd.sys", "we!rd.sys"),
        ("in/tool.exe!driver at 0x5f000", "tool.exe!driver at 0x5f000"),
    ],
)
def test_a_driver_of_an_archive_has_the_name_that_logs_give_it(path, name):
    assert short_name(path) == name
    (found, *_) = join(parse_log(READINESS), (other(path, "1", pool_call(0x1020, 0)),))
    assert bool(found.causes) is (name == "driver.sys")


def test_two_versions_of_an_archive_have_the_same_drivers():
    def version(number):
        names = (f"x-{number}.zip!a.sys", f"x-{number}.zip!b.sys")
        return [other(name, number, pool_call(0x1020, 0)) for name in names]

    found = [
        (name, old is not None, new is not None)
        for name, old, new in pairs(version("1"), version("2"))
    ]
    assert found == [("a.sys", True, True), ("b.sys", True, True)]


def test_causes_in_several_drivers_say_in_which():
    """A log that names no driver can be about any of them."""
    both = (other("a.sys", "1", pool_call(0x10, 0)), other("b.sys", "2", pool_call(0x20, 0)))
    first, *_ = join(parse_log(VERIFIER), both)
    assert [cause.split()[:2] for cause in first.causes] == [["a.sys:", "0x10"], ["b.sys:", "0x20"]]
    assert SEVERAL not in first.facts


def test_a_module_that_lay_in_two_places_lies_nowhere():
    """Two logs are of two starts of the computer: neither address is that of the other's crash."""
    moved = WRITE.replace("fffff801`123", "fffff801`567").encode()
    assert "driver" in gather([WRITE.encode(), WRITE.encode()]).log.bases
    assert "driver" not in gather([WRITE.encode(), moved]).log.bases
    assert "nt" in gather([WRITE.encode(), moved]).log.bases


def test_a_target_that_cannot_be_read_is_no_success(tmp_path):
    (tmp_path / "log.txt").write_text(ANALYZE)
    result = run("import-log", tmp_path / "log.txt", tmp_path / "gone.sys")
    assert result.exit_code == 4
    assert f"{tmp_path / 'gone.sys'}: No such file or directory" in result.stderr
    assert "CODE" in result.stdout.upper()


def test_long_lists_are_cut():
    item = Joined("t", (), tuple(f"cause {i}" for i in range(50)))
    assert "and 10 more" in to_text([item])


# ---------------------------------------------------------------------- the command


def run(*args, **extra):
    return CliRunner().invoke(main, [str(arg) for arg in args], **extra)


def test_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log.txt").write_text(ANALYZE.replace("driver+1025", "driver!X+1"))
    saved = Document((report(pool_call(0x1020, 0)),))
    (tmp_path / "driver.json").write_text(render(saved, Format.JSON))
    result = run("import-log", "log.txt")
    assert result.exit_code == 0
    assert "no finding of hvci explains it" in result.stdout
    args = ("log.txt", "driver.json", "--base", "driver.sys=fffff801`12340000")
    assert "the log names this place:\n    0x1020" in run("import-log", *args).stdout
    assert run("import-log", "log.txt", "--base", "driver").exit_code == 2
    assert run("import-log", "-", input="nothing").exit_code == 4
    assert run("import-log", "gone.txt").exit_code == 4
    hostile = f"Module: {HOSTILE.split()[0]}\nExecute Pool Type Count: 1\n"
    shown = run("import-log", "-", input=hostile)
    assert shown.exit_code == 0
    assert "\x1b" not in shown.stdout
    counted = run("import-log", "-", "driver.json", input=VERIFIER)
    assert "Execute Pool Type Count: 3" in counted.stdout
    scanned = run("import-log", "-", input=HVCISCAN)
    assert "driver.sys: listed as incompatible" in scanned.stdout
