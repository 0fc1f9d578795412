"""App Control policies as XML."""

from __future__ import annotations

from collections.abc import Iterator

import asked
from answers import answer_or_sentence

import policies
from hvci.lists.app_control import AppControl
from hvci.lists.sipolicy_xml import read_xml


def one(data: bytes) -> None:
    """The file is the input."""
    with answer_or_sentence():
        asked.ask(AppControl("x.xml", read_xml(data)))


def seeds() -> Iterator[bytes]:
    """A policy."""
    yield policies.to_xml(policies.Policy())
