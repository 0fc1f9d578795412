"""One scan: places in, rows in the database out; whatever ends it, what was done is kept.

Unchanged files cost a look-up, equal contents are evaluated once. Prints nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Protocol

from hvci.fleet.batches import batches
from hvci.fleet.boxes import Boxes
from hvci.fleet.content import Content, hashed
from hvci.fleet.crew import Crew, scratch_folder, told_to_workers
from hvci.fleet.rows import PACKAGE
from hvci.fleet.rules import Rules
from hvci.fleet.store import Key, Met, Store
from hvci.fleet.walk import IMAGE, WINDOWS, Place, Problem, is_url
from hvci.fleet.worker import Answer, Task

FIRST = 64
"""Files of the first batch: workers should not wait for the hashes of a thousand."""
BATCH = 1000
"""Files that are looked up together."""
FULL = 2000
"""Rows after which they are written."""
IN_WINDOWS, OPENED = '{"installed": true}', '{"opened": true}'
"""What tells the drivers of a Windows in a file from all that lies in it, and that from what the
same bytes are under the name of a driver."""
INSTALLERS = (".msi", ".msm", ".msp")
"""What may keep its files in cabinets beside it."""
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
    opened: int = 0
    """Archives."""
    inside: int = 0
    """Of the files, those in archives."""
    problems: int = 0
    unjudged: int = 0
    """Files that are damaged, or no drivers; told at the end."""
    lost: int = 0
    """Targets that somebody named and in which nothing has an answer."""
    seconds: float = 0.0

    @property
    def found_nothing(self) -> bool:
        """Whether there was something to look at, and no answer to any of it."""
        return 0 < self.problems == self.files


class Answering(Protocol):
    """Whoever answers tasks: processes of this computer, or a cluster."""

    fields: dict[str, object]
    """What processes of this computer are told."""

    def run(self, tasks: Iterator[Task]) -> Iterator[list[tuple[Task, Answer]]]:
        """Answer every task, in no order; an empty list says that time has passed."""


@dataclass(slots=True)
class Scan:
    """The state of one scan."""

    store: Store
    rules: Rules
    jobs: int
    seconds: float
    tell: Callable[[Progress], None]
    isolate: bool = True
    """Hold the workers to bounds."""
    crew: Answering | None = None
    """Who evaluates; processes of this computer where nothing is said."""
    scratch: str | None = None
    """A folder of its own, which whoever gives it removes; else the scan makes one."""
    named: frozenset[str] = frozenset()
    """The paths that somebody named one by one."""
    folders: frozenset[str] = frozenset()
    """Those of them that are folders in which there has to be a driver."""
    progress: Progress = field(default_factory=Progress)
    _rows: list[Met] = field(default_factory=list)
    _waiting: dict[Key, list[Content]] = field(default_factory=dict)
    """Files by a content that is being evaluated."""
    _queue: deque[Task] = field(default_factory=deque)
    """Tasks that came out of archives."""
    _digests: dict[str, str] = field(default_factory=dict)
    """Of catalogs, by path."""
    _beside: dict[str, list[tuple[str, int, int]]] = field(default_factory=dict)
    """Cabinets, by folder."""
    _doubtful: set[str] = field(default_factory=set)
    """Of what somebody named, what may have no answer."""
    _began: float = field(default_factory=time.monotonic)
    _written: float = 0.0
    _boxes: Boxes = field(init=False)

    def run(self, targets: str, places: Iterable[Place | Problem]) -> Progress:
        """Scan all places; an interrupt or an error leaves a scan that can be taken up."""
        self.store.begin(targets)
        try:
            with (
                nullcontext(self.scratch) if self.scratch else scratch_folder() as scratch,
                ThreadPoolExecutor(self.jobs) as threads,
            ):
                crew = self._answering(scratch)
                self._boxes = Boxes(Path(scratch), self.rules)
                for heard in crew.run(_Feed(self._queue, self._tasks(places, threads))):
                    for task, answer in heard:
                        self._answered(task, answer)
                    self._write_in_time()
        except KeyboardInterrupt:
            self._write()
            raise
        self._write()
        self.progress.lost = sum(
            not self.store.has_answer(path) for path in self._doubtful | self.folders
        )
        self.progress.unjudged = self.store.finish()
        return self.progress

    def _answering(self, scratch: str) -> Answering:
        if self.crew is None:
            return Crew(self.jobs, self._fields(scratch), self.seconds)
        self.crew.fields = self._fields(scratch)
        return self.crew

    def _fields(self, scratch: str) -> dict[str, object]:
        return told_to_workers(self.rules, self.isolate, self.seconds, scratch)

    def _tasks(
        self, found: Iterable[Place | Problem], threads: ThreadPoolExecutor
    ) -> Iterator[Task]:
        """What has to be evaluated; everything else is settled on the way."""
        left = iter(found)
        first = next(batches(left, FIRST), [])
        for some in chain([first], batches(left, BATCH)):
            fresh = self._not_unchanged(some)
            contents = (
                threads.map(self._named, fresh) if len(fresh) > 1 else map(self._named, fresh)
            )
            yield from self._not_known(contents)
            self._write_in_time()

    def _named(self, place: Place) -> Content | Problem:
        """Name what a file holds; one that is elsewhere is fetched."""
        if not is_url(place.path):
            return hashed(place)
        from hvci.fleet.elsewhere import fetched

        return fetched(place, self._boxes.fetched)

    def _not_unchanged(self, some: list[Place | Problem]) -> list[Place]:
        places = [one for one in some if isinstance(one, Place)]
        special = (
            one for one in places if one.catalogs or self.rules.databases or one.kind != IMAGE
        )
        abouts = {one.path: self._about(one) for one in special}
        known, fresh = self.store.known(places, abouts), []
        for one in some:
            if isinstance(one, Problem):
                self._met(Met(one))
            elif (old := known.get(one.path)) is not None and old.still(one):
                self.progress.unchanged += 1
                known_as, told = old.result_id, None
                if old.kind == PACKAGE and known_as is not None:
                    told = self._met_inside(one.path, known_as)
                met = Met(one, old.file_id, result_id=known_as, package=one.package, told=told)
                self._met(met)
            else:
                fresh.append(one)
        return fresh

    def _about(self, place: Place) -> str:
        """What of a driver's surroundings changes its result."""
        if place.kind == WINDOWS:
            return IN_WINDOWS
        if place.kind != IMAGE:
            beside = self._cabinets(place.path) if place.path.lower().endswith(INSTALLERS) else ()
            return json.dumps({"opened": True, "beside": beside}) if beside else OPENED
        for path in place.catalogs:
            if path not in self._digests:
                self._digests[path] = _digest(path)
        digests = [self._digests[path] for path in place.catalogs]
        return self.rules.beside(os.path.basename(place.path), digests)  # noqa: PTH119

    def _cabinets(self, path: str) -> list[tuple[str, int, int]]:
        """The cabinets in the folder of an installer, which may hold its files, and their state."""
        folder = os.path.dirname(path)  # noqa: PTH120
        if folder not in self._beside:
            self._beside[folder] = _states(folder)
        return self._beside[folder]

    def _met_inside(self, path: str, number: int) -> Problem | None:
        """The members of an archive that is known; gives what is wrong with the archive."""
        told = None
        for one in self.store.inside(path, number):
            if one.found.path == path:
                told = one.problem
                continue
            self.progress.inside += 1
            self.progress.unchanged += 1
            self._met(one)
        return told

    def _not_known(self, contents: Iterable[Content | Problem]) -> Iterator[Task]:
        readable = []
        for one in contents:
            if isinstance(one, Problem):
                self._met(Met(one))
            else:
                about = "" if one.box else self._about(one.place)
                readable.append(one._replace(about=about) if about else one)
        if readable:
            self._write()  # so that the database knows every answer
            self.store.rules_of(one.about for one in readable)
        known, tasks = self.store.results(one.key for one in readable), []
        for one in readable:
            number, kind = known.get(one.key, (None, ""))
            if number is not None:
                self.progress.duplicates += 1
                path = one.place.path
                told = self._met_inside(path, number) if kind == PACKAGE else None
                self._settle(one, result_id=number, told=told)
            elif one.key in self._waiting:
                self._waiting[one.key].append(one)
            else:
                self._waiting[one.key] = [one]
                tasks.append(self._task(one))
        yield from tasks

    def _task(self, one: Content) -> Task:
        place = one.place
        catalogs = one.catalogs or tuple((Path(each).name, each) for each in place.catalogs)
        name = os.path.basename(place.path) if self.rules.databases else "-"  # noqa: PTH119
        scratch = self._boxes.folder() if place.kind != IMAGE else ""
        path = one.source or place.path
        about, ours = one.about, bool(one.source)
        stamp = () if ours or place.kind == IMAGE else (place.size, place.changed, place.touched)
        size, kind = place.size, place.kind
        return Task(path, one.sha256, size, kind, about, catalogs, name, scratch, ours, stamp)

    def _answered(self, task: Task, answer: Answer) -> None:
        """Settle every file with this content."""
        waiting = self._waiting.pop((task.sha256, task.about))
        done = answer.row is not None
        if task.kind != IMAGE and done:
            self.progress.opened += 1
            for one in waiting:
                self._open(one, answer, task.scratch)
            self._boxes.forget(waiting)
            return
        self._boxes.forget(waiting)
        self.progress.evaluated += done
        self.progress.duplicates += done * (len(waiting) - 1)
        for one in waiting:
            # What befell the first file need not befall its copies, but is all that is known.
            self._settle(one, answer=answer)

    def _open(self, archive: Content, answer: Answer, scratch: str) -> None:
        """Let the members of an archive wait for their turn."""
        inside, settled = self._boxes.put(archive, answer, scratch)
        for one in settled:
            self._met(one)
        self._queue.extend(self._not_known(inside))

    def _settle(
        self,
        one: Content,
        result_id: int | None = None,
        answer: Answer | None = None,
        told: Problem | None = None,
    ) -> None:
        met = _met(one, result_id, answer, told)
        self._met(met)
        if one.box:
            self.progress.inside += 1
            for archive in self._boxes.settled(one.box, met):
                self._met(archive)

    def _met(self, one: Met) -> None:
        self.progress.files += 1
        self.progress.problems += one.problem is not None
        if one.found.path in self.named and _may_be_lost(one):
            self._doubtful.add(one.found.path)
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


