"""Where a variable that holds a routine hands it on: `other = held`, unions, arguments.

Theory of operation: each place that reads the name of such a variable is looked at. What gets its
value is another name of the routine; what is done with it otherwise, and not known to leave it
alone, is a limit. A local variable counts where its own function gives it a routine.
Knows names and trees; knows no values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hvci import catalog
from hvci.catalog.prototypes import x86_bytes
from hvci.model import Limit, Origin, SourceSite
from hvci.source.preprocess.tree import Function, ancestors, text_of
from hvci.source.program.holders import holders
from hvci.source.program.program import Program, Unit
from hvci.source.program.records import others_of
from hvci.source.program.scope import variable

if TYPE_CHECKING:
    from tree_sitter import Node

MAX_NAMES = 200
"""Names that are gone on from in one program."""
_WORD = re.compile(rb"\w+")
_CALLED = re.compile(rb"\s*(?:\[[^\]\n]*\]\s*)?\)?\s*\(")
_COPIES = re.compile(rb"_?Interlocked\w*|(?:Rtl)?\w*(?:Copy|Move)\w*|mem\w+|__movs\w")
_LOOKING = b"RoutineAddress"
"""Ends the names of routines that look others up."""
_DECLARING = ("declaration", "parameter_declaration", "field_declaration", "function_definition")


@dataclass
class Moves:
    """More names of routines, and where it is not known what becomes of one."""

    names: dict[bytes, str] = field(default_factory=dict)
    limits: list[Limit] = field(default_factory=list)


def moves(program: Program, names: Mapping[bytes, str]) -> Moves:
    """The names that get a routine from those that hold one."""
    found, known, todo = Moves(), dict(names), sorted(names)
    told: set[tuple[str, int]] = set()
    while todo and len(known) < MAX_NAMES + len(names):
        alias = todo.pop()
        gets = dict.fromkeys(others_of(program, alias))
        for unit, at, node in _reads(program, alias, known):
            for holder in holders(program, node):
                if holder and not program.functions(holder):
                    gets[holder] = None
                elif holder or (
                    not _is_left_alone(program, node) and (unit.source.path, at) not in told
                ):
                    told.add((unit.source.path, at))
                    found.limits.append(_limit(unit, at, alias, known[alias]))
        for name in gets:
            if name not in known:
                known[name] = found.names[name] = known[alias]
                todo.append(name)
    if todo:
        found.limits.append(_too_many(todo[-1], known[todo[-1]]))
    return found


def _reads(
    program: Program, alias: bytes, known: Mapping[bytes, str]
) -> Iterator[tuple[Unit, int, Node]]:
    """The places that read a name and do not call what it holds."""
    for unit in program.naming(alias):
        code = unit.source.code
        for at in unit.source.places(alias):
            if _CALLED.match(code, at + len(alias)) is not None or unit.in_define(at):
                continue
            if unit.live(at) is False:
                continue
            file = unit.trees.at(at)
            node = file.node_at(at, at + len(alias))
            if node is None or node.type not in ("identifier", "field_identifier"):
                continue
            function = file.function_at(at)
            is_field = node.type == "field_identifier"
            if (is_field or _is_held(function, alias, known)) and not _is_declared(node):
                yield unit, at, node


def _is_held(function: Function | None, alias: bytes, known: Mapping[bytes, str]) -> bool:
    """Whether a name in a function may be the one that holds a routine."""
    local = variable(function, alias) if function is not None else None
    if local is None or local.parameter is not None or local.addresses:
        return True
    names = {*known, *(routine.encode() for routine in known.values())} - {alias}
    every = (_WORD.findall(text_of(one.value)) for one in local.assignments)
    return any(word in names or word.endswith(_LOOKING) for many in every for word in many)


def _is_declared(node: Node) -> bool:
    """Whether a name stands where it is declared."""
    for above in ancestors(node):
        if above.type == "init_declarator":
            declarator = above.child_by_field_name("declarator")
            return declarator is not None and node.start_byte < declarator.end_byte
        if above.type in _DECLARING:
            return True
        if above.type.endswith(("statement", "expression", "initializer_list")):
            return False
    return False


def _is_left_alone(program: Program, node: Node) -> bool:
    """Whether a value goes to a routine of the kernel, or a macro of its headers: none keeps it."""
    for above in ancestors(node):
        if above.type == "call_expression":
            name = text_of(above.child_by_field_name("function")).strip()
            if _COPIES.fullmatch(name) is not None or program.macros(name):
                return False
            return x86_bytes(name.decode("latin-1")) is not None or name.isupper()
        if above.type in ("return_statement", "initializer_list", "compound_statement"):
            return False
    return True


def _too_many(alias: bytes, routine: str) -> Limit:
    shown, weakens = alias.decode("utf-8", "replace"), catalog.ddis()[routine].weakens
    reason = f"more than {MAX_NAMES} variables hand routines on; what gets {routine} from {shown}"
    reason += ", and from others, is not followed: check the built .sys"
    return Limit(Origin.SOURCE, weakens, reason)


def _limit(unit: Unit, at: int, alias: bytes, routine: str) -> Limit:
    line, column = unit.source.position(at)
    path, shown = unit.source.path, alias.decode("utf-8", "replace")
    reason = f"{path}:{line}: {shown}, which holds {routine}, is handed on as a value, and calls of"
    reason += " it by another name are not followed: check the built .sys"
    weakens = catalog.ddis()[routine].weakens
    return Limit(Origin.SOURCE, weakens, reason, SourceSite(path, line, column))
