"""The process that evaluates: a path comes through a pipe, a row and a packed report go back.

Plain bytes travel, JSON and the report's blob: nothing is unpickled. It never touches the database,
so that its death can cost no more than the file at hand.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hvci.errors import UsageError
from hvci.fleet.bounds import MEMORY, Bounds, begin_target, bound_memory, hold
from hvci.fleet.content import changed, read
from hvci.fleet.rows import Row, package_row, refused, row_of, stored_fields
from hvci.fleet.rules import Rules
from hvci.fleet.walk import IMAGE, WINDOWS, Problem
from hvci.model import Report

if TYPE_CHECKING:
    from hvci.evaluate import Options
    from hvci.packages.opened import Placed, Refused

READY = b"ready"
_EMPTY = {"", hashlib.sha256(b"").hexdigest()}
"""Digests of a catalog that cannot be read, or holds nothing."""


class Task(NamedTuple):
    """Bytes to evaluate or an archive to open, and where it was found."""

    path: str
    sha256: str
    size: int
    kind: str = IMAGE
    about: str = ""
    """What of its surroundings changes the result, by digest."""
    catalogs: tuple[tuple[str, str], ...] = ()
    """Name and path of each catalog of its package."""
    name: str = "-"
    """What lists may know the file by."""
    scratch: str = ""
    """Where the members of an archive go."""
    ours: bool = False
    """Whether the path is one of a scratch folder, which no other computer sees."""
    stamp: tuple[int, ...] = ()
    """Size and times of an archive when it was named by its content."""


class Inside(NamedTuple):
    """A driver of an archive that was opened, as plain data."""

    name: str
    """With the mark that parts it from the archive."""
    source: str
    """Where its bytes lie now."""
    sha256: str
    size: int
    package: tuple[Any, ...] | None
    catalogs: tuple[tuple[str, str, str], ...]
    """Name, path and digest."""


class Shut(NamedTuple):
    """Something in an archive that could not be opened."""

    name: str
    sentence: str
    lasting: bool
    """Whether another try would find the same."""


class Answer(NamedTuple):
    """What a worker says of a task."""

    row: Row | None
    blob: bytes = b""
    problem: Problem | None = None
    memory: int = 0
    """The most that the process ever had, in MiB; 0 where the system does not say."""
    inside: tuple[Inside, ...] = ()
    """Of an archive."""
    shut: tuple[Shut, ...] = ()


def serve(connection: Connection, fields: dict[str, object]) -> None:
    """Evaluate drivers by these rules until nobody asks any more."""
    rules = Rules.of(fields)
    _warm_up()
    if "bounds" not in fields:
        attend(connection, lambda task: answered(task, rules))
        return
    bounds = Bounds.of(fields["bounds"])
    hold(bounds)

    def bounded(task: Task) -> Answer:
        begin_target(bounds)
        return answered(task, rules)

    attend(connection, bounded)


def _warm_up() -> None:
    """Load what the first driver needs, while whoever started this gets the first one ready."""
    from hvci import binary, evaluate, signing  # noqa: F401
    from hvci.binary import behaviour  # noqa: F401
    from hvci.binary.analysis import wiring  # noqa: F401


def attend(connection: Connection, answer: Callable[[Task], Answer]) -> None:
    """Answer tasks until nobody asks any more, in bounded memory, and never outlive the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever started this
    scratch = {""}
    threading.Thread(target=_end_with_parent, args=(scratch,), daemon=True).start()
    bound_memory()
    try:
        connection.send_bytes(READY)
        while True:
            task = Task(*json.loads(connection.recv_bytes()))
            scratch.add(task.scratch)
            connection.send_bytes(encode(answer(task)))
    except (EOFError, OSError):
        return


