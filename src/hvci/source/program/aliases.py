"""Other names of catalogued routines: macros that stand for one, and variables that hold one.

Theory of operation: a routine whose name stands without parentheses behind it is no call, so that
somebody else may call it. Where a macro, variable, field or parameter gets it, the calls by that
name are its calls; any other place is a limit. Knows names and trees; knows no values.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

from hvci import catalog
from hvci.model import Limit, Origin, SourceSite
from hvci.model.judged import CALL_RULES
from hvci.source.program.holders import holders
from hvci.source.program.moves import moves
from hvci.source.program.program import Program, Unit

if TYPE_CHECKING:
    pass

MAX_NAMES = 200
"""Macros, variables and fields that stand for routines in one program."""
_WORD = re.compile(rb"\w+")
_OPENS = re.compile(rb"\s*\(")


@dataclass
class Aliases:
    """What stands for routines in one program."""

    names: dict[bytes, str] = field(default_factory=dict)
    """Macro, variable, field or parameter to routine."""
    limits: list[Limit] = field(default_factory=list)


@cache
def routines() -> frozenset[bytes]:
    """The routines whose calls are judged."""
    rows = catalog.ddis().values()
    return frozenset(
        row.name.encode() for row in rows if row.rule.judged_by and row.name.isidentifier()
    )


def aliases(program: Program) -> Aliases:
    """All other names of routines, and the places that were not followed."""
    found = Aliases()
    told: set[tuple[str, int]] = set()
    for path in program.paths:
        source = program.space.source(path)
        held = program.space.words.among(path, routines()) if source is not None else ()
        for name in sorted(held):
            assert source is not None
            every = (at for at in source.places(name) if _is_alone(source.code, at, name))
            for at in every:
                for unit in program.units_of(path):
                    if not _followed(program, unit, at, name, found) and (path, at) not in told:
                        told.add((path, at))
                        found.limits.append(_limit(unit, at, name))
    moved = moves(program, found.names)
    found.names |= moved.names
    found.limits += moved.limits
    _given_by_builds(program, found)
    todo = list(found.names)
    while todo:
        alias = todo.pop()
        for macro in sorted(_standing_for(program, alias)):
            if macro in found.names or program.functions(macro):
                continue
            if len(found.names) >= MAX_NAMES:
                found.limits.append(_too_many(macro, alias, found.names[alias]))
                return found
            found.names[macro] = found.names[alias]
            todo.append(macro)
    return found


def _too_many(macro: bytes, alias: bytes, routine: str) -> Limit:
    """What is said where more names stand for routines than are followed."""
    shown, other = (one.decode("utf-8", "replace") for one in (macro, alias))
    reason = (
        f"more than {MAX_NAMES} names stand for routines; calls by {shown}, which stands for "
        f"{other} ({routine}), and by other macros are not followed: check the built .sys"
    )
    return Limit(Origin.SOURCE, CALL_RULES, reason)


def _given_by_builds(program: Program, found: Aliases) -> None:
    """The names that the command line of a compiler gives to routines: `/DNew=ExAllocatePool2`."""
    told: set[bytes] = set()
    for macro in {id(one): one for unit in program.compiled for one in unit.given.defines}.values():
        held = routines().intersection(_WORD.findall(macro.body))
        if not held or macro.name in told or not program.mentions(macro.name):
            continue
        told.add(macro.name)
        name = min(held)
        stands = macro.parameters is None and macro.body.strip(b"()& \t") == name
        if not stands or not _take(program, found, macro.name, name):
            ddi, shown = catalog.ddis()[name.decode()], macro.name.decode("utf-8", "replace")
            reason = f"the build defines {shown} with {ddi.name} in it, and calls by that name"
            reason += " are not followed: check the built .sys"
            found.limits.append(Limit(Origin.SOURCE, ddi.weakens, reason))


def _standing_for(program: Program, alias: bytes) -> set[bytes]:
    """The macros that stand for another name."""
    return {
        macro.name
        for unit in program.naming(alias)
        for many in unit.macros.values()
        for macro in many
        if macro.parameters is None and macro.body.strip(b"()& \t") == alias
    }


def _is_alone(code: bytes, at: int, name: bytes) -> bool:
    """Whether a name is neither called nor declared nor the subject of a directive."""
    if _OPENS.match(code, at + len(name)) is not None:
        return False
    line = code[code.rfind(b"\n", 0, at) + 1 : at].lstrip()
    return not line.startswith(b"#") or line[1:].lstrip().startswith(b"define")


def _limit(unit: Unit, at: int, name: bytes) -> Limit:
    line, column = unit.source.position(at)
    path, ddi = unit.source.path, catalog.ddis()[name.decode()]
    reason = f"{path}:{line}: {ddi.name} is handed on as a value, and calls of it by another name"
    reason += " are not followed: check the built .sys"
    return Limit(Origin.SOURCE, ddi.weakens, reason, SourceSite(path, line, column))


def _followed(program: Program, unit: Unit, at: int, name: bytes, found: Aliases) -> bool:
    """Whether a use of a name is understood; what holds the routine then is taken down."""
    if unit.live(at) is False:
        return True
    macro = unit.text.define_at(at)
    if macro is not None:
        if at < macro.body_start:
            return True
        if macro.parameters is None and macro.body.strip(b"()& \t") == name:
            return _take(program, found, macro.name, name)
        return not program.mentions(macro.name)
    node = unit.trees.at(at).node_at(at, at + len(name))
    if node is not None and node.type == "type_identifier":
        return False  # no type has the name: an argument of a template, or a macro stands behind it
    if node is None or node.type != "identifier":
        return True
    call = node.parent
    if call is not None and call.type == "call_expression" and call.start_byte == node.start_byte:
        return True  # directives stand before its arguments
    every = list(holders(program, node))
    return all(_take(program, found, one, name) if one else False for one in every)


def _take(program: Program, found: Aliases, alias: bytes, name: bytes) -> bool:
    """Take down another name of a routine; False where calls of that name are of something else."""
    if alias == name:
        return True
    known = found.names.setdefault(alias, name.decode())
    if known == name.decode() and not program.functions(alias):
        return True
    del found.names[alias]
    return False
