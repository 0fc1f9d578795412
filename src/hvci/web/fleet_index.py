"""Asks the columns: which rows fit, how they fall apart by name, and in what order they stand.

Every answer is a few passes over arrays; knows no SQL and no pages.
"""

from __future__ import annotations

import json
import mmap
import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hvci.web.fleet_columns import NAMED

ORDERS = {
    "first": "boot drivers first, then the worst",
    "worst": "the worst first",
    "failures": "most places first",
    "vendor": "by vendor",
    "path": "by path",
    "newest": "the newest first",
    "oldest": "the oldest first",
}
LONGEST_WORD = 200
MOST_SEARCHES = 16
MOST_NAMES = 200
Mask = npt.NDArray[np.bool_]
Numbers = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """What rows are wanted."""

    choices: tuple[tuple[str, str], ...] = ()
    """Columns of `NAMED`, or "rule", with the name each must have."""
    word: str = ""
    """What the path or the vendor holds, in any case."""
    order: str = "first"


class Count(NamedTuple):
    """How many rows have a name."""

    name: str
    number: int


@dataclass(frozen=True, slots=True)
class Found:
    """The rows that fit."""

    mask: Mask
    total: int
    order: str


class Index:
    """The columns of one database."""

    def __init__(self, folder: Path) -> None:
        told = json.loads((folder / "names.json").read_text())
        self.names: dict[str, list[str]] = told["names"]
        self.rules: list[str] = told["rules"]
        self._folder = folder
        self._columns = {name: self._load(name) for name in NAMED}
        self._masks = self._load("rules")
        self._ends = self._load("ends")
        self._ids = {name: self._load(name) for name in ("file", "scan", "result")}
        self._orders: dict[str, Numbers] = {}
        self._counted: dict[str, list[Count]] = {}
        self._searches: OrderedDict[str, Mask] = OrderedDict()
        with (folder / "paths").open("rb") as stream:
            is_empty = stream.seek(0, 2) == 0
            self._paths = (
                b"" if is_empty else mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
            )
        self.total = len(self._masks)

    def _load(self, name: str) -> Numbers:
        found: Numbers = np.load(self._folder / f"{name}.npy", mmap_mode="r")
        return found

    def find(self, asked: Asked) -> Found:
        """The rows that fit; a name that nothing has fits none."""
        mask = np.ones(self.total, np.bool_)
        for column, name in asked.choices:
            mask &= self._having(column, name)
        if asked.word:
            mask &= self._searched(asked.word[:LONGEST_WORD].lower())
        order = asked.order if asked.order in ORDERS else "first"
        return Found(mask, int(np.count_nonzero(mask)), order)

    def _having(self, column: str, name: str) -> Mask:
        if column == "rule":
            if name not in self.rules:
                return np.zeros(self.total, np.bool_)
            return self._failing(self.rules.index(name))
        known = self.names.get(column, [])
        if name not in known:
            return np.zeros(self.total, np.bool_)
        return np.asarray(self._columns[column] == known.index(name))

    def _failing(self, bit: int) -> Mask:
        return np.asarray((self._masks & np.uint64(1 << bit)) != 0)

    def _searched(self, word: str) -> Mask:
        """Rows whose path or vendor holds the word."""
        known = self._searches.pop(word, None)
        if known is None:
            known = np.zeros(self.total, np.bool_)
            pattern = re.compile(re.escape(word.encode("utf-8", "replace")))
            starts = np.fromiter((hit.start() for hit in pattern.finditer(self._paths)), np.int64)
            known[np.searchsorted(self._ends, starts, side="right")] = True
            vendors = [n for n, name in enumerate(self.names["vendor"]) if word in name.lower()]
            if vendors:
                known |= np.isin(self._columns["vendor"], vendors)
        self._searches[word] = known
        if len(self._searches) > MOST_SEARCHES:
            self._searches.popitem(last=False)
        return known

    def page(self, found: Found, first: int, most: int) -> list[tuple[int, int, int]]:
        """File, scan and result of some rows, in order."""
        if found.order not in self._orders:
            self._orders[found.order] = np.asarray(self._load(f"by_{found.order}"))
        order = self._orders[found.order]
        if found.total == self.total:
            rows = order[first : first + most]
        else:
            rows = order[found.mask[order]][first : first + most]
        ids = [self._ids[name][rows].tolist() for name in ("file", "scan", "result")]
        return list(zip(*ids, strict=True))

    def counts(self, found: Found, column: str, most: int = 0) -> list[Count]:
        """How many rows have each name, the most first."""
        if column == "rule":
            masks = self._masks[found.mask]
            counted = [
                Count(name, int(np.count_nonzero(masks & np.uint64(1 << bit))))
                for bit, name in enumerate(self.rules)
            ]
        else:
            known = self.names[column]
            numbers = np.bincount(self._columns[column][found.mask], minlength=len(known))
            places = np.argsort(-numbers, kind="stable")[: most * 2 or None]
            counted = [Count(known[place], int(numbers[place])) for place in places]
        return _ranked(counted, most)

    def counted(self, column: str) -> list[Count]:
        """How many of all rows have each name; worked out once."""
        if column not in self._counted:
            everything = Found(np.ones(self.total, np.bool_), self.total, "first")
            self._counted[column] = self.counts(everything, column, MOST_NAMES)
        return self._counted[column]

    def among(self, found: Found, column: str, names: Sequence[str]) -> Found:
        """Those of the rows that have one of these names."""
        known = self.names[column]
        numbers = [known.index(name) for name in names if name in known]
        mask = found.mask & np.isin(self._columns[column], numbers)
        return Found(mask, int(np.count_nonzero(mask)), found.order)

    def only(self, found: Found, most: int) -> list[Count]:
        """Rules that are the only one to fail, with the rows that would then have none."""
        masks = self._masks[found.mask]
        counted = [
            Count(name, int(np.count_nonzero(masks == np.uint64(1 << bit))))
            for bit, name in enumerate(self.rules)
        ]
        return _ranked(counted, most)


def _ranked(counted: list[Count], most: int) -> list[Count]:
    """Those that have any, the most first; all of them where `most` is 0."""
    found = sorted((one for one in counted if one.number), key=lambda one: (-one.number, one.name))
    return found[:most] if most else found
