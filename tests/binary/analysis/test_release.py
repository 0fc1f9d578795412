"""An analysis leaves nothing behind: no cycle keeps its decoded functions alive."""

from __future__ import annotations

import gc

import pytest

from here import FIXTURES
from hvci.binary.form.code import Function
from hvci.evaluate import evaluate

BUILT = FIXTURES / "built"
MACHINES = ("x64", "x86", "arm64")


def functions() -> int:
    return sum(isinstance(each, Function) for each in gc.get_objects())


@pytest.mark.parametrize("machine", MACHINES)
def test_no_function_outlives_its_analysis(machine: str) -> None:
    drivers = sorted(BUILT.glob(f"*{machine}*.sys"))
    assert drivers
    gc.collect()
    before = functions()
    gc.disable()
    try:
        for driver in drivers[:40]:
            evaluate(driver)
        assert functions() == before
    finally:
        gc.enable()
