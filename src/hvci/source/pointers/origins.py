"""Follows pointers of one program backwards: what an expression, a field or a parameter can be.

Theory of operation: an expression leads to others, through casts, sums, variables, parameters and
their callers, results of functions, fields and globals; each is taken one step back once, and what
is reached are the roots. Which writes a variable or field can hold is told by `flow`; in C++ fields
and what is no variable of the function are told by their names alone.
Knows expressions; judges nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from hvci.source.pointers import looked_up
from hvci.source.pointers.by_name import ByName
from hvci.source.pointers.flow import Flow
from hvci.source.pointers.held import Place, is_array, named, place_of
from hvci.source.pointers.macro_stores import puts
from hvci.source.pointers.makers import PUTTING, RETURNING, cast_inside
from hvci.source.pointers.own_data import OwnData
from hvci.source.pointers.places import LOOKUP
from hvci.source.pointers.rewritten import Rewritten
from hvci.source.pointers.roots import NONE, NOTHING_KNOWN, SAME, Made, Root, Roots, Where
from hvci.source.pointers.steps import (
    Alike,
    At,
    Every,
    Left,
    Named,
    Read,
    Standing,
    Value,
    Way,
    into,
    thing,
)
from hvci.source.preprocess.tree import File, Function, arguments, parse, text_of, walk
from hvci.source.program import lambdas
from hvci.source.program.chains import bare
from hvci.source.program.program import Macro, Program
from hvci.source.program.records import others_of
from hvci.source.program.stores import escapes, stores

if TYPE_CHECKING:
    from tree_sitter import Node

MAX_STEPS = 20000
"""Steps back that are made in one program."""
MAX_NAME, MAX_MACROS = 64, 4
_BARE = re.compile(rb"\(\s*\w+\s*\)")
_READING = re.compile(rb"ReadPointer\w*|_?Interlocked(?:Compare)?ExchangePointer\w*")
"""Routines that give what stands where their first argument points."""
_CODE = (Made.CODE, Made.ROUTINE)
_NUMBERS = ("number_literal", "sizeof_expression", "char_literal")


class Origins:
    """Follows pointers of one program backwards."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.flow = Flow(program, self)
        self.data = OwnData(program)
        self.by_name = ByName(program, self.flow.graph)
        self._steps = 0
        self._known: dict[Value, tuple[Way, ...]] = {}
        self._asking: set[Value] = set()
        self._plain: dict[bytes, bool] = {}
        self._mixed: dict[Value, bool] = {}

    @property
    def exhausted(self) -> bool:
        """Whether the steps of the program are spent: what is left is not followed."""
        return self._steps > MAX_STEPS

    def of(self, node: Node | None, where: Where) -> Roots:
        """What a pointer can be, as far as the steps of the program reach."""
        if node is None:
            return NONE
        first = [Way(At(node, where))]
        found = self._reached(first, is_plain=True)
        return self._reached(first) if self._are_both(found) else found

    def loaded(self, node: Node | None, where: Where) -> Roots:
        """What stands where a pointer points, if that is a variable whose address it surely is."""
        if node is None:
            return NONE
        found = [way for way in self.flow.pointed(node, b"", where) if way.loose is None]
        return self._reached(found)

    def stored(self, name: bytes) -> Roots:
        """What the program stores in fields or variables of a name."""
        return self.reached(Named(name))

    def holds_functions(self, pointer: Node | None) -> bool:
        """Whether all that fields of a name ever get are functions, as is plain without asking."""
        node = bare(pointer) if pointer is not None else None
        if node is None or node.type != "field_expression":
            return False
        name = text_of(node.child_by_field_name("field"))
        if name not in self._plain:
            every = stores(self.program, name, of_field=True)
            is_plain = name not in self.data.arrays
            is_plain = is_plain and all(self._is_function(one.value) for one in every)
            is_plain = is_plain and not escapes(self.program, name) and not puts(self.program, name)
            self._plain[name] = is_plain and not others_of(self.program, name)
        return self._plain[name]

    def _is_function(self, value: Node) -> bool:
        """Whether a value is a function, or nothing."""
        name = text_of(bare(value))
        return name in (b"NULL", b"0", b"nullptr") or bool(self.program.functions(name))

    def put_by(self, call: Node, index: int, file: File) -> Roots:
        """What a call writes where one of its arguments points."""
        name = text_of(call.child_by_field_name("function")).strip()
        path = file.source.path
        if PUTTING.get(_text(name)) == index:
            return frozenset((Root(Made.MEMORY, _text(name), path, call.start_byte),))
        here = Where(file, file.function_at(call.start_byte), call.start_byte, path)
        ways = [
            Way(Left(Place(one.parameters[index], one, 0, True), into(one, call, here)))
            for one in self.flow.graph.means(name, path)
            if index < len(one.parameters)
        ]
        return self._reached(ways)

    def functions_of(self, pointer: Node, where: Where) -> list[Function]:
        """The functions of the program that a pointer may lead to."""
        roots = self.of(pointer, where)
        names = sorted({root.name.encode() for root in roots if root.made is Made.CODE})
        return [one for name in names for one in self.flow.graph.means(name, where.path)]

    def reached(self, value: Value, all_known: bool = False) -> Roots:
        """The roots of a value; with `all_known` no more of them once one is unknown."""
        return self._reached([Way(value)], all_known)

    def _reached(
        self, first: Iterable[Way], all_known: bool = False, is_plain: bool = False
    ) -> Roots:
        found, seen = set[Root](), set[tuple[Value, bool, str, bool, bool]]()
        todo = [(way, False) for way in first]
        while todo:
            way, is_mixed = todo.pop()
            if isinstance(way.to, Root):
                root = way.to
                exact, stored = way.exact and root.exact, way.stored or root.stored
                found.add(
                    replace(root, exact=exact, stored=stored, shared=way.shared, mixed=is_mixed)
                )
                if all_known and root.made is Made.UNKNOWN:
                    break
                continue
            key = (way.to, way.exact, way.stored, way.shared, is_mixed)
            if key in seen:
                continue
            seen.add(key)
            for one in self._ways(way.to):
                loose = None if all_known or is_plain else one.loose
                both = is_mixed or (loose is not None and self._is_mixed(loose))
                exact, stored = way.exact and one.exact, way.stored or one.stored
                todo.append((Way(one.to, exact, stored, way.shared or one.shared), both))
        return frozenset(found)

    def _is_mixed(self, value: Value) -> bool:
        """Whether a place holds code and other things, in whatever order."""
        if value not in self._mixed:
            self._mixed[value] = True  # while it is asked
            found = self._reached([Way(value)], is_plain=True)
            self._mixed[value] = self._are_both(found)
        return self._mixed[value]

    def _are_both(self, roots: Roots) -> bool:
        """Whether some are code, and others are not."""
        is_other = any(root.made in (Made.MEMORY, Made.DATA) for root in roots)
        return is_other and any(self._is_code(root) for root in roots)

    def _is_code(self, root: Root) -> bool:
        if root.made is Made.CODE:
            return bool(self.program.functions(root.name.encode()))
        return root.made is Made.ROUTINE

    def _ways(self, value: Value) -> tuple[Way, ...]:
        """One step back from a value."""
        if value not in self._known:
            self._steps += 1
            if self._steps > MAX_STEPS:
                return (Way(NOTHING_KNOWN),)
            changes = self.flow.changes
            if value in self._asking:
                changes.missed += 1
                return (Way(NOTHING_KNOWN),)
            self._asking.add(value)
            before = changes.missed
            found = tuple(self._step(value))
            self._asking.discard(value)
            if changes.missed != before:
                return found
            self._known[value] = found
        return self._known[value]

    def _step(self, value: Value) -> Iterator[Way]:
        if isinstance(value, At):
            return self._expression(value.node, value.where)
        if isinstance(value, Read):
            return self._of_variable(value, self.flow.read(value.place, value.where))
        if isinstance(value, Left):
            return self.flow.left(value.place, value.where)
        if isinstance(value, Standing):
            return self._standing(value)
        if isinstance(value, Every):
            return self.flow.every(value.place, value.function)
        if isinstance(value, Alike):
            return self.flow.alike(value.place, value.function)
        return self.by_name.named(value)

    def _of_variable(self, value: Read, every: Iterator[Way]) -> Iterator[Way]:
        """The same, with the name of what is no variable of a function."""
        place = value.place
        name = place.field if place.part else place.name if place.function is None else b""
        for way in every:
            yield way._replace(stored=_text(name)) if name else way

    def _standing(self, value: Standing) -> Iterator[Way]:
        place = value.place
        yield from self.flow.standing(place, value.is_first)
        if not place.through and not place.part and not value.is_first:
            yield from self.by_name.otherwise(place.name, of_field=False)

    # ------------------------------------------------------------ expressions

    def _expression(self, node: Node, where: Where) -> Iterator[Way]:
        name = self.data.named(node, where)
        if name:
            yield Way(Root(Made.DATA, name, where.path, node.start_byte))
            return
        reader = _READERS.get(node.type)
        if reader is not None:
            yield from reader(self, node, where)
        elif node.type not in _NUMBERS and node.type not in ("null", "true", "false"):
            yield Way(NOTHING_KNOWN)

    def _part(self, node: Node | None, where: Where, exact: bool = True) -> Iterator[Way]:
        if node is not None:
            yield Way(At(node, where), exact)

    def _inner(self, node: Node, where: Where) -> Iterator[Way]:
        inner = [item for item in node.named_children if item.type != "comment"]
        return self._part(inner[-1] if inner else None, where)

    def _cast(self, node: Node, where: Where) -> Iterator[Way]:
        return self._part(node.child_by_field_name("value"), where)

    def _sum(self, node: Node, where: Where) -> Iterator[Way]:
        operator = text_of(node.child_by_field_name("operator"))
        left, right = (node.child_by_field_name(side) for side in ("left", "right"))
        if operator == b"&" and _BARE.fullmatch(text_of(left)):
            yield from self._address(right, where)  # `(T)&x`, which the grammar cannot tell
        elif operator == b"*" and _BARE.fullmatch(text_of(left)) and right is not None:
            yield from self.flow.pointed(right, b"", where)
        elif operator in (b"+", b"-", b"&", b"|"):
            yield from self._part(left, where, exact=False)
            yield from self._part(right, where, exact=False)

    def _either(self, node: Node, where: Where) -> Iterator[Way]:
        for way in ("consequence", "alternative"):
            yield from self._part(node.child_by_field_name(way), where)

    def _chosen(self, node: Node, where: Where) -> Iterator[Way]:
        """Whatever `_Generic` may choose."""
        every = [
            one for one in node.named_children if one.type not in ("comment", "type_descriptor")
        ]
        for one in every[1:]:
            yield from self._part(one, where)

    def _assigned(self, node: Node, where: Where) -> Iterator[Way]:
        return self._part(node.child_by_field_name("right"), where)

    def _pointer(self, node: Node, where: Where) -> Iterator[Way]:
        """`&f` of a function, `&p[n]` of memory, and what stands where a pointer points."""
        inner = node.child_by_field_name("argument")
        if text_of(node).startswith(b"&"):
            yield from self._address(inner, where)
        elif inner is not None:
            yield from self._place(node, where)

    def _address(self, inner: Node | None, where: Where) -> Iterator[Way]:
        if inner is None:
            return
        while inner.type == "parenthesized_expression" and inner.named_children:
            inner = inner.named_children[-1]
        if data := self.data.named(inner, where):
            yield Way(Root(Made.DATA, data, where.path, inner.start_byte))
        elif inner.type == "subscript_expression":
            yield from self._of_element(inner.child_by_field_name("argument"), where)
        elif inner.type == "identifier" and self._is_code_name(text_of(inner), where):
            yield from self._name(inner, where)
        else:
            place = place_of(inner, where.function, where.offset)
            if place is not None and not place.through:
                name, path, start = thing(place)
                yield Way(Root(Made.VARIABLE, name, path, start))
            else:
                yield Way(NOTHING_KNOWN)

    def _of_element(self, base: Node | None, where: Where) -> Iterator[Way]:
        """An address in what a pointer leads to; what elements of a field hold is elsewhere."""
        if base is None or base.type != "field_expression":
            yield from self._part(base, where, exact=False)
            return
        for root in sorted(self.reached(At(base, where))):
            if root.made is not Made.CODE:
                yield Way(root, exact=False)

    def _is_code_name(self, name: bytes, where: Where) -> bool:
        place = named(name, where.function, where.offset)
        if place is not None and place.function is not None:
            return False
        return bool(self.program.functions(name)) or not self.by_name.is_given(name)

    def _element(self, node: Node, where: Where) -> Iterator[Way]:
        return self._place(node, where)

    def _field(self, node: Node, where: Where) -> Iterator[Way]:
        return self._place(node, where)

    def _place(self, node: Node, where: Where) -> Iterator[Way]:
        """What stands in a variable, a field, an element, or where a pointer points."""
        place = place_of(node, where.function, where.offset) if where.macro is None else None
        is_own = where.function is not None and where.function.file.source.is_c
        if place is not None and (is_own or (place.function is not None and not place.through)):
            yield Way(Read(place, where))
            return
        base: Node | None = node
        is_element = node.type == "subscript_expression"
        if is_element:
            base = node.child_by_field_name("argument")
        if base is not None and base.type == "field_expression":
            name = text_of(base.child_by_field_name("field"))
            to = Named(name, is_element, True)
            yield Way(to, stored=_text(name), loose=to)
        elif is_element and base is not None and base.type == "identifier":
            to = Named(text_of(base), True)
            yield Way(to, stored=_text(to.name), loose=to)
        else:
            inner = node.child_by_field_name("argument")
            yield from self.flow.pointed(inner, b"", where) if inner is not None else ()

    def _name(self, node: Node, where: Where) -> Iterator[Way]:
        name = text_of(node).rpartition(b"::")[2].strip()
        for word, given in where.words:
            if word == name:
                yield Way(At(given, replace(where, words=(), macro=None)))
                return
        own = None
        if where.function is not None and where.macro is None:
            own = lambdas.parameter(where.function, name, where.offset)
        if own is not None:
            for one in (*own.given, own.default):
                yield from self._part(one, replace(where, offset=one.start_byte) if one else where)
            return
        place = named(name, where.function, where.offset)
        if place is not None and place.function is not None:
            is_whole = is_array(place)
            yield Way(Root(Made.VARIABLE, *thing(place)) if is_whole else Read(place, where))
            return
        every = list(self._macro(name, None, where))
        if every:
            yield from every
            return
        is_function = bool(self.program.functions(name))
        is_given = self.by_name.is_given(name)
        if is_function or not is_given:
            yield Way(self._root(Made.CODE, _text(name), node, where))
        if place is not None and not is_function:
            yield Way(Read(place, where), stored=_text(name))
        elif place is None and is_given:
            to = Named(name)
            yield Way(to, stored=_text(name), loose=to)

    def _root(self, made: Made, name: str, node: Node, where: Where) -> Root:
        """A root at its place, in the body of a macro too."""
        macro = where.macro
        at = macro.body.find(name.encode()) if macro is not None else -1
        if macro is None or at < 0:
            return Root(made, name, where.path, node.start_byte)
        path, start = macro.source.path, macro.body_start + at
        source = self.program.space.source(path)
        start = source.placed(start) if isinstance(source, Rewritten) else start
        return Root(made, name, path, start)

    # ------------------------------------------------------------ calls

    def _call(self, node: Node, where: Where) -> Iterator[Way]:
        called = text_of(node.child_by_field_name("function")).strip()
        given = arguments(node)
        name = self._behind_macros(called.rpartition(b"::")[2])
        word = _text(name)
        if (inner := cast_inside(node, self.program)) is not None:
            yield Way(At(inner, where))
        elif word in RETURNING:
            yield Way(self._root(Made.MEMORY, word, node, where))
        elif word == "__builtin_bit_cast" and len(given) == 2:
            yield Way(At(given[1], where))
        elif word == LOOKUP:
            yield Way(self._looked_up(node, where))
        elif word in SAME and len(given) > SAME[word]:
            yield Way(At(given[SAME[word]], where), exact=False)
        elif given and _READING.fullmatch(name) is not None:
            yield from self.flow.pointed(given[0], b"", where)
        elif not re.fullmatch(rb"\w+", name) or len(name) > MAX_NAME:
            yield from self._through(node, where)
        else:
            every = list(self._macro(name, tuple(given), where))
            yield from every or self._returned(name, node, where)

    def _looked_up(self, node: Node, where: Where) -> Root:
        """A routine that the kernel was asked for by its name."""
        name = looked_up.name(self.program, node, where.file, where.function)
        return Root(Made.ROUTINE, _text(name), where.path, node.start_byte)

    def _returned(self, name: bytes, node: Node, where: Where) -> Iterator[Way]:
        """What a function of the program returns."""
        known = self.flow.graph.means(name, where.path) if name != b"new" else []
        if not known and named(name, where.function, where.offset) is not None:
            yield from self._through(node, where)
        for function in known:
            yield from self._results(function, node, where)

    def _through(self, node: Node, where: Where) -> Iterator[Way]:
        """What functions return that a pointer may lead to."""
        pointer = node.child_by_field_name("function")
        known: list[Function] = []
        if pointer is not None and where.function is not None:
            count, graph = len(arguments(node)), self.flow.graph
            every = [*self.functions_of(pointer, where), *graph.targets(pointer, where.function)]
            known = [one for one in dict.fromkeys(every) if len(one.parameters) == count]
        if not known:
            yield Way(NOTHING_KNOWN)
        for function in known:
            yield from self._results(function, node, where)

    def _results(self, function: Function, call: Node, where: Where) -> Iterator[Way]:
        there = into(function, call, where)
        for item in function.nodes("return_statement"):
            yield from self._inner(item, there.here(function, item.start_byte))

    def _behind_macros(self, name: bytes) -> bytes:
        """The routine that is called by a name: macros may stand for one."""
        for _ in range(MAX_MACROS):
            bodies = {m.body.strip() for m, _ in self.program.macros(name) if m.parameters is None}
            self.program.differ(name, len(bodies))
            if len(bodies) != 1 or not re.fullmatch(rb"[A-Za-z_]\w*", min(bodies)):
                break
            name = min(bodies)
        return name

    def _macro(self, name: bytes, given: tuple[Node, ...] | None, where: Where) -> Iterator[Way]:
        """The value of a macro, `given` arguments or none; nothing when there is none so named."""
        for macro, _ in self.program.macros(name):
            if (macro.parameters is None) is (given is not None) or not macro.body.strip():
                continue
            if macro is where.macro:
                continue
            words = tuple(zip(macro.parameters or (), given or (), strict=False))
            yield from self._body(macro, replace(where, words=words, macro=macro))

    def _body(self, macro: Macro, where: Where) -> Iterator[Way]:
        for node in walk(parse(b"int q=(" + macro.body + b");").root_node):
            if node.type == "init_declarator":
                return self._part(node.child_by_field_name("value"), where)
        return iter(())


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace")


Reader = Callable[["Origins", "Node", Where], Iterator[Way]]
_READERS: dict[str, Reader] = {
    "parenthesized_expression": Origins._inner,
    "comma_expression": Origins._inner,
    "argument_list": Origins._inner,
    "cast_expression": Origins._cast,
    "binary_expression": Origins._sum,
    "conditional_expression": Origins._either,
    "generic_expression": Origins._chosen,
    "assignment_expression": Origins._assigned,
    "pointer_expression": Origins._pointer,
    "subscript_expression": Origins._element,
    "field_expression": Origins._field,
    "identifier": Origins._name,
    "type_identifier": Origins._name,
    "qualified_identifier": Origins._name,
    "call_expression": Origins._call,
}
