"""The waiting line: evaluations in, answers on disk out; one thread feeds the worker processes.

It has an end: who comes when it is full is told so. One job's hundred files do not keep the next
job from its first. Knows no drivers and no pages.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from hvci.errors import HvciError
from hvci.fleet.bounds import Bounds
from hvci.fleet.crew import Crew
from hvci.fleet.worker import Answer, Task
from hvci.packages.opened import MAX_MEMBER
from hvci.report.document import TargetError
from hvci.web.errors import Full
from hvci.web.jobs import DONE, INTERRUPTED, RUNNING, Job, Jobs
from hvci.web.parts import Part, packed, split
from hvci.web.settings import Limits
from hvci.web.uploads import Uploads
from hvci.web.working import part_of_error, serve

NAMES = 16 << 20
"""Bytes that a folder takes as an archive besides its files."""
PAUSE = 5.0
"""Seconds before workers are tried again that could not be started."""
_LOST = {
    "died": "The worker process ended while it read this; please report it with its SHA-256.",
    "time": "It was given up; hvci check has no such limit.",
    "memory": "hvci check has no such limit.",
}


class Progress(NamedTuple):
    """How far a job is."""

    ahead: int
    """Jobs that are before it."""
    done: int
    total: int
    now: tuple[str, ...]
    """What is being looked at."""


@dataclass(slots=True)
class _Open:
    """A job in the line."""

    job: Job
    left: deque[int]
    done: int
    running: dict[int, Path] = field(default_factory=dict)
    """Targets at work, with the file in which the worker says how far it is."""


class Line:
    """The jobs that wait and those at work."""

    def __init__(
        self,
        jobs: Jobs,
        uploads: Uploads,
        scratch: Path,
        size: int,
        limits: Limits,
        work: Callable[[Connection, dict[str, object]], None] = serve,
    ) -> None:
        self._jobs = jobs
        self._uploads = uploads
        self._scratch = scratch
        self._size = size
        self._limits = limits
        self.when_done: Callable[[Job], None] = lambda _: None
        """Told of each job whose answers are all there."""
        self._crew_work = work
        self._open: dict[str, _Open] = {}
        self._order: deque[str] = deque()
        self._tasks: dict[Task, tuple[str, int]] = {}
        self._changed = threading.Condition()
        self._stopping = False
        self._number = 0
        self._thread = threading.Thread(target=self._work, name="line", daemon=True)

    def start(self) -> None:
        """Take up what an earlier server left, and begin."""
        self._scratch.mkdir(parents=True, exist_ok=True)
        for job in self._jobs.unfinished():
            if all(self._uploads.has(one.sha256) for target in job.targets for one in target.files):
                self._enter(job)
            else:
                told = "the server ended before this was done, and its files are deleted by now"
                self._jobs.set_state(job.id, INTERRUPTED, told)
        self._thread.start()

    def stop(self) -> None:
        """End the workers; what is not done is done after the next start."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join(30)

    def check_room(self) -> None:
        """Refuse when the line is full."""
        if len(self._open) >= self._limits.waiting:
            raise Full(f"the queue is full: {len(self._open)} evaluations wait; try again soon")

    def offer(self, job: Job) -> Job:
        """Keep a job and let it wait; one whose answers are there already need not."""
        known = self._jobs.find(job.id)
        if known is not None and known.state != INTERRUPTED:
            return known
        with self._changed:
            self.check_room()
            kept = self._jobs.add(job)
            if kept.is_open and kept.id not in self._open:
                self._enter(kept)
            self._changed.notify_all()
        return kept

    def progress(self, name: str) -> Progress | None:
        """How far a job is; None for one that does not wait."""
        with self._changed:
            one = self._open.get(name)
            if one is None:
                return None
            total = len(one.job.targets)
            ahead = 0 if one.running or one.done else [*self._open].index(name)
            now = tuple(
                _told(one.job.targets[number].name, path) for number, path in one.running.items()
            )
            return Progress(ahead, one.done, total, now)

    def needed(self) -> frozenset[str]:
        """The contents that somebody waits for."""
        with self._changed:
            jobs = [one.job for one in self._open.values()]
        return frozenset(
            file.sha256 for job in jobs for target in job.targets for file in target.files
        )

    @property
    def length(self) -> int:
        """How many jobs there are in the line."""
        return len(self._open)

    def _enter(self, job: Job) -> None:
        answered = self._jobs.answered(job.id)
        left = deque(number for number in range(len(job.targets)) if number not in answered)
        self._open[job.id] = _Open(job, left, len(answered))
        self._order.append(job.id)
        if not left:
            self._finish(job.id)

    # ------------------------------------------------------------------ the thread

    def _work(self) -> None:
        while not self._is_stopping():
            crew = Crew(self._size, self._fields(), self._limits.seconds, self._crew_work)
            try:
                for heard in crew.run(_Stream(self._next)):
                    for task, answer in heard:
                        self._heard(task, answer)
                    if self._is_stopping():
                        break
            except (HvciError, OSError) as error:
                self._give_up(str(error))
                time.sleep(PAUSE)

    def _fields(self) -> dict[str, object]:
        """What a worker is told: its folder, and what it may use."""
        scratch, largest = str(self._scratch), max(MAX_MEMBER, self._limits.upload + NAMES)
        bounds = Bounds.usual(scratch, self._limits.seconds, True, largest)
        return {"scratch": scratch, "bounds": bounds.fields()}

    def _is_stopping(self) -> bool:
        return self._stopping

    def _next(self) -> Task | None:
        """The next task; waits for one as long as nobody is at work."""
        with self._changed:
            while not self._is_stopping():
                if len(self._tasks) >= self._size:
                    return None
                task = self._turn()
                if task is not None or self._tasks:
                    return task
                self._changed.wait()
            return None

    def _turn(self) -> Task | None:
        """One target of the job whose turn it is."""
        for _ in range(len(self._order)):
            name = self._order.popleft()
            one = self._open.get(name)
            if one is None or not one.left:
                continue
            number = one.left.popleft()
            self._order.append(name)
            if not one.running and not one.done:
                self._jobs.set_state(name, RUNNING)
            self._number += 1
            place = self._scratch / f"progress-{self._number}"
            task = Task(json.dumps(self._what(one.job, number, place)), "", self._number)
            one.running[number] = place
            self._tasks[task] = (name, number)
            return task
        return None

    def _what(self, job: Job, number: int, place: Path) -> dict[str, Any]:
        """An order for a worker."""
        target = job.targets[number]
        files = [(str(self._uploads.place(one.sha256)), one.name) for one in target.files]
        return {
            "kind": job.kind,
            "name": target.name,
            "files": files,
            "is_folder": target.is_folder,
            "target_os": job.options.get("target_os", ""),
            "verify": bool(job.options.get("verify")),
            "progress": str(place),
        }

    def _heard(self, task: Task, answer: Answer) -> None:
        with self._changed:
            name, number = self._tasks.pop(task)
            one = self._open[name]
            target = one.job.targets[number]
            lost = answer.problem is not None
            parts = [_lost(one.job, target.name, answer)] if lost else split(answer.blob)
            self._jobs.keep(name, number, parts)
            place = one.running.pop(number)
            one.done += 1
            if one.done == len(one.job.targets):
                self._finish(name)
        with contextlib.suppress(OSError):
            place.unlink()

    def _finish(self, name: str) -> None:
        one = self._open.pop(name)
        told = ""
        try:
            self.when_done(one.job)
        except HvciError as error:
            told = str(error)
        self._jobs.set_state(name, DONE, told)

    def _give_up(self, why: str) -> None:
        """No worker can be started: say so, and keep nobody waiting."""
        with self._changed:
            self._tasks.clear()
            for name in [*self._open]:
                self._open.pop(name)
                self._jobs.set_state(name, INTERRUPTED, f"no worker could be started: {why}")
            self._order.clear()


class _Stream:
    """Tasks for a crew; it asks again after every answer."""

    def __init__(self, next_one: Callable[[], Task | None]) -> None:
        self._next = next_one

    def __iter__(self) -> _Stream:
        return self

    def __next__(self) -> Task:
        task = self._next()
        if task is None:
            raise StopIteration
        return task


def _told(name: str, path: Path) -> str:
    """What a worker says of a long target."""
    try:
        number, inner = json.loads(path.read_text(encoding="utf-8"))
        return f"{name}: driver {int(number) + 1}, {inner}"
    except (OSError, ValueError, TypeError):
        return name


def _lost(job: Job, name: str, answer: Answer) -> Part:
    """The answer about a target that no worker could answer."""
    assert answer.problem is not None
    sentence = answer.problem.sentence
    if job.kind == "verify":
        glance = {"name": name, "proof": "unreadable", "sentence": sentence, "exit_code": 4}
        return packed(glance, {"error": sentence})
    advice = _LOST.get(answer.problem.kind, "")
    return part_of_error(TargetError(name, "NoAnswer", sentence, advice))