def _met(
    content: Content, result_id: int | None, answer: Answer | None, told: Problem | None
) -> Met:
    return Met(
        content.place,
        sha256=content.sha256,
        settled=content.settled,
        result_id=result_id,
        answer=answer,
        about=content.about,
        package=content.place.package,
        told=told,
    )


def _may_be_lost(met: Met) -> bool:
    """Whether a target may have led to nothing: one with a problem, or an archive."""
    return met.problem is not None or (isinstance(met.found, Place) and met.found.kind != IMAGE)


class _Feed:
    """Tasks: those of archives that were opened first, so that few of them lie on the disk."""

    def __init__(self, queue: deque[Task], rest: Iterator[Task]) -> None:
        self._queue, self._rest = queue, rest

    def __iter__(self) -> Iterator[Task]:
        return self

    def __next__(self) -> Task:
        return self._queue.popleft() if self._queue else next(self._rest)


def _states(folder: str) -> list[tuple[str, int, int]]:
    """Name, size and time of change of the cabinets in a folder."""
    found = []
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.lower().endswith(".cab") and entry.is_file():
                status = entry.stat()
                found.append((entry.name, status.st_size, status.st_mtime_ns))
    return sorted(found)


def _digest(path: str) -> str:
    """The digest of a catalog; empty for one that cannot be read, which says nothing."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return ""
