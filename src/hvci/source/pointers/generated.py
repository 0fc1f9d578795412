"""Code that is not in the image, and code that is written over, as sources show it.

Starts from calls through pointers, from copies and from stores; asks where the pointer comes from,
as the reader of machine code does (`binary/behaviour/generated.py`, `writes/own.py`). What goes
through a field of a name that several structures share is asked for its type (`same_field.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from hvci.catalog import memory
from hvci.model import Behaviour, BehaviourFact, Confidence, Limit, Origin, SourceSite
from hvci.source.pointers import entries
from hvci.source.pointers.entries import Entry
from hvci.source.pointers.macro_calls import calls_of_arguments
from hvci.source.pointers.macro_stores import fields, puts
from hvci.source.pointers.origins import Origins
from hvci.source.pointers.overwritten import Written, is_routine, mapped, may_be_written, written
from hvci.source.pointers.places import LOOKUP, MAPPED, ROUTINES, SOURCES
from hvci.source.pointers.rewritten import Rewritten
from hvci.source.pointers.roots import Made, Root, Roots, Where
from hvci.source.pointers.same_field import Pointer, is_named_once, is_same, unclear
from hvci.source.pointers.suspects import Plan, Suspects
from hvci.source.pointers.through import call_at, called, is_loaded, stored_through
from hvci.source.preprocess.tree import File, arguments
from hvci.source.program.program import Program, Unit
from hvci.source.text.text import Source

if TYPE_CHECKING:
    from tree_sitter import Node

DYNAMIC, WRITES = "dynamic-code", "writes-executable-memory"
UNEXPORTED = "unexported-call"
_GETTING = ("argument_list", "init_declarator", "assignment_expression")
_STORES = {"assignment_expression": "left", "update_expression": "argument"}
_NOT_CODE = (Made.MEMORY, Made.DATA)
LETS = "lets Windows call"
_NX = "this memory never executes under memory integrity"
_NX_DATA = "data of an image never executes under memory integrity"
_INTO_CODE = "Write it as a function, in C or in an assembler file."
_KEEP = "Keep code in the driver image; allocated memory never executes."


@dataclass(frozen=True)
class Execution:
    """Code that runs in memory, is copied there or is written over."""

    fact: BehaviourFact
    roots: Roots
    """The memory that it concerns."""


class Executions:
    """What one program does with pointers to code."""

    def __init__(self, program: Program, is_silent: bool = False) -> None:
        self.program = program
        self._is_silent = is_silent
        """It is known already that nothing is found."""
        self.origins = Origins(program)
        self.data = self.origins.data
        self.suspects = Suspects(program, self.origins)
        self._doubts: dict[Limit, None] = {}

    @cached_property
    def found(self) -> tuple[Execution, ...]:
        """Everything, in order of place."""
        if self._is_silent:
            return ()
        executions: list[Execution] = []
        for path, plan in self.suspects.plans():
            for unit in self.program.units_of(path):
                executions += self._in(unit, plan)
        for use, pointer in calls_of_arguments(self.program):
            roots = self.origins.of(
                pointer, Where(use.file, use.function, use.offset, use.source.path)
            )
            held = frozenset(one for one in roots if _is_called_by_macro(one, pointer))
            executions += self._called(use.source, use.offset, held)
        executions += self._own_data()
        executions += self._given()
        return tuple(dict.fromkeys(executions))

    def _given(self) -> Iterator[Execution]:
        """Memory and data that fields of Windows get as routines, or what takes a cast to one."""
        suspects = self.suspects
        is_any = suspects.names_memory or self.data.has_targets
        yield from self._put() if is_any else ()
        for path, words in suspects.words.items() if is_any else ():
            every = entries.entries(words, self.program, suspects.defined)
            for unit in self.program.units_of(path) if every else ():
                seen: set[int] = set()
                for one in every:
                    file = _tree(unit, one.offset)
                    value = entries.value(file, one, self.program) if file is not None else None
                    if file is not None and value is None and one.is_address:
                        yield from self._put_there(unit, file, one)
                    if file is not None and value is not None and value.start_byte not in seen:
                        seen.add(value.start_byte)
                        yield from self._entered(unit, file, value, one)

    def _put(self) -> Iterator[Execution]:
        """What macros put into fields of Windows."""
        for field in sorted(fields(self.program)):
            entry = Entry(0, field, False, False, ())
            if not entries.is_field(field) or entries.is_own(entry, self.program):
                continue
            for one in puts(self.program, field):
                use = one.use
                here = Where(use.file, use.function, use.offset, use.source.path, one.words)
                yield from self._let(use.source, use.offset, one.value, here)

    def _put_there(self, unit: Unit, file: File, entry: Entry) -> Iterator[Execution]:
        """What a function of the driver writes to a field of Windows whose address it gets."""
        if entries.is_own(entry, self.program):
            return
        node = file.node_at(entry.offset, entry.offset + len(entry.name))
        while node is not None and node.parent is not None and node.parent.type not in _GETTING:
            if node.type.endswith("statement"):
                return
            node = node.parent
        listed = node.parent if node is not None else None
        call = listed.parent if listed is not None else None
        if listed is not None and listed.type in ("init_declarator", "assignment_expression"):
            for value in entries.written_later(file, listed, entry.offset):
                here = self._here(file, value.start_byte, unit)
                yield from self._let(unit.source, value.start_byte, value, here)
        if node is not None and call is not None and call.type == "call_expression":
            roots = self.origins.put_by(call, arguments(call).index(node), file)
            held = frozenset(root for root in roots if root.made is Made.MEMORY)
            if held:
                yield self._execution(unit.source, call.start_byte, LETS, held)

    def _entered(self, unit: Unit, file: File, value: Node, entry: Entry) -> Iterator[Execution]:
        """What Windows may get as a routine at one place."""
        if value.type == "lambda_expression" or entries.is_own(entry, self.program):
            return
        here = self._here(file, value.start_byte, unit)
        yield from self._let(unit.source, value.start_byte, value, here)

    def _let(self, source: Source, offset: int, value: Node, here: Where) -> Iterator[Execution]:
        """What Windows may get as a routine, if that is no function."""
        roots = self.origins.of(value, here)
        held = self._sure_of(source, offset, "what Windows may call", roots, Made.MEMORY)
        if held:
            yield self._execution(source, offset, LETS, held, (value, here.file))
        if self.data.has_targets:
            yield from self._of_data(source, offset, LETS, value, here)

    def _own_data(self) -> Iterator[Execution]:
        """Calls of arrays and strings of the driver."""
        suspects = self.suspects
        for path, words in suspects.words.items():
            calls = sorted(set(self.data.calls(words)))
            takings = list(self.data.takings(words, suspects.routines))
            for unit in self.program.units_of(path) if calls or takings else ():
                yield from self._calls(unit, calls)
                for start, name in takings:
                    yield from self._handed_data(unit, start, name, suspects.routines[name])

    def _handed_data(self, unit: Unit, start: int, name: str, index: int) -> Iterator[Execution]:
        """Data that a routine of the kernel is given to call."""
        file = _tree(unit, start)
        call = call_at(file, unit.source.code.find(b"(", start)) if file is not None else None
        given = arguments(call) if call is not None else []
        if file is not None and call is not None and index < len(given):
            here = self._here(file, call.start_byte, unit)
            yield from self._of_data(unit.source, start, f"has {name} call", given[index], here)

    def _of_data(
        self, source: Source, offset: int, verb: str, pointer: Node | None, where: Where
    ) -> Iterator[Execution]:
        """A call that leads to data of the driver, in whatever array."""
        every = self.origins.of(pointer, where)
        roots = self._sure_of(source, offset, "what Windows may call", every, Made.DATA)
        if roots:
            yield self._data_called(source, offset, verb, roots, (pointer, where.file))

    def _data_called(
        self, source: Source, offset: int, verb: str, roots: Roots, by: Pointer | None
    ) -> Execution:
        root = min(roots)
        what = f"{verb} data of its own, {root.name}"
        why = f"the target is {root.name}, which lies among data; {_NX_DATA}"
        is_placed = self.data.is_placed(root.name)
        sure = Confidence.POSSIBLE if is_placed else self._sure(roots, source, offset, by)
        fact = _fact(source, offset, DYNAMIC, what, sure, why, _INTO_CODE)
        return Execution(_with(fact, Behaviour.NOT_EXECUTABLE), roots)

    def _here(self, file: File, offset: int, unit: Unit) -> Where:
        return Where(file, file.function_at(offset), offset, unit.source.path)

    def facts(self) -> Iterator[BehaviourFact]:
        """What a rule judges."""
        return (one.fact for one in self.found)

    def limits(self) -> Iterator[Limit]:
        """What was not followed."""
        self.found  # noqa: B018 (asked first)
        yield from self._doubts
        if self.origins.exhausted:
            reason = "too many calls through pointers to follow them all; check the built .sys"
            yield Limit(Origin.SOURCE, (DYNAMIC, WRITES), reason)

    @cached_property
    def memory(self) -> dict[tuple[str, int], str]:
        """The places that allocate memory in which code runs, and how that is known."""
        found: dict[tuple[str, int], str] = {}
        for one in self.found:
            for root in sorted(one.roots):
                if root.made is Made.MEMORY:
                    site = one.fact.site
                    line = site.line if isinstance(site, SourceSite) else 0
                    found.setdefault(self._made_at(root), f"line {line} {one.fact.what}")
        return found

    def _made_at(self, root: Root) -> tuple[str, int]:
        """The file and the offset of what makes a pointer, as they are written."""
        source = self.program.space.source(root.path)
        if isinstance(source, Rewritten):
            return source.stands(root.start, root.name)
        return root.path, root.start

    def _in(self, unit: Unit, plan: Plan) -> Iterator[Execution]:
        yield from self._calls(unit, plan.calls)
        for start, name in plan.takings:
            yield from self._argument(unit, start, name)
        yield from self._stores(unit, plan.stores)

    # ------------------------------------------------------------ calls

    def _calls(self, unit: Unit, starts: Iterable[int]) -> Iterator[Execution]:
        seen: set[int] = set()
        for start in sorted(set(starts)):
            file = _tree(unit, start)
            call = call_at(file, start) if file is not None else None
            if file is None or call is None or call.start_byte in seen:
                continue
            seen.add(call.start_byte)
            pointer = called(call.child_by_field_name("function"), self.program)
            is_fixed = self.suspects.is_fixed(pointer, file.function_at(call.start_byte))
            if is_fixed or self.origins.holds_functions(pointer):
                continue
            roots = self._of(pointer, file, call.start_byte, unit)
            if is_loaded(call):
                roots |= self.origins.loaded(pointer, self._here(file, call.start_byte, unit))
            held = frozenset(root for root in roots if root.made in _NOT_CODE)
            if held and self._runs(file, start):
                yield from self._called(unit.source, call.start_byte, held, (pointer, file))
            elif computed := sorted(filter(_is_computed, roots)):
                yield Execution(self._unexported(unit, call.start_byte, computed[0]), roots)

    def _runs(self, file: File, offset: int) -> bool:
        """Whether the function around an offset may be in an image."""
        return self.origins.flow.graph.runs(file.function_at(offset))

    def _called(
        self, source: Source, offset: int, held: Roots, by: Pointer | None = None
    ) -> Iterator[Execution]:
        """A call that leads to memory or data, or may, as far as events are in order."""
        sure = self._sure_of(source, offset, "the call", held, *_NOT_CODE)
        memory_ = frozenset(root for root in sure if root.made is Made.MEMORY)
        if memory_:
            yield self._execution(source, offset, "calls into", memory_, by)
        elif sure:
            yield self._data_called(source, offset, "calls", sure, by)

    def _sure_of(self, source: Source, offset: int, who: str, roots: Roots, *made: Made) -> Roots:
        """Roots of some kinds; where only the order of events tells, a limit says so instead."""
        held = frozenset(root for root in roots if root.made in made)
        sure = frozenset(root for root in held if not root.mixed)
        if held and not sure:
            self._doubt(source, offset, who, "lead to", min(held), DYNAMIC)
        return sure

    def _doubt(
        self, source: Source, offset: int, who: str, does: str, root: Root, rule: str
    ) -> None:
        """What is said where order tells whether a pointer leads to code when it is used."""
        line, column = source.position(offset)
        through = root.stored or "a field"
        name = f"what {root.name} returns" if root.made is Made.MEMORY else root.name
        reason = (
            f"{source.path}:{line}: {who} goes through {through}, which holds code and data at "
            f"different times, and may {does} {name}: keep the two apart, or check the built .sys"
        )
        limit = Limit(Origin.SOURCE, (rule,), reason, SourceSite(source.path, line, column))
        self._doubts.setdefault(limit)

    def _leave_open(self, source: Source, offset: int, looked_up: str) -> None:
        """What is said of a write to what is looked up by a name that nothing shows."""
        line, column = source.position(offset)
        reason = (
            f"{source.path}:{line}: the write goes to what {LOOKUP} returns at {looked_up}, by a "
            "name that is not known here: it breaks where that is a function and not a variable of "
            "the kernel; name it by a constant, or check the built .sys"
        )
        limit = Limit(Origin.SOURCE, (WRITES,), reason, SourceSite(source.path, line, column))
        self._doubts.setdefault(limit)

    def _unexported(self, unit: Unit, offset: int, root: Root) -> BehaviourFact:
        name = root.name or "a routine found by name"
        what = f"calls an address that is computed from {name}"
        why = (
            f"it begins with what {LOOKUP} returns at {_line(self.program, root)}; compiled with "
            "/guard:cf, the call stops the computer with bug check 0x139 while memory integrity "
            "runs, because no such address is a valid target"
        )
        fact = _fact(unit.source, offset, UNEXPORTED, what, Confidence.POSSIBLE, why, "")
        return _with(fact, Behaviour.UNEXPORTED)

    def _of(self, node: Node | None, file: File, offset: int, unit: Unit) -> Roots:
        function = file.function_at(offset)
        return self.origins.of(node, Where(file, function, offset, unit.source.path))

    def _execution(
        self, source: Source, offset: int, verb: str, roots: Roots, by: Pointer | None = None
    ) -> Execution:
        root = min(roots)
        what = f"{verb} {memory.memory_of(root.name)} of {root.name}"
        exact = "is" if root.exact else "is computed from"
        through = f", through {root.stored}" if root.stored else ""
        why = f"the target {exact} what the call at {_line(self.program, root)} returns{through}"
        sure = self._sure(roots, source, offset, by)
        fact = _fact(source, offset, DYNAMIC, what, sure, f"{why}; {_NX}", _KEEP)
        kind = Behaviour.GENERATED_CODE
        return Execution(_with(fact, kind), roots)

    def _sure(self, roots: Roots, source: Source, offset: int, by: Pointer | None) -> Confidence:
        """Likely, but for a field whose name stands in several structures that may be another."""
        root = min(roots, key=lambda one: (one.shared, one))
        if not root.stored:
            return Confidence.LIKELY
        if root.shared:
            return Confidence.POSSIBLE
        if is_named_once(self.program, root.stored.encode()):
            return Confidence.LIKELY
        truth = is_same(self.program, self.origins, root, by) if by is not None else False
        if truth is None:
            self._doubts.setdefault(unclear(source, offset, root, DYNAMIC))
        return Confidence.LIKELY if truth else Confidence.POSSIBLE

    # ------------------------------------------------------------ copies and hooks

    def _argument(self, unit: Unit, start: int, name: str) -> Iterator[Execution]:
        """A call that copies, fills or exchanges memory, or that is given a routine."""
        file = _tree(unit, start)
        call = call_at(file, unit.source.code.find(b"(", start)) if file is not None else None
        given = arguments(call) if call is not None else []
        routines = {**ROUTINES, **self.program.space.calling}
        index = routines.get(name, 0)
        if file is None or call is None or index >= len(given):
            return
        if name in MAPPED and not may_be_written(file, call.start_byte):
            return
        roots = self._of(given[index], file, call.start_byte, unit)
        held = frozenset(root for root in roots if root.made is Made.MEMORY)
        if name in routines:
            held = self._sure_of(unit.source, start, f"what {name} gets", roots, Made.MEMORY)
            if held:
                by = (given[index], file)
                yield self._execution(unit.source, start, f"has {name} call", held, by)
            return
        if name in MAPPED:
            line = _line(self.program, min(roots)) if roots else ""
            found = mapped(roots, self.program, line)
            if found is not None:
                yield Execution(_told(unit, start, found), frozenset())
            return
        source = SOURCES.get(name, -1)
        if held and 0 <= source < len(given):
            copied = self._of(given[source], file, start, unit)
            yield from self._copy(unit, start, held, copied)
        yield from self._hook(unit, start, roots)

    def _copy(self, unit: Unit, start: int, held: Roots, source: Roots) -> Iterator[Execution]:
        """A block copy into allocated memory: of code?"""
        root = min(held)
        into = f"{memory.memory_of(root.name)} of {root.name}"
        for origin in sorted(source):
            own = origin.made is Made.CODE
            if not own and not is_routine(origin):
                continue
            if own and not self.program.functions(origin.name.encode()):
                continue
            what = f"copies {origin.name or 'a routine found by name'} to {into}"
            sure = Confidence.LIKELY if own else Confidence.POSSIBLE
            fact = _fact(
                unit.source, start, DYNAMIC, what, sure, _NX, "Call the function where it is."
            )
            yield Execution(_with(fact, Behaviour.COPIED_CODE), held)
            return

    def _stores(self, unit: Unit, starts: Iterable[int]) -> Iterator[Execution]:
        """Stores through pointers to routines that were found by name."""
        seen: set[int] = set()
        for start in starts:
            file = _tree(unit, start)
            node = file.node_at(start, start + 1) if file is not None else None
            while node is not None and node.type not in _STORES:
                node = node.parent if not node.type.endswith("statement") else None
            if file is None or node is None or node.start_byte in seen:
                continue
            seen.add(node.start_byte)
            pointer = stored_through(node.child_by_field_name(_STORES[node.type]))
            if pointer is not None:
                yield from self._hook(
                    unit, node.start_byte, self._of(pointer, file, node.start_byte, unit)
                )

    def _hook(self, unit: Unit, start: int, roots: Roots) -> Iterator[Execution]:
        sure = frozenset(root for root in roots if not root.mixed)
        first = min(filter(is_routine, sure), default=None)
        line = _line(self.program, first) if first is not None else ""
        found = written(sure, self.program, line)
        file = _tree(unit, start)
        if file is not None and not self._runs(file, start):
            return
        if found is not None and found.sure is Confidence.POSSIBLE:
            self._leave_open(unit.source, start, line)
            return
        if found is not None:
            yield Execution(_told(unit, start, found), sure)
            return
        for root in sorted(roots - sure):
            if written(frozenset((root,)), self.program, "") is not None:
                self._doubt(unit.source, start, "the write", "change", root, WRITES)
                return


def _is_computed(root: Root) -> bool:
    """Whether a place within or near a routine that was found by name."""
    return is_routine(root) and not root.exact


def _is_called_by_macro(root: Root, given: Node) -> bool:
    """Whether it is memory, or data that is given itself: casts of numbers look like calls."""
    is_given = given.start_byte <= root.start < given.end_byte
    return root.made is Made.MEMORY or (root.made is Made.DATA and is_given)


def _told(unit: Unit, start: int, found: Written) -> BehaviourFact:
    fact = _fact(unit.source, start, WRITES, found.what, found.sure, found.why, found.fix)
    return _with(fact, found.kind)


def _tree(unit: Unit, offset: int) -> File | None:
    if unit.in_define(offset) or unit.live(offset) is False:
        return None
    return unit.trees.at(offset)


def _line(program: Program, root: Root) -> str:
    for unit in program.naming(root.name.encode() or LOOKUP.encode()):
        if unit.source.path == root.path:
            return f"line {unit.source.position(root.start)[0]}"
    return f"{root.path}"


def _fact(
    source: Source, offset: int, rule: str, what: str, sure: Confidence, why: str, fix: str
) -> BehaviourFact:
    line, column = source.position(offset)
    site = SourceSite(source.path, line, column)
    return BehaviourFact(rule, what, site, Origin.SOURCE, sure, why, fix)


def _with(fact: BehaviourFact, kind: Behaviour) -> BehaviourFact:
    return replace(fact, kind=kind)
