"""Runs of drivers whose code was changed or made up, in this process and with a small budget.

What is there to be reached is told by the driver before its code was changed, but for one input
in so many: reading code is what other targets try, and takes as long as to run it.
"""

from __future__ import annotations

from unittest.mock import patch

import images
import numpy as np
from answers import BUILT, answer_or_sentence
from choices import Choices

from hvci.binary import PeImage
from hvci.model import LAST_32_BIT, NEWEST
from hvci.verifier import explore
from hvci.verifier.budget import Budget
from hvci.verifier.outcome import Effort, VerifierOptions
from hvci.verifier.session import Session
from hvci.verifier.survey import Survey, survey

EFFORT = Effort(paths=3, blocks=150)
SHORT = Budget(blocks=100, calls=30, calls_from_one_place=8)
READ = 16
"""One in so many inputs is read anew before it runs."""
REAL = 16
"""One in so many inputs changes a driver of the tests; the others are small drivers of their own."""

HALVES = frozenset(
    (
        *(0x1D, 0x5D, 0x2C, 0x2D, 0x2E, 0x6C, 0x6D, 0x3D, 0x3F, 0x18, 0x19, 0x38, 0x39, 0x58, 0x59),
        *(0x79, 0x1A, 0x1B, 0x1C, 0x3A, 0x3B, 0x5A, 0x5B, 0x5C, 0x7A, 0x7B, 0x2F, 0x6F, 0x7D, 0x7F),
    )
)
"""Operations on vectors of half numbers (U, a, opcode) that the engine of ARM64 knows."""


def ends_the_process(image: bytes) -> bool:
    """Whether ARM64 code may hold a word at which the engine ends its process as it reads it.

    With any other operation on half numbers it does. `hvci verify` runs the engine in a child, whose
    end is a limit; here it would end the search.
    """
    words = np.frombuffer(image, "<u4", len(image) // 4)
    words = words[words & np.uint32(0x8F7E_0C00) == 0x0E78_0800]
    operations = words >> 12 & 0x1F | words >> 23 << 5 & 0x20 | words >> 29 << 6 & 0x40
    return not HALVES.issuperset(operations.tolist())


class Short(Session):
    """A run whose natural part is as short as its others: soup loops for ever."""

    def __init__(self, data: bytes, options: VerifierOptions, before: Survey | None) -> None:
        self._before = before
        """What the driver held before its code was changed; None: read it."""
        super().__init__(data, options)

    def _surveyed(self, image: PeImage, data: bytes) -> Survey:
        return self._before or super()._surveyed(image, data)

    def _execute(self, entry, budget=SHORT):  # noqa: ANN001, ANN202 (as in the base class)
        return super()._execute(entry, SHORT)


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
        self._known: dict[int, Survey] = {}

    def changed(self, data: bytes) -> tuple[bytes, int]:
        """A driver made from an input, the one of the tests with changes or a soup of code, and which."""
        choose = Choices(data)
        kind = choose.below(REAL * len(images.IMPORTS))
        if kind >= len(images.IMPORTS):
            code = images.soup(self.machine, choose)
            made = kind % len(images.IMPORTS)
            return images.with_code(self.machine, made, code), made
        image = bytearray(self._data)
        while choose:
            at = choose.below(self._size)
            held = choose.bytes(1 + choose.below(8))[: self._size - at]
            image[self._at + at : self._at + at + len(held)] = held
        return bytes(image), len(images.IMPORTS)

    def run(self, data: bytes) -> None:
        """Run the driver that an input makes."""
        changed, made = self.changed(data)
        if self.machine == "arm64" and ends_the_process(changed):
            return
        with patch.object(explore, "FORCED", SHORT), answer_or_sentence():
            before = self._before(made) if sum(data) % READ else None
            assert Short(changed, self._options, before).run().counters

    def _before(self, made: int) -> Survey:
        """What a driver holds whose code was not changed."""
        if made not in self._known:
            plain = (
                images.with_code(self.machine, made, images.Code(b""))
                if made < len(images.IMPORTS)
                else self._data
            )
            self._known[made] = survey(PeImage(plain), plain)
        return self._known[made]
