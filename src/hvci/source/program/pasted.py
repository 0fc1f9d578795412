"""Names of catalogued routines that a macro pastes together, so that no text holds them.

Theory of operation: what stands beside `##` is either a part of the name or a parameter, whose
argument is another word of the program. Where both parts of a routine's name are there, a call of
it may be, and a limit says so. Which arguments a macro gets is not followed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from hvci import catalog
from hvci.model import Limit, Origin, SourceSite
from hvci.source.program.aliases import routines
from hvci.source.program.program import Program
from hvci.source.text.directives import Macro

_PASTED = re.compile(rb"(\w*)\s*##\s*(\w*)")
SHORTEST = 2
"""Letters of a part of a name."""
SHOWN = 4
"""Routines that one limit names."""


def pasted(program: Program) -> Iterator[Limit]:
    """A limit for each macro that may make the name of a routine."""
    words: frozenset[bytes] | None = None
    told: set[tuple[str, int]] = set()
    for path in program.paths:
        source = program.space.source(path)
        if source is None or b"##" not in source.code:
            continue
        if words is None:
            words = frozenset().union(*map(program.space.words.of, program.paths))
        for macro in _macros(program, path):
            at = source.path, macro.start
            made = sorted(_made(macro, words)) if at not in told else []
            if made:
                told.add(at)
                yield _limit(macro, made)


def _macros(program: Program, path: str) -> Iterator[Macro]:
    """The macros that a file defines and that paste."""
    for unit in program.units_of(path):
        for many in unit.macros.values():
            yield from (one for one in many if one.source is unit.source and b"##" in one.body)


def _made(macro: Macro, words: frozenset[bytes]) -> Iterator[str]:
    """The routines whose names a macro may make of what it holds and the words of a program."""
    free = frozenset(macro.parameters or ())
    for left, right in _PASTED.findall(macro.body):
        for name in routines():
            for cut in range(SHORTEST, len(name) - SHORTEST + 1):
                first, second = name[:cut], name[cut:]
                if _fits(first, left, free, words) and _fits(second, right, free, words):
                    yield name.decode()
                    break


def _fits(part: bytes, beside: bytes, free: frozenset[bytes], words: frozenset[bytes]) -> bool:
    """Whether what stands beside `##` may be a part: it is that, or a parameter that may be."""
    return part in words if beside in free else part == beside


def _limit(macro: Macro, made: list[str]) -> Limit:
    path, (line, column) = macro.source.path, macro.source.position(macro.start)
    more = f" and {len(made) - SHOWN} more" if len(made) > SHOWN else ""
    reason = (
        f"{path}:{line}: the macro {macro.name.decode(errors='replace')} may make the name "
        f"{' or '.join(made[:SHOWN])}{more}, and calls by it are not followed: write the name out, "
        "or check the built .sys"
    )
    rules = tuple(sorted({catalog.ddis()[name].rule.judged_by for name in made}))
    return Limit(Origin.SOURCE, rules, reason, SourceSite(path, line, column))
