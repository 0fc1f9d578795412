"""The terminal report: what is said, in which order, and that no file can speak to the terminal."""

import re
from dataclasses import replace

import pytest

from hvci.errors import InputError, NotAnImage
from hvci.model import (
    Answer,
    Confidence,
    Finding,
    ImageSite,
    Limit,
    Origin,
    Outcome,
    Question,
    RuleResult,
    Rva,
    SourceSite,
    Suppression,
    Tier,
    WindowsVersion,
)
from hvci.report import Document, Format, TargetError, render
from hvci.report.safe import safe
from hvci.report.text import Style
from hvci.report.words import Explanation, explanation, parse_explanation, place
from reports import (
    HOSTILE,
    everything,
    hostile_report,
    image,
    map_call,
    pool_call,
    report,
    source_call,
    source_report,
    suppressed,
    unknown_call,
)

CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def text(*of, errors=(), **style):
    return render(Document(tuple(of), tuple(errors)), Format.TEXT, Style(**style))


def squeezed(*of, **style):
    return " ".join(text(*of, **style).split())


def test_the_verdict_comes_first():
    lines = text(report(pool_call(0x1000, 0))).splitlines()
    assert lines[0] == "driver.sys: loads and runs, fails the readiness test (1 place)"
    assert lines[1] == "  x64 image, 4,096 bytes, judged for Windows 11 26H1"


def test_each_verdict_has_its_words():
    assert "driver.sys: loads and runs, passes the readiness test\n" in text(report())
    doubt = text(report(unknown_call(0x1000)))
    assert "driver.sys: loads and runs, undecided whether it passes the readiness test\n" in doubt


def test_three_answers_each_in_a_sentence():
    said = squeezed(report(pool_call(0x1000, 0), pool_call(0x1010, 0)))
    assert "loads yes The image check of memory integrity (Windows 11 26H1) has nothing" in said
    assert "signing policy, block list and compatibility database are other gates." in said
    assert "readiness no The HLK readiness test would count, when this loads and runs: " in said
    assert "2 x execute-pool-type." in said
    assert "runs" in said


def test_answers_of_a_bad_image():
    said = squeezed(everything())
    assert "loads no The image does not load with memory integrity on (Windows 11 26H1): " in said
    assert "1 x execute-write-section" in said


def test_undecided_says_what_is_in_doubt():
    said = squeezed(report(unknown_call(0x1000)))
    assert "something could not be decided: execute-pool-type (1 undecided)." in said
    weak = report(limits=(Limit(Origin.CALLSITE, ("execute-pool-type",), "no code"),))
    assert "execute-pool-type (no code)." in squeezed(weak)


def test_blocklist_is_told_only_when_asked():
    assert "blocklisted" not in text(report())
    for answer in Answer:
        assert f"blocklisted {answer}" in squeezed(replace(report(), blocklisted=answer))


def test_seven_counters_as_the_verifier_names_them():
    lines = [line.strip() for line in text(report(pool_call(0x1000, 0))).splitlines()]
    start = lines.index("Execute Pool Type Count:          1")
    assert lines[start : start + 7] == [
        "Execute Pool Type Count:          1",
        "Execute Page Protection Count:    0",
        "Execute Page Mapping Count:       0",
        "Execute-Write Section Count:      0",
        "Section Alignment Failures:       0",
        "Unsupported Relocs Count:         0",
        "IAT in Executable Section Count:  0",
    ]


def test_counters_are_left_out_when_nothing_could_count():
    bare = replace(report(), results=())
    assert "Count:" not in text(bare)
    assert "undecided" in text(bare)


def test_a_finding_says_where_what_why_and_what_instead():
    said = squeezed(report(pool_call(0x1234, 0)))
    assert "FAIL execute-pool-type (bug check 0xC4 0x2000)" in said
    assert explanation("execute-pool-type").title in said
    assert "Why: with memory integrity on" in said
    assert "0x1234 .text DriverEntry PoolType is NonPagedPool (0x0), tag 'abcd'" in said
    assert "Instead: ExAllocatePool2" in said


