"""Code that is not in the image, and code that is written over, as sources show it.

Starts from calls through pointers, from copies and from stores; asks where the pointer comes from,
as the reader of machine code does (`binary/behaviour/generated.py`, `stores.py`). What goes
through a field of a name that several structures share is possible only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from hvci.catalog import memory
from hvci.model import Behaviour, BehaviourFact, Confidence, Origin, SourceSite
from hvci.source.program import Program, Unit
from hvci.source.roots import (
    LOOKUP,
    PUTTING,
    RETURNING,
    Made,
    Origins,
    Root,
    Roots,
    Where,
    cast_inside,
)
from hvci.source.tree import File, arguments, text_of

if TYPE_CHECKING:
    from tree_sitter import Node

DYNAMIC, WRITES = "dynamic-code", "writes-executable-memory"
MAX_CALLS = 4000
"""Calls through pointers and stores that are looked at in one program."""
_NX = "this memory never executes under memory integrity"
_KEEP = "Keep code in the driver image; allocated memory never executes."
_COPIES = frozenset(
    (*memory.COPIES, "RtlCopyMemoryNonTemporal", "__movsb", "RtlCopyVolatileMemory")
)
_FILLS = memory.FILLS | {"RtlFillVolatileMemory", "__stosb"}
_ROUTINES = {
    "PsCreateSystemThread": 5,
    "KeInitializeDpc": 1,
    "KeInitializeThreadedDpc": 1,
    "IoQueueWorkItem": 1,
    "IoQueueWorkItemEx": 1,
    "ExInitializeWorkItem": 1,
    "IoSetCompletionRoutine": 1,
    "IoInitializeTimer": 1,
    "KeInitializeApc": 3,
    "KeExpandKernelStackAndCallout": 0,
    "KeIpiGenericCall": 0,
    "PsSetCreateProcessNotifyRoutine": 0,
    "PsSetLoadImageNotifyRoutine": 0,
    "PsSetCreateThreadNotifyRoutine": 0,
}
"""Routines that call what one of their arguments points at."""

_THROUGH = re.compile(
    rb"\(\s*\*+\s*[A-Za-z_][^;{}()]{0,80}\)\s*\("
    rb"|\(\s*\(\s*[A-Za-z_][^;{}]{0,160}?\)\s*[&*(]*\s*[A-Za-z_][^;{}]{0,80}?\)\s*\("
    rb"|_cast<[^;{}]{1,160}?>\s*\([^;{}()]{1,80}\)\s*\("
)
"""`(*p)(`, `((T)p)(` and `reinterpret_cast<T>(p)(`."""
_NAMED = re.compile(rb"(?<![\w#])([A-Za-z_]\w*)(?:\s*\[[^\]\n]*\])?\s*\)?\s*\(")
_GIVEN = re.compile(rb"\b([A-Za-z_]\w*)\s*(?:\[[^\]\n]*\]\s*)*=(?!=)")
_PARAMETER = re.compile(rb"[\w*]\s+\**\s*([A-Za-z_]\w*)\s*[,)]")
_PUT = re.compile(rb"&\s*(?:[A-Za-z_]\w*\s*(?:->|\.)\s*)*([A-Za-z_]\w*)")
_STORE = re.compile(
    rb"[;{}(]\s*\*[^;={}]{1,200}[^=!<>;{}]=(?!=)|\]\s*[|&^+-]?=(?!=)|\)\s*->\s*\w+\s*=(?!=)"
)
_TAKING = re.compile(
    rb"\b("
    + b"|".join(sorted(name.encode() for name in (*_COPIES, *_FILLS, *_ROUTINES)))
    + rb"|_?Interlocked\w*)\s*\("
)
"""Routines that write where an argument points, or call it."""


@dataclass(frozen=True)
class Execution:
    """Code that runs in memory, is copied there or is written over."""

    fact: BehaviourFact
    roots: Roots
    """The memory that it concerns."""


def executions(program: Program) -> Executions:
    """What one program does with pointers to code, worked out once."""
    if program not in _KNOWN:
        _KNOWN[program] = Executions(program)
    return _KNOWN[program]


class Executions:
    """What one program does with pointers to code."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.origins = Origins(program)

    @cached_property
    def _named(self) -> frozenset[bytes]:
        """The catalogued routines that the program names at all."""
        wanted = (*RETURNING, *PUTTING, LOOKUP)
        return frozenset(
            name.encode() for name in wanted if any(self.program.naming(name.encode()))
        )

    @cached_property
    def _given(self) -> frozenset[bytes]:
        """Names that get a value somewhere: only those can hold a pointer."""
        found: set[bytes] = set()
        for unit in self.program.units:
            found.update(_GIVEN.findall(unit.source.code))
            found.update(_PARAMETER.findall(unit.source.code))
            if any(name.encode() in unit.source.text for name in PUTTING):
                found.update(_PUT.findall(unit.source.code))
        return frozenset(found)

    @cached_property
    def found(self) -> tuple[Execution, ...]:
        """Everything, in order of place."""
        if not self._named:
            return ()
        executions: list[Execution] = []
        left = MAX_CALLS
        for unit in self.program.units:
            for one in self._in(unit):
                executions.append(one)
                left -= 1
                if left <= 0:
                    return tuple(executions)
        return tuple(executions)

    def facts(self, path: str) -> Iterator[BehaviourFact]:
        """What stands in one file."""
        for one in self.found:
            if isinstance(one.fact.site, SourceSite) and one.fact.site.path == path:
                yield one.fact

    @cached_property
    def memory(self) -> dict[tuple[str, int], str]:
        """The places that allocate memory in which code runs, and how that is known."""
        found: dict[tuple[str, int], str] = {}
        for one in self.found:
            for root in sorted(one.roots):
                if root.made is Made.MEMORY:
                    site = one.fact.site
                    line = site.line if isinstance(site, SourceSite) else 0
                    found.setdefault((root.path, root.start), f"line {line} {one.fact.what}")
        return found

    def _in(self, unit: Unit) -> Iterator[Execution]:
        code = unit.source.code
        if self._named != {LOOKUP.encode()}:
            yield from self._calls(unit)
        for match in _TAKING.finditer(code):
            yield from self._argument(unit, match.start(1), match[1].decode())
        if LOOKUP.encode() in self._named:
            yield from self._stores(unit)

    # ------------------------------------------------------------ calls

    def _calls(self, unit: Unit) -> Iterator[Execution]:
        code, seen = unit.source.code, set()
        starts = [match.end() - 1 for match in _THROUGH.finditer(code)]
        starts += [
            match.end() - 1
            for match in _NAMED.finditer(code)
            if match[1] in self._given and not self.program.functions(match[1])
        ]
        for start in sorted(set(starts)):
            file = _tree(unit, start)
            call = _call_at(file, start) if file is not None else None
            if file is None or call is None or call.start_byte in seen:
                continue
            seen.add(call.start_byte)
            called = _called(call.child_by_field_name("function"), self.program)
            roots = self._of(called, file, call.start_byte, unit)
            memory_ = frozenset(root for root in roots if root.made is Made.MEMORY)
            if memory_:
                yield self._execution(unit, call.start_byte, "calls into", memory_)

    def _of(self, node: Node | None, file: File, offset: int, unit: Unit) -> Roots:
        function = file.function_at(offset)
        return self.origins.of(node, Where(file, function, offset, unit.source.path))

    def _execution(self, unit: Unit, offset: int, verb: str, roots: Roots) -> Execution:
        root = min(roots)
        what = f"{verb} {memory.memory_of(root.name)} of {root.name}"
        exact = "is" if root.exact else "is computed from"
        through = f", through {root.stored}" if root.stored else ""
        why = f"the target {exact} what the call at {_line(self.program, root)} returns{through}"
        sure = self._sure(roots)
        fact = _fact(unit, offset, DYNAMIC, what, sure, f"{why}; {_NX}", _KEEP)
        kind = Behaviour.GENERATED_CODE
        return Execution(_with(fact, kind), roots)

    def _sure(self, roots: Roots) -> Confidence:
        """Likely, but for a field whose name stands in several structures."""
        root = min(roots)
        if not root.stored:
            return Confidence.LIKELY
        declared = re.compile(rb"\b" + re.escape(root.stored.encode()) + rb"\s*(?:\[[^\]]*\])?\s*;")
        pointer = re.compile(
            rb"\(\s*\w*\s*\*\s*" + re.escape(root.stored.encode()) + rb"\s*\)\s*\("
        )
        count = sum(
            len(declared.findall(unit.source.code)) + len(pointer.findall(unit.source.code))
            for unit in self.program.naming(root.stored.encode())
        )
        return Confidence.LIKELY if count <= 1 else Confidence.POSSIBLE

    # ------------------------------------------------------------ copies and hooks

    def _argument(self, unit: Unit, start: int, name: str) -> Iterator[Execution]:
        """A call that copies, fills or exchanges memory, or that is given a routine."""
        file = _tree(unit, start)
        call = _call_at(file, unit.source.code.find(b"(", start)) if file is not None else None
        given = arguments(call) if call is not None else []
        index = _ROUTINES.get(name, 0)
        if file is None or call is None or index >= len(given):
            return
        roots = self._of(given[index], file, call.start_byte, unit)
        held = frozenset(root for root in roots if root.made is Made.MEMORY)
        if name in _ROUTINES:
            if held:
                yield self._execution(unit, start, f"has {name} call", held)
            return
        if name in _COPIES and held and len(given) > 1:
            yield from self._copy(unit, start, held, self._of(given[1], file, start, unit))
        yield from self._hook(unit, start, roots)

    def _copy(self, unit: Unit, start: int, held: Roots, source: Roots) -> Iterator[Execution]:
        """A block copy into allocated memory: of code?"""
        root = min(held)
        into = f"{memory.memory_of(root.name)} of {root.name}"
        for origin in sorted(source):
            if origin.made is Made.MEMORY or (origin.made is Made.ROUTINE and not _is_code(origin)):
                continue
            own = origin.made is Made.CODE
            what = f"copies {origin.name or 'a routine found by name'} to {into}"
            sure = Confidence.LIKELY if own else Confidence.POSSIBLE
            fact = _fact(unit, start, DYNAMIC, what, sure, _NX, "Call the function where it is.")
            yield Execution(_with(fact, Behaviour.COPIED_CODE), held)
            return

    def _stores(self, unit: Unit) -> Iterator[Execution]:
        """Stores through pointers to routines that were found by name."""
        seen: set[int] = set()
        for match in _STORE.finditer(unit.source.code):
            file = _tree(unit, match.end() - 1)
            node = file.node_at(match.end() - 1, match.end()) if file is not None else None
            while node is not None and node.type != "assignment_expression":
                node = node.parent if not node.type.endswith("statement") else None
            if file is None or node is None or node.start_byte in seen:
                continue
            seen.add(node.start_byte)
            pointer = _stored_through(node.child_by_field_name("left"))
            if pointer is not None:
                yield from self._hook(
                    unit, node.start_byte, self._of(pointer, file, node.start_byte, unit)
                )

    def _hook(self, unit: Unit, start: int, roots: Roots) -> Iterator[Execution]:
        for root in sorted(roots):
            if root.made is not Made.ROUTINE or not _is_code(root):
                continue
            what = f"writes to {root.name or 'a routine found by name'}, code of another module"
            sure = Confidence.LIKELY if root.name else Confidence.POSSIBLE
            exact = "is" if root.exact else "is computed from"
            why = f"the pointer {exact} what {LOOKUP} returns at {_line(self.program, root)}"
            fix = "Use the documented callbacks, filters and notifications instead of hooks."
            yield Execution(
                _with(_fact(unit, start, WRITES, what, sure, why, fix), Behaviour.HOOK), roots
            )
            return


