"""Every mark of the drivers that GCC, rustc, Zig and Clang with seldom flags built."""

import json
from pathlib import Path

import pytest

from hvci.evaluate import Options, evaluate
from hvci.model import Outcome, WindowsVersion
from marked import behaviours, marked_behaviours, wrong_sites, wrong_tags

FOLDER = Path(__file__).parent.parent / "fixtures" / "others"
EXPECTED = sorted(FOLDER.glob("*.expected.json"))
OLD = Options(target_os=WindowsVersion.WINDOWS_10_1607)
COMPILERS = {"clang", "gcc", "rust", "rust-gnu", "zig"}


def load(path):
    return json.loads(path.read_text("utf-8"))


@pytest.mark.parametrize("path", EXPECTED, ids=lambda path: path.name.split(".expected")[0])
def test_marks(path):
    expected = load(path)
    report = evaluate(FOLDER / expected["driver"], OLD)
    placed = all("at" in site for site in expected["sites"])
    wrong = (wrong_sites if placed else wrong_tags)(expected, report)
    assert list(wrong) == []
    outcomes = {result.rule: str(result.outcome) for result in report.results}
    assert {rule: outcomes[rule] for rule in expected["rules"]} == expected["rules"]
    found = behaviours(report)
    for (name, rule, verdict), places in (marked_behaviours(expected) if placed else {}).items():
        assert Outcome(verdict) in {found.get((rule, place)) for place in places}, name


def test_each_compiler_is_there_on_its_machines():
    built = {(each.get("compiler", "clang"), each["arch"]) for each in map(load, EXPECTED)}
    assert built >= {(name, "x64") for name in COMPILERS}
    assert built >= {("gcc", "x86"), ("rust", "x86"), ("zig", "x86")}
    assert built >= {("clang", "arm64"), ("rust", "arm64"), ("zig", "arm64")}
