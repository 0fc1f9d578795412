"""Archives of a scan that are being opened: their members come and are settled one by one.

Knows what belongs together and where its bytes lie; evaluates and writes nothing.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hvci.fleet.content import Content
from hvci.fleet.rules import Rules
from hvci.fleet.store import Met
from hvci.fleet.walk import Place, Problem
from hvci.fleet.worker import Answer
from hvci.model import Installed, Package


@dataclass(slots=True)
class Box:
    """One archive at one place."""

    content: Content
    answer: Answer
    scratch: str
    left: int
    members: list[Met] = field(default_factory=list)
    passing: bool = False
    """Whether something has no answer that another try may bring."""
    told: Problem | None = None

    def met(self) -> Met:
        """The row of the archive, once everything in it is settled."""
        place, sha256, settled = self.content[:3]
        if self.passing:
            told = self.told or Problem(place.path, "package", "not all of it has an answer")
            return Met(place, told=told)
        return Met(
            place,
            sha256=sha256,
            settled=settled,
            answer=self.answer,
            about=self.content.about,
            told=self.told,
            members=self.members,
        )


class Boxes:
    """All archives that are being opened."""

    def __init__(self, scratch: Path, rules: Rules) -> None:
        self._scratch, self._rules = scratch, rules
        self._boxes: dict[int, Box] = {}
        self._users: dict[str, int] = {}
        self._number = 0

    @property
    def fetched(self) -> Path:
        """Where files go that were fetched from elsewhere."""
        return self._scratch / "fetched"

    def forget(self, contents: Iterable[Content]) -> None:
        """Remove what was fetched, once it is answered for."""
        for one in contents:
            if not one.box and one.source:
                Path(one.source).unlink(missing_ok=True)

    def folder(self) -> str:
        """A new folder for what an archive holds."""
        self._number += 1
        return str(self._scratch / str(self._number))

    def put(
        self, content: Content, answer: Answer, scratch: str
    ) -> tuple[list[Content], Iterator[Met]]:
        """The drivers in an archive, to be evaluated, and rows of what is settled by this."""
        self._number += 1
        box = Box(content, answer, scratch, len(answer.inside))
        self._users[scratch] = self._users.get(scratch, 0) + 1
        self._boxes[self._number] = box
        return list(self._contents(box, self._number)), self._refused(box, self._number)

    def _contents(self, box: Box, number: int) -> Iterator[Content]:
        top = box.content.place.path
        for one in box.answer.inside:
            package = _package(one.package) if one.package else None
            place = Place(f"{top}{one.name}", one.size, 0, 0, package=package)
            about = self._rules.beside(_last(one.name), [digest for _, _, digest in one.catalogs])
            catalogs = tuple((name, path) for name, path, _ in one.catalogs)
            yield Content(place, one.sha256, False, about, catalogs, one.source, number)

    def _refused(self, box: Box, number: int) -> Iterator[Met]:
        """Rows of what could not be opened; what is wrong with the archive goes to its own."""
        sentences: dict[str, list[str]] = {}
        for shut in box.answer.shut:
            sentences.setdefault(shut.name, []).append(shut.sentence)
            box.passing |= not shut.lasting
        for name, told in sentences.items():
            problem = Problem(f"{box.content.place.path}{name}", "package", "; ".join(told))
            if name:
                box.members.append(Met(problem))
                yield box.members[-1]
            else:
                box.told = problem
        if not box.left:
            yield self._closed(number)

    def settled(self, number: int, met: Met) -> Iterator[Met]:
        """Take note of a settled member; gives the archive's own row when it was the last."""
        box = self._boxes[number]
        box.members.append(met)
        box.passing |= met.answer is not None and met.answer.problem is not None
        box.left -= 1
        if not box.left:
            yield self._closed(number)

    def _closed(self, number: int) -> Met:
        box = self._boxes.pop(number)
        self._users[box.scratch] -= 1
        if not self._users[box.scratch]:
            del self._users[box.scratch]
            shutil.rmtree(box.scratch, ignore_errors=True)
        return box.met()


def _package(fields: tuple[Any, ...]) -> Package:
    """A package as a worker tells it, in plain data."""
    one = Package(*fields)
    there = Installed(*one.installed) if one.installed else None
    inf, catalogs = one.inf.removeprefix("!"), tuple(one.catalogs)
    return one._replace(inf=inf, catalogs=catalogs, ids=tuple(one.ids), installed=there)


def _last(name: str) -> str:
    return name.replace("\\", "/").replace("!", "/").rpartition("/")[2]
