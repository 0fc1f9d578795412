"""LOLDrivers' JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator

import asked
from answers import answer_or_sentence

from hvci.lists.loldrivers import LolDrivers


def one(data: bytes) -> None:
    """The file is the input."""
    with answer_or_sentence():
        asked.ask(LolDrivers("x.json", data))


def seeds() -> Iterator[bytes]:
    """One driver, and odd ones."""
    sample = {"Filename": "a.sys", "SHA256": "00" * 32, "Authentihash": {"SHA256": "11" * 32}}
    entry = {"Id": "1", "Tags": ["a.sys"], "KnownVulnerableSamples": [sample], "Category": "x"}
    yield json.dumps([entry]).encode()
    yield b'[{"KnownVulnerableSamples":[{}]}]'
