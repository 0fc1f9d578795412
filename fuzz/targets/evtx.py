"""Event logs (.evtx)."""

from __future__ import annotations

from collections.abc import Iterator

from answers import answer_or_sentence
from choices import Choices

import eventfiles
from hvci.logs import gather
from hvci.logs.refusals import refusals

_whole = eventfiles.evtx(
    [
        eventfiles.hvci("a.sys"),
        eventfiles.policy("b.sys", eventfiles.BLOCK_LIST),
        eventfiles.failed("svc"),
        eventfiles.crash(0x139, (1, 2, 3, 4)),
    ]
)


def one(data: bytes) -> None:
    """Places and bytes to overwrite in a log."""
    choose = Choices(data)
    log = bytearray(_whole)
    for _ in range(choose.below(16)):
        at = choose.below(min(len(log), 0x10000))
        if choose.below(2):
            at = 0x1000 + at % 0x1000
        held = choose.bytes(1 + choose.below(8))
        log[at : at + len(held)] = held
    cut = len(log) if choose.below(8) else choose.below(0x10000)
    with answer_or_sentence():
        found = gather([bytes(log[:cut])])
        refusals(found.seen, found.computer, (), found.signers)


def seeds() -> Iterator[bytes]:
    """Nothing changed, and something."""
    yield b""
    yield bytes(i * 53 % 256 for i in range(100))
