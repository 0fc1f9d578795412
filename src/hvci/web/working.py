"""What a worker process does with an order of the server: read drivers, give answers back.

The only file of this room that a driver's bytes pass through, and it runs in a worker of a scan,
with that worker's bounds. Its scratch folder is ours to empty, whatever ends the process.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import zipfile
from collections.abc import Iterable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hvci.errors import HvciError, InputError
from hvci.fleet.bounds import Bounds, begin_target, hold
from hvci.fleet.walk import Problem
from hvci.fleet.worker import Answer, Task, attend, memory_used
from hvci.model import Report
from hvci.packages.opened import Opened, Refused
from hvci.report.document import Document, TargetError
from hvci.web.parts import Part, joined, packed

if TYPE_CHECKING:
    from hvci.evaluate import Options

PACKAGE = "package"
"""What a package is called in the scratch folder; reports get the name of its owner instead."""


def serve(connection: Connection, fields: dict[str, object]) -> None:
    """Answer orders, held to bounds; `scratch` is a folder of the server's."""
    scratch = Path(str(fields["scratch"])) / str(os.getpid())
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    os.chdir(scratch)
    bounds = Bounds.of(fields["bounds"])
    hold(bounds, str(scratch))

    def bounded(task: Task) -> Answer:
        begin_target(bounds, _needs_emulator(json.loads(task.path)))
        return answered(task)

    attend(connection, bounded)


def _needs_emulator(order: dict[str, Any]) -> bool:
    """Whether an order is carried out by a process of its own as well."""
    return bool(order["kind"] == "verify" or order["verify"])


def answered(task: Task) -> Answer:
    """Carry one order out, whatever is wrong with its files."""
    order = json.loads(task.path)
    try:
        parts = _verified(order) if order["kind"] == "verify" else _evaluated(order)
        return Answer(None, joined(parts), memory=memory_used())
    except MemoryError:
        told = Problem(task.path, "memory", "takes more memory than a worker may have")
        return Answer(None, problem=told, memory=memory_used())
    except Exception as error:
        parts = [part_of_error(TargetError.of(order["name"], error))]
        return Answer(None, joined(parts), memory=memory_used())


def _tell(order: dict[str, Any], number: int, name: str) -> None:
    """Say how far a long order is, for whoever watches."""
    with contextlib.suppress(OSError):
        Path(order["progress"]).write_text(json.dumps([number, name]), encoding="utf-8")


# ---------------------------------------------------------------------- evaluation


def _evaluated(order: dict[str, Any]) -> list[Part]:
    from hvci.evaluate import Options, evaluate
    from hvci.model import parse_version
    from hvci.packages.kinds import kind_of_file
    from hvci.targets import read_bytes

    version = parse_version(order["target_os"]) if order["target_os"] else None
    options = Options(version, excerpts=True, verify=order["verify"])
    name, files = order["name"], order["files"]
    if order["is_folder"]:
        return _package(order, _packed_folder(files), options)
    path = Path(files[0][0])
    if kind_of_file(path):
        with contextlib.suppress(FileNotFoundError):
            Path(PACKAGE).unlink()
        _link(path, Path(PACKAGE))
        return _package(order, Path(PACKAGE), options)
    try:
        data = read_bytes(str(path))
    except InputError as error:
        raise InputError(str(error).removeprefix(f"{path}: ")) from error
    _refuse_what_is_no_driver(path, name)
    return [part_of(evaluate(data, options, name))]


def _refuse_what_is_no_driver(path: Path, name: str) -> None:
    """Say what to do with a file that hvci reads, but not here."""
    from hvci.packages.marks import is_disk
    from hvci.targets.files import is_source

    if name.lower().endswith(".inf"):
        raise InputError("an INF alone: drop it together with the files that it names")
    if is_disk(str(path)):
        raise InputError("the image of a disk: hvci check opens it where it lies")
    if not name.lower().endswith(".toml") and is_source(Path(name)):
        raise InputError("a source file: hvci check reads it with the project that builds it")


def _link(path: Path, place: Path) -> None:
    try:
        place.symlink_to(path)
    except OSError:
        shutil.copyfile(path, place)


