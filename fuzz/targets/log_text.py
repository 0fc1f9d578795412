"""Logs as text: events, bug checks, counters, lists of a computer, dump headers."""

from __future__ import annotations

from collections.abc import Iterator

from answers import answer_or_sentence

import eventfiles
from hvci.logs import gather, join, refusals, to_lines, to_text

RECORDS = [
    eventfiles.hvci("a.sys"),
    eventfiles.policy("b.sys", eventfiles.BLOCK_LIST),
    eventfiles.failed("svc"),
    eventfiles.signing("c.sys"),
]


def one(data: bytes) -> None:
    """The file is the input."""
    with answer_or_sentence():
        found = gather([data])
        rows = refusals(found.seen, found.computer, (), found.signers)
        "".join(to_lines(rows))
        to_text(join(found.log, ()))


def seeds() -> Iterator[bytes]:
    """The same events in all forms, and other tools' words."""
    for form in (eventfiles.xml, eventfiles.viewer, eventfiles.listed, eventfiles.table):
        yield form(RECORDS).encode()
    yield b"BugCheck FC, {fffff80112340000, 1, 2, 3}\nPAGE_FAULT: driver.sys+0x1234\n"
    yield b"Execute Pool Type Count: 3\nModule: a.sys\nExecute Page Protection Count: 1\n"
    yield b"PAGEDU64" + bytes(200)
    yield b"Published Name: oem1.inf\nOriginal Name: a.inf\nProvider Name: Vendor\n"
    yield b'Module Name,Display Name\n"a","b"\n'
