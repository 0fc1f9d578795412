"""What assembly inside C may do that nobody follows: routines it names, pointers it goes on to.

Knows names and how calls and jumps are written; follows no value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from hvci.model import Limit, Origin, SourceSite
from hvci.source.assembly.calls import BUILT, DYNAMIC, known_routines
from hvci.source.assembly.lines import NAME
from hvci.source.program.program import Program, Unit
from hvci.source.program.scope import variable
from hvci.source.program.stores import stores
from hvci.source.text.blocks import blocks


def inline_limits(program: Program, path: str, *, gets_memory: bool) -> Iterator[Limit]:
    """One limit for each routine that a block of a file names.

    Where the program gets memory, for each block that goes on to where a pointer leads as well.
    """
    told = set[tuple[int, str]]()
    for unit in program.units_of(path):
        for at, begin, end in blocks(unit.source):
            if unit.live(at) is False:
                continue
            found = [*_of_block(unit, begin, end)]
            if gets_memory and not found and _goes_on(program, unit, begin, end):
                found.append(_pointer_limit(unit, at))
            for limit in found:
                line = limit.site.line if isinstance(limit.site, SourceSite) else 0
                if (line, limit.reason) not in told:
                    told.add((line, limit.reason))
                    yield limit


_GOES = re.compile(
    rb"(?i)\b(?:call[lq]?|jmp[lq]?|blr|br)\s+(?:(?:[dq]?word|near|far|ptr)\s+)*"
    rb"(\*|\[|%(?:[rewk]?\d|\[)|%{0,2}[A-Za-z_$]\w*)"
)
"""A call or jump, and how what it goes to begins."""
_OPERAND = re.compile(rb"(?i)%(?:[rewk]?\d|\[)")
_REGISTER = re.compile(rb"(?i)%*(?:[er]?(?:[abcd]x|[sd]i|[sb]p)|r(?:[89]|1[0-5])|x[12]?\d)")


def _goes_on(program: Program, unit: Unit, start: int, end: int) -> bool:
    """Whether a block calls or jumps to where a register, memory or a variable leads."""
    for match in _GOES.finditer(unit.source.plain, start, end):
        target = match[1]
        if target[:1] in (b"*", b"[") or _OPERAND.match(target) or _REGISTER.fullmatch(target):
            return True
        function = unit.trees.at(start).function_at(start)
        held = variable(function, target) if function is not None else None
        if held is not None and (held.assignments or held.parameter is not None):
            return True  # the grammar may take `call f` for a declaration
        if not program.functions(target) and stores(program, target):
            return True
    return False


def _pointer_limit(unit: Unit, start: int) -> Limit:
    line, column = unit.source.position(start)
    path = unit.source.path
    reason = f"{path}:{line}: inline assembly goes on to where a pointer leads, and what code runs"
    reason += f" there is not followed; {BUILT}"
    return Limit(Origin.SOURCE, (DYNAMIC,), reason, SourceSite(path, line, column))


def _of_block(unit: Unit, start: int, end: int) -> Iterator[Limit]:
    text = unit.source.plain
    for match in NAME.finditer(text, start, end):
        word = match[0].lower().removeprefix(b"__imp_")
        forms = (word, re.sub(rb"@[0-9]+$", b"", word).removeprefix(b"_"))
        ddi = next((known_routines()[one] for one in forms if one in known_routines()), None)
        if ddi is None:
            continue
        line, column = unit.source.position(match.start())
        path = unit.source.path
        reason = f"{path}:{line}: inline assembly names {ddi.name}, and it is not followed there"
        rules = (*ddi.weakens, DYNAMIC) if ddi.gives is not None else ddi.weakens
        site = SourceSite(path, line, column)
        yield Limit(Origin.SOURCE, rules, f"{reason}; {BUILT}", site)
