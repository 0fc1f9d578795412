"""What a name in source text stands for: a variable, a parameter, a macro, a constant, a field.

Theory of operation: a name is looked up where C would look: in its function, among the template
parameters, as a macro, among the constants of the WDK headers, and in the program. A parameter
is what the calls of its function give it, across files; a field is everything that the program
stores in a field of that name. Knows names; expressions are evaluated by `resolve`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from hvci import catalog
from hvci.source.preprocess.tree import Function, arguments, parse, text_of, walk
from hvci.source.program import callbacks
from hvci.source.program.constructors import aliases, is_constructor, made
from hvci.source.program.linkage import Linkage
from hvci.source.program.news import chooses
from hvci.source.program.program import MAX_USES, Macro, Program, Use
from hvci.source.program.scope import Assignment, Variable
from hvci.source.program.stores import (
    MAX_STORES,
    Store,
    enumerators,
    escapes,
    prototype_default,
    stores,
    template_arguments,
)
from hvci.source.values import constants, lists
from hvci.source.values.comparing import Given, Truth
from hvci.source.values.guess import NOTHING, Guess, exactly, unknown
from hvci.source.values.variables import Variables, is_repeated, result

if TYPE_CHECKING:
    from tree_sitter import Node

    from hvci.source.values.kernels import Versions


@dataclass(frozen=True)
class Place:
    """Where a text stands."""

    function: Function | None = None
    offset: int = 0
    macro: Macro | None = None
    """The macro whose body the text is from."""
    path: str = ""
    """The file that the nodes are in; empty for text that stands in no file."""
    shift: int = 0
    """What to add to a node's offset to have an offset in the file."""
    home: str = ""
    """The file whose macros count, where it is not that of the text."""
    given: Given = field(default_factory=dict)
    """Parameters of the function that the call which is followed gives as constants."""
    anchor: Node | None = field(default=None, compare=False)
    """Outside of functions: a node in the template that the text may be in."""


class Evaluator(Protocol):
    """What evaluates the expressions that a name leads to."""

    def value(self, node: Node | None, place: Place, depth: int) -> Guess:
        """The value of an expression."""

    def text(self, text: bytes, place: Place, depth: int) -> Guess:
        """The value of an expression given as text."""

    def chosen(self, condition: Node, place: Place, depth: int) -> bool | None:
        """Which way a condition goes, by constants that are passed or by the version."""

    def label(self, switch: Node, place: Place, depth: int) -> int | None:
        """The position of the label that a `switch` leads to."""

    def index_of(self, node: Node | None, place: Place, depth: int) -> int | None:
        """The number of an element; None where it is not one constant."""

    @property
    def versions(self) -> Versions:
        """What checks of the Windows version say."""


@dataclass(frozen=True)
class Ways:
    """Which way conditions of the function go that a place is in."""

    evaluator: Evaluator
    place: Place
    depth: int

    def truth(self, condition: Node) -> bool | None:
        """Which way a condition goes."""
        return self.evaluator.chosen(condition, self._at(condition), self.depth)

    def label(self, switch: Node) -> int | None:
        """The position of the label that a `switch` leads to."""
        return self.evaluator.label(switch, self._at(switch), self.depth)

    def _at(self, node: Node) -> Place:
        function = self.place.function
        assert function is not None
        path = function.file.source.path
        return Place(function, node.start_byte, path=path, given=self.place.given)


