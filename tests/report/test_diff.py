"""What changed between two reports."""

from dataclasses import replace

import pytest

from hvci.model import Gate, Machine, Outcome, WindowsVersion
from hvci.report import Document, TargetError
from hvci.report.diff import Change, compare, to_diff_text
from reports import (
    map_call,
    pool_call,
    report,
    source_call,
    source_report,
    suppressed,
    unknown_call,
)


def difference(before, after):
    (one,) = compare(Document((before,)), Document((after,)))
    return one


def changes(before, after):
    return [item.change for item in difference(before, after).changes]


def test_nothing_changed():
    one = report(pool_call(0x1000, 0))
    assert changes(one, one) == [Change.UNCHANGED]
    assert not difference(one, one).worse


def test_moved_new_and_fixed():
    before = report(pool_call(0x1000, 0, function="A"), pool_call(0x1100, 0, function="B"))
    after = report(pool_call(0x2000, 0, function="A"), pool_call(0x2100, 0, function="C"))
    assert changes(before, after) == [Change.NEW, Change.FIXED, Change.MOVED]
    assert difference(before, after).worse
    assert not difference(before, report()).worse


def test_a_call_with_another_value_is_changed():
    before, after = report(pool_call(0x1000, 0)), report(pool_call(0x2000, 4))
    assert changes(before, after) == [Change.CHANGED]
    assert not difference(before, after).worse
    doubtful = replace(unknown_call(0x1000), site=pool_call(0x1000, 0).site)
    assert changes(report(doubtful), before) == [Change.CHANGED]
    assert difference(report(doubtful), before).worse
    assert not difference(before, report(doubtful)).worse


def test_new_notes_and_accepted_findings_are_not_worse():
    assert not difference(report(), report(map_call(0x1000))).worse
    assert not difference(report(), suppressed(report(pool_call(0x1000, 0)))).worse


def test_drivers_are_paired_by_name():
    old = Document((report(path="a/x.sys"), report(path="a/y.sys")))
    new = Document((report(pool_call(0x1000, 0), path="b\\x.sys"), report(path="b/z.sys")))
    pairs = compare(old, new)
    assert [pair.name for pair in pairs] == ["x.sys", "y.sys", "z.sys"]
    assert [pair.worse for pair in pairs] == [True, False, False]
    text = to_diff_text(pairs)
    assert "x.sys: compatible -> incompatible\n  new: 1\n" in text
    assert "y.sys: compatible -> not there\n" in text
    assert "z.sys: not there -> compatible\n" in text


def test_a_driver_that_is_none_any_more_is_worse():
    """A file of its name is there and has no report, whatever the reason; one that went is not."""
    old = Document((report(path="v1/a/x.sys"), report(path="v1/b/x.sys"), report(path="v1/y.sys")))
    error = TargetError("v2/b/x.sys", "UnsupportedImage", "not a kernel-mode driver")
    other = TargetError("v2/p.inf", "InputError", "y.sys is not in the package")
    new = Document((report(path="v2/a/x.sys"),), (error, other))
    found = compare(old, new)
    assert [(one.name, one.worse) for one in found] == [
        ("a/x.sys", False),
        ("b/x.sys", True),
        ("y.sys", False),
    ]
    text = to_diff_text(found)
    assert "b/x.sys: compatible -> no answer (not a kernel-mode driver)\n" in text
    assert "y.sys: compatible -> not there\n" in text


BAD = (pool_call(0x1000, 0),)


def paired(old, new):
    """What each driver is called, and how many findings it had and has; None: it is not there."""

    def count(one):
        return None if one is None else len(list(one.findings))

    found = compare(
        Document(tuple(report(*calls, path=path) for path, calls in old.items())),
        Document(tuple(report(*calls, path=path) for path, calls in new.items())),
    )
    return [(one.name, count(one.before), count(one.after)) for one in found]


@pytest.mark.parametrize(
    ("old", "new", "pairs"),
    [
        (
            {"v1/a/d.sys": BAD, "v1/b/d.sys": ()},
            {"v2/b/d.sys": (), "v2/a/d.sys": BAD},
            [("a/d.sys", 1, 1), ("b/d.sys", 0, 0)],
        ),
        (
            {"v1/a/d.sys": (), "v1/b/d.sys": ()},
            {"v2/a/d.sys": BAD, "v2/b/d.sys": ()},
            [("a/d.sys", 0, 1), ("b/d.sys", 0, 0)],
        ),
        (
            {"v1\\B\\d.sys": BAD},
            {"v2/a/d.sys": (), "v2/b/d.sys": BAD},
            [("a/d.sys", None, 0), ("b/d.sys", 1, 1)],
        ),
        (
            {"v1/a/x/d.sys": BAD, "v1/b/x/d.sys": (), "v1/e.sys": ()},
            {"v2/b/x/d.sys": BAD, "v2/e.sys": BAD},
            [("a/x/d.sys", 1, None), ("b/x/d.sys", 0, 1), ("e.sys", 0, 1)],
        ),
        ({"a/d.sys": BAD, "b/d.sys": ()}, {}, [("a/d.sys", 1, None), ("b/d.sys", 0, None)]),
    ],
)
def test_of_drivers_of_one_name_none_is_lost_or_mixed_up(old, new, pairs):
    assert paired(old, new) == pairs