def _packed_folder(files: list[list[str]]) -> Path:
    """A folder as an archive: what its files are called stays text."""
    place = Path(PACKAGE)
    place.unlink(missing_ok=True)
    with zipfile.ZipFile(place, "w", allowZip64=True) as archive:
        for path, name in files:
            plain = name.replace("\\", "/").replace("\0", "") or "unnamed"
            member = archive.open(zipfile.ZipInfo(plain), "w", force_zip64=True)
            with member as out, Path(path).open("rb") as stream:
                shutil.copyfileobj(stream, out, 1 << 20)
    return place


def _package(order: dict[str, Any], place: Path, options: Options) -> list[Part]:
    """The answers about each driver of a package."""
    from hvci.evaluate import evaluate_package
    from hvci.packages.opened import open_archive

    parts = []
    called = _Called(order["name"], order["is_folder"])
    renamed = map(called.opened, open_archive(place))
    try:
        for path, one in evaluate_package(_told(order, renamed), options):
            if isinstance(one, Report):
                parts.append(part_of(one))
            else:
                parts.append(part_of_error(TargetError.of(path, called.error(one))))
    except InputError as error:
        parts.append(part_of_error(TargetError.of(order["name"], called.error(error))))
    finally:
        place.unlink(missing_ok=True)
    return parts


def _told(order: dict[str, Any], opened: Iterable[Opened]) -> Iterator[Opened]:
    """The same, and whoever watches hears of each."""
    for number, one in enumerate(opened):
        _tell(order, number, one.path)
        yield one


class _Called:
    """Gives a package and what is in it the names that their owner knows."""

    def __init__(self, name: str, is_folder: bool) -> None:
        self._name = name
        self._is_folder = is_folder

    def __call__(self, path: str) -> str:
        if not path.startswith(PACKAGE):
            return path
        rest = path[len(PACKAGE) :]
        if self._is_folder:
            inner, _, deeper = rest.removeprefix("!").partition("!")
            return f"{inner}!{deeper}" if deeper else inner or self._name
        return self._name + rest

    def opened(self, one: Opened) -> Opened:
        """The same driver, its package and its catalogs under those names."""
        if isinstance(one, Refused):
            return Refused(self(one.path), one.error)
        catalogs = tuple((self(path), data) for path, data in one.catalogs)
        package = one.package and one.package._replace(
            inf=self(one.package.inf), catalogs=tuple(map(self, one.package.catalogs))
        )
        return one._replace(path=self(one.path), package=package, catalogs=catalogs)

    def error(self, error: Exception) -> Exception:
        """The same error, about the name that its owner knows."""
        if not isinstance(error, HvciError):
            return error
        text = str(error).removeprefix(f"{PACKAGE}: ")
        if self._is_folder:
            text = text.replace("in this archive", "in this folder")
        return InputError(text) if type(error) is InputError else error


def part_of(report: Report) -> Part:
    """What is kept of a report."""
    return _part(Document((report,)))


def part_of_error(error: TargetError) -> Part:
    """What is kept of something that has no report."""
    return _part(Document(errors=(error,)))


def _part(document: Document) -> Part:
    from hvci.report.encode import document_fields
    from hvci.report.overview import rows

    (row,) = rows(document)
    glance = {
        "path": row.path,
        "fate": row.fate.value,
        "sentence": row.sentence,
        "cells": list(row.cells),
        "is_error": row.report is None,
        "verdict": row.report.verdict.value if row.report else None,
        "sha256": row.report.target.sha256 if row.report else None,
    }
    return packed(glance, document_fields(document))


# ---------------------------------------------------------------------- verifier


def _verified(order: dict[str, Any]) -> list[Part]:
    from hvci import verifier
    from hvci.model import NEWEST
    from hvci.model.conclusion import conclude
    from hvci.report.analysis import analyses
    from hvci.targets import read_bytes
    from hvci.verifier.block import to_block
    from hvci.verifier.names import with_names

    name = order["name"]
    try:
        data = read_bytes(order["files"][0][0])
        run = with_names(verifier.run(data), data, "driver.sys")
    except InputError as error:
        told = str(error).removeprefix(f"{order['files'][0][0]}: ")
        glance = {"name": name, "proof": "unreadable", "sentence": told, "exit_code": 4}
        return [packed(glance, {"error": told})]
    block = to_block(run)
    conclusion = conclude(block)
    glance = {
        "name": name,
        "proof": conclusion.proof.value,
        "sentence": conclusion.summary,
        "exit_code": conclusion.exit_code,
    }
    texts = list(analyses(data, name, run, NEWEST))
    return [packed(glance, {"block": block, "analyses": texts})]