def test_equal_findings_share_a_line_and_all_failures_stay():
    some = [pool_call(0x1000 + 16 * i, 0) for i in range(40)]
    said = text(report(*some))
    assert said.count("PoolType is NonPagedPool") == 1
    assert "ExAllocatePoolWithTag, 40 calls" in said
    assert all(f"{0x1000 + 16 * i:#x} .text" in " ".join(said.split()) for i in range(40))


def test_verbose_gives_every_finding_its_line():
    some = [pool_call(0x1000 + 16 * i, 0) for i in range(40)]
    assert text(report(*some), verbose=True).count("PoolType is NonPagedPool") == 40


def test_undecided_and_notes_are_cut_short_unless_verbose():
    some = [unknown_call(0x1000 + 16 * i) for i in range(20)]
    assert "and 12 more" in squeezed(report(*some))
    assert "more" not in squeezed(report(*some), verbose=True).partition("UNDECIDED")[2]
    notes = [map_call(0x1000 + 16 * i) for i in range(20)]
    assert "and 16 more" in squeezed(report(*notes))


def test_many_different_statements_are_cut_short():
    findings = tuple(
        Finding(Outcome.NOTE, f"note {i}", ImageSite(Rva(i)), Origin.IMAGE) for i in range(9)
    )
    one = replace(report(), results=(RuleResult("unknown-rule", Outcome.NOTE, findings),))
    assert "and 5 more; --verbose lists them all" in squeezed(one)
    assert "note 8" in squeezed(one, verbose=True)


def test_undocumented_confidence_and_tier_are_said():
    finding = Finding(
        Outcome.FAIL,
        "writes code",
        ImageSite(Rva(1)),
        Origin.VERIFIER,
        Confidence.OBSERVED,
        tier=Tier.FORCED,
    )
    one = replace(report(), results=(RuleResult("some-rule", Outcome.FAIL, (finding,)),))
    assert "writes code [observed, forced path]" in text(one)


def test_source_places_and_answers():
    said = squeezed(source_report(source_call(12, 0)))
    assert "driver.c:12:5 Create PoolType is NonPagedPool" in said
    assert "source, 4,096 bytes" in said
    assert "runs yes No code was found in the sources that breaks" in said


def test_limits_and_unchecked_rules_are_listed():
    said = squeezed(everything())
    assert "Not examined:" in said
    assert "indirect call not resolved [weakens execute-pool-type]" in said
    many = tuple(Limit(Origin.IMAGE, (), f"reason {i}") for i in range(9))
    assert "and 3 more; --verbose" in squeezed(report(limits=many))
    assert "reason 8" in squeezed(report(limits=many), verbose=True)
    same = tuple(Limit(Origin.IMAGE, (), "odd", ImageSite(Rva(i))) for i in range(9))
    assert "odd (9 places)" in text(report(limits=same))


def test_image_facts_are_one_informational_line():
    said = squeezed(report())
    assert "GUARD_CF, no FORCE_INTEGRITY, carries a signature (not verified)" in said
    assert "linker 14.29, KMDF 1.15, PDB C:\\build\\driver.pdb" in said
    bare = image(signed=False, debug_id=None, kmdf_version=None, hybrid="arm64x")
    said = squeezed(report(image=bare))
    assert "not signed, linker 14.29, hybrid arm64x" in said
    said = squeezed(report(image=image(linking="its relocations are stripped")))
    assert "its relocations are stripped" in said


def test_suppressed_findings_stay_visible_and_counted():
    one = suppressed(report(pool_call(0x1000, 0)))
    said = squeezed(one)
    assert "driver.sys: loads and runs, fails the readiness test (1 place)" in said
    assert "Execute Pool Type Count: 1" in said
    assert "suppressed by hvci.toml, kernel team, until 2031-01-01: known and harmless" in said
    bare = replace(
        one.results[0],
        findings=(replace(everything().findings[0], suppressed=Suppression("fine", "a comment")),),
    )
    assert "suppressed by a comment: fine" in text(replace(one, results=(bare,)))


