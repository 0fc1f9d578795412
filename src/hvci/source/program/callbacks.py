"""Functions that are called through pointers only: which calls may be theirs.

Theory of operation: a function whose address the program keeps for itself is called by the
program, through a variable, parameter or field; a call with as many arguments, one of which names
a pool where the function takes it, may be such a call. What a routine of the kit that gets the
address does is not known. Knows names and trees; knows no values.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hvci import catalog
from hvci.source.preprocess.tree import Function, ancestors, arguments, text_of
from hvci.source.program.program import Program, Unit, Use, opens

if TYPE_CHECKING:
    from tree_sitter import Node

_TYPES = frozenset((b"POOL_TYPE", b"_POOL_TYPE", b"POOL_FLAGS"))
POOL = re.compile(rb"\b(?:NonPagedPool\w*|PagedPool\w*|POOL_FLAG_\w+)\b")
_PARTS = (b"PagedPool", b"POOL_FLAG_")
MAX_CALLS = 40


def calls(program: Program, function: Function, index: int) -> list[tuple[Use, Node]]:
    """The calls through pointers that may be of a function, and what each gives to a parameter."""
    words = function.types[index].split()
    if not words or words[-1] not in _TYPES or not _is_kept(program, function):
        return []
    found: list[tuple[Use, Node]] = []
    seen: set[tuple[str, int]] = set()
    for path in program.paths:
        source = program.space.source(path)
        if source is None or not any(program.space.words.with_part(path, one) for one in _PARTS):
            continue
        if POOL.search(source.code) is None:
            continue
        for unit in program.units_of(path):
            for match in POOL.finditer(source.code):
                one = _call(program, unit, match, len(function.parameters), index)
                key = (path, one[0].offset) if one is not None else (path, -1)
                if one is not None and key not in seen and len(found) < MAX_CALLS:
                    seen.add(key)
                    found.append(one)
    return found


def _call(
    program: Program, unit: Unit, match: re.Match[bytes], count: int, index: int
) -> tuple[Use, Node] | None:
    """The call around the name of a pool, when it goes through a pointer."""
    start = match.start()
    if unit.in_define(start) or unit.live(start) is False:
        return None
    file = unit.trees.at(start)
    node = file.node_at(start, match.end())
    for above in ancestors(node) if node is not None else ():
        if above.type == "call_expression":
            given = arguments(above)
            name = text_of(above.child_by_field_name("function")).strip(b"()* ")
            last = re.split(rb"->|\.|::", name)[-1].strip()
            if len(given) != count or not given[index].start_byte <= start < given[index].end_byte:
                return None
            if program.functions(last) or program.macros(last, unit.source.path):
                return None
            if last.decode("latin-1") in catalog.ddis() or b"_cast<" in name:
                return None
            use = Use(unit.source, file, above, above.start_byte, file.function_at(start))
            return use, given[index]
        if above.type.endswith("statement"):
            return None
    return None


def _is_kept(program: Program, function: Function) -> bool:
    """Whether the address of a function is taken, and given to nothing but the program."""
    taken = False
    for unit in program.naming(function.name):
        for at in unit.source.places(function.name):
            if (
                opens(unit.source, at + len(function.name))
                or unit.live(at) is False
                or unit.in_define(at)
            ):
                continue
            node = unit.trees.at(at).node_at(at, at + len(function.name))
            for above in ancestors(node) if node is not None else ():
                if above.type == "call_expression":
                    name = text_of(above.child_by_field_name("function")).rpartition(b"::")[2]
                    if not program.functions(name.strip()):
                        return False
                    break
                if above.type in ("compound_statement", "initializer_list", "declaration"):
                    break
            taken = True
    return taken


def other_names(program: Program, name: bytes) -> tuple[bytes, ...]:
    """The macros that stand for a function: of its files, or given by the build."""
    key = b"#" + name
    if key not in program.stored:
        found: list[bytes] = []
        todo = [name]
        while todo:
            if len(found) >= MAX_NAMES:
                shown = name.decode("utf-8", "replace")
                program.cut(
                    f"more than {MAX_NAMES} macros stand for {shown}, not all were followed"
                )
                break
            one = todo.pop()
            given = (macro for unit in program.compiled for macro in unit.given.defines)
            listed = (unit.macros.values() for unit in program.naming(one))
            macros = (macro for every in listed for many in every for macro in many)
            more = {
                macro.name
                for macro in (*macros, *given)
                if macro.parameters is None and macro.body.strip(b"()& \t") == one
            }
            new = sorted(more.difference((name, *found)))
            found += new
            todo += new
        program.stored[key] = tuple(found)
    return program.stored[key]


MAX_NAMES = 40
"""Macros that stand for one function."""


def elsewhere(program: Program, function: Function) -> str:
    """Who calls a function that is no C of this program; empty where nobody is seen."""
    if function.name in program.space.assembled:
        return "assembly"
    body = function.node.child_by_field_name("body")
    head = function.file.source.code[function.node.start_byte : body.start_byte] if body else b""
    return "another driver" if b"dllexport" in head else ""


def is_taken(program: Program, function: Function) -> bool:
    """Whether the address of a function goes anywhere: calls that do not name it may be of it."""
    names = (function.name, *other_names(program, function.name))
    return any(_is_taken(program, unit, name) for name in names for unit in program.naming(name))


def _is_taken(program: Program, unit: Unit, name: bytes) -> bool:
    for at in unit.source.places(name):
        if opens(unit.source, at + len(name)) or unit.live(at) is False:
            continue
        macro = unit.text.define_at(at)
        if macro is not None:
            stands = macro.parameters is None and macro.body.strip(b"()& \t") == name
            if at >= macro.body_start and not stands and program.mentions(macro.name):
                return True
            continue
        node = unit.trees.at(at).node_at(at, at + len(name))
        if node is not None and node.type == "identifier" and not _is_declared(node):
            return True
    return False


def _is_declared(node: Node) -> bool:
    """Whether a name is that of a variable or parameter of its own."""
    for above in ancestors(node):
        if above.type == "init_declarator":
            value = above.child_by_field_name("value")
            return value is None or node.start_byte < value.start_byte
        if above.type in _NAMING:
            return True
        if above.type.endswith(("expression", "list", "statement")):
            return False
    return False


_NAMING = ("parameter_declaration", "declaration", "field_declaration", "using_declaration")
"""What only says that there is something of a name."""
