"""PE headers, sections and all directories of whole files."""

from __future__ import annotations

from collections.abc import Iterator

from answers import answer_or_sentence

import build
from hvci import signing
from hvci.binary import PeImage
from hvci.binary.pe.doubts import doubts
from hvci.lists.version import read_version
from hvci.model import NEWEST


def one(data: bytes) -> None:
    """The file is the input."""
    with answer_or_sentence():
        image = PeImage(data)
        assert image.facts.sections is not None
        assert image.imports is None or all(slot >= 0 for slot in image.imports)
        list(doubts(image))
        read_version(data, image.headers)
        signing.read(data, NEWEST)


def seeds() -> Iterator[bytes]:
    """A driver of each machine, as small as can be."""
    for machine in ("x64", "x86", "arm64"):
        yield build.driver(machine)
    yield build.driver(signature=bytes(64), managed=True, overlay=b"more")
    yield build.driver(sections=(("INIT", 0xE200_0020), ("PAGE", 0x6000_0020)))