_KNOWN: WeakKeyDictionary[Program, Executions] = WeakKeyDictionary()


def _is_code(root: Root) -> bool:
    return not root.name or memory.is_function(root.name)


def _tree(unit: Unit, offset: int) -> File | None:
    if unit.in_define(offset) or unit.live(offset) is False:
        return None
    return unit.trees.at(offset)


def _call_at(file: File, opening: int) -> Node | None:
    """The call whose arguments open at an offset."""
    node = file.node_at(opening, opening + 1)
    while node is not None and node.type != "call_expression":
        if node.type.endswith(("statement", "declaration", "definition")):
            return None
        node = node.parent
    listed = node.child_by_field_name("arguments") if node is not None else None
    return node if listed is not None and listed.start_byte == opening else None


def _called(node: Node | None, program: Program) -> Node | None:
    """The pointer that a call goes through; None where it is loaded from what a pointer names."""
    stars = 0
    while node is not None:
        if node.type == "parenthesized_expression":
            node = next((one for one in node.named_children if one.type != "comment"), None)
        elif node.type == "pointer_expression" and text_of(node).startswith(b"*"):
            stars += 1
            node = node.child_by_field_name("argument")
        elif node.type == "cast_expression" and stars:
            kind = node.child_by_field_name("type")
            # `*(ROUTINE *)p` loads a pointer, `*(ROUTINE)p` is a call of p
            loads = text_of(kind).count(b"*") - text_of(kind).count(b"(*")
            stars -= 1
            if loads > 0 and not _is_function_type(text_of(kind), program):
                return None
            node = node.child_by_field_name("value")
        elif stars and node.type == "call_expression" and cast_inside(node, program) is not None:
            stars -= 1
            node = cast_inside(node, program)
        else:
            return None if stars > 1 or (stars and node.type == "subscript_expression") else node
    return None


