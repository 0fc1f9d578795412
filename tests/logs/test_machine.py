"""Lists of a computer: packages, devices with problems, services, the state of memory integrity."""

from dataclasses import replace

import pytest

import eventfiles as files
from hvci.logs import gather, refusals, to_lines
from hvci.logs.compare import as_bundle, compared
from hvci.model import (
    Answer,
    Confidence,
    DriverPolicy,
    Finding,
    ImageSite,
    Origin,
    Outcome,
    Question,
    RuleResult,
    Rva,
    Signed,
    Trust,
)
from hvci.model.gates import Gate
from reports import image, report

PNPUTIL = """Microsoft PnP Utility

Published Name:     oem3.inf
Original Name:      other.inf
Provider Name:      Maker
Class Name:         System devices
Driver Version:     08/14/2024 1.0.0.0
Signer Name:        Microsoft Windows Hardware Compatibility Publisher

Published Name:     oem12.inf
Original Name:      usbthing.inf
Provider Name:      Maker
Driver Files:
    C:\\Windows\\System32\\DriverStore\\FileRepository\\usbthing.inf_amd64_1\\thing.sys
"""
GERMAN = """
Ver\u00f6ffentlichter Name:     oem7.inf
Originalname:      thing.inf
Anbietername:      Maker
"""
DEVICES = """
Instance ID:                USB\\VID_1234&PID_5678\\1
Device Description:         Thing
Manufacturer Name:          Maker
Status:                     Problem
Problem Code:               {code} ({code:#x}) [CM_PROB_X]
Problem Status:             {status}
Driver Name:                oem12.inf

Instance ID:                ACPI\\PNP0C0A\\1
Status:                     Started
Driver Name:                battery.inf
"""
SETUP = """[Device Install Log]
>>>  [Device Install (Hardware initiated) - USB\\VID_1234&PID_5678\\1]
>>>  Section start 2026/11/28 10:00:00.000
     dvi:      Driver Node: Published oem12.inf
     flq:      Copying 'C:\\Temp\\thing.sys' to 'C:\\Windows\\System32\\drivers\\thing.sys'.
!!!  dvi: Device not started: Device has problem: {code:#04x} (CM_PROB_X), problem status: {status}.
<<<  Section end 2026/11/28 10:00:01.000
>>>  [Device Install (DiInstallDriver) - C:\\other\\fine.inf]
     dvi:      oem13.inf
     flq:      Copying 'C:\\other\\fine.sys' to 'C:\\Windows\\System32\\drivers\\fine.sys'.
<<<  [Exit status: SUCCESS]
"""
DEVICE_GUARD = """
AvailableSecurityProperties                  : {1, 2, 3}
SecurityServicesConfigured                   : {2}
SecurityServicesRunning                      : {0}
VirtualizationBasedSecurityStatus            : 1
"""
RUNNING = "Virtualization-based security Services Running\t"
QUERY = """"Module Name","Display Name","Start Mode","State","Path"
"thing","Thing","Boot","Stopped","C:\\Windows\\system32\\drivers\\thing.sys"
"other","Other","Manual","Running","C:\\Windows\\system32\\drivers\\other.sys"
"""


def rows(*texts, reports=()):
    gathered = gather(text.encode() for text in texts)
    return refusals(gathered.seen, gathered.computer, reports, gathered.signers)


def computer(text):
    return gather([text.encode()]).computer


def test_packages_by_their_files_and_by_their_names():
    found = computer(PNPUTIL)
    assert found.packages == {"thing.sys": "oem12.inf"}
    assert found.likely == {"other.sys": "oem3.inf", "usbthing.sys": "oem12.inf"}
    assert computer(GERMAN).likely == {"thing.sys": "oem7.inf"}


def test_of_several_packages_with_one_file_none_is_named_to_be_removed():
    event = files.xml([files.policy("thing.sys", files.DRIVER_POLICY)])
    again = PNPUTIL.replace("oem12", "oem15").replace("oem3", "oem16")
    for texts in ((PNPUTIL + again,), (PNPUTIL, again)):
        (row,) = rows(event, *texts)
        assert row.package == "one of oem12.inf, oem15.inf"
        assert "delete-driver" not in row.todo
        assert computer("\n".join(texts)).likely["other.sys"] == "one of oem3.inf, oem16.inf"
    # what was installed last is the one that counts
    again = SETUP + SETUP.replace("oem12", "oem20")
    assert (
        computer(PNPUTIL + again.format(code=10, status="0x0")).packages["thing.sys"] == "oem20.inf"
    )


