"""Policy files, what they do to reports, and the exit code."""

from dataclasses import replace
from datetime import date

import pytest
from hypothesis import HealthCheck, given, settings

from build import driver
from hvci.errors import InputError, UsageError
from hvci.evaluate import evaluate
from hvci.model import (
    Counter,
    DebugId,
    Gate,
    Limit,
    Machine,
    Origin,
    Outcome,
    Verdict,
    WindowsVersion,
)
from hvci.policy import (
    Level,
    Policy,
    Profile,
    Undecided,
    apply,
    baseline_of,
    find_policy,
    parse_baseline,
    parse_policy,
    read_policy,
)
from hvci.policy.baseline import key_of
from hvci.policy.paths import matches
from hvci.report import Document, Format, TargetError, render
from hvci.report.identity import configuration, named_findings
from hvci.report.sentence import summary
from reports import (
    everything,
    image,
    map_call,
    pool_call,
    report,
    reports,
    source_call,
    source_report,
    unknown_call,
)

TODAY = date(2030, 6, 1)


def policy(**table):
    return parse_policy(table, "x/hvci.toml")


def accepted(*of, **table):
    return apply(Document(of), policy(**table), TODAY)


def suppress(**conditions):
    return {"suppress": [{"reason": "because", **conditions}]}


# ---------------------------------------------------------------------- reading


def test_an_empty_policy_changes_nothing():
    assert policy() == Policy()
    document = Document((everything(),))
    assert apply(document, Policy(), TODAY) == document


def test_everything_a_policy_can_say():
    one = policy(
        target_os=["11-24h2", "10-1607"],
        profile="strict",
        undecided="pass",
        rules={
            "executable-by-default": "fail",
            "nx-opt-in": "note",
            "section-alignment": "default",
        },
        suppress=[
            {
                "rule": "execute-pool-type",
                "target": "a.sys",
                "place": "F*",
                "ddi": "ExAllocatePool",
                "fingerprint": "00",
                "reason": "why",
                "owner": "me",
                "expires": date(2031, 1, 1),
            }
        ],
        paths=["build"],
        exclude=["*/third_party/*"],
        symbols=["pdb"],
        baseline="known.json",
    )
    assert one.target_os is WindowsVersion.WINDOWS_10_1607
    assert (one.profile, one.undecided) == (Profile.STRICT, Undecided.PASS)
    assert one.levels["executable-by-default"] is Level.FAIL
    assert one.accepted[0].expires == date(2031, 1, 1)
    assert one.accepted[0].what == (
        "rule execute-pool-type, target a.sys, place F*, ddi ExAllocatePool, fingerprint 00"
    )
    assert (one.paths, one.symbols, one.baseline) == (("build",), ("pdb",), "known.json")


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"profil": "strict"}, "['profil']"),
        ({"profile": "lax"}, "unknown profile 'lax'"),
        ({"undecided": "maybe"}, "unknown undecided"),
        ({"target_os": "11"}, "target_os of type list"),
        ({"target_os": []}, "at least one target_os"),
        ({"target_os": ["95"]}, "unknown Windows version '95'"),
        ({"rules": {"no-such-rule": "fail"}}, "'no-such-rule', which does not exist"),
        ({"rules": {"nx-opt-in": "loud"}}, "unknown nx-opt-in 'loud'"),
        ({"suppress": [{"rule": "nx-opt-in"}]}, "suppress[0] needs a reason"),
        ({"suppress": [{"rule": "nx-opt-in", "reason": " "}]}, "needs a reason"),
        ({"suppress": [{"reason": "x"}]}, "needs a rule, a place or a fingerprint"),
        ({"suppress": [{"reason": "x", "rule": "gone"}]}, "'gone', which does not exist"),
        ({"suppress": [{"reason": "x", "place": "a", "expires": "soon"}]}, "expires of type date"),
        ({"suppress": {}}, "suppress of type list"),
    ],
)
def test_a_wrong_policy_is_refused_by_name(table, says):
    with pytest.raises(UsageError) as caught:
        policy(**table)
    assert says in str(caught.value)


