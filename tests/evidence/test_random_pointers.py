"""Drivers of bench/random_drivers.py with `--pointers` that were once judged wrongly.

A rule that some run of the same program broke must not pass.
"""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from led import BROKEN, judge

FOLDER = Path(__file__).parent.parent / "fixtures" / "random_pointers"
DRIVERS = sorted(FOLDER.glob("*.sys"))
NAMES = [path.stem for path in DRIVERS]


@pytest.mark.parametrize("driver", DRIVERS, ids=NAMES)
def test_a_rule_that_runs_broke_does_not_pass(driver: Path) -> None:
    used = {use: set(n) for use, n in json.loads(driver.with_suffix(".json").read_text()).items()}
    assert any(use in used for uses in BROKEN.values() for use in uses)
    assert judge(driver.read_bytes(), used).problems == ()


def test_drivers_of_all_machines_and_compilers_are_there() -> None:
    machines = {(path.suffixes[0].split("-")[0], ".gcc" in path.name) for path in DRIVERS}
    assert machines == {
        (".x64", False), (".x64", True), (".x86", False), (".x86", True), (".arm64", False)
    }  # fmt: skip


def test_a_wrong_answer_would_be_told() -> None:
    clean = (FOLDER.parent / "built" / "sample_clean.x64.o2.sys").read_bytes()
    found = judge(clean, {"called data": {0x4141_0001}, "written kernel": {0x4141_0002}})
    assert len(found.problems) == 2
    assert judge(clean, {"called code": {0x4141_0001}}).problems == ()


def _program(name: str) -> Any:
    """The program that a fixture's name stands for."""
    sys.path.insert(0, str(FOLDER.parents[2] / "bench"))
    try:
        module = importlib.import_module("random_pointers")
    finally:
        del sys.path[0]
    return module.PointerProgram(int(name.partition(".")[0][1:]))


@pytest.mark.parametrize("driver", DRIVERS, ids=NAMES)
def test_a_seed_keeps_its_program(driver: Path) -> None:
    """So that a fixture can be built again, with other flags or by another compiler."""
    assert driver.with_suffix(".c").read_text().endswith(_program(driver.name).source)