def test_drivers_of_one_name_for_two_machines_are_not_compared():
    x64, arm64 = report(path="a/d.sys"), report(*BAD, path="b/d.sys")
    arm64 = replace(arm64, target=replace(arm64.target, machine=Machine.ARM64))
    x64 = replace(x64, target=replace(x64.target, machine=Machine.X64))
    found = compare(Document((x64, arm64)), Document((replace(arm64), x64)))
    assert [one.before.target.machine is one.after.target.machine for one in found] == [True, True]
    (gone, come, kept) = sorted(
        compare(Document((x64, arm64)), Document((x64, x64))), key=lambda one: one.name
    )
    assert sum(one.before is None or one.after is None for one in (gone, come, kept)) == 2
    other = replace(x64, target=replace(x64.target, path="e.sys"))
    alone = compare(Document((x64, other)), Document((arm64, other)))
    assert [one.before is None or one.after is None for one in alone] == [True, True, False]


def test_two_aims_are_told():
    before = report(pool_call(0x1000, 0))
    after = replace(before, target_os=WindowsVersion.WINDOWS_10_1607)
    text = to_diff_text([difference(before, after)])
    assert "judged for Windows 11 26H1" in text
    assert ", then for Windows 10 1607 and Windows Server 2016: what differs may be that" in text
    assert "judged for" not in to_diff_text([difference(after, after)])


def test_text():
    before = report(pool_call(0x1000, 0, function="A"), pool_call(0x1100, 0))
    after = report(pool_call(0x2000, 0, function="A"), pool_call(0x2100, 4))
    text = to_diff_text([difference(before, after)])
    assert "driver.sys: incompatible -> incompatible" in text
    assert "execute-pool-type  0x2100 .text DriverEntry  ExAllocatePoolWithTag" in text
    assert "      was: 0x1100 .text DriverEntry" in text
    assert "  moved: 1\n" in text
    assert "was: 0x1000" not in text
    assert "was: 0x1000 .text A" in to_diff_text([difference(before, after)], verbose=True)


def test_equal_calls_in_nameless_functions_are_told_apart_by_their_offset():
    before = report(
        pool_call(0x27BF, 0, function="sub_2764"), pool_call(0x3816, 0, function="sub_37dc")
    )
    after = report(pool_call(0x380E, 0, function="sub_37d4"))
    fixed, moved = sorted(difference(before, after).changes, key=lambda item: item.change)
    assert (fixed.change, fixed.before.finding.site.rva) == (Change.FIXED, 0x27BF)
    assert (moved.change, moved.before.finding.site.rva) == (Change.MOVED, 0x3816)


def test_source_findings_are_paired_by_line():
    before = source_report(source_call(3, 0), source_call(90, 0))
    after = source_report(source_call(92, 0))
    fixed, moved = difference(before, after).changes
    assert (fixed.before.finding.site.line, moved.before.finding.site.line) == (3, 90)


def open_by(one, *rules):
    """A report with rules that a limit leaves open."""
    results = tuple(
        replace(result, outcome=Outcome.UNDECIDED, reason="not looked at")
        if result.rule in rules
        else result
        for result in one.results
    )
    return replace(one, results=results)


def test_what_a_limit_leaves_open_is_a_doubt_though_no_finding_tells_it():
    before, after = report(), open_by(report(), "execute-pool-type", "dynamic-code")
    found = difference(before, after)
    assert found.worse
    assert "  open now:\n    dynamic-code, execute-pool-type: not looked at\n" in to_diff_text(
        [found]
    )
    (come,) = compare(Document(), Document((after,)))
    assert come.worse
    half = open_by(report(), "dynamic-code")
    assert difference(half, after).doubts == (("not looked at", ("execute-pool-type",)),)
    for old, new in ((after, after), (after, half), (after, before), (after, report(*BAD))):
        assert not difference(old, new).doubts
    accepted = replace(after, policy_gate=Gate.PASS)
    assert not difference(before, accepted).worse


def test_a_pair_of_two_names_or_machines_says_so():
    old, new = report(path="a/old.sys"), report(path="b/new.sys")
    assert difference(old, new).name == "old.sys -> new.sys"
    assert difference(old, report(path="b/old.sys")).name == "old.sys"
    arm64 = replace(old, target=replace(old.target, machine=Machine.ARM64))
    x64 = replace(old, target=replace(old.target, machine=Machine.X64))
    assert difference(x64, arm64).name == "old.sys (x64 -> arm64)"
