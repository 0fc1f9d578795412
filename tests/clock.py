"""Processor time as on the machine on which the limits of the tests were set.

A slow or busy machine takes longer for everything: how much longer says a piece of fixed work, done
in the same process right after what took long.
"""

import time
from typing import Self

WORK = 200_000
SECONDS = 0.0125
"""What that work takes on the machine of the limits (CPython 3.11)."""
LONG = 1.0
"""Seconds under which nobody asks."""


class Clock:
    """Measures what is done under it: `with Clock() as clock: ...`, then `clock.seconds`."""

    def __enter__(self) -> Self:
        self._begin = time.process_time()
        return self

    def __exit__(self, *error: object) -> None:
        self.seconds = time.process_time() - self._begin
        if self.seconds > LONG:
            self.seconds *= min(1.0, SECONDS / _fixed())


def _fixed() -> float:
    """Seconds that the fixed work takes here and now."""
    begin = time.process_time()
    held: dict[int, list[int]] = {}
    for n in range(WORK):
        held.setdefault(n & 0xFFF, []).append(n)
    return time.process_time() - begin
