"""`hvci check --isolate`: each target in a process that is held to bounds and may be lost.

The processes are those of a scan and get the same bounds. Documents come back as JSON: nothing is
unpickled. Reads no target itself but standard input.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hvci.cli.gather import (
    Packages,
    documents,
    end_progress,
    interrupted,
    is_source,
    show_progress,
)
from hvci.cli.given import Apart, Trusted
from hvci.cli.installed import joined, look
from hvci.errors import InputError
from hvci.evaluate import Options, Sources
from hvci.fleet.bounds import MEMORY, Bounds, begin_target, hold
from hvci.fleet.crew import Crew
from hvci.fleet.walk import Problem
from hvci.fleet.worker import Answer, Task, attend, memory_used
from hvci.model import parse_version
from hvci.packages.beside import Wrong
from hvci.report import Document, TargetError
from hvci.report.decode import document_from
from hvci.report.encode import document_fields, limit_fields
from hvci.targets import STDIN, Found, Kind, Missing, read_bytes

INSTALLED = "installed"
"""The kind of a task that is about a Windows."""
_ADVICE = {
    "died": "The process ended while it read this; please report it with its SHA-256.",
    "time": "Give it longer with --seconds.",
    "memory": "Without --isolate it may take what this computer has.",
}


@dataclass(frozen=True, slots=True)
class Isolated:
    """How targets are evaluated elsewhere."""

    apart: Apart
    options: Options
    trusted: Trusted
    work: Callable[[Connection, dict[str, object]], None] | None = None
    """What a process does; the usual where nothing is said."""

    def evaluated(
        self, targets: list[Found | Missing], options: Options, packages: Packages
    ) -> dict[str, Document]:
        """What there is to say about each target; sources come after the images, as ever."""
        found: dict[str, Document] = {}
        packages.read = 0
        fields = self._fields() | {"packages": packages.paths}
        fields |= {"sources": options.sources.paths if options.sources else (), "told": []}
        told: set[str] = set()
        try:
            for last in (False, True):
                some = [one for one in targets if is_source(one) is last]
                tasks = [Task(one.path, "", 0, one.kind) for one in some if isinstance(one, Found)]
                for one in some:
                    if isinstance(one, Missing):
                        error = TargetError.of(one.path, one.error)
                        found[one.path] = Document(errors=(error,))
                for path, answer in self._answers(tasks, fields | {"told": sorted(told)}):
                    found[path] = answer.document
                    told |= answer.told
                    packages.read = max(packages.read, answer.infs)
                    packages.lacking.in_cabinets.update(answer.in_cabinets)
                    show_progress(len(found), len(targets))
        except KeyboardInterrupt:
            interrupted(found, targets)
        end_progress(len(targets))
        return found

    def look(self, words: Sequence[str]) -> Document:
        """What there is to say about every Windows that the words name."""
        tasks = [Task(word, "", 0, INSTALLED) for word in dict.fromkeys(words)]
        answers = dict(self._answers(tasks, self._fields()))
        return reduce(joined, (answers[word].document for word in words), Document())

    def _fields(self) -> dict[str, object]:
        """The options, as plain data."""
        one, files = self.options, self.trusted
        return {
            "target_os": one.target_os.slug if one.target_os else None,
            "on_server": one.on_server,
            "excerpts": one.excerpts,
            "verify": one.verify,
            "symbols": one.symbols,
            "trusted": (files.catalogs, files.blocklists, files.databases),
        }

    def _answers(
        self, tasks: list[Task], fields: dict[str, object]
    ) -> Iterator[tuple[str, _Answered]]:
        """The answer to each task, in no order."""
        if not tasks:
            return
        with TemporaryDirectory(prefix="hvci-check-", ignore_cleanup_errors=True) as scratch:
            if any(task.path == STDIN for task in tasks):
                try:
                    Path(scratch, "stdin").write_bytes(read_bytes(STDIN))
                except InputError as error:
                    tasks = [task for task in tasks if task.path != STDIN]
                    yield STDIN, _Answered(Document(errors=(TargetError.of(STDIN, error),)))
            bounds = Bounds.usual(scratch, self.apart.seconds, self.options.verify)
            told = fields | {"bounds": bounds.fields(), "stdin": str(Path(scratch, "stdin"))}
            jobs = min(self.apart.jobs, len(tasks))
            crew = Crew(jobs, told, self.apart.seconds, self.work or serve, depth=1)
            for heard in crew.run(iter(tasks)):
                for task, answer in heard:
                    yield task.path, _decoded(task, answer)


@dataclass(frozen=True, slots=True)
class _Answered:
    """What a process says of a target."""

    document: Document
    told: frozenset[str] = frozenset()
    """What reports of images say of sources, by digest."""
    infs: int = 0
    """INFs of drivers that it read."""
    in_cabinets: Mapping[str, list[Wrong]] = field(default_factory=dict)
    """By an INF, what it names and may lie in a cabinet: known when all are opened."""


def _decoded(task: Task, answer: Answer) -> _Answered:
    if answer.problem is not None:
        advice = _ADVICE.get(answer.problem.kind, "")
        error = TargetError(task.path, "NoAnswer", answer.problem.sentence, advice)
        return _Answered(Document(errors=(error,)))
    fields = json.loads(answer.blob)
    document = document_from(fields["document"])
    reports = tuple(map(_in_order, document.reports, fields["limits"]))
    document = replace(document, reports=reports)
    in_cabinets = {
        path: [Wrong(text, frozenset(files)) for text, files in wrong]
        for path, wrong in fields["in_cabinets"].items()
    }
    return _Answered(document, frozenset(fields["told"]), fields["infs"], in_cabinets)


def _in_order(report: Any, places: list[int]) -> Any:  # noqa: ANN401 (a report)
    """A report with its limits as they were met: a saved report has them sorted."""
    return replace(report, limits=tuple(report.limits[place] for place in places))


def _encoded(document: Document, told: Iterable[str], packages: Packages | None = None) -> bytes:
    fields = json.loads(json.dumps(document_fields(document)))
    limits = []
    for report, kept in zip(document.reports, fields["reports"], strict=True):
        place = {json.dumps(limit): number for number, limit in enumerate(kept["limits"])}
        limits.append([place[json.dumps(limit_fields(limit))] for limit in report.limits])
    waiting = packages.lacking.in_cabinets if packages else {}
    in_cabinets = {
        path: [(one.text, sorted(one.files)) for one in wrong] for path, wrong in waiting.items()
    }
    whole = {"document": fields, "limits": limits, "told": sorted(told)}
    whole |= {"infs": packages.infs if packages else 0, "in_cabinets": in_cabinets}
    return json.dumps(whole).encode()


# ---------------------------------------------------------------------- the other process


def serve(connection: Connection, fields: dict[str, object]) -> None:
    """Evaluate targets, held to bounds, until nobody asks any more."""
    bounds = Bounds.of(fields["bounds"])
    hold(bounds)
    work = _Work(fields)

    def bounded(task: Task) -> Answer:
        begin_target(bounds)
        return work.answer(task)

    attend(connection, bounded)


class _Work:
    """Targets under one set of options; what they have in common is read once."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self._fields = fields
        self._packages = Packages(list(fields.get("packages", ())))
        self._options: Options | None = None

    def answer(self, task: Task) -> Answer:
        """What there is to say about a target, whatever is wrong with it."""
        try:
            return Answer(None, self._told(task), memory=memory_used())
        except MemoryError:
            told = Problem(task.path, "memory", "takes more memory than a process may have")
            return Answer(None, problem=told, memory=MEMORY >> 20)

    def _told(self, task: Task) -> bytes:
        try:
            options = self._given()
            document, sources = self._document(task, options), options.sources
            return _encoded(document, sources.told if sources else (), self._packages)
        except MemoryError:
            raise
        except Exception as error:
            return _encoded(Document(errors=(TargetError.of(task.path, error),)), ())

    def _document(self, task: Task, options: Options) -> Document:
        if task.kind == INSTALLED:
            return look([task.path], options)
        if task.path == STDIN:
            sys.stdin = Path(self._fields["stdin"]).open()  # noqa: SIM115 (as long as we live)
        return documents(Found(task.path, Kind(task.kind)), options, self._packages)

    def _given(self) -> Options:
        """The options."""
        if self._options is None:
            given = self._fields
            version, symbols = given["target_os"], given["symbols"]
            options = Options(
                parse_version(version) if version else None,
                given["on_server"],
                given["excerpts"],
                verify=given["verify"],
                symbols=None if symbols is None else tuple(symbols),
            )
            if given.get("sources"):
                options = replace(options, sources=Sources(given["sources"]))
                assert options.sources is not None
                options.sources.told.update(given["told"])
            self._options = Trusted(*map(tuple, given["trusted"])).added_to(options)
        return self._options
