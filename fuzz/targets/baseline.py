"""Baselines."""

from __future__ import annotations

from collections.abc import Iterator

from answers import answer_or_sentence

import reports
from hvci.policy import parse_baseline
from hvci.policy.baseline import baseline_of
from hvci.report import Document


def one(data: bytes) -> None:
    """The file is the input."""
    with answer_or_sentence():
        parse_baseline(data.decode("utf-8", "replace"), "baseline.json")


def seeds() -> Iterator[bytes]:
    """A baseline."""
    yield baseline_of(Document((reports.everything(),))).encode()
