"""Every marked call site of every built driver: right place, right values, right outcome."""

import json
from pathlib import Path

import pytest

from hvci.evaluate import Options, evaluate
from hvci.model import Machine, Outcome, Question, WindowsVersion
from hvci.rules import RULES
from marked import wrong_sites

BUILT = Path(__file__).parent.parent / "fixtures" / "built"
FAMILIES = (
    *(
        "acquire",
        "audio",
        "byname",
        "calls",
        "image",
        "kmdf",
        "library",
        "msvc",
        "objects",
        "optin",
        "ports",
    ),
    "sample",
)
MACHINES = ("x64", "x86", "arm64")
EXPECTED = sorted(
    path
    for family in FAMILIES
    for machine in MACHINES
    for path in BUILT.glob(f"{family}*.{machine}.*expected.json")
)
RUNS = frozenset(rule.id for rule in RULES.values() if Question.RUNS in rule.questions)
"""ARM64 code is not read for behaviour: those rules say undecided there."""
OLD = Options(target_os=WindowsVersion.WINDOWS_10_1607)
"""Relocations are judged for these versions only."""


def load(path):
    expected = json.loads(path.read_text("utf-8"))
    return expected, evaluate(BUILT / expected["driver"], OLD)


def wrong_origins(expected, report):
    """Calls whose library or function is not the marked one; without a mark there is no library."""
    marks = {(place["rva"], s["api"]): s for s in expected["sites"] for place in s["at"]}
    for item in report.calls:
        call, site = item.call, marks.get((item.call.site.rva, item.call.ddi), {})
        library = call.library and call.library.name
        if library != site.get("library"):
            yield f"{call.ddi} at {call.site.rva:#x}: {library} and not {site.get('library')}"
        if call.site.function != site.get("function", call.site.function):
            yield f"{call.ddi} at {call.site.rva:#x}: in {call.site.function}"


@pytest.mark.parametrize("path", EXPECTED, ids=lambda path: path.name.split(".expected")[0])
def test_marks(path):
    expected, report = load(path)
    assert list(wrong_sites(expected, report)) == []
    assert list(wrong_origins(expected, report)) == []
    outcomes = {result.rule: str(result.outcome) for result in report.results}
    unread = RUNS if report.target.machine is Machine.ARM64 else frozenset()
    judged = {rule: outcome for rule, outcome in expected["rules"].items() if rule not in unread}
    assert {rule: outcomes[rule] for rule in judged} == judged


@pytest.mark.parametrize(
    "path",
    [path for path in EXPECTED if json.loads(path.read_text("utf-8"))["clean"]],
    ids=lambda path: path.name.split(".expected")[0],
)
def test_silence_on_clean_drivers(path):
    _, report = load(path)
    loud = [f for f in report.findings if f.outcome is not Outcome.NOTE]
    assert [finding.message for finding in loud] == []