def _is_function_type(kind: bytes, program: Program) -> bool:
    """Whether a type is declared as a function: then a pointer to it is called as it is."""
    word = kind.replace(b"*", b" ").split()[-1:] or [b""]
    declared = re.compile(rb"\btypedef\b[^;{}()]*?\b" + re.escape(word[0]) + rb"\s*\(")
    return any(declared.search(unit.source.code) for unit in program.naming(word[0]))


def _stored_through(left: Node | None) -> Node | None:
    """The pointer through which an assignment writes; None when it writes a variable."""
    while left is not None and left.type == "parenthesized_expression":
        left = next(iter(left.named_children), None)
    if left is None:
        return None
    if left.type == "pointer_expression" and text_of(left).startswith(b"*"):
        return left.child_by_field_name("argument")
    if left.type == "subscript_expression":
        return left.child_by_field_name("argument")
    if left.type == "field_expression" and b"->" in text_of(left):
        inner = left.child_by_field_name("argument")
        return inner if inner is not None and inner.type == "parenthesized_expression" else None
    return None


def _line(program: Program, root: Root) -> str:
    for unit in program.naming(root.name.encode() or LOOKUP.encode()):
        if unit.source.path == root.path:
            return f"line {unit.source.position(root.start)[0]}"
    return f"{root.path}"


def _fact(
    unit: Unit, offset: int, rule: str, what: str, sure: Confidence, why: str, fix: str
) -> BehaviourFact:
    line, column = unit.source.position(offset)
    site = SourceSite(unit.source.path, line, column)
    return BehaviourFact(rule, what, site, Origin.SOURCE, sure, why, fix)


def _with(fact: BehaviourFact, kind: Behaviour) -> BehaviourFact:
    return replace(fact, kind=kind)
