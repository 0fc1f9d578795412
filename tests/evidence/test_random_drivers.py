"""Drivers of bench/random_drivers.py that were once judged wrongly.

What their calls received, when the same program was run many times, must be among what is said.
"""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from received import contradictions

FOLDER = Path(__file__).parent.parent / "fixtures" / "random"
DRIVERS = sorted(FOLDER.glob("*.sys"))


@pytest.mark.parametrize("driver", DRIVERS, ids=[path.stem for path in DRIVERS])
def test_an_answer_allows_what_was_received(driver: Path) -> None:
    expected = json.loads(driver.with_suffix(".json").read_text())
    received = {int(tag, 16): set(values) for tag, values in expected.items()}
    assert len(received) > 3
    assert list(contradictions(driver.read_bytes(), received)) == []


@pytest.mark.parametrize("driver", DRIVERS, ids=[path.stem for path in DRIVERS])
def test_a_wrong_answer_would_be_told(driver: Path) -> None:
    assert list(contradictions(driver.read_bytes(), {0x4242_0001: {0}}))


def test_drivers_of_all_machines_are_there() -> None:
    assert {path.suffixes[0].split("-")[0] for path in DRIVERS} == {".x64", ".x86", ".arm64"}


def _program(name: str) -> Any:
    """The program that a fixture's name stands for."""
    sys.path.insert(0, str(FOLDER.parents[2] / "bench"))
    try:
        module = importlib.import_module(_PROGRAMS[name[0]])
    finally:
        del sys.path[0]
    make = module.Program if name[0] == "r" else module.WiderProgram
    return make(int(name.partition(".")[0][1:]))


_PROGRAMS = {"r": "random_program", "w": "random_shapes"}


@pytest.mark.parametrize("driver", DRIVERS, ids=[path.stem for path in DRIVERS])
def test_a_seed_keeps_its_program(driver: Path) -> None:
    """So that a fixture can be built again, with other flags or by another compiler."""
    assert driver.with_suffix(".c").read_text().endswith(_program(driver.name).source)
