"""Every marked behaviour of every built driver: found at its place, and silence on its twin."""

import json
from pathlib import Path

import pytest

from hvci import binary
from hvci.evaluate import evaluate
from hvci.model import NEWEST, Confidence, Outcome
from marked import BEHAVIOURS, behaviours, marked_behaviours

BUILT = Path(__file__).parent.parent / "fixtures" / "built"
MACHINES = ("x64", "x86", "arm64")


def expectations():
    for machine in MACHINES:
        for path in sorted(BUILT.glob(f"*.{machine}.*expected.json")):
            expected = json.loads(path.read_text("utf-8"))
            if expected["source"].startswith("behaviour/"):
                yield pytest.param(expected, id=expected["driver"])


@pytest.mark.parametrize("expected", list(expectations()))
def test_every_mark_and_nothing_else(expected):
    report = evaluate(BUILT / expected["driver"])
    found, marks = behaviours(report), marked_behaviours(expected)
    for (name, rule, verdict), places in marks.items():
        outcomes = {found.get((rule, place)) for place in places}
        assert Outcome(verdict) in outcomes, f"{name} of {rule}: {outcomes}"
    allowed = {(rule, place) for (_, rule, _), places in marks.items() for place in places}
    assert set(found) <= allowed


@pytest.mark.parametrize("expected", list(expectations()))
def test_what_compilers_leave_plain_is_proven(expected):
    """Only a loader of one's own is a matter of likelihood."""
    evidence = binary.read((BUILT / expected["driver"]).read_bytes(), NEWEST)
    sure = {fact.confidence for fact in evidence.behaviours if fact.rule in BEHAVIOURS}
    usual = "manual_map" not in expected["driver"]
    assert sure <= ({Confidence.PROVEN} if usual else {Confidence.PROVEN, Confidence.LIKELY})