def answered(
    task: Task,
    rules: Rules,
    given: bytes | None = None,
    catalogs: tuple[tuple[str, bytes], ...] | None = None,
) -> Answer:
    """Evaluate one file, whatever is wrong with it.

    Its bytes and the catalogs of its package may be given; otherwise they are read.
    """
    try:
        if task.kind != IMAGE:
            return opened(task)
        from hvci.fleet.packed import pack  # needs the extra, which other workers do without

        data = read(task.path, task.sha256) if given is None else given
        if isinstance(data, Problem):
            return Answer(None, problem=data, memory=memory_used())
        found = tuple(_catalogs(task)) if catalogs is None else catalogs
        try:
            options_of(rules)
        except UsageError as error:  # no fault of the driver: nothing that is kept by its content
            told = Problem(task.path, "changed", str(error))
            return Answer(None, problem=told, memory=memory_used())
        if not _as_named(task, found):
            told = Problem(task.path, "changed", "a catalog of its package changed; scan it again")
            return Answer(None, problem=told, memory=memory_used())
        report = evaluated(data, task, rules, found)
        blob = pack(stored_fields(report))
        return Answer(row_of(report, task.sha256), blob, memory=memory_used())
    except MemoryError:
        told = Problem(task.path, "memory", "takes more memory than a worker may have")
        return Answer(None, problem=told, memory=MEMORY >> 20)
    except Exception as error:
        return Answer(refused(error, task.sha256, task.size), memory=memory_used())


def evaluated(
    data: bytes, task: Task, rules: Rules, catalogs: tuple[tuple[str, bytes], ...] = ()
) -> Report:
    """The report of an image, as if it had no name: it belongs to the bytes."""
    from hvci.evaluate import evaluate

    options = options_of(rules)
    # what is kept does not tell an empty catalog from none
    if filled := [each for each in catalogs if each[1]]:
        from hvci.signing.catalog import catalogs_of

        options = replace(options, catalogs=(*options.catalogs, *catalogs_of(filled)))
    report = evaluate(data, options, task.name)
    return replace(report, target=replace(report.target, path="-"))


@lru_cache(maxsize=2)
def options_of(rules: Rules) -> Options:
    """What every evaluation under these rules has in common; files are read once.

    Raises `UsageError` where a file is not the one that the rules mean.
    """
    from hvci.evaluate import Options

    for path, digest in (*rules.catalogs, *rules.blocklists, *rules.databases):
        found = ""
        with suppress(OSError):
            found = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        if found != digest:
            raise UsageError(f"{path}: not the file that it was when the scan began")

    options = Options(rules.version, excerpts=rules.excerpts)
    if rules.catalogs:
        from hvci.signing.catalog import load_catalogs

        named = tuple(path for path, _ in rules.catalogs)
        options = replace(options, catalogs=load_catalogs(named))
    if rules.blocklists or rules.databases:
        from hvci.lists import load_block_list, load_database

        lists = [load_block_list(path) for path, _ in rules.blocklists]
        lists += [load_database(path) for path, _ in rules.databases]
        options = replace(options, lists=tuple(lists))
    return options


def _catalogs(task: Task) -> Iterator[tuple[str, bytes]]:
    """The catalogs of the driver's package by name; one that cannot be read says nothing."""
    for name, path in task.catalogs:
        with suppress(OSError):
            yield name, Path(path).read_bytes()


def _as_named(task: Task, catalogs: Iterable[tuple[str, bytes]]) -> bool:
    """Whether the catalogs are those that the result is kept by."""
    if not task.about:
        return True
    wanted = {*json.loads(task.about).get("catalogs", ())} - _EMPTY
    return {hashlib.sha256(data).hexdigest() for _, data in catalogs} - _EMPTY == wanted


