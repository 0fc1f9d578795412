"""Names of catalogued routines that a macro pastes together, so that no text holds them.

Theory of operation: what stands beside `##` is either a part of the name or a parameter, whose
argument is made of other words of the program. Where all parts of a routine's name are there, a
call of it may be, and a limit says so. Which arguments a macro gets is not followed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence, Set

from hvci import catalog
from hvci.model import Limit, Origin, SourceSite
from hvci.source.program.aliases import routines
from hvci.source.program.program import Program
from hvci.source.text.directives import Macro

_PASTES = re.compile(rb"##")
_PASTED = re.compile(rb"\w+(?:\s*##\s*\w+)+")
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


def may_make(program: Program, name: bytes) -> bool:
    """Whether some macro may make a name of what it holds and the words of the program."""
    if b"##" not in program.stored:
        every = {tuple(one) for path in program.paths for one in _patterns(program, path)}
        program.stored[b"##"] = tuple(every)
    patterns = program.stored[b"##"]
    if not patterns:
        return False
    words = frozenset().union(*map(program.space.words.of, program.paths))
    return any(_fits(name, one, words, 1) for one in patterns)


def _patterns(program: Program, path: str) -> Iterator[Sequence[bytes | None]]:
    return (parts for macro in _macros(program, path) for parts in _parts(macro))


def made_of(parts: Sequence[bytes | None], words: Set[bytes]) -> Iterator[str]:
    """The routines whose names some parts may make; None stands for words, glued or one alone.

    An argument of a macro may be glued already when it is glued again.
    """
    for name in routines():
        if _fits(name, tuple(parts), words):
            yield name.decode()


def _fits(
    rest: bytes, parts: tuple[bytes | None, ...], words: Set[bytes], shortest: int = SHORTEST
) -> bool:
    if not parts:
        return not rest
    first, more = parts[0], parts[1:]
    if first is not None:
        return rest.startswith(first) and _fits(rest[len(first) :], more, words, shortest)
    ends = (end for end in range(shortest, len(rest) + 1) if rest[:end] in words)
    return any(_fits(rest[end:], one, words, shortest) for end in ends for one in (more, parts))


def _made(macro: Macro, words: frozenset[bytes]) -> Iterator[str]:
    """The routines whose names a macro may make of what it holds and the words of a program.

    What stands beside `##` is a part, or a parameter that may be any word.
    """
    for parts in _parts(macro):
        yield from made_of(parts, words)


def _parts(macro: Macro) -> Iterator[list[bytes | None]]:
    """What a macro pastes together; None for its parameters."""
    free = frozenset(macro.parameters or ())
    for glued in _PASTED.finditer(macro.body):
        parts = [one.strip() for one in glued[0].split(b"##")]
        yield [None if one in free else one for one in parts]


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