def test_files_are_found_upwards(tmp_path):
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text("[tool.hvci]\nprofile = 'strict'\n")
    (tmp_path / "a" / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    assert find_policy(below).profile is Profile.STRICT
    assert find_policy(below).file == "pyproject.toml"
    (tmp_path / "a" / "hvci.toml").write_text("profile = 'load-only'\n")
    assert find_policy(below).profile is Profile.LOAD_ONLY


def test_no_file_is_an_empty_policy(tmp_path, monkeypatch):
    monkeypatch.setattr("pathlib.Path.is_file", lambda path: False)
    assert find_policy(tmp_path) == Policy()


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        read_policy(tmp_path / "hvci.toml")
    (tmp_path / "hvci.toml").write_text("a = = b")
    with pytest.raises(UsageError, match=r"hvci\.toml: "):
        read_policy(tmp_path / "hvci.toml")
    (tmp_path / "pyproject.toml").write_text("tool = 5")
    with pytest.raises(UsageError, match=r"no \[tool.hvci\] table"):
        read_policy(tmp_path / "pyproject.toml")


# ---------------------------------------------------------------------- accepting


def open_failures(document):
    return [
        finding
        for one in document.reports
        for finding in one.findings
        if finding.outcome is Outcome.FAIL and finding.suppressed is None
    ]


@pytest.mark.parametrize(
    "conditions",
    [
        {"rule": "execute-pool-type"},
        {"place": "DriverEntry"},
        {"place": "Driver*"},
        {"place": ".text"},
        {"rule": "execute-pool-type", "target": "driver.sys"},
        {"rule": "execute-pool-type", "target": "*.sys", "ddi": "ExAllocatePoolWithTag"},
    ],
)
def test_matching_findings_are_accepted(conditions):
    document = accepted(report(pool_call(0x1000, 0)), **suppress(**conditions))
    assert open_failures(document) == []
    assert document.notices == ()
    (one,) = document.reports
    assert (one.verdict, one.gate) == (Verdict.INCOMPATIBLE, Gate.PASS)
    assert one.counters[Counter.EXECUTE_POOL_TYPE] == 1
    (finding,) = [f for f in one.findings if f.outcome is Outcome.FAIL]
    assert (finding.suppressed.reason, finding.suppressed.by) == ("because", "hvci.toml")


@pytest.mark.parametrize(
    "conditions",
    [
        {"rule": "section-alignment"},
        {"place": "Unload"},
        {"rule": "execute-pool-type", "target": "other.sys"},
        {"rule": "execute-pool-type", "ddi": "ExAllocatePool"},
        {"fingerprint": "00"},
    ],
)
def test_other_findings_are_not_and_the_suppression_is_told(conditions):
    document = accepted(report(pool_call(0x1000, 0)), **suppress(**conditions))
    assert len(open_failures(document)) == 1
    (notice,) = document.notices
    assert "matches nothing" in notice
    assert f"Note: {notice}" in " ".join(render(document, Format.TEXT).split())
    for form in (Format.JSON, Format.SARIF, Format.HTML):
        assert "matches nothing" in render(document, form)
    assert "matches nothing" in render(document, Format.MARKDOWN)


def test_fingerprints_and_source_places_match():
    one = report(pool_call(0x1000, 0))
    (named,) = [n for n in named_findings(one) if n.finding.outcome is Outcome.FAIL]
    assert open_failures(accepted(one, **suppress(fingerprint=named.fingerprint))) == []
    source = source_report(source_call(3, 0))
    for place in ("driver.c", "driver.c:3", "Create"):
        assert open_failures(accepted(source, **suppress(place=place))) == []
    assert len(open_failures(accepted(source, **suppress(place="driver.c:4")))) == 1


def test_expired_suppressions_do_not_hold():
    late = suppress(rule="execute-pool-type", expires=date(2030, 5, 31))
    document = accepted(report(pool_call(0x1000, 0)), **late)
    assert len(open_failures(document)) == 1
    assert document.notices == (
        "hvci.toml: the suppression of rule execute-pool-type expired on 2030-05-31",
    )
    last_day = suppress(rule="execute-pool-type", expires=TODAY, owner="team")
    document = accepted(report(pool_call(0x1000, 0)), **last_day)
    assert open_failures(document) == []
    text = " ".join(render(document, Format.TEXT).split())
    assert "suppressed by hvci.toml, team, until 2030-06-01: because" in text


def test_an_earlier_suppression_is_kept():
    first = accepted(report(pool_call(0x1000, 0)), **suppress(rule="execute-pool-type"))
    second = apply(first, policy(**suppress(place="DriverEntry")), TODAY)
    assert second.reports == first.reports
    assert second.notices == ()


def test_level_note_shows_and_counts_but_decides_nothing():
    document = accepted(report(pool_call(0x1000, 0)), rules={"execute-pool-type": "note"})
    (one,) = document.reports
    assert (one.verdict, one.gate) == (Verdict.INCOMPATIBLE, Gate.PASS)
    assert one.counters[Counter.EXECUTE_POOL_TYPE] == 1
    assert 'the level of execute-pool-type is "note"' in render(document, Format.TEXT)
    notes = accepted(report(map_call(0x1000)), rules={"executable-by-default": "note"})
    assert all(finding.suppressed is None for finding in notes.reports[0].findings)


# ---------------------------------------------------------------------- exit codes

BAD = report(pool_call(0x1000, 0))
DOUBTFUL = report(unknown_call(0x1000))
NOTED = report(map_call(0x1000))
UNALIGNED = everything()
ERROR = TargetError.of("x", InputError("gone"))


@pytest.mark.parametrize(
    ("one", "table", "code"),
    [
        (report(), {}, 0),
        (BAD, {}, 1),
        (DOUBTFUL, {}, 3),
        (DOUBTFUL, {"undecided": "fail"}, 1),
        (DOUBTFUL, {"undecided": "pass"}, 0),
        (DOUBTFUL, {"profile": "strict"}, 1),
        (NOTED, {}, 0),
        (NOTED, {"profile": "strict"}, 1),
        (NOTED, {"profile": "strict", "rules": {"executable-by-default": "note"}}, 0),
        (NOTED, {"rules": {"executable-by-default": "fail"}}, 1),
        (NOTED, {"rules": {"executable-by-default": "fail"}, **suppress(place=".text")}, 0),
        (BAD, {"profile": "load-only"}, 0),
        (UNALIGNED, {"profile": "load-only"}, 1),
        (source_report(source_call(1, 0)), {"profile": "load-only"}, 0),
        (
            report(limits=(Limit(Origin.IMAGE, ("section-alignment",), "odd"),)),
            {"profile": "load-only"},
            3,
        ),
    ],
)
def test_exit_codes(one, table, code):
    chosen = policy(**table)
    document = apply(Document((one,)), chosen, TODAY)
    assert document.exit_code == code
    assert replace(document, errors=(ERROR,)).exit_code == 4


# ---------------------------------------------------------------------- baseline


def baseline(*of):
    return parse_baseline(baseline_of(Document(of)), "known.json")


def checked(one, known, **table):
    return apply(Document((one,)), policy(**table), TODAY, known)


def test_only_new_findings_fail():
    known = baseline(report(pool_call(0x1000, 0), unknown_call(0x1100)))
    moved = report(pool_call(0x5000, 0), unknown_call(0x5100))
    document = apply(Document((moved,)), Policy(), TODAY, known)
    assert document.reports[0].gate is Gate.PASS
    assert document.exit_code == 0
    assert "known since the baseline was written" in render(document, Format.TEXT)
    worse = report(pool_call(0x5000, 0), pool_call(0x5010, 4))
    document = apply(Document((worse,)), Policy(), TODAY, known)
    assert len(open_failures(document)) == 1
    assert document.exit_code == 1


def test_a_baseline_is_for_one_driver():
    known = baseline(report(pool_call(0x1000, 0), path="a/one.sys"))
    same = report(pool_call(0x1000, 0), path="a/../a/one.sys")
    assert open_failures(checked(same, known)) == []
    for path in ("a/two.sys", "b/one.sys"):
        assert len(open_failures(checked(report(pool_call(0x1000, 0), path=path), known))) == 1
    arm = replace(same, target=replace(same.target, machine=Machine.ARM64))
    assert len(open_failures(checked(arm, known))) == 1
    pdb = DebugId("0", 1, "C:\\b\\Debug\\one.pdb")
    debug = report(pool_call(0x1000, 0), path="a/one.sys", image=image(debug_id=pdb))
    assert len(open_failures(checked(debug, known))) == 1


@pytest.mark.parametrize(
    ("pdb", "path", "name"),
    [
        ("C:\\x\\Release\\d.pdb", "Debug/d.sys", "release"),
        ("C:\\x\\Win8.1Debug\\d.pdb", "d.sys", "win8.1debug"),
        ("c:\\w\\objfre_win7_amd64\\amd64\\d.pdb", "d.sys", "objfre_win7_amd64"),
        ("d.pdb", "out/Debug/d.sys", "debug"),
        ("d.pdb", "freeware/d.sys", ""),
        ("", "x64/d.sys", ""),
    ],
)
def test_the_configuration_of_a_build(pdb, path, name):
    debug_id = DebugId("0", 1, pdb) if pdb else None
    assert configuration(report(path=path, image=image(debug_id=debug_id))) == name


def as_rules_say_it(one):
    """The report with outcomes that follow from the findings, and each rule once."""
    by_rule = {}
    for result in one.results:
        found = {finding.outcome for finding in result.findings}
        bare = Outcome.PASS if result.outcome is Outcome.FAIL else result.outcome
        worst = (o for o in (Outcome.FAIL, Outcome.UNDECIDED) if o in found)
        by_rule[result.rule] = replace(result, outcome=next(worst, bare))
    return replace(one, results=tuple(by_rule.values()))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(reports.map(as_rules_say_it))
def test_write_then_check_is_always_clean(one):
    known = baseline(one)
    for table in ({}, {"profile": "strict"}, {"profile": "load-only"}, {"undecided": "fail"}):
        document = checked(one, known, **table)
        assert (document.exit_code, document.notices) == (0, ())
        (after,) = document.reports
        assert after.verdict is one.verdict
        assert after.answers == one.answers
        assert after.counters == one.counters
        assert summary(after) == summary(one)


def test_builds_of_one_name_do_not_overwrite_each_other():
    builds = tuple(
        report(*(pool_call(0x1000 + 16 * i, 0, function=f"F{i}") for i in range(n)), path=path)
        for n, path in enumerate(("x64/d.sys", "x86/d.sys", "arm64/d.sys"))
    )
    known = baseline(*builds)
    assert apply(Document(builds), Policy(), TODAY, known).exit_code == 0
    assert known.contents == "3 targets, 3 findings, 0 rules undecided"


def test_paths_are_seen_from_the_baseline(tmp_path):
    one = report(pool_call(0x1000, 0), path=str(tmp_path / "out" / "d.sys"))
    assert '"out/d.sys [x64]"' in baseline_of(Document((one,)), str(tmp_path))
    assert key_of(report(path="-"), "somewhere") == "- [x64]"
    assert key_of(report(path="C:\\d.sys"), "somewhere") == "C:/d.sys [x64]"


def test_a_path_on_another_drive_stays_whole(monkeypatch):
    def elsewhere(path, start):
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    monkeypatch.setattr("os.path.relpath", elsewhere)
    assert key_of(report(path="d.sys"), "x") == "d.sys [x64]"


def test_what_is_gone_is_told():
    known = baseline(report(pool_call(0x1000, 0), pool_call(0x1000, 4)))
    document = apply(Document((report(pool_call(0x1000, 0)),)), Policy(), TODAY, known)
    assert document.notices == (
        "known.json: 1 known findings of driver.sys are gone; write it again",
    )


def test_limits_that_were_known_do_not_fail_again():
    weak = report(limits=(Limit(Origin.CALLSITE, ("execute-pool-type",), "no code"),))
    known = baseline(weak)
    assert checked(weak, known).exit_code == 0
    assert checked(weak, baseline(report())).exit_code == 3
    assert checked(DOUBTFUL, known).exit_code == 3


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"baseline_version": 3, "targets": {}}',
        '{"baseline_version": 1, "targets": {}}',
        '{"baseline_version": 2, "targets": {"a": {"findings": {"x": 1}, "undecided": []}}}',
    ],
)
def test_what_is_no_baseline(text):
    with pytest.raises(UsageError, match=r"known.json: this is not a baseline(?!.*char)"):
        parse_baseline(text, "known.json")