def opened(task: Task) -> Answer:
    """Open an archive: its drivers go to the scratch folder, their names and digests back."""
    path, scratch = Path(task.path), Path(task.scratch)
    scratch.mkdir(parents=True, exist_ok=True)
    before = _stamp(path)
    placed, refused, state = _placed(task, path, scratch)
    if _stamp(path) != before or (task.stamp and tuple(task.stamp) != before):
        return Answer(None, problem=changed(task.path), memory=memory_used())
    inside = tuple(
        Inside(
            one.path,
            str(one.file),
            *_named(one.file),
            None if one.package is None else tuple(one.package),
            tuple(
                (_last(each.path), str(each.file), _named(each.file)[0]) for each in one.catalogs
            ),
        )
        for one in placed
    )
    shut = _beside(inside, (Shut(one.path, str(one.error), one.lasting) for one in refused))
    what = "a Windows" if task.kind == WINDOWS else _what(path)
    said = f"{what} with {len(inside)} driver{'s' * (len(inside) != 1)}"
    if state:
        said = f"{said}; {state}"
    return Answer(package_row(task.sha256, task.size, said), b"", None, memory_used(), inside, shut)


def _what(path: Path) -> str:
    from hvci.packages.kinds import starts_as_program

    return "a program" if starts_as_program(path) else "an archive"


def _placed(task: Task, path: Path, scratch: Path) -> tuple[list[Placed], list[Refused], str]:
    """The drivers of an archive; of a Windows also what there is to say of it."""
    if task.kind == WINDOWS:
        from hvci.fleet.windows import unpack_windows

        return unpack_windows(path, scratch)
    from hvci.packages.opened import unpack

    return unpack(path, "", scratch)


def _beside(inside: tuple[Inside, ...], shut: Iterable[Shut]) -> tuple[Shut, ...]:
    """What is shut under the name of a driver that is not gets a name of its own."""
    taken = {one.name for one in inside}
    return tuple(
        one._replace(name=f"{one.name}#unread") if one.name in taken else one for one in shut
    )


def _stamp(path: Path) -> tuple[int, ...]:
    """What tells from outside that an archive is another one by now."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _last(path: str) -> str:
    return path.replace("\\", "/").replace("!", "/").rpartition("/")[2]


@lru_cache(maxsize=1000)
def _named(file: Path) -> tuple[str, int]:
    """Digest and size of a file in the scratch folder."""
    data = file.read_bytes()
    return hashlib.sha256(data).hexdigest(), len(data)


def encode(answer: Answer) -> bytes:
    """An answer as bytes: JSON, a NUL, the blob."""
    fields = {
        "columns": None if answer.row is None else dict(answer.row.columns),
        "findings": () if answer.row is None else answer.row.findings,
        "problem": answer.problem,
        "memory": answer.memory,
        "inside": answer.inside,
        "shut": answer.shut,
    }
    return json.dumps(fields).encode() + b"\0" + answer.blob


def decode(message: bytes) -> Answer:
    """The inverse of `encode`."""
    text, _, blob = message.partition(b"\0")
    fields: dict[str, Any] = json.loads(text)
    columns, problem = fields["columns"], fields["problem"]
    findings = tuple((rule, said, ddi, n) for rule, said, ddi, n in fields["findings"])
    row = None if columns is None else Row(columns, findings)
    lost = Problem(*problem) if problem else None
    shut = tuple(Shut(*one) for one in fields["shut"])
    return Answer(row, blob, lost, fields["memory"], tuple(map(_inside, fields["inside"])), shut)


def _inside(fields: list[Any]) -> Inside:
    name, source, sha256, size, package, catalogs = fields
    known = tuple((label, path, digest) for label, path, digest in catalogs)
    return Inside(name, source, sha256, size, package and tuple(package), known)


def _end_with_parent(scratch: set[str]) -> None:
    """End at once when the parent is gone, even in the middle of a file."""
    parent = parent_process()
    if parent is not None:
        wait_for([parent.sentinel])
        for folder in tuple(scratch):
            if folder:
                shutil.rmtree(Path(folder).parent, ignore_errors=True)
        os._exit(1)


def memory_used() -> int:
    """The most that this process ever had, in MiB; 0 where the system does not say."""
    if sys.platform == "win32":
        return 0
    with suppress(OSError, ValueError, IndexError):
        # Linux counts what the parent had when it started this process into ru_maxrss.
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) >> 10
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most >> (20 if sys.platform == "darwin" else 10)
