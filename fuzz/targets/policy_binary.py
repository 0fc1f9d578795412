"""App Control policies in their binary form."""

from __future__ import annotations

from collections.abc import Iterator

import asked
from answers import answer_or_sentence

import policies
from hvci.lists.app_control import AppControl
from hvci.lists.sipolicy_binary import read_binary


def one(data: bytes) -> None:
    """The file is the input."""
    with answer_or_sentence():
        asked.ask(AppControl("x.cip", read_binary(data)))


def seeds() -> Iterator[bytes]:
    """A policy in several forms."""
    for form in (3, 6, 8):
        yield policies.to_binary(policies.Policy(), form)
