"""One source, built in several ways: the code moves, and every finding keeps its name."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from hvci.evaluate import evaluate
from hvci.model import ImageSite
from hvci.policy import Policy, apply, baseline_of, parse_baseline
from hvci.report import Document
from hvci.report.diff import Change, compare
from hvci.report.identity import named_findings

BUILT = Path(__file__).parents[1] / "fixtures/built"
BUILDS = ("o0", "os", "o2fp", "o2padded", "o2thunk")


def report(build):
    return evaluate(BUILT / f"calls_bad.x64.{build}.sys")


def places(one):
    return {n.fingerprint: n.finding.site for n in named_findings(one)}


@pytest.mark.parametrize("build", BUILDS)
def test_fingerprints_are_those_of_the_first_build(build):
    first, second = places(report("o2")), places(report(build))
    assert set(first) == set(second)
    moved = [name for name, site in first.items() if site != second[name]]
    assert len(moved) > 10
    assert all(isinstance(site, ImageSite) for site in second.values())


def test_a_baseline_of_one_build_holds_for_another():
    known = parse_baseline(baseline_of(Document((report("o2"),))), "known.json")
    rebuilt = report("os")
    rebuilt = replace(rebuilt, target=replace(rebuilt.target, path=report("o2").target.path))
    document = apply(Document((rebuilt,)), Policy(), date(2030, 1, 1), known)
    assert document.notices == ()
    assert document.exit_code == 0


def test_the_comparison_finds_nothing_new_or_fixed():
    (one,) = compare(Document((report("o2"),)), Document((report("o2padded"),)))
    assert not one.worse
    assert {item.change for item in one.changes} <= {Change.MOVED, Change.UNCHANGED}
