"""Stores through addresses of local variables that are chosen or computed are not forgotten."""

from pathlib import Path

import pytest

from here import FIXTURES
from received import contradictions

FOLDER = FIXTURES / "frames"
DRIVERS = sorted(FOLDER.glob("*.sys"))
BOTH = {0, 0x200}
RECEIVED = {
    "frames": {0x4141_0001: {0x200, 1}, **{0x4141_0000 + n: BOTH for n in (2, 3, 4, 5, 6, 8)}},
    "steps": {0x4141_0010 + n: BOTH for n in (1, 2, 3, 4, 5)},
}


@pytest.mark.parametrize("driver", DRIVERS, ids=[path.stem for path in DRIVERS])
def test_what_a_store_may_leave_is_among_the_values(driver: Path) -> None:
    assert list(contradictions(driver.read_bytes(), RECEIVED[driver.name.partition(".")[0]])) == []


def test_each_machine_is_there() -> None:
    assert {path.suffixes[0] for path in DRIVERS} == {".x64", ".x86", ".arm64"}