def test_the_package_stands_in_the_row_and_in_the_next_step():
    event = files.xml([files.policy("thing.sys", files.DRIVER_POLICY)])
    (row,) = rows(event, PNPUTIL)
    assert row.package == "oem12.inf"
    assert row.todo.endswith("pnputil /delete-driver oem12.inf /uninstall.")
    (row,) = rows(event, GERMAN)
    assert row.package == "oem7.inf (by the name of its INF)"
    assert "pnputil /delete-driver oem7.inf" in row.todo
    (row,) = rows(event)
    assert not row.package
    assert "oem" not in row.todo


@pytest.mark.parametrize("text", [DEVICES, SETUP])
@pytest.mark.parametrize(
    ("code", "status", "gate"),
    [
        (52, "0xC0000428", Gate.SIGNING),
        (48, "0xC000036B", Gate.COMPAT_DB),
        (48, "0xC0000001", Gate.COMPAT_DB),
        (39, "0xC0000428", Gate.SIGNING),
        (39, "0xC0000001", None),
    ],
)
def test_devices_with_a_problem(text, code, status, gate):
    (row,) = rows(text.format(code=code, status=status), PNPUTIL)
    assert (row.driver, row.gate, row.package) == ("thing.sys", gate, "oem12.inf")
    assert f"(Code {code})" in row.evidence[0]


def test_codes_of_no_gate_are_no_rows():
    assert rows(DEVICES.format(code=22, status="0x0")) == ()


def test_a_device_whose_driver_is_not_known_is_named_by_its_package():
    (row,) = rows(DEVICES.format(code=52, status="0xC0000428"))
    assert row.driver == "oem12.inf"


def test_a_code_joins_the_event_that_names_the_check():
    event = files.xml([files.hvci("thing.sys")])
    (row,) = rows(SETUP.format(code=39, status="0xC0000001"), event)
    assert (row.gate, len(row.evidence)) == (Gate.IMAGE, 2)


@pytest.mark.parametrize(
    ("text", "state", "facts"),
    [
        (DEVICE_GUARD, False, 3),
        (DEVICE_GUARD.replace("{0}", "{1, 2}").replace(": 1", ": 2"), True, 1),
        (
            "Virtualization-based security Services Running\tHypervisor enforced Code Integrity",
            1,
            1,
        ),
        ("Virtualization-based security Services Running\t", False, 1),
        ("nothing", None, 0),
    ],
)
def test_the_state_of_memory_integrity(text, state, facts):
    found = computer(text)
    assert (found.memory_integrity, len(found.facts)) == (state, facts)


@pytest.mark.parametrize(
    ("issues", "words"),
    [
        ("0x00000000", "0x0 of the computer, which is none"),
        ("0x00000014", "Secure Boot is off, no mode-based execution control (observed meanings)"),
        ("0x00002000", "0x2000, which is not known"),
    ],
)
def test_what_hvciscan_says_of_the_computer(issues, words):
    text = f"VbsGetIssues: {issues}\nHVCI incompatible driver scan passed\n"
    gathered = gather([text.encode()])
    assert not gathered.is_empty
    assert words in gathered.computer.facts[0]
    assert gathered.computer.facts[1] == "hvciscan found no incompatible driver"


def test_boot_drivers():
    assert computer(QUERY).at_boot == {"thing.sys"}
    event = files.xml([files.hvci("thing.sys")])
    (row,) = rows(event, QUERY)
    assert "boot-start" in row.todo


# ---------------------------------------------------------------------- beside what hvci says


def judged(outcome, rule="section-alignment"):
    site = ImageSite(Rva(0x1000), ".text")
    finding = Finding(outcome, "not aligned", site, Origin.IMAGE, Confidence.DOCUMENTED)
    findings = (finding,) if outcome is not Outcome.PASS else ()
    loads = frozenset({Question.LOADS})
    result = RuleResult(rule, outcome, findings, questions=loads)
    return replace(report(), results=(result,), image=image())


EVENT = files.xml([files.hvci("driver.sys", bitmap="Invalid section alignment")])


