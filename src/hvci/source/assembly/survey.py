"""Reads the assembler texts of a target's products, with the files that they include.

Knows workspaces; what a text asks for is for `calls`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from hvci.model import BehaviourFact, DdiCall, Limit
from hvci.source.assembly.arguments import Names
from hvci.source.assembly.calls import read_calls
from hvci.source.assembly.entries import entries
from hvci.source.assembly.lines import names_in, numbers, statements
from hvci.source.assembly.named import named_limits
from hvci.source.builds.products import Product
from hvci.source.builds.project import Workspace
from hvci.source.text.disk import contents
from hvci.source.text.files import beside
from hvci.source.text.text import MAX_BYTES, Source, Unreadable, decode

KIT = frozenset(
    (
        *("callconv.inc", "hal386.inc", "ks386.inc", "ksamd64.inc", "listing.inc", "mac386.inc"),
        *("macamd64.inc", "kxarm64.h", "kxarm64unw.h", "ksarm64.h"),
    )
)
"""Files of the kit and the compiler: their macros call nothing that is judged."""
MOST = 100
"""Files that one text may include."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A call of an assembler text, in some configurations of a product."""

    product: Product | None
    fact: DdiCall
    offset: int
    deciding: str
    labels: tuple[str, ...]


@dataclass
class Assembly:
    """What was found in all texts."""

    calls: list[Asked]
    behaviours: list[tuple[Product | None, BehaviourFact]]
    limits: list[Limit]


def read(workspace: Workspace) -> Assembly:
    """What every assembler text of the target's drivers asks for."""
    found, told = Assembly([], [], []), set[tuple[str, str]]()
    for product, path in workspace.assembly:
        source = workspace.shelf.sources.get(path)
        if source is None:
            continue  # a limit says so
        if path.lower().endswith(".s"):
            for one in (source, *_included(workspace, source, told)):
                found.limits += named_limits(one)
            continue
        texts = [source, *_included(workspace, source, told)]
        names: Names = {
            name: held for one in texts[1:] for name, held in numbers(statements(one.text)).items()
        }
        for machine, labels in _machines(product, path):
            for one in texts:
                made = read_calls(one, machine, names)
                found.calls += (
                    Asked(product, fact, offset, deciding, labels)
                    for fact, offset, deciding in made.calls
                )
                found.behaviours += ((product, fact) for fact in made.behaviours)
                found.limits += made.limits
    found.behaviours = list(dict.fromkeys(found.behaviours))
    return found


def calling(workspace: Workspace) -> dict[str, int]:
    """The routines of all texts that go on to where an argument points, and its position."""
    sources = workspace.shelf.sources
    held = (sources[path] for _, path in workspace.assembly if path in sources)
    return {name: at for source in held for name, at in entries(source)}


def named(workspace: Workspace) -> frozenset[bytes]:
    """The names in all texts, as C has them."""
    sources = workspace.shelf.sources
    held = (sources[path] for _, path in workspace.assembly if path in sources)
    every = {name for one in held for line in statements(one.text) for name in names_in(line.rest)}
    return frozenset((*every, *(_DECORATED.sub(rb"\1", name) for name in every)))


_DECORATED = re.compile(rb"^_?(\w+?)(?:@\d+)?$")


def _machines(product: Product | None, path: str) -> Iterator[tuple[str | None, tuple[str, ...]]]:
    """The machines for which a product assembles a file, each with its configurations."""
    if product is None:
        yield None, ()
        return
    made: dict[str | None, dict[str, None]] = {}
    for at, build in enumerate(product.builds):
        for one in product.closure(at):
            if path in one.paths:
                made.setdefault(one.machine, {})[build.label] = None
    yield from ((machine, tuple(labels)) for machine, labels in made.items())


def _included(workspace: Workspace, source: Source, told: set[tuple[str, str]]) -> list[Source]:
    """The files of the tree that a text includes, and those that they include; one limit for each
    that is not there, but for those that were told.
    """
    found: dict[str, Source] = {}
    todo = [source]
    while todo and len(found) < MOST:
        here = todo.pop()
        for line in statements(here.text):
            if line.word.removeprefix(b".") not in (b"include", b"get"):
                continue
            name = line.rest.strip(b" \t'\"<>").decode("utf-8", "replace").replace("\\", "/")
            path = workspace.shelf.locate(beside(here.path, name))
            is_known = name.rpartition("/")[2].lower() in KIT or (here.path, name) in told
            if path is None and not is_known:
                told.add((here.path, name))
                reason = f"it includes {name}, which is not here: what macros of that do is unknown"
                workspace.shelf.limit(here.path, reason)
            if path is None or path in found or path == source.path:
                continue
            try:
                text, codec = decode(contents(path, MAX_BYTES))
            except (OSError, Unreadable) as error:
                workspace.shelf.limit(path, str(error))
                continue
            found[path] = Source(path, workspace.shelf.texts.get(path, text), codec)
            todo.append(found[path])
    if todo and (source.path, "") not in told:
        told.add((source.path, ""))
        workspace.shelf.limit(source.path, f"it includes more than {MOST} files: not all were read")
    return list(found.values())
