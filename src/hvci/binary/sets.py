"""Sets of numbers as sorted arrays.

numpy has such functions, but they import numpy.ma, which costs a tenth of our start-up time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[Any]


def distinct(values: Numbers) -> Numbers:
    """The different values, sorted."""
    ordered = np.sort(values)
    first = np.ones(len(ordered), bool)
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    return ordered[first]


def among(values: Numbers, wanted: Numbers) -> npt.NDArray[np.bool_]:
    """Which values are members of a sorted array."""
    if not len(wanted):
        return np.zeros(len(values), bool)
    nearest = np.minimum(np.searchsorted(wanted, values), len(wanted) - 1)
    found: npt.NDArray[np.bool_] = wanted[nearest] == values
    return found