@pytest.mark.parametrize(
    ("event", "outcome", "rule", "agrees", "words"),
    [
        (EVENT, Outcome.FAIL, "section-alignment", True, "agrees: it does not load"),
        (EVENT, Outcome.FAIL, "execute-write-section", True, "agrees"),
        (EVENT, Outcome.PASS, "section-alignment", False, "disagrees"),
        (EVENT, Outcome.UNDECIDED, "section-alignment", None, "could not decide"),
    ],
)
def test_the_row_says_whether_hvci_agrees(event, outcome, rule, agrees, words):
    (row,) = rows(event, reports=[judged(outcome, rule)])
    assert row.agrees is agrees
    assert words in row.verdict
    assert bool(row.causes) == (outcome is Outcome.FAIL)


def test_another_reason_than_windows_names_is_a_disagreement():
    other = judged(Outcome.FAIL, "execute-write-section")
    passed = RuleResult("section-alignment", Outcome.PASS, questions=frozenset({Question.LOADS}))
    (row,) = rows(EVENT, reports=[replace(other, results=(*other.results, passed))])
    assert row.agrees is False
    assert "but not why" in row.verdict


def test_other_checks_are_not_compared_with_the_image():
    event = files.xml([files.policy("driver.sys", files.DRIVER_POLICY)])
    (row,) = rows(event, reports=[judged(Outcome.PASS)])
    assert (row.agrees, row.verdict) == (
        None,
        "it looks at the image and the code, not at this check",
    )
    (row,) = rows(event, reports=[judged(Outcome.FAIL)])
    assert "memory integrity would refuse it too" in row.verdict


def trusted(signed, policy):
    return replace(judged(Outcome.PASS), trust=Trust(signed, "why", policy, "because"))


@pytest.mark.parametrize(
    ("record", "report", "agrees", "words"),
    [
        (
            "policy",
            trusted(Signed.CROSS_SIGNED, DriverPolicy.ALLOW_LISTED),
            True,
            "agrees: because",
        ),
        ("policy", trusted(Signed.NONE, DriverPolicy.REFUSED), True, "agrees: because"),
        ("policy", trusted(Signed.HARDWARE, DriverPolicy.PASSES), False, "disagrees: because"),
        ("policy", trusted(Signed.NONE, DriverPolicy.UNDECIDED), None, "cannot tell: because"),
        ("hash", trusted(Signed.NONE, DriverPolicy.REFUSED), True, "agrees: why"),
        ("hash", trusted(Signed.HARDWARE, DriverPolicy.PASSES), None, "cannot tell: why"),
        ("list", replace(judged(Outcome.PASS), blocklisted=Answer.YES), True, "list names it"),
        ("list", replace(judged(Outcome.PASS), blocklisted=Answer.NO), False, "does not name it"),
        ("list", judged(Outcome.PASS), None, "not at this check"),
        ("own", trusted(Signed.HARDWARE, DriverPolicy.PASSES), None, "not at this check"),
    ],
)
def test_signatures_and_lists_answer_for_their_checks(record, report, agrees, words):
    events = {
        "policy": files.policy("driver.sys", files.DRIVER_POLICY),
        "hash": files.signing("driver.sys"),
        "list": files.policy("driver.sys", files.BLOCK_LIST),
        "own": files.policy("driver.sys", files.OWN_POLICY),
    }
    (row,) = rows(files.xml([events[record]]), reports=[report])
    assert row.agrees is agrees
    assert words in row.verdict


def test_another_build_is_not_compared():
    record = files.hvci("driver.sys")
    record.data["SHA256 Hash"] = "AB" * 32
    mine = trusted(Signed.HARDWARE, DriverPolicy.PASSES)
    same = replace(mine, trust=mine.trust._replace(authentihash="ab" * 32))
    other = replace(mine, trust=mine.trust._replace(authentihash="cd" * 32))
    (row,) = rows(files.xml([record]), reports=[same])
    assert row.agrees is False
    (row,) = rows(files.xml([record]), reports=[other])
    assert (row.agrees, row.verdict.startswith("the file given is another build")) == (None, True)


def of(path, digest, outcome=Outcome.PASS, authentihash=""):
    """A report of another file of the same name."""
    one = judged(outcome)
    trust = trusted(Signed.NONE, DriverPolicy.REFUSED).trust._replace(authentihash=authentihash)
    return replace(one, target=replace(one.target, path=path, sha256=digest * 64), trust=trust)


