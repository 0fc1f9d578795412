"""Imports that behaviours are told by, and of which no use was found: a limit, never silence."""

from pathlib import Path

import pytest

import hvci.binary.behaviour.scene as scenes
from here import FIXTURES
from hvci.binary.behaviour.names import WATCHED
from hvci.binary.calls.imports.direct import ImportCalls
from hvci.evaluate import evaluate
from hvci.model import Outcome, Report
from hvci.model.judged import BEHAVIOUR_RULES

BUILT = FIXTURES / "built"
CASES = [
    (path, name)
    for name in ("MmMapLockedPagesSpecifyCache", "ZwCreateSection")
    for path in sorted(BUILT.glob("*.o2.sys"))
    if name.encode() + b"\0" in path.read_bytes()
]


class Blind(ImportCalls):
    """Finds nothing, and signs for nothing."""

    def find(self, names: frozenset[str]) -> list[object]:  # type: ignore[override]
        return []


def _reasons(report: Report, name: str) -> list[str]:
    limits = [limit for limit in report.limits if WATCHED[name] in limit.rules]
    return [limit.reason for limit in limits if name in limit.reason]


@pytest.mark.parametrize(("path", "name"), CASES, ids=[f"{p.stem}-{n}" for p, n in CASES])
def test_without_the_finder_a_limit_names_the_import(
    path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not _reasons(evaluate(path.read_bytes()), name)
    monkeypatch.setattr(scenes, "ImportCalls", Blind)
    report = evaluate(path.read_bytes())
    assert _reasons(report, name)
    outcomes = {each.rule: each.outcome for each in report.results}
    assert outcomes[WATCHED[name]] is not Outcome.PASS


def test_each_machine_is_there() -> None:
    assert {path.suffixes[0] for path, _ in CASES} == {".x64", ".x86", ".arm64"}


def test_every_import_matters_to_a_rule_on_behaviour() -> None:
    assert set(WATCHED.values()) <= {*BEHAVIOUR_RULES}
