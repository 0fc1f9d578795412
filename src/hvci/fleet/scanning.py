"""One scan: places in, rows in the database out; whatever ends it, what was done is kept.

Unchanged files cost a look-up, equal contents are evaluated once. Prints nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain

from hvci.fleet.batches import batches
from hvci.fleet.content import Content, hashed
from hvci.fleet.crew import Crew
from hvci.fleet.rules import Rules
from hvci.fleet.store import Met, Store
from hvci.fleet.walk import Place, Problem
from hvci.fleet.worker import Answer, Task

FIRST = 64
"""Files of the first batch: workers should not wait for the hashes of a thousand."""
BATCH = 1000
"""Files that are looked up together."""
FULL = 2000
"""Rows after which they are written."""
PATIENCE = 1.0
"""Seconds that a row waits to be written."""


@dataclass(slots=True)
class Progress:
    """How far a scan is."""

    files: int = 0
    unchanged: int = 0
    """Known by place and time of change."""
    duplicates: int = 0
    """Known by their content."""
    evaluated: int = 0
    problems: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class Scan:
    """The state of one scan."""

    store: Store
    rules: Rules
    jobs: int
    seconds: float
    tell: Callable[[Progress], None]
    progress: Progress = field(default_factory=Progress)
    _rows: list[Met] = field(default_factory=list)
    _waiting: dict[str, list[Content]] = field(default_factory=dict)
    """Files by a content that is being evaluated."""
    _began: float = field(default_factory=time.monotonic)
    _written: float = 0.0

    def run(self, targets: str, places: Iterable[Place | Problem]) -> Progress:
        """Scan all places; an interrupt or an error leaves a scan that can be taken up."""
        self.store.begin(targets)
        crew = Crew(self.jobs, self.rules.fields(), self.seconds)
        try:
            with ThreadPoolExecutor(self.jobs) as threads:
                for heard in crew.run(self._tasks(places, threads)):
                    for task, answer in heard:
                        self._answered(task, answer)
                    self._write_in_time()
        except KeyboardInterrupt:
            self._write()
            raise
        self._write()
        self.store.finish()
        return self.progress

    def _tasks(
        self, found: Iterable[Place | Problem], threads: ThreadPoolExecutor
    ) -> Iterator[Task]:
        """What has to be evaluated; everything else is settled on the way."""
        left = iter(found)
        first = next(batches(left, FIRST), [])
        for some in chain([first], batches(left, BATCH)):
            fresh = self._not_unchanged(some)
            contents = threads.map(hashed, fresh) if len(fresh) > 1 else map(hashed, fresh)
            yield from self._not_known(contents)
            self._write_in_time()

    def _not_unchanged(self, some: list[Place | Problem]) -> list[Place]:
        places = [one for one in some if isinstance(one, Place)]
        known, fresh = self.store.known(places), []
        for one in some:
            if isinstance(one, Problem):
                self._met(Met(one))
            elif (old := known.get(one.path)) is not None and old.still(one):
                self.progress.unchanged += 1
                self._met(Met(one, file_id=old.file_id, result_id=old.result_id))
            else:
                fresh.append(one)
        return fresh

    def _not_known(self, contents: Iterable[Content | Problem]) -> Iterator[Task]:
        readable = []
        for one in contents:
            if isinstance(one, Problem):
                self._met(Met(one))
            else:
                readable.append(one)
        if readable:
            self._write()  # so that the database knows every answer
        known, tasks = self.store.results(one.sha256 for one in readable), []
        for one in readable:
            number = known.get(one.sha256)
            if number is not None:
                self.progress.duplicates += 1
                self._met(_met(one, result_id=number))
            elif one.sha256 in self._waiting:
                self._waiting[one.sha256].append(one)
            else:
                self._waiting[one.sha256] = [one]
                tasks.append(Task(one.place.path, one.sha256, one.place.size))
        yield from tasks

    def _answered(self, task: Task, answer: Answer) -> None:
        """Settle every file with this content."""
        first, *others = self._waiting.pop(task.sha256)
        self.progress.evaluated += answer.row is not None
        self._met(_met(first, answer=answer))
        for one in others:
            # What befell the first file need not befall its copies, but is all that is known.
            self.progress.duplicates += answer.row is not None
            self._met(_met(one, answer=answer))

    def _met(self, one: Met) -> None:
        self.progress.files += 1
        lost = one.answer is not None and one.answer.problem is not None
        self.progress.problems += lost or isinstance(one.found, Problem)
        self._rows.append(one)
        if len(self._rows) >= FULL:
            self._write()

    def _write_in_time(self) -> None:
        now = time.monotonic()
        self.progress.seconds = now - self._began
        if now - self._written > PATIENCE:
            self._write()
        self.tell(self.progress)

    def _write(self) -> None:
        self.store.keep(self._rows)
        self._rows = []  # only now: written twice they are the same
        self._written = time.monotonic()
        self.progress.seconds = self._written - self._began


def _met(content: Content, result_id: int | None = None, answer: Answer | None = None) -> Met:
    return Met(
        content.place,
        sha256=content.sha256,
        settled=content.settled,
        result_id=result_id,
        answer=answer,
    )


def usual_jobs() -> int:
    """One process for each core that this program may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1
