"""The same tasks on a Dask cluster: batches by work, each file answered once, a bad one isolated.

A batch at which workers die is cut into single files; one at which they go on dying is given up.
Archives are opened here, their drivers travel as bytes. Needs the extra `hvci[cluster]`.
"""

from __future__ import annotations

import math
import queue
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hvci.errors import HvciError, UsageError
from hvci.fleet.crew import TICK, Crew
from hvci.fleet.remote import Parcel, answer_all
from hvci.fleet.rules import Rules
from hvci.fleet.walk import IMAGE, Problem
from hvci.fleet.worker import Answer, Task, decode

WORK = 4 << 20
"""Bytes of drivers in one batch, some second of work: a task costs a scheduler 5 ms."""
MOST = 128
LOOK = 5.0
"""Seconds between two looks at how large the cluster is."""
AHEAD = 2
"""Batches for each thread of the cluster that wait or run."""
PATIENCE = 10.0
"""Seconds to find the scheduler."""
UNSEEN = ("vanished", "unreadable", "changed")
"""Problems of a worker that does not see what we see, or another file under the same path."""
AGAIN = "run the same command again to go on"
Heard = list[tuple[Task, Answer]]


@dataclass(slots=True)
class Cluster:
    """An existing cluster; used like a `Crew`."""

    address: str
    rules: Rules
    seconds: float
    fields: dict[str, object] = field(default_factory=dict)
    """What the process of this computer is told that opens archives."""
    _client: Any = None
    _flying: dict[Any, list[Parcel]] = field(default_factory=dict)
    _landed: queue.SimpleQueue[Any] = field(default_factory=queue.SimpleQueue)
    _again: deque[list[Parcel]] = field(default_factory=deque)
    _archives: deque[Task] = field(default_factory=deque)
    _suspects: deque[list[Parcel]] = field(default_factory=deque)
    """Single files at which workers died, or beside which: each runs alone, at the end."""
    _alone: bool = False
    _size: int = 1
    """Threads of the cluster."""
    _looked: float = -math.inf
    """When it was asked for them."""

    def run(self, tasks: Iterator[Task]) -> Iterator[Heard]:
        """Answer every task, in no order; an empty list says that time has passed."""
        self._client = self._connected()
        opener: Iterator[Heard] | None = None
        try:
            while True:
                self._send(tasks)
                if self._archives and opener is None:
                    crew = Crew(1, self.fields, self.seconds)
                    opener = crew.run(_drained(self._archives))
                if opener is None and not self._flying:
                    return
                heard = next(opener, None) if opener is not None else []
                if heard is None:
                    opener, heard = None, []
                yield heard + self._listen(0.0 if opener is not None else TICK)
        finally:
            self._client.close()

    def _connected(self) -> Any:  # noqa: ANN401 (a client of distributed)
        try:
            from distributed import Client
        except ImportError as error:
            raise UsageError(
                "--scheduler needs one more package: pip install distributed"
            ) from error
        try:
            made: Any = Client  # typed or not, as the package is there or not
            client: Any = made(self.address, timeout=PATIENCE, set_as_default=False)
            if not client.scheduler_info()["workers"]:
                client.wait_for_workers(1, timeout=PATIENCE)
        except (OSError, ValueError, TimeoutError) as error:
            raise UsageError(f"--scheduler {self.address}: {str(error) or 'no answer'}") from error
        return client

    # ---- out

    def _send(self, tasks: Iterator[Task]) -> None:
        """Keep every thread of the cluster busy."""
        if self._alone:
            return
        room = AHEAD * self._threads()
        while len(self._flying) < room:
            batch = self._again.popleft() if self._again else self._next(tasks)
            if not batch:
                break
            self._submit(batch)
        if self._suspects and not self._flying:
            self._alone = True
            self._submit(self._suspects.popleft())

    def _threads(self) -> int:
        """How many threads the cluster has, as of a few seconds ago: each look costs a message."""
        now = time.monotonic()
        if now - self._looked > LOOK:
            info = self._client.scheduler_info(n_workers=-1)["workers"]
            self._size, self._looked = max(sum(one["nthreads"] for one in info.values()), 1), now
        return self._size

    def _submit(self, batch: list[Parcel]) -> None:
        rules = self.rules
        arguments = (rules.fields(), rules.digest, batch, self.seconds)
        future = self._client.submit(answer_all, *arguments, pure=False)
        self._flying[future] = batch
        future.add_done_callback(self._landed.put)

    def _next(self, tasks: Iterator[Task]) -> list[Parcel]:
        """The next batch; a task of an archive is for this computer."""
        batch: list[Parcel] = []
        size = 0
        while size < WORK and len(batch) < MOST:
            task = next(tasks, None)
            if task is None:
                break
            if task.kind != IMAGE:
                self._archives.append(task)
                continue
            parcel = self._parcel(task, ship=task.ours)
            batch.append(parcel)
            size += task.size
        return batch

    def _parcel(self, task: Task, ship: bool) -> Parcel:
        catalogs = tuple((name, _bytes(path) or b"") for name, path in task.catalogs)
        return Parcel(task, _bytes(task.path) if ship else None, catalogs)

    # ---- in

    def _listen(self, wait: float) -> Heard:
        heard: Heard = []
        try:
            future = self._landed.get(timeout=wait) if wait else self._landed.get_nowait()
            while True:
                heard += self._landed_one(future)
                future = self._landed.get_nowait()
        except queue.Empty:
            return heard

    def _landed_one(self, future: Any) -> Heard:  # noqa: ANN401
        batch = self._flying.pop(future, None)
        if batch is None:
            return []
        error = future.exception() if future.status == "error" else None
        alone, self._alone = self._alone, False
        if future.status == "finished":
            messages = future.result()
            future.release()
            return self._answers(batch, map(decode, messages))
        if future.status in ("pending", "lost"):
            # Its worker died with the result: the scheduler has it done once more.
            self._flying[future], self._alone = batch, alone
            future.add_done_callback(self._landed.put)
            return []
        if error is None:
            raise HvciError(f"the scheduler was lost ({future.status}); {AGAIN}")
        if type(error).__name__ == "KilledWorker":
            return self._killed(batch, alone)
        if isinstance(error, HvciError):
            raise error
        raise HvciError(f"the cluster failed: {type(error).__name__}: {error}") from error

    def _answers(self, batch: list[Parcel], answers: Iterator[Answer]) -> Heard:
        heard: Heard = []
        for parcel, answer in zip(batch, answers, strict=True):
            told = answer.problem
            if told is not None and told.kind in UNSEEN and parcel.data is None:
                again = self._parcel(parcel.task, ship=True)
                if again.data is not None:
                    self._again.append([again])
                    continue
            heard.append((parcel.task, answer))
        return heard

    def _killed(self, batch: list[Parcel], alone: bool) -> Heard:
        """Cut a batch into single files, try those alone, and then give up.

        Dask blames whatever waited at the worker as well, so a file is to blame only when it was
        the only one on the cluster.
        """
        if len(batch) > 1:
            self._again.extend([one] for one in batch)
            return []
        if not alone:
            self._suspects.append(batch)
            return []
        task = batch[0].task
        told = Problem(
            task.path, "died", "the workers of the cluster died at it, one after another"
        )
        return [(task, Answer(None, problem=told))]


def _drained(waiting: deque[Task]) -> Iterator[Task]:
    while waiting:
        yield waiting.popleft()


def _bytes(path: str) -> bytes | None:
    try:
        return Path(path).read_bytes()
    except OSError:
        return None