def test_errors_and_the_summary():
    errors = [TargetError.of("x.sys", NotAnImage("x.sys: no PE header."))]
    two = report(), report(pool_call(0x1000, 0))
    said = text(*two, errors=errors)
    total = (
        "3 targets: 1 fails the readiness test; 1 could not be read; "
        "1 loads and runs, passes the readiness test\n"
    )
    assert said.endswith(total)
    assert said.count(total) == 2
    full = text(*two, errors=errors, verbose=True)
    assert "x.sys: could not be read\n  no PE header.\n  Give a driver" in full
    alone = text(errors=[TargetError.of("y", InputError("gone"))])
    assert alone == "y: could not be read\n  gone.\n"


def test_many_targets_are_a_table_and_only_what_fails():
    two = report(path="a.sys"), report(map_call(0x10), path="b.sys")
    said = text(*two)
    assert said.splitlines() == [
        "TARGET  MACHINE  LOADS  READINESS  RUNS  COUNTERS  GATE",
        "a.sys   x64      yes    yes        yes   -         pass",
        "b.sys   x64      yes    yes        yes   -         pass",
        "",
        "2 targets: 2 load and run, pass the readiness test",
    ]
    assert text(*two, verbose=True).count("Execute Pool Type") == 2
    bad = report(pool_call(0x1000, 0), map_call(0x1010), unknown_call(0x1020), path="c.sys")
    said = text(*two, bad)
    assert said.splitlines()[1] == "c.sys   x64      yes    no         yes   pool 1    fail"
    assert "FAIL  execute-pool-type" in said
    assert "NOTE" not in said
    assert "UNDECIDED" not in said
    assert said.endswith(said.splitlines()[5] + "\n")


def test_quiet_is_the_table_alone():
    one = report(pool_call(0x1000, 0))
    assert text(one, quiet=True).splitlines()[1].split() == (
        ["driver.sys", "x64", "yes", "no", "yes", "pool", "1", "fail"]
    )
    assert "FAIL" not in text(one, quiet=True)
    assert "FAIL" not in text(one, report(), quiet=True)


def test_accepted_failures_of_one_among_many_stay_in_the_table_only():
    said = text(suppressed(report(pool_call(0x1000, 0))), report(path="z.sys"))
    assert "driver.sys  x64      yes    no         yes   pool 1    pass" in said
    assert "FAIL" not in said


def test_a_long_path_keeps_its_end_in_a_narrow_terminal():
    said = text(report(path="some/long/folder/name/driver.sys"), report(path="b.sys"), width=60)
    assert "...er/name/driver.sys  x64" in said
    assert all(len(line) <= 60 for line in said.splitlines())
    assert "some/long/folder/name/driver.sys  x64" in text(
        report(path="some/long/folder/name/driver.sys"), report(path="b.sys")
    )


def test_a_narrow_terminal_says_the_common_folder_once_and_parts_no_counter_from_its_number():
    calls = [pool_call(0x1000 + 16 * i, 0) for i in range(12)]
    bad = image(section_alignment=0x200)
    many = [report(*calls, path=f"out/x64/release/driver{n}.sys", image=bad) for n in range(3)]
    counted = text(*many, quiet=True).splitlines()[1].split("  ")[-2].strip()
    assert counted.startswith("pool 12, alignment ")
    assert "in out/" not in text(*many, quiet=True)
    for width in (60, 72):
        first, head, *rows = text(*many, quiet=True, width=width).splitlines()
        assert first == "in out/x64/release/"
        assert head.split() == ["TARGET", "MACHINE", "LOADS", "READINESS", "RUNS", "GATE"]
        assert rows[0].split() == ["driver0.sys", "x64", "no", "no", "yes", "fail"]
        assert rows[1] == f"    {counted}"
    _, head, row, *_ = text(*many, quiet=True, width=84).splitlines()
    assert head.endswith("  GATE  COUNTERS")
    assert row.endswith(f"  {counted}")