class Names:
    """Looks names up in one program."""

    def __init__(self, program: Program, evaluator: Evaluator) -> None:
        self.program = program
        self.evaluator = evaluator
        self.busy: set[object] = set()
        """What is being looked up, so that nothing is looked up inside itself."""
        self._variables = Variables(program)
        self.linkage = Linkage(program)

    def name(self, name: bytes, place: Place, depth: int) -> Guess:
        """The value of a name at a place."""
        constant = constants.named(name)
        home = place.home or place.path
        is_given = place.macro is not None and name in (place.macro.parameters or ())
        if constant is not None and not is_given and not self.program.macros(name, home):
            return constant
        ways: tuple[Callable[[bytes, Place, int], Guess | None], ...] = (
            self._macro_parameter,
            self._local,
            self._template_parameter,
            self._macro,
        )
        for way in ways:
            if (found := way(name, place, depth)) is not None:
                return found
        if constant is not None:
            return constant
        listed = self._enumerator(name, depth)
        return listed if listed is not None else self.stored(name, place, depth, plain=True)

    def _enumerator(self, name: bytes, depth: int) -> Guess | None:
        """An enumerator without a value of its own: it counts on from one that has."""
        if not self.program.is_enumerator(name) or ("store", name) in self.busy:
            return None
        found = NOTHING
        for store, count in enumerators(self.program, name):
            first = self._store(store, depth) if store is not None else exactly(0, "number")
            found = found.join(first.combined(exactly(count, "number"), "+"))
        return found.known_by("number") if found.atoms else None

    def _macro_parameter(self, name: bytes, place: Place, depth: int) -> Guess | None:
        macro = place.macro
        if macro is None or not macro.parameters or name not in macro.parameters:
            return None
        index = macro.parameters.index(name)
        return self._given(macro.name, index, self.program.uses(macro.name), depth, "macro")

    def _local(self, name: bytes, place: Place, depth: int) -> Guess | None:
        function = place.function
        if function is None:
            return None
        known = place.given.get(name)
        if known is not None and known.value is not None:
            return known.value
        found = self._variables.at(function, name, place.offset)
        key = (id(found), name, place.offset)
        if found is None or key in self.busy:
            return None if found is None else NOTHING
        self.busy.add(key)
        try:
            return self._variable(name, found, place, depth)
        finally:
            self.busy.discard(key)

    def _variable(self, name: bytes, found: Variable, place: Place, depth: int) -> Guess:
        """The value that a variable has at a place, by the changes that may reach it."""
        asked = Ways(self.evaluator, place, depth)
        changes, is_first = found.reaching(place.offset, asked)
        value = NOTHING
        if is_first and found.parameter is not None:
            value = self._parameter(found.function, found.parameter, depth)
        for change in changes:
            item = change.assignment
            if item is None:
                text = f"the address of {shown(name)} is given to {change.receiver}"
                value = value.join(unknown(text))
            elif is_repeated(found, item, asked):
                value = value.join(unknown(f"{shown(name)} is changed in a loop"))
            else:
                value = value.join(self._after(name, item, place, depth))
        if not value.atoms and value.complete:
            return unknown(f"{shown(name)} has no value that could be found")
        return value.known_by("local") if changes else value

    def _after(self, name: bytes, item: Assignment, place: Place, depth: int) -> Guess:
        """What an assignment leaves."""
        assert place.function is not None
        path = place.function.file.source.path
        here = Place(place.function, item.start, path=path, given=place.given)
        if item.operator == "=":
            return self.evaluator.value(item.value, here, depth)
        before = self._local(name, here, depth) or NOTHING
        if not item.is_counting:
            return result(item, before, self.evaluator.value(item.value, here, depth))
        return result(item, before, NOTHING)

    def _parameter(self, function: Function, index: int, depth: int) -> Guess:
        if function.name == b"new":
            uses = [use for use in self.program.news() if chooses(use, function, self.program)]
            given = self._given(function.types[index], index - 1, uses, depth, "caller")
            given = given.join(self._hidden(index - 1, depth))
            return given if given.atoms or not given.complete else _uncalled(function, index)
        uses = self.uses_of(function)
        given = self._given(function.name, index, uses, depth, "caller", function)
        if len(uses) >= MAX_USES:
            given = given.join(unknown(f"{shown(function.name)} is called in very many places"))
        for macro in self._macros_calling(function.name):
            given = given.join(self._from_macro(macro, function.name, index, depth))
        for other in callbacks.other_names(self.program, function.name):
            uses = self.program.uses(other)
            given = given.join(self._given(other, index, uses, depth, "caller", function))
        if is_constructor(function):
            given = given.join(self._constructed(function, index, depth))
            for other in aliases(self.program, function.name):
                uses = self.program.uses(other)
                given = given.join(self._given(other, index, uses, depth, "caller", function))
        if elsewhere := callbacks.elsewhere(self.program, function):
            given = given.join(unknown(f"{elsewhere} may call {shown(function.name)} as well"))
        if not given.complete:
            return given
        through = self._through_pointers(function, index, depth)
        if not given.atoms:
            return through if through.atoms else _uncalled(function, index)
        if not through.atoms and callbacks.is_taken(self.program, function):
            through = unknown(f"{shown(function.name)} may be called through a pointer as well")
        return given.join(through)

    def _constructed(self, function: Function, index: int, depth: int) -> Guess:
        """What a constructor gets where objects are made without a call of its name."""
        key, found = ("made", function.name, index, id(function)), NOTHING
        if key in self.busy:
            return NOTHING
        self.busy.add(key)
        for one in made(self.program, function.name):
            if one.given is None:
                found = found.join(unknown(f"how {shown(function.name)} is made is not followed"))
            elif index < len(one.given) <= len(function.parameters):
                path = one.file.source.path
                place = Place(one.file.function_at(one.offset), one.offset, path=path)
                found = found.join(self.evaluator.value(one.given[index], place, depth))
            elif len(one.given) <= index:
                default = function.defaults[index] or prototype_default(
                    self.program, function, index
                )
                if default is not None:
                    found = found.join(self.evaluator.value(default, Place(), depth))
        self.busy.discard(key)
        return found.known_by("caller")

    def _through_pointers(self, function: Function, index: int, depth: int) -> Guess:
        """What calls through pointers give to a function that nobody calls by its name."""
        key = ("pointers", function.name, index)
        if key in self.busy:
            return NOTHING
        self.busy.add(key)
        found = NOTHING
        for use, node in (every := callbacks.calls(self.program, function, index)):
            place = Place(use.function, use.offset, path=use.source.path)
            found = found.join(self.evaluator.value(node, place, depth))
        if len(every) >= callbacks.MAX_CALLS:
            found = found.join(unknown(f"{shown(function.name)} is called in very many places"))
        self.busy.discard(key)
        return found.known_by("caller")

    def _hidden(self, index: int, depth: int) -> Guess:
        """What macros of the kit give to an operator new."""
        found = NOTHING
        for name, row in catalog.hidden_calls().items():
            if index >= len(row.gives) or row.gives[index] not in row.parameters:
                continue
            for use in self.program.uses(name.encode()):
                at = row.parameters.index(row.gives[index])
                found = found.join(self._argument(use, at, depth, None))
        return found

    def _given(
        self,
        name: bytes,
        index: int,
        uses: Iterable[Use],
        depth: int,
        origin: str,
        function: Function | None = None,
    ) -> Guess:
        """What the uses of a function or macro give to one of its parameters."""
        key = (name, index, id(function))
        if key in self.busy:
            return NOTHING
        self.busy.add(key)
        try:
            given = [self._argument(use, index, depth, function) for use in uses]
            if function is not None and function.is_method:
                given = _of_this_method(given)
            found = NOTHING
            for one in given:
                found = found.join(one)
            return found.known_by(origin)
        finally:
            self.busy.discard(key)

    def _argument(self, use: Use, index: int, depth: int, function: Function | None) -> Guess:
        field = "placement" if use.node.type == "new_expression" else "arguments"
        given = arguments(use.node, field)
        if 0 <= index < len(given):
            return self.evaluator.value(
                given[index], Place(use.function, use.offset, path=use.source.path), depth
            )
        default = function.defaults[index] if function else None
        if default is None and function is not None:
            default = prototype_default(self.program, function, index)
        return self.evaluator.value(default, Place(), depth) if default is not None else NOTHING

    def _macros_calling(self, name: bytes) -> list[Macro]:
        pattern = re.compile(rb"\b" + re.escape(name) + rb"\s*\(")
        return [
            macro
            for unit in self.program.naming(name)
            for many in unit.macros.values()
            for macro in many
            if macro.name != name and pattern.search(macro.body)
        ]

    def _from_macro(self, macro: Macro, name: bytes, index: int, depth: int) -> Guess:
        for node in walk(parse(b"void f(){" + macro.body + b";}").root_node):
            if (
                node.type == "call_expression"
                and text_of(node.child_by_field_name("function")) == name
            ):
                given = arguments(node)
                if index < len(given):
                    return self.evaluator.value(given[index], Place(macro=macro), depth)
        return unknown(f"the body of the macro {shown(macro.name)} could not be read")

    def _template_parameter(self, name: bytes, place: Place, depth: int) -> Guess | None:
        function = place.function
        anchor = function.node if function is not None else place.anchor
        if anchor is None or (key := ("template", anchor.id, name)) in self.busy:
            return None
        given = template_arguments(self.program, anchor, function, name)
        if given is None:
            return None
        found = NOTHING
        self.busy.add(key)
        for use, node in given:
            path = use.source.path
            there = Place(use.function, use.offset, path=path, anchor=use.node)
            found = found.join(self.evaluator.value(node, there, depth))
        self.busy.discard(key)
        if found.atoms or not found.complete:
            return found.known_by("template")
        return unknown(f"the template with the parameter {shown(name)} is never used")

    def _macro(self, name: bytes, place: Place, depth: int) -> Guess | None:
        if ("macro", name) in self.busy:
            return None
        known = self.definitions(name, place)
        bodies = [found for found in known if found[0].parameters is None]
        bodies = [(macro, kept) for macro, kept in bodies if macro.body.strip()]
        if not bodies:
            return None
        self.busy.add(("macro", name))
        found = NOTHING
        for macro, _ in bodies:
            lead = len(macro.body) - len(macro.body.lstrip())
            inside = replace(
                place,
                path=macro.source.path,
                shift=macro.body_start + lead,
                home=place.home or place.path,
            )
            found = found.join(self.evaluator.text(macro.body.strip(), inside, depth))
        self.busy.discard(("macro", name))
        constant = constants.named(name)
        if constant is not None and not any(kept for _, kept in bodies):
            found = found.join(constant)
        return found.known_by("macro")

    def definitions(self, name: bytes, place: Place) -> list[tuple[Macro, Truth]]:
        """The definitions of a macro that count at a place: its file may define it anew."""
        home = place.home or place.path
        known = self.program.macros(name, home)
        own = [one for one in known if one[0].source.path == home]
        if place.macro is not None or len(own) < 2:
            return known
        before = [one for one in own if one[0].start < place.offset]
        last = max(before, key=lambda one: one[0].start, default=None)
        if last is None or last[1] is not True:
            return known
        between = last[0].source.code[last[0].start : place.offset]
        others = [one for one in known if one not in own] if b"include" in between else []
        return [last, *others]

    def _store(self, store: Store, depth: int, element: int | None = None) -> Guess:
        """The value of one store, or of one element of a list."""
        function = store.file.function_at(store.offset)
        place = Place(function, store.offset, path=store.file.source.path)
        if store.operator not in (b"=", b"|="):
            return unknown(f"its value is changed with {shown(store.operator)}")

        def index_of(node: Node | None) -> int | None:
            return self.evaluator.index_of(node, place, depth)

        found = NOTHING
        for item in lists.elements(store.value, element, index_of):
            if item is None:
                found = found.join(exactly(0, "number"))
            else:
                found = found.join(self.evaluator.value(item, place, depth))
        if element is None and lists.leaves_out(store.value, index_of):
            found = found.join(unknown("what a list leaves out is zero"))
        return found

    def stored(
        self,
        name: bytes,
        place: Place,
        depth: int,
        element: int | None = None,
        *,
        plain: bool = False,
    ) -> Guess:
        """Everything that the program stores in a variable or field of that name.

        With `element`, only what stands at this place of a list; `plain` is a variable for sure,
        which may be that of its file only.
        """
        if ("store", name) in self.busy:
            return NOTHING
        self.busy.add(("store", name))
        every = self._stores(name, place.home or place.path, plain)
        late, early = self.evaluator.versions.kept(every, place.function, place.offset)
        found = NOTHING
        for store in late:
            found = found.join(self._store(store, depth, element))
        for store in early:
            first = self._store(store, depth)
            found = replace(found, early=found.early | (first.atoms - found.atoms))
        self.busy.discard(("store", name))
        if len(every) >= MAX_STORES:
            found = found.join(unknown(f"{shown(name)} is given a value in very many places"))
        if receiver := escapes(self.program, name):
            found = found.join(unknown(f"the address of {shown(name)} is given to {receiver}"))
        if found.atoms or not found.complete:
            return found.known_by("number" if all(one.fixed for one in every) else "field")
        return unknown(f"nothing in the sources gives {shown(name)} a value")

    def _stores(self, name: bytes, path: str, plain: bool) -> Sequence[Store]:
        """The stores that a use of a name in a file can see."""
        every = stores(self.program, name)
        if not plain or len(every) < 2:
            return every
        scope = self.linkage.scope
        return (
            [one for one in every if scope(name, one.file.source.path) == scope(name, path)]
            if path
            else every
        )

    def uses_of(self, function: Function) -> list[Use]:
        """The calls of a function; those of others that have its name in their own file are not."""
        path, name, scope = function.file.source.path, function.name, self.linkage.scope
        found = self.program.uses(name)
        if function.is_method:
            return found
        return [one for one in found if scope(name, one.source.path) == scope(name, path)]

    def functions_at(self, name: bytes, path: str) -> list[Function]:
        """The functions that a name can mean in a file."""
        every, scope = self.program.functions(name), self.linkage.scope
        if len(every) < 2 or not path:
            return every
        return [one for one in every if scope(name, one.file.source.path) == scope(name, path)]


def _of_this_method(given: list[Guess]) -> list[Guess]:
    """Without the calls of other classes' methods of that name: those that give plain numbers."""
    if not any(one.families for one in given):
        return given
    return [one for one in given if one.families or not one.complete or not one.atoms]


def _uncalled(function: Function, index: int) -> Guess:
    name = shown(function.parameters[index])
    return unknown(f"{name} is a parameter of {shown(function.name)}, and no call of it was found")


def shown(name: bytes) -> str:
    """A name for a message."""
    return name.decode("utf-8", "replace")