PATTERNS = [
    ("*/bad*", "bad.sys", True),
    ("*/bad*", "/badger/proj/bad.sys", True),
    ("*/bad*", "/badger/proj/x/y/bad.sys", True),
    ("*/bad*", "./x/bad.sys", True),
    ("*/bad*", "x\\bad.sys", True),
    ("*\\bad*", "x/bad.sys", True),
    ("*/bad*", "/badger/proj/good.sys", False),
    ("*/bad*", "good.sys", False),
    ("*/bad*", "/badger/other/x.sys", True),  # not of the policy: as it was named
    ("*/third_party/*", "/badger/proj/third_party/a/b.sys", True),
    ("bad.*", "/badger/proj/bad.sys", True),
    ("bad.*", "/badger/proj/x/bad.sys", False),
    ("bad.*", "bad.sys", True),
    ("x/*.sys", "/badger/proj/x/good.sys", True),
    ("../other/*", "../other/good.sys", True),
    ("/badger/proj/x/*", "x/good.sys", True),
    ("/badger/proj/x/*", "/badger/proj/x/good.sys", True),
    ("/x/*", "x/good.sys", False),
]


@pytest.mark.parametrize(("pattern", "path", "is_meant"), PATTERNS)
def test_patterns_are_about_paths_from_the_policy_on(monkeypatch, pattern, path, is_meant):
    """A folder above it may be called anything, and nobody knows how a target is named."""
    monkeypatch.setattr("os.getcwd", lambda: "/badger/proj")
    assert matches(pattern, path, "/badger/proj") is is_meant


def test_without_a_file_patterns_are_about_what_was_named():
    assert matches("*/bad*", "/badger/good.sys", "")
    assert not matches("bad*", "/x/bad.sys", "")


def test_a_suppression_does_not_mean_a_folder_above_the_policy(tmp_path):
    top = tmp_path / "legacy"
    top.mkdir()
    (top / "hvci.toml").write_text(
        '[[suppress]]\nrule = "section-alignment"\ntarget = "*/legacy/*"\nreason = "x"\n'
    )
    policy = read_policy(top / "hvci.toml")
    assert policy.folder == str(top)
    data = driver(section_alignment=0x80)
    for place, failed in (("new/a.sys", 1), ("legacy/a.sys", 0)):
        file = top / place
        file.parent.mkdir()
        file.write_bytes(data)
        assert apply(Document((evaluate(str(file)),)), policy, TODAY).exit_code == failed