@pytest.mark.parametrize("turned", [False, True])
def test_of_several_drivers_of_one_name_the_hash_tells_which_is_meant(turned):
    record = files.hvci("driver.sys")
    record.data["SHA256 Hash"] = "AB" * 32
    refused = of("a/driver.sys", "1", Outcome.FAIL, "ab" * 32)
    given = [refused, of("b/driver.sys", "2", Outcome.PASS, "cd" * 32)]
    (row,) = rows(files.xml([record]), reports=given[::-1] if turned else given)
    assert row.agrees is True


def test_of_several_drivers_of_one_name_none_is_taken_for_another():
    given = [of("a/driver.sys", "1", Outcome.FAIL), of("b/driver.sys", "2")]
    (row,) = rows(EVENT, reports=given)
    assert row.agrees is None
    assert "2 different drivers of this name" in row.verdict
    assert not as_bundle([row], given)["disagreements"]
    (row,) = rows(EVENT, reports=[of("a/driver.sys", "1"), of("b/driver.sys", "1")])
    assert row.agrees is False


def test_a_crash_leads_to_the_findings():
    text = "BugCheck FC, {1, 2, 3, 4}\nProbably caused by : driver.sys ( driver+1010 )"
    runs = frozenset({Question.RUNS})
    site = ImageSite(Rva(0x1010), ".text")
    finding = Finding(Outcome.FAIL, "runs pool", site, Origin.CALLSITE, Confidence.PROVEN)
    result = RuleResult("dynamic-code", Outcome.FAIL, (finding,), questions=runs)
    (row,) = rows(text, reports=[replace(report(), results=(result,))])
    assert (row.driver, row.gate, row.causes) == (
        "driver.sys",
        Gate.RUN,
        ("0x1010 .text  runs pool",),
    )


def test_the_list_of_modules_names_the_driver_of_a_crash():
    text = (
        "BugCheck C4, {2000, fffff80112341025, 0, 64636261}\n"
        "fffff801`10000000 fffff801`11000000   nt         (pdb symbols)\n"
        "fffff801`12340000 fffff801`12350000   driver     (no symbols)\n"
    )
    (row,) = rows(text)
    assert (row.driver, row.gate) == ("driver.sys", Gate.RUN)
    assert row.evidence[0].startswith("bug check 0xC4 DRIVER_VERIFIER_DETECTED_VIOLATION 0x2000: ")


def test_a_comparison_counts_only_what_windows_said():
    wrong, silent = judged(Outcome.PASS), judged(Outcome.FAIL)
    silent = replace(silent, target=replace(silent.target, path="C:\\x\\silent.sys"))
    fine = replace(wrong, target=replace(wrong.target, path="fine.sys"))
    found = rows(EVENT, reports=[wrong, silent, fine])
    comparison = compared(found, [wrong, silent, fine])
    assert (comparison.agreed, comparison.disagreed) == (0, 1)
    assert "silent.sys: no event, but hvci says" in comparison.lines[2]
    assert "fine.sys: no event, which says nothing" in comparison.lines[3]


def test_a_bundle_holds_facts_and_no_driver():
    wrong = judged(Outcome.PASS)
    found = rows(EVENT, reports=[wrong])
    (facts,) = as_bundle(found, [wrong])["disagreements"]
    assert facts["sha256"] == wrong.target.sha256
    assert facts["failure_names"] == ["Invalid section alignment"]
    assert facts["loads"] == "yes"
    assert {"sections", "section_alignment", "iat", "rules"} <= set(facts)
    bare = replace(wrong, image=None, target=replace(wrong.target, machine=None))
    (facts,) = as_bundle(found, [bare])["disagreements"]
    assert "sections" not in facts
    assert as_bundle(found, [])["disagreements"] == []


@pytest.mark.parametrize("turned", [False, True])
def test_a_bundle_is_about_the_file_that_the_event_names_by_its_hash(turned):
    record = files.hvci("driver.sys")
    record.data["SHA256 Hash"] = "AB" * 32
    given = [of("a/driver.sys", "1", authentihash="ab" * 32), of("b/driver.sys", "2")]
    given = given[::-1] if turned else given
    (facts,) = as_bundle(rows(files.xml([record]), reports=given), given)["disagreements"]
    assert facts["sha256"] == "1" * 64


def test_names_from_logs_are_shown_harmless():
    event = files.xml([files.policy("evil\u202e.sys", files.DRIVER_POLICY)])
    assert "\u202e" not in "".join(to_lines(rows(event)))
