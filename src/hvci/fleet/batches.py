"""Cuts what comes one by one into pieces. Python has this itself from 3.12 on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of so many items each; the last one may be shorter."""
    left = iter(items)
    while piece := list(islice(left, size)):
        yield piece
