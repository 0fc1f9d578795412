"""What a Dask worker does: evaluates a batch of drivers, by path or by bytes, and answers in bytes.

Runs wherever this hvci is installed; refuses to answer for another one.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from typing import NamedTuple, Self

from hvci.errors import UsageError
from hvci.fleet.rules import Rules
from hvci.fleet.walk import Problem
from hvci.fleet.worker import Answer, Task, answered, encode, options_of


class Parcel(NamedTuple):
    """A task with what a worker that does not see the file needs."""

    task: Task
    data: bytes | None
    """None where the worker should read the path itself."""
    catalogs: tuple[tuple[str, bytes], ...]


def answer_all(
    fields: dict[str, object], digest: str, parcels: list[Parcel], seconds: float
) -> list[bytes]:
    """Answer a batch; whatever is wrong with one driver is its answer."""
    rules = Rules.of(fields)
    if rules.digest != digest:
        raise UsageError("the workers of the cluster run another hvci, or see other lists")
    options_of(rules)  # a list that is missing here is nothing that a driver could be blamed for
    with _Watchdog(seconds) as watchdog:
        return [_answer(Parcel(*one), rules, watchdog) for one in parcels]


def _answer(parcel: Parcel, rules: Rules, watchdog: _Watchdog) -> bytes:
    task = Task(*parcel.task)
    watchdog.begin()
    if parcel.data is not None and hashlib.sha256(parcel.data).hexdigest() != task.sha256:
        told = Problem(task.path, "changed", "changed on the way to a worker")
        return encode(Answer(None, problem=told))
    return encode(answered(task, rules, parcel.data, parcel.catalogs))


class _Watchdog:
    """Ends this process when a file takes too long; the nanny starts it anew.

    Nothing else takes a thread from a file at which it hangs. One thread watches a whole batch.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.begin()

    def begin(self) -> None:
        """A file begins, and has its time."""
        self._end = time.monotonic() + self._seconds

    def _watch(self) -> None:
        while not self._done.wait(max(self._end - time.monotonic(), 0)):
            if time.monotonic() >= self._end:
                os._exit(1)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
