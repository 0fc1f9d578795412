"""Sets of numbers as sorted arrays, and as the bits of a mask.

numpy has such functions, but they import numpy.ma, which costs a tenth of our start-up time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[Any]
MANY = 256
"""Numbers from which on sorting by halves pays."""


def members(mask: int) -> Iterator[int]:
    """The numbers of the bits of a mask, the lowest first."""
    while mask:
        yield (mask & -mask).bit_length() - 1
        mask &= mask - 1


def distinct(values: Numbers) -> Numbers:
    """The different values, sorted."""
    if len(values) < 2:
        return values.copy()
    ordered = values.copy()
    ordered.sort()
    first = np.empty(len(ordered), bool)
    first[0] = True
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    return ordered[first]


def order_of(rvas: Numbers) -> Numbers:
    """Indices that sort some RVAs and keep equal ones in order.

    By their low and then their high half: numpy sorts 16 bits without comparing, which takes a
    third of the time, where there are many.
    """
    if len(rvas) < MANY:
        return rvas.argsort(kind="stable")
    order = np.argsort(rvas.astype(np.uint16), kind="stable")
    high = (rvas >> 16).astype(np.uint16)
    return order[np.argsort(high[order], kind="stable")]


def among(values: Numbers, wanted: Numbers) -> npt.NDArray[np.bool_]:
    """Which values are members of a sorted array."""
    if not len(wanted):
        return np.zeros(values.shape, bool)
    found: npt.NDArray[np.bool_] = wanted.take(wanted.searchsorted(values), mode="clip") == values
    return found
