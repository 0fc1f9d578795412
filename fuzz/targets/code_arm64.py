"""Value analysis of arm64 code: instruction soup and random bytes inside valid drivers."""

from __future__ import annotations

from collections.abc import Iterator

import images
from answers import answer_or_sentence
from choices import Choices

MACHINE = "arm64"


def one(data: bytes) -> None:
    """The first byte says what is imported and whether the rest is code or tells what it is."""
    choose = Choices(data)
    kind = choose.below(2 * len(images.IMPORTS))
    code = images.soup(MACHINE, choose) if kind % 2 else images.Code(choose.rest())
    with answer_or_sentence():
        images.judged(images.with_code(MACHINE, kind // 2, code), MACHINE)


def seeds() -> Iterator[bytes]:
    """A little of each."""
    for kind in range(2 * len(images.IMPORTS)):
        yield bytes([kind, *(i * 37 % 256 for i in range(200))])
