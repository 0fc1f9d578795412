"""Function, file and line of a place in an image, from the PDB that was built with it.

A PDB that is damaged or belongs to another build is a `Limit`, never a failure. Decides nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path, PureWindowsPath
from typing import Any

from hvci.model import DebugId, Evidence, ImageSite, Limit, Origin, Site

LONGEST_LABEL = 64
"""Bytes behind a place in which the function around a label must go on."""
MOST_LABELS = 16
"""Labels that may follow one another within a function."""
MAX_BYTES = 512 << 20
"""A larger file is not read."""
LONGEST_NAME = 255
"""Characters that a file name can have."""
GUID_CHARACTERS = 36

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


def with_symbols(
    evidence: Evidence, folders: Iterable[str], asked: bool, also: str = ""
) -> Evidence:
    """The evidence with functions, files and lines, if there is a PDB of this very build.

    `folders` are searched in order for the name that the image gives and for the name `also`.
    Where symbols were asked for and not found, that is a limit.
    """
    image = evidence.image
    if image is None or image.debug_id is None:
        return evidence
    symbols, problems = _open(image.debug_id, folders, also)
    if symbols is None:
        if asked and not problems:
            problems = [f"no PDB named {_file_name(image.debug_id.path)} in the symbol folders"]
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


def _open(wanted: DebugId, folders: Iterable[str], also: str) -> tuple[Symbols | None, list[str]]:
    """The symbols, or why the files that were there are of no use."""
    problems: dict[str, None] = {}
    for path in _candidates(wanted, folders, also):
        try:
            if not path.is_file():
                continue
            symbols, problem = _read(path, wanted)
        except Exception as error:
            # The library raises errors of many kinds for damaged files.
            problem = f"cannot be read: {_said(error)}"
        else:
            if symbols is not None:
                return symbols, []
        problems[f"{path.name} {problem}"] = None
    return None, list(problems)


def _read(path: Path, wanted: DebugId) -> tuple[Symbols | None, str]:
    """The symbols, or what is wrong with the file."""
    from symbolic.debuginfo import Archive

    size = path.stat().st_size
    if size > MAX_BYTES:
        return None, f"cannot be read: {size} bytes is too large"
    own_id = ""
    for part in Archive.open(str(path)).iter_objects():
        own_id = str(part.debug_id)
        guid, age = own_id[:GUID_CHARACTERS], own_id[GUID_CHARACTERS + 1 :]
        if (guid.upper(), int(age or "0", 16)) == (wanted.guid.upper(), wanted.age):
            return Symbols(part.make_symcache()), ""
    return None, f"belongs to another build (its id is {own_id})"


def _said(error: Exception) -> str:
    """An error in one line, the same on every machine."""
    if type(error).__name__ == "Panic":
        # Its text is many lines about the library itself.
        return "damaged debug information"
    text = error.strerror if isinstance(error, OSError) else str(error)
    return (text or type(error).__name__).partition("\n")[0]


def _file_name(path: str) -> str:
    return PureWindowsPath(path).name


def _candidates(wanted: DebugId, folders: Iterable[str], also: str) -> Iterator[Path]:
    """Where a PDB can be: in a folder itself, or in the layout of a symbol server."""
    names = [name for name in (_file_name(wanted.path), also) if _is_name(name)]
    signature = f"{wanted.guid.replace('-', '')}{wanted.age:X}"
    for folder in folders:
        for name in dict.fromkeys(names):
            yield Path(folder, name)
            yield Path(folder, name, signature, name)


def _is_name(name: str) -> bool:
    """Whether this is the name of a file: nothing that leads out of the folder."""
    odd = not name or len(name) > LONGEST_NAME or name in (".", "..")
    return not odd and not set(name) & set("\0:/\\")
