"""Fields far behind the start of a structure that other code fills: whole drivers, all machines."""

from pathlib import Path

import pytest

from hvci.evaluate import evaluate

FOLDER = Path(__file__).parents[2] / "fixtures" / "flow"
DRIVERS = sorted(
    path for kind in ("farfield", "farloops", "farlocals") for path in FOLDER.glob(f"{kind}.*.sys")
)


@pytest.mark.parametrize("driver", DRIVERS, ids=[path.stem for path in DRIVERS])
def test_what_others_fill_is_never_compatible(driver):
    assert evaluate(driver).verdict != "compatible"
