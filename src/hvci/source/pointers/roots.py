"""Where a pointer in source text comes from: memory that was allocated, a routine found by name.

Theory of operation: an expression is followed backwards through casts, sums, local variables,
parameters and their callers, results of functions, fields and globals; what a pointer points at is
never followed. Blind spots: fields of different structures that share a name are one, and
pointers that another pointer writes are seen only where an out parameter is.
Knows names of allocating routines; judges nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING

from hvci.source.pointers import addressed, looked_up
from hvci.source.pointers.macro_stores import puts
from hvci.source.pointers.makers import PUTTING, RETURNING, cast_inside
from hvci.source.pointers.places import LOOKUP
from hvci.source.preprocess.tree import File, Function, arguments, parse, text_of, walk
from hvci.source.program import lambdas
from hvci.source.program.constructors import is_constructor, made
from hvci.source.program.program import Macro, Program
from hvci.source.program.records import others_of
from hvci.source.program.scope import Variable, variable
from hvci.source.program.stores import MAX_STORES, stores

if TYPE_CHECKING:
    from tree_sitter import Node

MAX_DEPTH = 14
MAX_STEPS = 5000
"""Expressions looked at in one program."""
MAX_NAME = 64

_SAME = {"WdfMemoryGetBuffer": 0, "Add2Ptr": 0, "RtlOffsetToPointer": 0, "PTR_ADD_OFFSET": 0}
"""Routines and macros whose result is in the memory of an argument."""
_BARE = re.compile(rb"\(\s*\w+\s*\)")


class Made(StrEnum):
    """What made a pointer."""

    MEMORY = "memory"
    ROUTINE = "routine found by name"
    DATA = "data of the driver"
    """An array or string of its image; only `own_data` asks for these."""
    CODE = "function"
    """Whatever a name stands for that nothing gives a value: maybe a function."""


@dataclass(frozen=True, order=True)
class Root:
    """One thing that a pointer can be."""

    made: Made
    name: str
    """The allocating routine, or the routine that is pointed at; may be empty."""
    path: str
    start: int
    """Where it is made: offset of the routine's name."""
    exact: bool = True
    """The pointer is what was made, not something computed from it."""
    stored: str = ""
    """The last field or global variable on the way."""
    shared: bool = False
    """What is stored goes by another name of the memory, which is given values by this one too."""


Roots = frozenset[Root]
NONE: Roots = frozenset()


@dataclass(frozen=True)
class Where:
    """The text that an expression stands in."""

    file: File | None
    function: Function | None
    offset: int
    path: str
    words: tuple[tuple[bytes, Node], ...] = ()


