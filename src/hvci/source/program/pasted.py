"""Names of catalogued routines that a macro pastes together, so that no text holds them.

Theory of operation: what stands beside `##` is either a part of the name or a parameter, whose
argument is another word of the program. Where both parts of a routine's name are there, a call of
it may be, and a limit says so. Which arguments a macro gets is not followed.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache

from hvci import catalog
from hvci.model import Limit, Origin, SourceSite
from hvci.source.program.aliases import routines
from hvci.source.program.program import Program
from hvci.source.text.directives import Macro

_PASTES = re.compile(rb"##")
_PASTED = re.compile(rb"(\w*)\s*##\s*(\w*)")
SHORTEST = 2
"""Letters of a part of a name."""
SHOWN = 4
"""Routines that one limit names."""


def pasted(program: Program) -> Iterator[Limit]:
    """A limit for each macro that may make the name of a routine."""
    words: frozenset[bytes] | None = None
    for path in program.paths:
        for macro in _macros(program, path):
            if words is None:
                words = frozenset().union(*map(program.space.words.of, program.paths))
            made = sorted(set(_made(macro, words)))
            if made and any(unit.live(macro.start) is not False for unit in program.units_of(path)):
                yield _limit(macro, made)


def _macros(program: Program, path: str) -> list[Macro]:
    """The macros that a file defines and that paste, in whatever branch."""
    text = program.space.text(path)
    if text is None or b"##" not in text.source.text:
        return []
    found = (text.define_at(match.start()) for match in _PASTES.finditer(text.source.text))
    return list({macro.start: macro for macro in found if macro is not None}.values())


@cache
def _firsts() -> Mapping[bytes, list[bytes]]:
    """What the names of routines begin with -> the rest of those names."""
    found: dict[bytes, list[bytes]] = defaultdict(list)
    for name in routines():
        for cut in range(SHORTEST, len(name) - SHORTEST + 1):
            found[name[:cut]].append(name[cut:])
    return found


@cache
def _seconds() -> Mapping[bytes, list[bytes]]:
    """What the names of routines end with -> the beginnings of those names."""
    found: dict[bytes, list[bytes]] = defaultdict(list)
    for first, rests in _firsts().items():
        for rest in rests:
            found[rest].append(first)
    return found


def _made(macro: Macro, words: frozenset[bytes]) -> Iterator[str]:
    """The routines whose names a macro may make of what it holds and the words of a program.

    What stands beside `##` is a part, or a parameter that may be any word.
    """
    free = frozenset(macro.parameters or ())
    for left, right in _PASTED.findall(macro.body):
        if left not in free and right not in free:
            pairs = [(left, right)] if left + right in routines() else []
        elif left not in free:
            pairs = [(left, rest) for rest in _firsts().get(left, ()) if rest in words]
        elif right not in free:
            pairs = [(first, right) for first in _seconds().get(right, ()) if first in words]
        else:
            known = _firsts().keys() & words
            pairs = [(one, rest) for one in known for rest in _firsts()[one] if rest in words]
        yield from ((first + second).decode() for first, second in pairs)


def _limit(macro: Macro, made: list[str]) -> Limit:
    path, (line, column) = macro.source.path, macro.source.position(macro.start)
    more = f" and {len(made) - SHOWN} more" if len(made) > SHOWN else ""
    reason = (
        f"{path}:{line}: the macro {macro.name.decode(errors='replace')} may make the name "
        f"{' or '.join(made[:SHOWN])}{more}, and calls by it are not followed: write the name out, "
        "or check the built .sys"
    )
    rules = tuple(sorted({one for name in made for one in catalog.ddis()[name].weakens}))
    return Limit(Origin.SOURCE, rules, reason, SourceSite(path, line, column))
