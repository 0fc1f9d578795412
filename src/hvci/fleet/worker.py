"""The process that evaluates: a path comes through a pipe, a row and a packed report go back.

Plain bytes travel, JSON and the report's blob: nothing is unpickled. It never touches the database,
so that its death can cost no more than the file at hand.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from typing import Any, NamedTuple

from hvci.fleet.content import read
from hvci.fleet.packed import pack
from hvci.fleet.rows import Row, refused, row_of, stored_fields
from hvci.fleet.rules import Rules
from hvci.fleet.walk import Problem

READY = b"ready"
MEMORY = 2 << 30
"""Bytes of address space that one evaluation may take, where the system can hold it to that."""


class Task(NamedTuple):
    """Bytes to evaluate, and where they were found."""

    path: str
    sha256: str
    size: int


class Answer(NamedTuple):
    """What a worker says of a task."""

    row: Row | None
    blob: bytes = b""
    problem: Problem | None = None
    memory: int = 0
    """The most that the process ever had, in MiB; 0 where the system does not say."""


def serve(connection: Connection, fields: dict[str, object]) -> None:
    """Evaluate drivers by these rules until nobody asks any more."""
    rules = Rules.of(fields)
    attend(connection, lambda task: answered(task, rules))


def attend(connection: Connection, answer: Callable[[Task], Answer]) -> None:
    """Answer tasks until nobody asks any more, in bounded memory, and never outlive the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever started this
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _bound_memory()
    try:
        connection.send_bytes(READY)
        while True:
            task = Task(*json.loads(connection.recv_bytes()))
            connection.send_bytes(encode(answer(task)))
    except (EOFError, OSError):
        return


def answered(task: Task, rules: Rules) -> Answer:
    """Evaluate one file, whatever is wrong with it."""
    from hvci.evaluate import Options, evaluate

    try:
        data = read(task.path, task.sha256)
        if isinstance(data, Problem):
            return Answer(None, problem=data, memory=memory_used())
        report = evaluate(data, Options(rules.version, excerpts=rules.excerpts))
        blob = pack(stored_fields(report))
        return Answer(row_of(report, task.sha256), blob, memory=memory_used())
    except MemoryError:
        told = Problem(task.path, "memory", "takes more memory than a worker may have")
        return Answer(None, problem=told, memory=MEMORY >> 20)
    except Exception as error:
        return Answer(refused(error, task.sha256, task.size), memory=memory_used())


def encode(answer: Answer) -> bytes:
    """An answer as bytes: JSON, a NUL, the blob."""
    fields = {
        "columns": None if answer.row is None else dict(answer.row.columns),
        "findings": () if answer.row is None else answer.row.findings,
        "problem": answer.problem,
        "memory": answer.memory,
    }
    return json.dumps(fields).encode() + b"\0" + answer.blob


def decode(message: bytes) -> Answer:
    """The inverse of `encode`."""
    text, _, blob = message.partition(b"\0")
    fields: dict[str, Any] = json.loads(text)
    columns, problem = fields["columns"], fields["problem"]
    findings = tuple((rule, said, ddi, n) for rule, said, ddi, n in fields["findings"])
    row = None if columns is None else Row(columns, findings)
    return Answer(row, blob, Problem(*problem) if problem else None, fields["memory"])


def _end_with_parent() -> None:
    """End at once when the parent is gone, even in the middle of a file."""
    parent = parent_process()
    if parent is not None:
        wait_for([parent.sentinel])
        os._exit(1)


def _bound_memory() -> None:
    if sys.platform != "win32":
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        soft = MEMORY if hard == resource.RLIM_INFINITY else min(MEMORY, hard)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def memory_used() -> int:
    """The most that this process ever had, in MiB; 0 where the system does not say."""
    if sys.platform == "win32":
        return 0
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most >> (20 if sys.platform == "darwin" else 10)
