"""Twenty layouts in which people have a bug check or counters; each gives the same facts.

Written after Microsoft's documents and public threads; names and numbers are made up.
"""

import struct
from dataclasses import replace

import pytest
from click.testing import CliRunner

from hvci.cli import main
from hvci.logs import Counted, Listed, gather, join, parse_log, to_text
from hvci.model import (
    Confidence,
    Counter,
    Finding,
    ImageSite,
    Origin,
    Outcome,
    Question,
    RuleResult,
    Rva,
)
from hvci.report.bugchecks import decode_bugcheck
from reports import pool_call, report

POOL = (0x2000, 0xFFFFF80112341025, 0, 0x64636261)
ANALYSIS = """
DRIVER_VERIFIER_DETECTED_VIOLATION (c4)
A device driver attempting to corrupt the system has been caught.
Arguments:
Arg1: 0000000000002000, Code Integrity Issue: The caller specified an executable pool type.
Arg2: fffff80112341025, The address in the driver's code where the error was detected.
Arg3: 0000000000000000, Pool Type.
Arg4: 0000000064636261, Pool Tag (if provided).
"""
LAYOUTS = {
    "!analyze -v": ANALYSIS,
    "numbered paste": "\n".join(f"  {n}. {line}" for n, line in enumerate(ANALYSIS.splitlines())),
    "quoted mail": "\n".join(f"> {line}" for line in ANALYSIS.splitlines()),
    "forum paste": "please help!\n\nArg1: 2000\nArg2: fffff80112341025\nArg3: 0\nArg4: 64636261\n",
    "short line": "BugCheck C4, {2000, fffff80112341025, 0, 64636261}",
    "short line with driver": "BugCheck C4, {2000, fffff80112341025, 0, 64636261}\n"
    "Probably caused by : driver.sys ( driver+1025 )",
    "kernel debugger": "*** Fatal System Error: 0x000000c4\n"
    "                       (0x0000000000002000,0xFFFFF80112341025,0x0000000000000000,"
    "0x0000000064636261)\n",
    "kernel debugger in one line": "*** Fatal System Error: 0x000000c4 (0x0000000000002000,"
    "0xFFFFF80112341025,0x0000000000000000,0x0000000064636261)",
    "blue screen": "*** STOP: 0x000000C4 (0x0000000000002000, 0xFFFFF80112341025, "
    "0x0000000000000000, 0x0000000064636261)\n***  driver.sys - Address FFFFF80112341025 base at "
    "FFFFF80112340000, DateStamp 5f0",
    "event 1001": "The computer has rebooted from a bugcheck.  The bugcheck was: 0x000000c4 "
    "(0x0000000000002000, 0xfffff80112341025, 0x0000000000000000, 0x0000000064636261). A dump was "
    "saved in: C:\\Windows\\MEMORY.DMP. Report Id: 1.",
    "event 1001, German": "Der Computer wurde nach einem schwerwiegenden Fehler neu gestartet. Der "
    "Fehlercode war: 0x000000c4 (0x0000000000002000, 0xfffff80112341025, 0x0000000000000000, "
    "0x0000000064636261). Ein volles Abbild wurde gespeichert in: C:\\Windows\\MEMORY.DMP.",
    "new WinDbg": "BUGCHECK_CODE:  c4\n\nBUGCHECK_P1: 2000\n\nBUGCHECK_P2: fffff80112341025\n\n"
    "BUGCHECK_P3: 0\n\nBUGCHECK_P4: 64636261\n",
    ".bugcheck": "0: kd> .bugcheck\nBugcheck code 000000C4\nArguments 00000000`00002000 "
    "fffff801`12341025 00000000`00000000 00000000`64636261",
    "BlueScreenView": "Bug Check String  : DRIVER_VERIFIER_DETECTED_VIOLATION\n"
    "Bug Check Code    : 0x000000c4\nParameter 1       : 00000000`00002000\n"
    "Parameter 2       : fffff801`12341025\nParameter 3       : 00000000`00000000\n"
    "Parameter 4       : 00000000`64636261\nCaused By Driver  : driver.sys\n"
    "Caused By Address : driver.sys+1025\n",
    "WhoCrashed": "On Sat 1/2/2026 your computer crashed or a problem was reported\n"
    "This was probably caused by the following module: driver.sys (driver+0x1025)\n"
    "Bugcheck code: 0xC4 (0x2000, 0xFFFFF80112341025, 0x0, 0x64636261)\n"
    "Error: DRIVER_VERIFIER_DETECTED_VIOLATION\n",
    "problem details": "Additional information about the problem:\nBCCode:\tc4\n"
    "BCP1:\t0000000000002000\nBCP2:\tFFFFF80112341025\nBCP3:\t0000000000000000\n"
    "BCP4:\t0000000064636261\n",
    "error report": "Fault bucket , type 0\nEvent Name: BlueScreen\nProblem signature:\nP1: c4\n"
    "P2: 2000\nP3: fffff80112341025\nP4: 0\nP5: 64636261\n",
    "Kernel-Power 41": "BugcheckCode 196\nBugcheckParameter1 0x2000\n"
    "BugcheckParameter2 0xfffff80112341025\nBugcheckParameter3 0x0\n"
    "BugcheckParameter4 0x64636261\n",
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_each_layout_gives_the_bug_check(name):
    (crash,) = parse_log(LAYOUTS[name]).entries
    assert (crash.code, crash.parameters) == (0xC4, POOL)


@pytest.mark.parametrize("name", LAYOUTS)
def test_with_the_base_each_layout_leads_to_the_call_site(name):
    log = parse_log(
        LAYOUTS[name] + "\nfffff801`12340000 fffff801`12350000   driver  (no symbols)\n"
    )
    (crash,) = join(log, [report(pool_call(0x1020, 0))])
    assert crash.sure
    assert crash.causes[0].startswith("0x1020 .text")


@pytest.mark.parametrize("name", ["BlueScreenView", "WhoCrashed", "short line with driver"])
def test_places_and_drivers_are_read(name):
    (crash,) = parse_log(LAYOUTS[name]).entries
    assert crash.driver == "driver.sys"
    assert ("driver", 0x1025) in crash.offsets


def test_a_stop_code_without_parameters_says_what_is_missing():
    log = parse_log("Stop code: DRIVER VERIFIER DETECTED VIOLATION\nWhat failed: driver.sys")
    (crash,) = log.entries
    assert (crash.code, crash.parameters, crash.driver) == (0xC4, (), "driver.sys")
    assert "the log does not hold the parameters" in to_text(join(log, []))


def test_several_bug_checks_in_one_log_stay_apart():
    text = LAYOUTS["event 1001"] + "\n" + LAYOUTS["event 1001"].replace("c4 (", "fc (")
    assert [crash.code for crash in parse_log(text).entries] == [0xC4, 0xFC]
    same = LAYOUTS["event 1001"] + "\n" + LAYOUTS["event 1001"].replace("64636261", "00000001")
    assert [crash.parameters[3] for crash in parse_log(same).entries] == [0x64636261, 1]
    both = LAYOUTS["short line"] + "\n" + ANALYSIS
    assert [crash.parameters for crash in parse_log(both).entries] == [POOL]
    two = ANALYSIS + ANALYSIS.replace("0000000064636261", "0000000000000001")
    assert [crash.parameters[3] for crash in parse_log(two).entries] == [0x64636261, 1]


def test_an_execution_is_told_from_other_page_faults():
    text = """PAGE_FAULT_IN_NONPAGED_AREA (50)
Arguments:
Arg1: ffffc08a10203040, memory referenced.
Arg2: 0000000000000011, value 0 = read operation, 1 = write operation, 10 = execute.
Arg3: ffffc08a10203040, If non-zero, the instruction address which referenced the bad address.
Arg4: 0000000000000002, (reserved)
"""
    (crash,) = join(parse_log(text), [])
    assert "code ran from memory that is not executable" in crash.title
    (other,) = join(parse_log(text.replace("0011,", "0002,")), [])
    assert "memory that is not there was used" in other.title


@pytest.mark.parametrize(
    ("parameters", "rule"),
    [
        ((1, 0x11, 1, 2), "dynamic-code"),
        ((1, 0x10, 5, 2), "dynamic-code"),
        ((1, 0x8, 1, 2), "dynamic-code"),
        ((1, 0x8, 5, 2), ""),
        ((1, 0x9), ""),
        ((1, 0x3, 5, 2), ""),
        ((1, 0), ""),
        ((1,), ""),
        ((), ""),
    ],
)
def test_the_execute_bit(parameters, rule):
    assert decode_bugcheck(0x50, parameters).rule == rule


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ((0xA, 1, 2), "kernel Control Flow Guard"),
        ((3, 1, 2), "not about memory integrity"),
        ((), "a check of memory safety failed"),
    ],
)
def test_the_guard_check(parameters, words):
    assert words in decode_bugcheck(0x139, parameters).title


