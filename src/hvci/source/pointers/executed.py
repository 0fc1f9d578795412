"""What programs do with pointers to code, worked out once for each.

Theory of operation: the configurations of a driver compile nearly the same text. So they are looked
at in one first, which holds all that any of them holds: where nothing is found in it, nothing is in
one of them. Else, and where a macro that they define otherwise may hide something, each is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

from hvci.source.pointers.generated import Executions
from hvci.source.pointers.rewritten import WrittenOut
from hvci.source.pointers.written_out import written_out
from hvci.source.program.program import Program

_KNOWN: WeakKeyDictionary[Program, Executions] = WeakKeyDictionary()


def executions(program: Program) -> Executions:
    """What one program does with pointers to code."""
    if program not in _KNOWN:
        _KNOWN[program] = Executions(written_out(program))
    return _KNOWN[program]


def together(programs: Sequence[Program]) -> None:
    """Look at the configurations of a driver in one, and at each only where that leaves a doubt."""
    if len(programs) < 2:
        return
    limits = programs[0].space.shelf.limits
    before = len(limits)
    every = Program(programs[0].space, (unit for one in programs for unit in one.compiled))
    every.joined = len(programs)
    found = executions(every)
    is_silent = not (found.found or [*found.limits()] or every.differing or limits[before:])
    del limits[before:]  # each program says its own
    for one in programs if is_silent else ():
        _KNOWN[one] = Executions(one, is_silent=True)
    forget(every)


def forget(program: Program) -> None:
    """Let go of what was worked out for a program."""
    known = _KNOWN.pop(program, None)
    if known is not None and isinstance(known.program, WrittenOut):
        known.program.forget_texts()
