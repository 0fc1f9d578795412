"""What to write in a source so that a call asks for no executable memory.

Theory of operation: a constant is replaced where it is written, which may be in a macro, an
assignment or a caller; a bit is added at the argument itself. Only an edit inside the call is
safe, because what stands elsewhere may be meant for others too. Knows calls and constants;
writes no file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from hvci.catalog import Ddi
from hvci.model import DdiCall, Edit, Level, WindowsVersion
from hvci.source.program.calls import Argument, CallText
from hvci.source.text.files import Shelf
from hvci.source.values.guess import Guess

_POOL = {
    "NonPagedPool": "NonPagedPoolNx",
    "NonPagedPoolExecute": "NonPagedPoolNx",
    "NonPagedPoolBase": "NonPagedPoolNx",
    "NonPagedPoolCacheAligned": "NonPagedPoolNxCacheAligned",
    "NonPagedPoolSession": "NonPagedPoolSessionNx",
}
_PROTECTION = {
    "PAGE_EXECUTE": "PAGE_READONLY",
    "PAGE_EXECUTE_READ": "PAGE_READONLY",
    "PAGE_EXECUTE_READWRITE": "PAGE_READWRITE",
    "PAGE_EXECUTE_WRITECOPY": "PAGE_WRITECOPY",
}
_CACHE = {
    "MmNonCached": "PAGE_READWRITE | PAGE_NOCACHE",
    "MmCached": "PAGE_READWRITE",
    "MmWriteCombined": "PAGE_READWRITE | PAGE_WRITECOMBINE",
}
_BITS = {"mdl_priority": "MdlMappingNoExecute", "lookaside_flags": "POOL_NX_ALLOCATION"}
_WRAPPED = frozenset(("conditional_expression", "assignment_expression", "comma_expression"))
_IO_SPACE = "MmMapIoSpace"


def edits(
    call: DdiCall, text: CallText, guess: Guess | None, shelf: Shelf, target: WindowsVersion
) -> tuple[Edit, ...]:
    """The edits that belong to a call; none when it is not executable or not known how.

    What the oldest Windows aimed at does not have is never written.
    """
    ddi = text.ddi
    if guess is None or call.dead or not asks(call, ddi):
        return ()
    argument = text.argument(ddi.deciding)
    if argument is None or target < _SINCE.get(ddi.rule.name, target):
        return ()
    if ddi.name == _IO_SPACE:
        found = _io_space(text, argument, guess)
    elif ddi.rule.name in _BITS:
        found = _bit(text, argument, ddi, guess)
    else:
        found = _constants(text, guess, *_RENAMES.get(ddi.rule.name, ({}, Level.SUGGEST)))
    return tuple(sorted(set(_placed(found, shelf))))


_RENAMES: Mapping[str, tuple[Mapping[str, str], Level]] = {
    "pool_type": (_POOL, Level.SAFE),
    "page_protection": (_PROTECTION, Level.SUGGEST),
    "section_protection": (_PROTECTION, Level.SUGGEST),
}
_SINCE = {
    "pool_type": WindowsVersion.WINDOWS_8,
    "mdl_priority": WindowsVersion.WINDOWS_8,
    "lookaside_flags": WindowsVersion.WINDOWS_8,
    "iospace_cache": WindowsVersion.WINDOWS_10_1507,
}
"""The first Windows that has what is written instead."""
Change = tuple[str, int, int, str, Level]
"""Path, first and last offset, new text, level."""


def asks(call: DdiCall, ddi: Ddi) -> bool:
    """Whether some value of the call is executable."""
    value = call.arguments.get(ddi.deciding)
    mode = call.arguments.get(ddi.access_mode)
    if ddi.rule.kernel_mode_only and mode is not None and mode.possible == {1}:
        return False
    return value is not None and any(ddi.rule.executable.holds(one) for one in value.lasting)


def _constants(
    text: CallText, guess: Guess, names: Mapping[str, str], level: Level
) -> Iterator[Change]:
    """Replace each constant where it is written."""
    for spot in guess.spots:
        if spot.name in names:
            inside = spot.path == text.unit.source.path and any(
                one.start <= spot.start and spot.end <= one.end for one in text.arguments
            )
            least = level if inside or level is Level.SUGGEST else Level.REVIEW
            yield spot.path, spot.start, spot.end, names[spot.name], least


def _bit(text: CallText, argument: Argument, ddi: Ddi, guess: Guess) -> Iterator[Change]:
    """OR a bit into the argument, or write it in place of a zero."""
    path, bit = text.unit.source.path, _BITS[ddi.rule.name]
    known = bool(guess.atoms) and guess.complete and not any(a.floor for a in guess.atoms)
    level = Level.SAFE if known else Level.REVIEW
    if argument.text.strip() in (b"0", b"0x0", b"0L", b"0UL", b"NULL"):
        yield path, argument.start, argument.end, bit, level
        return
    if argument.node is not None and argument.node.type in _WRAPPED:
        yield path, argument.start, argument.start, "(", level
        yield path, argument.end, argument.end, f") | {bit}", level
        return
    yield path, argument.end, argument.end, f" | {bit}", level


def _io_space(text: CallText, argument: Argument, guess: Guess) -> Iterator[Change]:
    """Another DDI with the page protection that means the same cache type."""
    path = text.unit.source.path
    new = _CACHE.get(argument.text.strip().decode("ascii", "replace"))
    if new is None or b"MmMapIoSpaceEx" in text.unit.source.text:
        # a file that knows both routines chooses between them itself
        return
    yield path, text.start, text.end, "MmMapIoSpaceEx", Level.REVIEW
    yield path, argument.start, argument.end, new, Level.REVIEW


def _placed(changes: Iterator[Change], shelf: Shelf) -> Iterator[Edit]:
    for path, start, end, new, level in changes:
        source = shelf.sources.get(path)
        old = source.text[start:end].decode("utf-8", "replace") if source is not None else ""
        if source is None or "\n" in old or not source.is_as_written(start, end):
            continue
        line, column = source.position(start)
        yield Edit(path, start, end, line, column, column + len(old), old, new, level)