def test_other_codes():
    assert "protected memory was changed" in decode_bugcheck(0x18C, (0x1004,)).title


QUERY = """
Time Stamp: 11/28/2026 10:00:00.000

Verifier Flags: 0x02000000

Driver Verification List

MODULE: first.sys (load: 1 / unload: 0)

    Pool Allocation Statistics: ( NonPagedPool / PagedPool )

      Current Pool Allocations: ( 0x00000003 / 0x00000000 )

    Code Integrity Statistics:

      Execute Pool Type Count:                3
      Execute Page Protection Count:          0

MODULE: second.sys (load: 0 / unload: 0)

    Code Integrity Statistics:

      Execute Pool Type Count:                0
      Execute Page Protection Count:          0

MODULE: 0x84226b28 third.sys (Loaded)

      Section Alignment Failures:             9
"""


def test_verifier_query_of_several_modules():
    assert parse_log(QUERY).entries == (
        Counted(
            {Counter.EXECUTE_POOL_TYPE: 3, Counter.EXECUTE_PAGE_PROTECTION: 0},
            "first.sys",
        ),
        Counted(
            {Counter.EXECUTE_POOL_TYPE: 0, Counter.EXECUTE_PAGE_PROTECTION: 0},
            "second.sys",
        ),
        Counted({Counter.SECTION_ALIGNMENT_FAILURES: 9}, "third.sys"),
    )


