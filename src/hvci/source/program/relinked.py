"""Other names of routines that only a linker or compiler knows: no call by them names the routine.

Knows texts: import pointers, alternate names, aliases. Calls by such names are not followed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from hvci import catalog
from hvci.model import BuildSetting, Limit, Origin, SourceSite
from hvci.source.program.aliases import routines
from hvci.source.program.program import Program
from hvci.source.text.text import Source
from hvci.source.text.wordindex import WordIndex

_NAMED = re.compile(
    rb"\b__imp_{1,2}(\w+)"
    rb"|(?i:alternatename)\s*:[^\s=\"]+=_?(\w+)"
    rb"|\bredefine_extname\s+\w+\s+(\w+)"
    rb"|\b(?:alias|weakref|ifunc)\w*\s*\(\s*\"_?(\w+)"
)
_PARTS = {
    b"__imp_": re.compile(rb"__imp_"),
    b"lternatename": re.compile(rb"lternatename\s*:"),
    b"LTERNATENAME": re.compile(rb"LTERNATENAME\s*:"),
    b"redefine_extname": re.compile(rb"redefine_extname"),
    b"alias": re.compile(rb"alias\w*\s*\(\s*\""),
    b"weakref": re.compile(rb"weakref\w*\s*\(\s*\""),
}
"""Words of a text that names one so, and more of it: both are found sooner than names."""
_DECORATED = re.compile(r"@.*\Z")


def relinked(program: Program) -> Iterator[Limit]:
    """A limit for each routine that text or a build gives another name."""
    for path in program.paths:
        source = program.space.source(path)
        if source is None or not _may_name(source, program.space.words):
            continue
        for match in _NAMED.finditer(source.plain):
            name = next(one for one in match.groups() if one is not None)
            is_kept = any(unit.live(match.start()) is not False for unit in program.units_of(path))
            if name in routines() and is_kept:
                line, column = source.position(match.start())
                yield _limit(f"{path}:{line}", name.decode(), SourceSite(path, line, column))


def _may_name(source: Source, index: WordIndex) -> bool:
    return any(
        index.with_part(source.path, part) and more.search(source.plain) is not None
        for part, more in _PARTS.items()
    )


def in_settings(every: Iterable[BuildSetting]) -> Iterator[Limit]:
    """The same for what projects tell the linker: `/ALTERNATENAME:new=routine`."""
    for one in every:
        name = _DECORATED.sub("", one.value.rpartition("=")[2].removeprefix("_"))
        if one.name == "/ALTERNATENAME" and name.encode() in routines():
            assert isinstance(one.site, SourceSite)
            yield _limit(one.site.path, name, one.site)


def _limit(place: str, name: str, site: SourceSite) -> Limit:
    reason = (
        f"{place}: {name} has another name for the linker, and calls by that are not followed: "
        "call it by its own name, or check the built .sys"
    )
    return Limit(Origin.SOURCE, catalog.ddis()[name].weakens, reason, site)
