"""The page about security names a test for every defence, and each of them is there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
ROWS = PAGE.partition("| defence | test |\n|---|---|\n")[2].partition("\n\n")[0].splitlines()

BUDGETS = (
    PAGE.partition("| stage | budget | test |\n|---|---|---|\n")[2]
    .partition("\n\n")[0]
    .splitlines()
)


@pytest.mark.parametrize("row", ROWS)
def test_a_defence_names_tests_that_are_there(row):
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", row)
    assert named, row
    for file, name in named:
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        tests = {each.name for each in ast.walk(tree) if isinstance(each, ast.FunctionDef)}
        assert name in tests, f"{file} has no {name}"


@pytest.mark.parametrize("row", BUDGETS)
def test_a_budget_names_tests_that_are_there(row):
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(test_\w+))?`", row)
    assert named, row
    for file, name in named:
        assert f"def {name}" in (ROOT / file).read_text(encoding="utf-8"), f"{file} has no {name}"


def test_there_are_defences():
    assert len(ROWS) > 20
    assert len(BUDGETS) > 20