def test_why_is_said_once_a_rule():
    several = report(pool_call(0x1000, 0), unknown_call(0x1100)), report(pool_call(0x1000, 0))
    assert text(*several).count("Why: with memory integrity on no pool") == 1
    assert text(*several, verbose=True).count("Why: with memory integrity on no pool") == 1


def test_nothing_is_folded_without_a_width():
    said = text(everything(), verbose=True)
    longest = max(said.splitlines(), key=len)
    assert len(longest) > 200
    assert squeezed(everything(), verbose=True, width=80) == " ".join(said.split())


def test_nothing_to_say_is_nothing():
    assert text() == ""


@pytest.mark.parametrize("width", [1, 40, 80, 200])
def test_any_width(width):
    lines = text(everything(), width=width).splitlines()
    assert all(len(line) <= max(width, 20) for line in lines)


def test_colour_only_when_asked():
    assert "\x1b" not in text(everything())
    assert "\x1b[1;31mwill not load" in text(everything(), colour=True)


def test_hostile_names_are_inert():
    errors = [TargetError(HOSTILE, "InputError", HOSTILE, HOSTILE)]
    said = text(hostile_report(), errors=errors, verbose=True)
    assert not CONTROL.search(said)
    assert "[bold]" in said
    assert "\\x1b[31m" in said
    coloured = text(suppressed(hostile_report()), errors=errors, colour=True)
    assert not CONTROL.search(re.sub(r"\x1b\[[\d;]*m", "", coloured))
    assert "\x1b[31m\\x07" not in coloured


def test_safe_spells_out_and_clips():
    assert safe("plain name.sys") == "plain name.sys"
    assert safe("Treiber-Prüfung 日本") == "Treiber-Prüfung 日本"
    assert safe("a\x1bb\u202ec\U000e0001\ud800") == "a\\x1bb\\u202ec\\U000e0001\\ud800"
    assert safe("x" * 500) == "x" * 237 + "..."


def test_places():
    assert place(ImageSite(Rva(0x10))) == "0x10"
    assert place(ImageSite(Rva(0x10), ".text", "F", "f.c", 3)) == "0x10 .text F (f.c:3)"
    assert place(ImageSite(Rva(0x10), ".text", None, "f.c")) == "0x10 .text (f.c)"
    assert place(SourceSite("a.c", 3, 4)) == "a.c:3:4"


def test_answers_exist_for_every_combination():
    fail = Finding(Outcome.FAIL, "bad", ImageSite(Rva(1)), Origin.IMAGE)
    doubt = replace(fail, outcome=Outcome.UNDECIDED)
    for outcome, findings in (
        (Outcome.FAIL, (fail,)),
        (Outcome.UNDECIDED, (doubt,)),
        (Outcome.PASS, ()),
        (Outcome.NOT_CHECKED, ()),
    ):
        result = RuleResult("some-rule", outcome, findings, "why", questions=frozenset(Question))
        said = squeezed(replace(report(), results=(result,)))
        assert all(f"{question} " in said for question in Question)


def test_explanations():
    assert explanation("no-such-rule") == Explanation("no-such-rule")
    parsed = parse_explanation("Title.\n\nWhy: one\n    two\nBad: `x`\nGood: `y`\nFix: do\n    it")
    assert parsed == Explanation("Title.", "one two", "`x`", "`y`", "do it")


def test_a_server_with_the_kernel_is_named():
    said = text(report(target_os=WindowsVersion.WINDOWS_10_1809))
    assert "judged for Windows 10 1809 and Windows Server 2019" in said
    assert "Server" not in text(report(target_os=WindowsVersion.WINDOWS_11_25H2))
