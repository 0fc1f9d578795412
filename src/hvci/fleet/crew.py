"""Keeps worker processes busy and outlives them: one that dies or hangs costs the file at hand.

Knows tasks, processes, their bounds and time; knows nothing of drivers and databases.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from tempfile import TemporaryDirectory

from hvci.errors import HvciError
from hvci.fleet.bounds import Bounds
from hvci.fleet.rules import Rules
from hvci.fleet.walk import Problem
from hvci.fleet.worker import READY, Answer, Task, decode, serve

DEPTH = 2
"""Tasks that wait at a worker: the one at hand, and one so that it need not wait for us."""
TRIES = 2
"""A file at which so many workers died is given up."""
STILLBORN = 5
"""So many workers in a row that die before they are ready: something else is wrong."""
TICK = 0.25
"""Seconds after which whoever waits for answers gets a word, with or without one."""
OUT_OF_TIME = getattr(signal, "SIGXCPU", 1 << 16)
"""What ends a process whose processor time is spent."""
FULL = 120
"""MiB at which a worker has grown too large and is replaced."""


@dataclass(slots=True)
class _Worker:
    process: SpawnProcess
    connection: Connection
    tasks: deque[Task] = field(default_factory=deque)
    since: float = 0.0
    """When it began with the task at hand."""
    ready: bool = False


@dataclass(slots=True)
class Crew:
    """Some worker processes."""

    size: int
    fields: dict[str, object]
    """The rules, as the workers get them."""
    seconds: float
    """After so long a worker is taken from its file."""
    work: Callable[[Connection, dict[str, object]], None] = serve
    """What a worker does."""
    depth: int = DEPTH
    """Tasks that wait at a worker; 1 where each takes long."""
    _workers: list[_Worker] = field(default_factory=list)
    _again: deque[Task] = field(default_factory=deque)
    _deaths: dict[Task, int] = field(default_factory=dict)
    _stillborn: int = 0

    def hire(self, number: int) -> None:
        """Start some processes before there is anything to do: they take half a second to begin."""
        while len(self._workers) < min(number, self.size):
            self._workers.append(self._hired())

    def run(self, tasks: Iterator[Task]) -> Iterator[list[tuple[Task, Answer]]]:
        """Answer every task, in no order; an empty list says that time has passed."""
        try:
            while self._feed(tasks):
                yield self._listen()
        finally:
            self.dismiss()

    def _feed(self, tasks: Iterator[Task]) -> bool:
        """Give work to whoever has little; tell whether anything is left to wait for."""
        for depth in range(1, self.depth + 1):
            for place in range(self.size):
                while place >= len(self._workers) or len(self._workers[place].tasks) < depth:
                    task = self._again.popleft() if self._again else next(tasks, None)
                    if task is None:
                        return any(worker.tasks for worker in self._workers)
                    if place >= len(self._workers):
                        self._workers.append(self._hired())
                    self._give(self._workers[place], task)
        return True

    def _hired(self) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=self.work, args=(theirs, self.fields), daemon=True)
        process.start()
        theirs.close()  # so that its death is the end of the pipe
        return _Worker(process, ours, since=time.monotonic())

    def _give(self, worker: _Worker, task: Task) -> None:
        if not worker.tasks:
            worker.since = time.monotonic()
        worker.tasks.append(task)
        try:
            worker.connection.send_bytes(json.dumps(task).encode())
        except OSError:
            return  # it is dead, which `_listen` will notice

    def _listen(self) -> list[tuple[Task, Answer]]:
        heard: list[tuple[Task, Answer]] = []
        by_connection = {worker.connection: worker for worker in self._workers}
        for connection in wait(list(by_connection), TICK):
            heard += self._heard(by_connection[connection])  # type: ignore[index]
        for worker in [*self._workers]:
            if worker.tasks and time.monotonic() - worker.since > self.seconds:
                heard += self._given_up(worker)
        return heard

    def _heard(self, worker: _Worker) -> list[tuple[Task, Answer]]:
        try:
            message = worker.connection.recv_bytes()
        except (EOFError, OSError):
            return self._died(worker)
        worker.since = time.monotonic()
        if message == READY:
            worker.ready, self._stillborn = True, 0
            return []
        task, answer = worker.tasks.popleft(), decode(message)
        if answer.memory > FULL:
            self._let_go(worker)
        return [(task, answer)]

    def _died(self, worker: _Worker) -> list[tuple[Task, Answer]]:
        """Take its other tasks back; the one at hand is to blame, but may be tried once more."""
        worker.process.join(5)
        code = worker.process.exitcode
        suspect = worker.tasks.popleft() if worker.ready and worker.tasks else None
        self._let_go(worker)
        if suspect is not None and code == -OUT_OF_TIME:
            return [_lost(suspect, "time", "takes more processor time than a worker may have")]
        if suspect is None:
            self._stillborn += not worker.ready
            if self._stillborn >= STILLBORN:
                raise HvciError(f"worker processes end before they begin (exit code {code})")
            return []
        deaths = self._deaths[suspect] = self._deaths.get(suspect, 0) + 1
        if deaths < TRIES:
            self._again.append(suspect)
            return []
        end = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        return [_lost(suspect, "died", f"{deaths} processes died at it (the last with {end})")]

    def _given_up(self, worker: _Worker) -> list[tuple[Task, Answer]]:
        suspect = worker.tasks.popleft()
        self._let_go(worker)
        return [_lost(suspect, "time", f"given up after {self.seconds:g} seconds")]

    def _let_go(self, worker: _Worker) -> None:
        """End a worker; what waits at it waits for another."""
        self._again.extendleft(reversed(worker.tasks))
        worker.tasks.clear()
        self._workers.remove(worker)
        _end(worker)

    def dismiss(self) -> None:
        """End all processes."""
        while self._workers:
            _end(self._workers.pop())


def told_to_workers(rules: Rules, isolate: bool, seconds: float, scratch: str) -> dict[str, object]:
    """What a worker of a scan is told: the rules, and what it may use."""
    if not isolate:
        return rules.fields()
    return {**rules.fields(), "bounds": Bounds.usual(scratch, seconds).fields()}


def scratch_folder() -> TemporaryDirectory[str]:
    """A folder for what a scan unpacks and fetches."""
    return TemporaryDirectory(prefix="hvci-scan-", ignore_cleanup_errors=True)


def _end(worker: _Worker) -> None:
    worker.connection.close()
    worker.process.kill()  # it holds nothing that could be lost
    worker.process.join()
    worker.process.close()


def _lost(task: Task, kind: str, sentence: str) -> tuple[Task, Answer]:
    return task, Answer(None, problem=Problem(task.path, kind, sentence))


def usual_jobs() -> int:
    """One process for each core that this program may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1
