"""Function, file and line of a place in an image, from the PDB that was built with it.

A PDB that is damaged or belongs to another build is a `Limit`, never a failure. Decides nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from hvci.model import DebugId, Evidence, ImageSite, Limit, Origin, Site

LONGEST_LABEL = 64
"""Bytes behind a place in which the function around a label must go on."""
MOST_LABELS = 16
"""Labels that may follow one another within a function."""

_START_IN_NAME = re.compile(r"sub_([0-9a-f]+)")
"""How readers name a function of which they know the start only."""


class Symbols:
    """The symbols of one image."""

    def __init__(self, table: Any) -> None:  # noqa: ANN401 (the library has no types)
        self._table = table
        self.named = cache(self._named)

    def _named(self, site: ImageSite) -> ImageSite:
        """The same place with what the symbols say about it."""
        found = self._function_at(site)
        if found is None:
            return site
        name = found.symbol.removesuffix("()") or site.function
        if not found.line:
            return replace(site, function=name)
        return replace(site, function=name, file=found.full_path, line=found.line)

    def _at(self, rva: int) -> Any:  # noqa: ANN401
        return next(iter(self._table.lookup(rva)), None) if rva >= 0 else None

    def _function_at(self, site: ImageSite) -> Any:  # noqa: ANN401
        """What holds the address; a label within a function stands for the function."""
        found = self._at(site.rva)
        if found is None or found.line:
            return found
        before = self._before(found)
        if before is None:
            return found
        start = _START_IN_NAME.fullmatch(site.function or "")
        if start is None:
            return before if self._goes_on(site.rva, before) else found
        return before if before.sym_addr <= int(start[1], 16) < found.sym_addr else found

    def _before(self, label: Any) -> Any:  # noqa: ANN401
        """What has a line before a label, or before the labels that follow one another."""
        for _ in range(MOST_LABELS):
            label = self._at(label.sym_addr - 1)
            if label is None or label.line:
                return label
        return None

    def _goes_on(self, rva: int, function: Any) -> bool:  # noqa: ANN401
        """Whether the function before a label is there again behind it."""
        behind = (self._at(later) for later in range(rva + 1, rva + LONGEST_LABEL))
        after = next((item for item in behind if item and item.line), None)
        return after is not None and after.sym_addr == function.sym_addr


def with_symbols(evidence: Evidence, folders: Iterable[str], asked: bool) -> Evidence:
    """The evidence with functions, files and lines, if there is a PDB of this very build.

    `folders` are searched in order. Where symbols were asked for and not found, that is a limit.
    """
    image = evidence.image
    if image is None or image.debug_id is None:
        return evidence
    symbols, problems = _open(image.debug_id, folders)
    if symbols is None:
        if asked and not problems:
            problems = [f"no PDB named {_file_name(image.debug_id)} in the symbol folders"]
        limits = tuple(Limit(Origin.IMAGE, (), reason) for reason in problems)
        return replace(evidence, limits=evidence.limits + limits)
    return _renamed(evidence, symbols)


def _renamed(evidence: Evidence, symbols: Symbols) -> Evidence:
    """Every place named; what a run saw lies in the function that the code shows there."""
    sites = [call.site for call in evidence.calls if isinstance(call.site, ImageSite)]
    functions = {site.rva: site.function for site in sites if site.function}

    def place(site: ImageSite) -> ImageSite:
        function = site.function or functions.get(site.rva)
        return symbols.named(replace(site, function=function))

    def named(site: Site) -> Site:
        return place(site) if isinstance(site, ImageSite) else site

    return replace(
        evidence,
        calls=tuple(replace(call, site=named(call.site)) for call in evidence.calls),
        behaviours=tuple(replace(fact, site=named(fact.site)) for fact in evidence.behaviours),
        events=tuple(replace(event, site=place(event.site)) for event in evidence.events),
        limits=tuple(
            limit if limit.site is None else replace(limit, site=named(limit.site))
            for limit in evidence.limits
        ),
    )


def _open(wanted: DebugId, folders: Iterable[str]) -> tuple[Symbols | None, list[str]]:
    """The symbols, or why the files that were there are of no use."""
    problems = []
    for path in _candidates(wanted, folders):
        try:
            if not path.is_file():
                continue
            symbols, own_id = _read(path, wanted)
        except Exception as error:
            # The library raises errors of many kinds for damaged files.
            problems.append(f"{path.name} cannot be read: {error}")
            continue
        if symbols is not None:
            return symbols, []
        problems.append(f"{path.name} belongs to another build (its id is {own_id})")
    return None, problems


def _read(path: Path, wanted: DebugId) -> tuple[Symbols | None, str]:
    from symbolic.debuginfo import Archive

    own_id = ""
    for part in Archive.open(str(path)).iter_objects():
        own_id = str(part.debug_id)
        if own_id.replace("-", "").upper() == f"{wanted.guid.replace('-', '')}{wanted.age:X}":
            return Symbols(part.make_symcache()), own_id
    return None, own_id


def _file_name(wanted: DebugId) -> str:
    return wanted.path.replace("\\", "/").rpartition("/")[2]


def _candidates(wanted: DebugId, folders: Iterable[str]) -> Iterator[Path]:
    """Where a PDB can be: in a folder itself, or in the layout of a symbol server."""
    name = _file_name(wanted)
    if not name or "\0" in name or name in (".", ".."):
        return
    signature = f"{wanted.guid.replace('-', '')}{wanted.age:X}"
    for folder in folders:
        yield Path(folder, name)
        yield Path(folder, name, signature, name)
