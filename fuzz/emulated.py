"""Runs of drivers whose code was changed or made up, in this process and with a small budget."""

from __future__ import annotations

import images
from answers import BUILT, answer_or_sentence
from choices import Choices

from hvci.binary import PeImage
from hvci.model import LAST_32_BIT, NEWEST
from hvci.verifier.budget import FORCED
from hvci.verifier.outcome import Effort, VerifierOptions
from hvci.verifier.session import Session

EFFORT = Effort(paths=4, blocks=500)
REAL = 16
"""One in so many inputs changes a driver of the tests; the others are small drivers of their own."""


class Short(Session):
    """A run whose natural part is as short as its others: soup loops for ever."""

    def _execute(self, entry, budget=FORCED):  # noqa: ANN001, ANN202 (as in the base class)
        return super()._execute(entry, FORCED)


class Subject:
    """One driver of the tests, and the machine that it is for."""

    def __init__(self, machine: str) -> None:
        self.machine = machine
        self._data = (BUILT / f"calls_bad.{machine}.o2.sys").read_bytes()
        image = PeImage(self._data)
        text = next(section for section in image.headers.sections if section.name == ".text")
        self._at, self._size = text.raw_offset, min(text.raw_size, text.virtual_size)
        version = LAST_32_BIT if machine == "x86" else NEWEST
        self._options = VerifierOptions(target_os=version, effort=EFFORT)

    def changed(self, data: bytes) -> bytes:
        """A driver made from an input: the one of the tests with changes, or a soup of code."""
        choose = Choices(data)
        kind = choose.below(REAL * len(images.IMPORTS))
        if kind >= len(images.IMPORTS):
            code = images.soup(self.machine, choose)
            return images.with_code(self.machine, kind % len(images.IMPORTS), code)
        image = bytearray(self._data)
        while choose:
            at = choose.below(self._size)
            held = choose.bytes(1 + choose.below(8))[: self._size - at]
            image[self._at + at : self._at + at + len(held)] = held
        return bytes(image)

    def run(self, data: bytes) -> None:
        """Run the driver that an input makes."""
        with answer_or_sentence():
            assert Short(self.changed(data), self._options).run().counters
