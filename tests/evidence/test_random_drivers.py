"""Drivers of bench/random_drivers.py that were once judged wrongly.

What their calls received, when the same program was run many times, must be among what is said.
"""

import importlib.util
import json
import sys
from pathlib import Path

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


def test_a_seed_keeps_its_program() -> None:
    """So that a fixture can be built again, with other flags or by another compiler."""
    path = FOLDER.parents[2] / "bench" / "random_program.py"
    spec = importlib.util.spec_from_file_location("random_program", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["random_program"] = module
    spec.loader.exec_module(module)
    for driver in DRIVERS:
        seed = int(driver.name.partition(".")[0].removeprefix("r"))
        assert driver.with_suffix(".c").read_text().endswith(module.Program(seed).source)
