"""Files made to keep an analysis busy cost in proportion to their size: counted, not timed.

`python bench/scaling.py` measures larger ones in seconds.
"""

import math
import sys
from pathlib import Path

import pytest

from hvci.errors import InputError
from hvci.evaluate import Options, evaluate, evaluate_drivers

sys.path[:0] = [str(Path(__file__).parents[2] / "bench")]

import families  # noqa: E402  (found by the line above)

SMALL, LARGE = 6_000, 48_000
EXPONENT = 1.15


def steps(work):
    """Calls of functions, ours and native ones: the same in every run."""
    count = 0

    def heard(frame, event, argument):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(heard)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def work_on(make, size, folder):
    data = make(size)
    if make not in families.TEXTS:
        return lambda: evaluate(data)
    path = folder / f"{size}" / "driver.c"
    path.parent.mkdir()
    path.write_bytes(data)
    return lambda: evaluate_drivers(path, Options())


@pytest.mark.parametrize("make", (*families.IMAGES, *families.TEXTS), ids=lambda one: one.__name__)
def test_eight_times_as_much_takes_eight_times_as_long(make, tmp_path):
    def spent(size):
        work = work_on(make, size, tmp_path)
        try:
            return steps(work)
        except InputError:
            return 1

    spent(64)  # what is imported or read when it is needed first
    small, large = spent(SMALL), spent(LARGE)
    assert math.log(large / small, LARGE / SMALL) <= EXPONENT, (small, large)


def test_a_family_that_grows_faster_would_be_seen():
    def quadratic(size):
        for _ in range(size):
            for _ in range(size):
                abs(1)

    small, large = steps(lambda: quadratic(20)), steps(lambda: quadratic(160))
    assert math.log(large / small, 8) > EXPONENT
