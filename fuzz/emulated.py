"""Runs of drivers whose code was changed, in this process and with a small budget."""

from __future__ import annotations

from answers import BUILT, answer_or_sentence
from choices import Choices

from hvci.binary import PeImage
from hvci.model import LAST_32_BIT, NEWEST
from hvci.verifier.outcome import Effort, VerifierOptions
from hvci.verifier.session import run_here

EFFORT = Effort(paths=6, blocks=3000)


class Subject:
    """One driver of the tests."""

    def __init__(self, machine: str) -> None:
        self._data = (BUILT / f"calls_bad.{machine}.o2.sys").read_bytes()
        image = PeImage(self._data)
        text = next(section for section in image.headers.sections if section.name == ".text")
        self._at, self._size = text.raw_offset, min(text.raw_size, text.virtual_size)
        version = LAST_32_BIT if machine == "x86" else NEWEST
        self._options = VerifierOptions(target_os=version, effort=EFFORT)

    def changed(self, data: bytes) -> bytes:
        """The driver with some bytes of its code overwritten."""
        choose = Choices(data)
        image = bytearray(self._data)
        while choose:
            at = choose.below(self._size)
            held = choose.bytes(1 + choose.below(8))[: self._size - at]
            image[self._at + at : self._at + at + len(held)] = held
        return bytes(image)

    def run(self, data: bytes) -> None:
        """Run the changed driver."""
        with answer_or_sentence():
            assert run_here(self.changed(data), self._options).counters
