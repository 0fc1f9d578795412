"""Recognises calls that a static library or a header of a kit brought into a driver.

What is characteristic of a library is a row of data/libraries.toml. Here it is looked for,
cheapest first: the pool tag of a call that asks for executable memory, then the imports that its
function uses besides, then texts and modules of the image. A driver without such a tag costs
nothing. Symbols, where there are some, overrule the features. Knows no library by name and judges
nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from hvci import catalog
from hvci.binary.analysis.wiring import Analysis
from hvci.binary.form.code import Function
from hvci.binary.pe.image import PeImage
from hvci.catalog import Ddi, Library
from hvci.model import (
    Confidence,
    DdiCall,
    Evidence,
    FromLibrary,
    ImageSite,
    Origin,
    Site,
)

TAGGED = 2
"""A call with a pool tag has this argument besides the one that decides."""
_MADE_UP_NAME = re.compile(r"sub_[0-9a-f]+|entry point")
"""A function that neither symbols nor exports name."""
_STDCALL = re.compile(r"_(.+)@\d+")
"""How symbols of x86 code spell a function that removes its arguments."""


def recognise(analysis: Analysis, calls: list[DdiCall]) -> list[DdiCall]:
    """The same calls; those whose features are those of a library say so."""
    return [
        replace(call, library=found) if (found := _by_features(analysis, call)) else call
        for call in calls
    ]


def with_names(evidence: Evidence) -> Evidence:
    """Let the names that symbols gave, and places known already, decide about libraries.

    What a verifier run saw at the place of a recognised call comes from the same library.
    """
    known = {_place(call): call.library for call in evidence.calls if call.library}
    calls = tuple(_named(call, known.get(_place(call))) for call in evidence.calls)
    return replace(evidence, calls=calls)


def _place(call: DdiCall) -> tuple[str, int | None]:
    return call.ddi, call.site.rva if isinstance(call.site, ImageSite) else None


def _named(call: DdiCall, at_place: FromLibrary | None) -> DdiCall:
    """The call with what the name of its function says; without one, as its place is known."""
    ddi = _asking(call)
    if ddi is None or call.origin is Origin.SOURCE:
        return call
    function = _plain(call.site.function)
    for library in _with_tag(call, ddi):
        if function in library.functions:
            why = f"symbols name the function {function}"
            return replace(call, library=FromLibrary(library.name, Confidence.PROVEN, why))
    found = call.library or at_place
    if found is not None and _contradicts(call.site, catalog.libraries()[found.name]):
        found = None
    return replace(call, library=found)


def _plain(function: str | None) -> str:
    """The name of a function without parameters and decoration."""
    name = (function or "").partition("(")[0]
    decorated = _STDCALL.fullmatch(name)
    return decorated[1] if decorated else name


def _contradicts(site: Site, library: Library) -> bool:
    """Whether the name of the function at a place says that it is none of the library's."""
    name = _plain(site.function)
    named = bool(name) and not _MADE_UP_NAME.fullmatch(name)
    return named and bool(library.functions) and name not in library.functions


def _asking(call: DdiCall) -> Ddi | None:
    """The DDI of a call whose value can ask for executable memory and that has a known tag."""
    if len(call.arguments) < TAGGED or call.dead:
        return None
    ddi = catalog.ddis().get(call.ddi)
    if ddi is None or not ddi.tag:
        return None
    value, tag = call.arguments.get(ddi.deciding), call.arguments.get(ddi.tag)
    if value is None or tag is None or not tag.complete or len(tag.possible) != 1:
        return None
    return ddi if any(ddi.rule.executable.holds(each) for each in value.lasting) else None


def _with_tag(call: DdiCall, ddi: Ddi) -> list[Library]:
    """The libraries that make such a call with such a tag."""
    (tag,) = call.arguments[ddi.tag].possible
    return [
        library
        for library in catalog.libraries().values()
        if tag & 0xFFFF_FFFF in library.tags and ddi.name in library.ddis
    ]


def _by_features(analysis: Analysis, call: DdiCall) -> FromLibrary | None:
    """The library that everything known about a call fits."""
    ddi = _asking(call)
    for library in _with_tag(call, ddi) if ddi is not None else ():
        if _fits(analysis, call, library):
            return FromLibrary(library.name, Confidence.LIKELY, "; ".join(library.signs))
    return None


def _fits(analysis: Analysis, call: DdiCall, library: Library) -> bool:
    """Whether function and image have what the library has, besides the tag."""
    if _contradicts(call.site, library):
        return False
    if library.imports:
        function = isinstance(call.site, ImageSite) and analysis.functions.at(call.site.rva)
        if not function or not all(_uses(analysis, function, name) for name in library.imports):
            return False
    return _holds(analysis.image, library)


def _holds(image: PeImage, library: Library) -> bool:
    imported = {item.module.lower() for item in image.imports.values()}
    if library.modules and not library.modules & imported:
        return False
    return all(image.memory.find(text.encode("utf-16-le")) >= 0 for text in library.strings)


def users(analysis: Analysis, name: str) -> Iterator[int]:
    """RVAs in the instructions that name an import; of the calls of its thunk, where it has one."""
    for place, _ in analysis.import_hits.get(name, ()):
        thunk = analysis.thunk_at.get(place)
        yield from (analysis.references.to_code(thunk) if thunk is not None else ()) or (place,)


def _uses(analysis: Analysis, function: Function, name: str) -> bool:
    spans = function.fragments
    return any(start <= rva < end for rva in users(analysis, name) for start, end in spans)