class Origins:
    """Follows pointers of one program backwards."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._steps = 0
        self._busy: set[object] = set()
        self._memo: dict[object, Roots] = {}
        self._variables: dict[tuple[File, int, bytes], Variable | None] = {}

    @property
    def exhausted(self) -> bool:
        """Whether the steps of the program are spent: what is left is not followed."""
        return self._steps > MAX_STEPS

    def of(self, node: Node | None, where: Where) -> Roots:
        """What a pointer can be, as far as the steps of the program reach."""
        return self._value(node, where, 0)

    def _value(self, node: Node | None, where: Where, depth: int) -> Roots:
        self._steps += 1
        if node is None or self._steps > MAX_STEPS:
            return NONE
        if depth > MAX_DEPTH:
            what = f"a pointer that may lead to code goes over more than {MAX_DEPTH} steps"
            self.program.cut(f"{what}, and is not followed to its end", where.path)
            return NONE
        reader = _READERS.get(node.type)
        return reader(self, node, where, depth + 1) if reader is not None else NONE

    # ------------------------------------------------------------ expressions

    def _inner(self, node: Node, where: Where, depth: int) -> Roots:
        inner = [item for item in node.named_children if item.type != "comment"]
        return self._value(inner[-1] if inner else None, where, depth)

    def _cast(self, node: Node, where: Where, depth: int) -> Roots:
        return self._value(node.child_by_field_name("value"), where, depth)

    def _sum(self, node: Node, where: Where, depth: int) -> Roots:
        operator = text_of(node.child_by_field_name("operator"))
        if operator not in (b"+", b"-", b"&", b"|", b"*"):
            return NONE
        right = node.child_by_field_name("right")
        if operator == b"&" and _BARE.fullmatch(text_of(node.child_by_field_name("left"))):
            return self._address(right, where, depth)  # `(T)&x`, which the grammar cannot tell
        if operator == b"*" and _BARE.fullmatch(text_of(node.child_by_field_name("left"))):
            return self.loaded(right, where, depth)
        found: Roots = NONE
        for side in ("left", "right") if operator != b"*" else ():
            found |= self._value(node.child_by_field_name(side), where, depth)
        return _computed(found)

    def _either(self, node: Node, where: Where, depth: int) -> Roots:
        found: Roots = NONE
        for way in ("consequence", "alternative"):
            found |= self._value(node.child_by_field_name(way), where, depth)
        return found

    def _chosen(self, node: Node, where: Where, depth: int) -> Roots:
        """Whatever `_Generic` may choose."""
        every = [
            one for one in node.named_children if one.type not in ("comment", "type_descriptor")
        ]
        return frozenset().union(*(self._value(one, where, depth) for one in every[1:]))

    def _assigned(self, node: Node, where: Where, depth: int) -> Roots:
        return self._value(node.child_by_field_name("right"), where, depth)

    def _pointer(self, node: Node, where: Where, depth: int) -> Roots:
        """`&f` of a function, `&p[n]` of memory; what a pointer points at is not followed."""
        inner = node.child_by_field_name("argument")
        if text_of(node).startswith(b"&"):
            return self._address(inner, where, depth)
        return self.loaded(inner, where, depth)

    def loaded(self, node: Node | None, where: Where, depth: int = 0) -> Roots:
        """What stands where a pointer points, if that is a variable whose address it surely is."""
        node = addressed.bare(node)
        if node is not None and node.type == "identifier" and where.function is not None:
            found = self._variable(text_of(node), where.function)
            every = found.before(where.offset) if found is not None else ()
            values = [one.value for one, _ in every]
        else:
            values = [node] if node is not None else []
        inner = filter(None, map(addressed.pointee, values))
        return frozenset().union(*(self._value(one, where, depth) for one in inner))

    def _address(self, inner: Node | None, where: Where, depth: int) -> Roots:
        if inner is None:
            return NONE
        if inner.type == "subscript_expression":
            return _computed(self._value(inner.child_by_field_name("argument"), where, depth))
        if inner.type != "identifier":
            return NONE
        name = _text(text_of(inner))
        found = (root for root in self._value(inner, where, depth) if root.made is not Made.MEMORY)
        # what a variable holds stands elsewhere than the variable
        return frozenset(root for root in found if root.made is Made.DATA or root.name == name)

    def _element(self, node: Node, where: Where, depth: int) -> Roots:
        base = node.child_by_field_name("argument")
        if base is not None and base.type == "parenthesized_expression":
            return self.loaded(base, where, depth)
        of_field = base is not None and base.type == "field_expression"
        if base is not None and of_field:
            base = base.child_by_field_name("field")
        name = text_of(base)
        if base is None or b"(" in name:
            return NONE
        found = self.stored(name, depth, element=True, of_field=of_field)
        is_local = not of_field and where.function is not None
        if not is_local or where.function is None or self._variable(name, where.function) is None:
            return found
        return found | self._listed(name, where.function, depth)

    def _field(self, node: Node, where: Where, depth: int) -> Roots:
        found = self.stored(text_of(node.child_by_field_name("field")), depth, of_field=True)
        base = node.child_by_field_name("argument")
        if base is None or base.type != "identifier" or where.function is None:
            return found
        return found | self._listed(text_of(base), where.function, depth)

    def _listed(self, name: bytes, function: Function, depth: int) -> Roots:
        """What the initializer list of a local structure holds, whichever field it is for."""
        found = self._variable(name, function)
        roots: Roots = NONE
        for assignment in found.assignments if found is not None else ():
            if assignment.value.type == "initializer_list":
                path = function.file.source.path
                here = Where(function.file, function, assignment.start, path)
                for item in assignment.value.named_children:
                    roots |= self._value(item, here, depth)
        return roots

    def _name(self, node: Node, where: Where, depth: int) -> Roots:
        name = text_of(node).rpartition(b"::")[2].strip()
        for word, given in where.words:
            if word == name:
                return self._value(given, replace(where, words=()), depth)
        if where.function is not None:
            found = self._of_lambda(name, where, where.function, depth)
            found = self._local(name, where, where.function, depth) if found is None else found
            if found is not None:
                return found
        constant = self._macro(name, (), where, depth)
        if constant is not None:
            return constant
        code = Root(Made.CODE, _text(name), where.path, node.start_byte)
        return self.stored(name, depth) or frozenset((code,))

    # ------------------------------------------------------------ variables

    def _of_lambda(self, name: bytes, where: Where, function: Function, depth: int) -> Roots | None:
        """What a lambda in a function gets or keeps under a name; None where it is none of its."""
        own = lambdas.parameter(function, name, where.offset)
        if own is None or (key := ("lambda", id(function), name)) in self._busy:
            return None if own is None else NONE
        self._busy.add(key)
        every = (one for one in (*own.given, own.default) if one is not None)
        roots = (self._value(one, replace(where, offset=one.start_byte), depth) for one in every)
        found = NONE.union(*roots)
        self._busy.discard(key)
        return found

    def _local(self, name: bytes, where: Where, function: Function, depth: int) -> Roots | None:
        """A local variable or parameter; None when the function declares none of that name."""
        found = self._variable(name, function)
        if found is None:
            return None
        key = (function.file, function.node.start_byte, name)
        if (key, where.offset) in self._busy:
            return NONE
        self._busy.add((key, where.offset))
        try:
            return self._assignments(name, found, where, function, depth)
        finally:
            self._busy.discard((key, where.offset))

    def _assignments(
        self, name: bytes, found: Variable, where: Where, function: Function, depth: int
    ) -> Roots:
        """What the assignments that can matter at a place gave to a local variable."""
        here = Where(function.file, function, 0, function.file.source.path)
        roots, since, parameter = NONE, 0, found.parameter
        for assignment, _ in found.before(where.offset):
            if assignment.replaces(where.offset):
                since, parameter = assignment.start, None
            given = self._value(assignment.value, replace(here, offset=assignment.start), depth)
            roots |= given if assignment.operator == "=" else _computed(given)
        if parameter is not None:
            roots |= self._passed(function, parameter, depth)
        return roots | self._put(function, found, name, (since, where.offset), depth)

    def _variable(self, name: bytes, function: Function) -> Variable | None:
        key = (function.file, function.node.start_byte, name)
        if key not in self._variables:
            self._variables[key] = variable(function, name)
        return self._variables[key]

    def _put(
        self, function: Function, found: Variable, name: bytes, span: tuple[int, int], depth: int
    ) -> Roots:
        """What routines wrote through the variable's address."""
        roots: Roots = NONE
        is_c = function.file.source.is_c
        if is_c and not any(span[0] <= at < span[1] for at, _ in found.addresses):
            return roots
        for node in function.nodes("call_expression"):
            if span[0] <= node.start_byte < span[1]:
                for index, given in enumerate(arguments(node)):
                    if addressed.name_of(given) == name or (not is_c and text_of(given) == name):
                        roots |= self._written(node, index, function.file, depth)
        for one in addressed.in_function(function, name):
            if span[0] <= one.offset < span[1]:
                roots |= self._value(one.value, self._at(function.file, one.offset), depth)
        return roots

    def _at(self, file: File, offset: int) -> Where:
        return Where(file, file.function_at(offset), offset, file.source.path)

    def put_by(self, call: Node, index: int, file: File) -> Roots:
        """What a call writes where one of its arguments points."""
        return self._written(call, index, file, 0)

    def _written(self, call: Node, index: int, file: File, depth: int) -> Roots:
        """What a call writes where one of its arguments points."""
        called = text_of(call.child_by_field_name("function")).strip()
        if PUTTING.get(_text(called)) == index:
            return frozenset((Root(Made.MEMORY, _text(called), file.source.path, call.start_byte),))
        roots: Roots = NONE
        for function in self.program.functions(called):
            if index >= len(function.parameters):
                continue
            target = function.parameters[index]
            for node in function.nodes("assignment_expression"):
                if addressed.is_through(node, target, function.is_reference(index)):
                    here = self._at(function.file, node.start_byte)
                    roots |= self._value(node.child_by_field_name("right"), here, depth)
        return roots

    def _passed(self, function: Function, index: int, depth: int) -> Roots:
        """What the callers give to a parameter."""
        key = ("passed", function.name, index)
        if key in self._memo:
            return self._memo[key]
        self._memo[key] = roots = NONE
        for use in self.program.uses(function.name):
            given = arguments(use.node)
            if index < len(given):
                here = Where(use.file, use.function, use.offset, use.source.path)
                roots |= self._value(given[index], here, depth)
        for one in made(self.program, function.name) if is_constructor(function) else ():
            if one.given is not None and index < len(one.given):
                roots |= self._value(one.given[index], self._at(one.file, one.offset), depth)
        self._memo[key] = roots
        return roots

    def stored(
        self, name: bytes, depth: int = 0, *, element: bool = False, of_field: bool = False
    ) -> Roots:
        """What the program stores in a field or global variable of a name, or in its elements."""
        key = ("stored", name, element, of_field)
        if key in self._memo or not name:
            return self._memo.get(key, NONE)
        self._memo[key] = roots = NONE
        every = stores(self.program, name, of_field)
        if len(every) >= MAX_STORES:
            what = f"{_text(name)} is given a value in more than {MAX_STORES} places"
            self.program.cut(f"{what}, and pointers to code in the rest are not followed")
        for store in every:
            behind = store.file.source.code[store.offset + len(name) :][:80].lstrip()
            if behind.startswith(b"[") is not element:
                continue
            function = store.file.function_at(store.offset)
            here = Where(store.file, function, store.offset, store.file.source.path)
            roots |= self._value(store.value, here, depth)
        roots |= NONE if element else self._put_anywhere.get(name, NONE)
        roots |= self._stored_otherwise(name, depth)
        for other in others_of(self.program, name) if of_field else ():
            found = self.stored(other, depth, of_field=True)
            roots |= {replace(root, shared=root.shared or bool(every)) for root in found}
        roots = frozenset(replace(root, stored=_text(name)) for root in roots)
        self._memo[key] = roots
        return roots

    def _stored_otherwise(self, name: bytes, depth: int) -> Roots:
        """What is written through the address of a variable or field, or put there by a macro."""
        roots: Roots = NONE
        for one in addressed.anywhere(self.program, name):
            here = self._at(one.file, one.offset)
            if here.function is None or self._variable(name, here.function) is None:
                roots |= self._value(one.value, here, depth)
        for put in puts(self.program, name):
            here = self._at(put.use.file, put.use.offset)
            roots |= self._value(put.value, replace(here, words=put.words), depth)
        return roots

    @cached_property
    def _put_anywhere(self) -> dict[bytes, Roots]:
        """Memory whose address a routine writes into `&object->name` or `&name`, by that name."""
        found: dict[bytes, Roots] = {}
        for putting, index in PUTTING.items():
            for use in self.program.uses(putting.encode()):
                given = arguments(use.node)
                name = addressed.name_of(given[index]) if index < len(given) else b""
                root = Root(Made.MEMORY, putting, use.source.path, use.offset)
                found[name] = found.get(name, NONE) | {root}
        return found

    # ------------------------------------------------------------ calls

    def _call(self, node: Node, where: Where, depth: int) -> Roots:
        called = text_of(node.child_by_field_name("function")).strip()
        given = arguments(node)
        if (inner := cast_inside(node, self.program)) is not None:
            return self._value(inner, where, depth)
        name = called.rpartition(b"::")[2]
        word = _text(name)
        if word in RETURNING:
            return frozenset((Root(Made.MEMORY, word, where.path, node.start_byte),))
        if word == "__builtin_bit_cast" and len(given) == 2:
            return self._value(given[1], where, depth)
        if word == LOOKUP:
            return frozenset((self._looked_up(node, where),))
        if word in _SAME and len(given) > _SAME[word]:
            return _computed(self._value(given[_SAME[word]], where, depth))
        if not re.fullmatch(rb"\w+", name) or len(name) > MAX_NAME:
            return NONE
        expanded = self._macro(name, tuple(given), where, depth)
        return expanded if expanded is not None else self._returned(name, depth)

    def _looked_up(self, node: Node, where: Where) -> Root:
        """A routine that the kernel was asked for by its name."""
        name = looked_up.name(self.program, node, where.file, where.function)
        return Root(Made.ROUTINE, _text(name), where.path, node.start_byte)

    def _returned(self, name: bytes, depth: int) -> Roots:
        """What a function of the program returns."""
        key = ("returned", name)
        if key in self._memo or name == b"new":
            return self._memo.get(key, NONE)
        self._memo[key] = roots = NONE
        for function in self.program.functions(name):
            for item in function.nodes("return_statement"):
                path = function.file.source.path
                here = Where(function.file, function, item.start_byte, path)
                roots |= self._inner(item, here, depth)
        self._memo[key] = roots
        return roots

    def _macro(
        self, name: bytes, given: tuple[Node, ...], where: Where, depth: int
    ) -> Roots | None:
        """The value of a macro; None when there is none of that name."""
        roots: Roots | None = None
        if ("macro", name) in self._busy:
            return None
        for macro, _ in self.program.macros(name):
            if (macro.parameters is None) is bool(given) or not macro.body.strip():
                continue
            self._busy.add(("macro", name))
            words = tuple(zip(macro.parameters or (), given, strict=False))
            roots = (roots or NONE) | self._body(macro, replace(where, words=words), depth)
            self._busy.discard(("macro", name))
        return roots

    def _body(self, macro: Macro, where: Where, depth: int) -> Roots:
        for node in walk(parse(b"int q=(" + macro.body + b");").root_node):
            if node.type == "init_declarator":
                inner = node.child_by_field_name("value")
                found = self._value(inner, where, depth)
                return frozenset(_in_macro(root, macro, where) for root in found)
        return NONE


def _in_macro(root: Root, macro: Macro, where: Where) -> Root:
    """A root in the body of a macro, at its place there."""
    at = macro.body.find(root.name.encode())
    if root.path != where.path or at < 0:
        return root
    return replace(root, path=macro.source.path, start=macro.body_start + at)


def _computed(roots: Roots) -> Roots:
    return frozenset(replace(root, exact=False) for root in roots if root.made is not Made.CODE)


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace")


Reader = Callable[["Origins", "Node", Where, int], Roots]
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