@pytest.mark.parametrize(("text", "count"), [("025", 25), ("0x1A", 26), ("00", 0)])
def test_numbers_as_people_write_them(text, count):
    (one,) = parse_log(f"Execute Pool Type Count: {text}").entries
    assert one.counters == {Counter.EXECUTE_POOL_TYPE: count}
    assert parse_log(f"Execute Pool Type Count: {'9' * 30}").entries == ()


def test_the_debugger_s_list_of_modules():
    text = "nt!_VF_TARGET_DRIVER 0xa013f2c8: a.sys (Loaded)\n  Execute Page Mapping Count: 0x2\n"
    assert parse_log(text).entries == (Counted({Counter.EXECUTE_PAGE_MAPPING: 2}, "a.sys"),)


def test_the_readiness_tool_in_one_line():
    text = (
        "Incompatible HVCI Kernel Driver Modules found:\n"
        "Module: a.sys  Reason: execute pool type count: 2\n"
        "Module: b.sys  Reason: section alignment failures: 9\n"
    )
    assert parse_log(text).entries == (
        Counted({Counter.EXECUTE_POOL_TYPE: 2}, "a.sys"),
        Counted({Counter.SECTION_ALIGNMENT_FAILURES: 9}, "b.sys"),
    )


def test_the_list_of_windows_security():
    text = "Incompatible drivers\n\nthing.sys\nMaker\nPublished name: oem12.inf\nother.sys\n"
    assert parse_log(text).entries == (Listed("thing.sys", "oem12.inf"), Listed("other.sys"))


def test_a_live_dump_has_the_parameters_of_its_bug_check():
    text = LAYOUTS["short line"].replace("BugCheck C4", "BugCheck 1C4")
    (crash,) = parse_log(text).entries
    assert (crash.code, crash.parameters) == (0xC4, POOL)


def test_the_return_address_behind_a_call_of_generated_code_names_it():
    site = ImageSite(Rva(0x1020), ".text")
    finding = Finding(Outcome.FAIL, "calls pool", site, Origin.CALLSITE, Confidence.PROVEN)
    result = RuleResult("dynamic-code", Outcome.FAIL, (finding,))
    text = "BugCheck FC, {ffffc08a10203040, 8a00000012345063, 1, 2}\nfff`1 : driver+0x1026\n"
    (crash,) = join(parse_log(text), [replace(report(), results=(result,))])
    assert crash.sure
    assert crash.causes == ("0x1020 .text  calls pool",)


def test_what_breaks_by_itself_explains_a_crash_before_what_is_only_counted():
    site = ImageSite(Rva(0x1020), ".text")
    runs = Finding(Outcome.FAIL, "calls pool", site, Origin.CALLSITE, Confidence.PROVEN)
    own = report(pool_call(0x1100, 0))
    result = RuleResult("dynamic-code", Outcome.FAIL, (runs,), questions=frozenset({Question.RUNS}))
    (crash,) = join(parse_log("BugCheck FC, {1, 2, 3, 4}"), [own])
    assert [cause.split()[0] for cause in crash.causes] == ["0x1100"]
    given = replace(own, results=(*own.results, result))
    (crash,) = join(parse_log("BugCheck FC, {1, 2, 3, 4}"), [given])
    assert [cause.split()[0] for cause in crash.causes] == ["0x1020"]


def dump(mark, code_at, parameters_at, form, parameters):
    data = bytearray(0x2000)
    data[:8] = mark
    struct.pack_into("<I", data, code_at, 0xC4)
    struct.pack_into(form, data, parameters_at, *parameters)
    return bytes(data)


SMALL = (0x2000, 0x92341025, 0, 0x64636261)
DUMPS = (
    (dump(b"PAGEDU64", 0x38, 0x40, "<4Q", POOL), POOL),
    (dump(b"PAGEDUMP", 0x28, 0x2C, "<4I", SMALL), SMALL),
)


@pytest.mark.parametrize(("data", "parameters"), DUMPS)
def test_the_header_of_a_dump_holds_the_bug_check(data, parameters, tmp_path):
    (crash,) = gather([data]).log.entries
    assert (crash.code, crash.parameters) == (0xC4, parameters)
    assert gather([data[:0x30]]).is_empty
    (tmp_path / "MEMORY.DMP").write_bytes(data)
    done = CliRunner().invoke(main, ["import-log", str(tmp_path / "MEMORY.DMP")])
    assert "0x2000: the driver asks for executable pool memory" in done.stdout


def test_lists_of_a_computer_alone_hold_no_refusal():
    text = "Published Name: oem1.inf\nOriginal Name: a.inf\n"
    done = CliRunner().invoke(main, ["import-log", "-"], input=text)
    assert (done.exit_code, done.stdout) == (
        0,
        "no refused driver, bug check or counter in this log\n",
    )


@pytest.mark.parametrize(
    "text",
    [
        "Bug Check 0xFC: ATTEMPTED_EXECUTE_OF_NOEXECUTE_MEMORY",
        "Bug check 0xFC",
        "BSOD with stop code 0x000000FC",
        "Your PC ran into a problem. Stop code: ATTEMPTED_EXECUTE_OF_NOEXECUTE_MEMORY",
        "Stop code: ATTEMPTED EXECUTE OF NOEXECUTE MEMORY (0xFC)",
        "0xFC ATTEMPTED_EXECUTE_OF_NOEXECUTE_MEMORY",
        "ATTEMPTED_EXECUTE_OF_NOEXECUTE_MEMORY",
    ],
)
def test_a_heading_alone_is_a_bug_check_without_parameters(text):
    (crash,) = parse_log(text).entries
    assert (crash.code, crash.parameters) == (0xFC, ())
    (beside,) = parse_log(
        f"BugCheck FC, {{1, 2, 3, 4}}\nProbably caused by : a.sys\n{text}"
    ).entries
    assert beside.parameters == (1, 2, 3, 4)


@pytest.mark.parametrize(
    "text", ["Stop code: DPC_WATCHDOG_VIOLATION", "A_LONG_WORD", "the bug check code was lost"]
)
def test_other_words_are_no_bug_check(text):
    assert parse_log(text).entries == ()


def test_a_parameter_that_the_log_lacks_is_not_taken_for_zero():
    log = parse_log("Bug Check 0xC4\nArg1: 2000\nArg2: fffff80112341025\n")
    (crash,) = log.entries
    assert crash.parameters == POOL[:2]
    text = to_text(join(log, [report(pool_call(0x1020, 0))]))
    assert "the log holds 2 of the four parameters only" in text
    assert "Pool type" not in text
    assert parse_log("Bug Check 0xC4\nArg2: 1\nArg3: 2").entries[0].parameters == ()


@pytest.mark.parametrize(
    "text",
    [
        "DRIVER_VERIFIER_DETECTED_VIOLATION (c4)\nArg1: 62\nArg2: 1\nArg3: 1\nArg4: 1\n",
        "PAGE_FAULT_IN_NONPAGED_AREA (50)\nArg1: fffff80112341025\n",
    ],
)
def test_no_check_is_named_where_the_parameters_do_not_show_it(text):
    assert gather([text.encode()]).seen == ()
